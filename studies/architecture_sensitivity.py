"""Whether early outputs of other networks purify attacked pictures: depth, width, skips (Kattamis et al. 2019, section 6)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.codes import Mesh, Noise
from preimage.defend.purification import PAPER
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.networks.layers import Block, Upsample
from studies.harness import (
    Measured,
    Run,
    Study,
    attacked,
    by_scale,
    chosen,
    classifiers,
    figures,
    has_all,
    stats,
    tables,
)
from studies.harness.attacked import CLEAN, Condition

COUNT, STEPS = by_scale(2, 20, 100), by_scale(4, 800, 1000)
EVERY = by_scale(2, 50, 50)  # steps between two looks
FIXED = by_scale(2, 750, 750)  # the published number of steps
WIDTH = by_scale(4, 16, 128)  # of the base network
ATTACKS = (Condition("fgsm", 10), Condition("bi", 10))
CONDITIONS = (CLEAN, *ATTACKS)
UNDER = " and ".join(map(str, ATTACKS))
BASE, NO_SKIP, SHALLOW = "base", "skip 0", "levels 1"
SHARE = 0.5  # of the base network's gain that a network must reach, or it fails


def activated_by(function: Callable[[torch.Tensor], torch.Tensor]) -> type[Block]:
    return type("Activated", (Block,), {"activated": lambda self, x: function(self.norm(x))})


ACTIVATIONS = {"ReLU": functional.relu, "ELU": functional.elu, "Swish": functional.silu}
KINDS = {name: activated_by(function) for name, function in ACTIVATIONS.items()}


@dataclass(frozen=True)
class Exactly:
    """The published network with just so many levels, whatever the size of the picture, and with blocks of some kind."""

    width: int
    levels: int = 3
    skip: int = 4
    kernel: int = 3
    upsample: Upsample = "bilinear"
    kind: type[Block] = Block

    def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> SkipNet:
        wide, skip = (self.width,) * self.levels, (self.skip,) * self.levels
        kernels: dict[str, Any] = {"down_kernel": self.kernel, "up_kernel": self.kernel}
        network = SkipNet(in_channels, out_channels, down=wide, up=wide, skip=skip, upsample=self.upsample, **kernels)
        for module in network.modules():
            if isinstance(module, Block):
                module.__class__ = self.kind
        return network


def variants(width: int) -> dict[str, Recipe]:
    """The base network, and all that differ from it in one thing, by name; each name begins with that thing."""
    base = Exactly(width)
    networks = {
        BASE: base,
        **{f"levels {levels}": replace(base, levels=levels) for levels in (1, 2, 4)},
        **{f"width {wide}": replace(base, width=wide) for wide in (width // 2, 2 * width, 4 * width)},
        **{f"skip {skip}": replace(base, skip=skip) for skip in (0, 1, 16)},
        **{f"kernel {kernel}": replace(base, kernel=kernel) for kernel in (1, 5)},
        "up-sampling nearest": replace(base, upsample="nearest"),
        **{f"activation {name}": replace(base, kind=kind) for name, kind in KINDS.items()},
    }
    inputs = {"input noise of 4 channels": Noise(4), "input mesh": Mesh()}
    return {
        **{name: replace(PAPER, network=network) for name, network in networks.items()},
        **{name: replace(PAPER, network=base, code=code) for name, code in inputs.items()},
    }


def subject(run: Run):
    return run.once(classifiers.subject, "cifar10", COUNT[run.scale])


def looks(run: Run) -> range:
    return range(EVERY[run.scale], STEPS[run.scale] + 1, EVERY[run.scale])


def attack(run: Run, name: str) -> torch.Tensor:
    return next(condition for condition in CONDITIONS if condition.attack == name).of(*subject(run))


def measure(run: Run, variant: str, name: str):
    """The rows of a variant under an attack, of all pictures: they agree to the last digit in the same fit alone."""
    (classifier, pictures), given = subject(run), run.once(attack, name)
    recipe, eps = variants(WIDTH[run.scale])[variant], {c.attack: c.eps for c in CONDITIONS}[name]
    _, before = attacked.classified(classifier, given, pictures.labels)
    confidence, right = attacked.classified_early(classifier, given, pictures.labels, recipe, looks(run))
    for k, number in enumerate(pictures.numbers):
        row = {"eps": eps, "picture": number, "given_right": int(before[k])}
        row |= {"right": tables.listed(right[:, k].int().tolist(), "d")}
        yield row | {"confidence": tables.listed(confidence[:, k].tolist())}


class Purified:
    """What a variant makes of the pictures: arrays (looks, pictures), the attacked ones as the mean over the attacks."""

    def __init__(self, rows) -> None:
        own = {c: sorted(chosen(rows, attack=c.attack), key=lambda row: row["picture"]) for c in CONDITIONS}
        self.count = len(own[CLEAN])
        self.given = np.mean([tables.numbers(own[c], "given_right") for c in ATTACKS], 0)
        self.clean = np.array(tables.curves(own[CLEAN], "right")).T
        of = {name: [np.array(tables.curves(own[c], name)).T for c in ATTACKS] for name in ("right", "confidence")}
        self.attacked, self.confidence = np.mean(of["right"], 0), np.mean(of["confidence"], 0)

    @property
    def best(self) -> int:
        """The look at which most of the attacked pictures are classified correctly, among equals the most confident one."""
        return max(range(len(self.attacked)), key=lambda k: (self.attacked[k].mean(), self.confidence[k].mean()))

    def gain(self, look: int | None = None) -> np.ndarray:
        """(pictures,) over no defence, at some look or at the best one, in points."""
        return 100 * (self.attacked[self.best if look is None else look] - self.given)

    def at(self, look: int, base: "Purified", of_base: int) -> list[Any]:
        """Shares of clean and of attacked pictures, confidence, and the gain less that of the base network."""
        less = "" if self is base else stats.paired(self.gain(look), base.gain(of_base))
        shares = [f"{shares[look].mean():.0%}" for shares in (self.clean, self.attacked)]
        return [*shares, float(self.confidence[look].mean()), less]


def reached(variant: Purified, base: Purified) -> stats.Interval:
    """By how many points a variant's gain is above the share of the base network's that it must reach."""
    return stats.paired(variant.gain(), SHARE * base.gain())


def verdict(variant: Purified, base: Purified) -> str:
    """Whether it is shown to reach that share; of a base network that is not shown to gain anything there is none to reach."""
    return reached(variant, base).verdict() if stats.interval_of(base.gain()).verdict() == "yes" else "not shown"


def values(run: Run):
    rows = tables.grouped(run.rows(), "variant")
    found = {name: Purified(rows[name]) for name in variants(WIDTH[run.scale]) if name in rows}
    base, at, lines, fixed = found[BASE], looks(run), [], FIXED[run.scale]
    for name, own in found.items():
        # At the fixed step both networks there, else each at its own best step.
        cells = [own.at(at.index(fixed), base, at.index(fixed)), own.at(own.best, base, base.best)]
        lines.append([name, *cells[0], at[own.best], *cells[1], "" if own is base else verdict(own, base)])
    columns = ("clean", "attacked", "confidence", "attacked, less base")
    header = ["network", *(f"{column}, step {fixed}" for column in columns), "best step"]
    header += [*(f"{column}, there" for column in columns), f"above {SHARE:.0%} of the base's gain"]
    cleaned = stats.interval_of(base.gain())
    claims = [["the base network purifies attacked pictures (gain above none)", cleaned, cleaned.verdict()]]
    for title, name in (("no skip at all fails", NO_SKIP), ("a very shallow network (one level) fails", SHALLOW)):
        claims.append([title, reached(found[name], base), stats.opposite(verdict(found[name], base))])
    others = {name: verdict(own, base) for name, own in found.items() if name not in (BASE, NO_SKIP, SHALLOW)}
    words = list(others.values())
    return {
        "count": base.count,
        "given": base.given.mean(),
        "table": tables.markdown(header, lines),
        "claims": tables.markdown(["claim", "measured", "holds here"], claims),
        "others": len(others),
        "verdicts": ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words)),
        "failing": ", ".join(name for name, word in others.items() if word == "no") or "none",
    }


def draw(run: Run):
    """The mean confidence in the true class of attacked pictures against steps, a panel for each thing that is varied."""
    curves = {name: Purified(own).confidence.mean(1) for name, own in tables.grouped(run.rows(), "variant").items()}
    panels = {name.split()[0]: [(f"-{BASE}", list(looks(run)), curves[BASE])] for name in curves if name != BASE}
    for name in (name for name in curves if name != BASE):
        panels[name.split()[0]].append((name, list(looks(run)), curves[name]))
    figures.save_curves(panels, run.figure("curves"), "confidence in the true class", ylim=(0, 1))


def cases(run: Run):
    return [(name, condition.attack) for condition in CONDITIONS for name in variants(WIDTH[run.scale])]


DONE = has_all("picture", lambda run: subject(run)[1].numbers)
STUDY = Study(Measured(("variant", "attack", "picture"), cases, measure, DONE), values, draw)

"""[K], section 6: does the early output of another network clean an attacked picture, too? One thing is varied at a time.

Depth, width, skip channels (none included), kernel, up-sampling, activation and input of the published network. One row a
variant, attack and picture, with what the classifier says of the outputs step after step. The two papers disagree about skips:
see `architecture`, where the same question is asked of restoration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.codes import Mesh, Noise
from preimage.defend.purification import PAPER
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.networks.layers import Block, Upsample
from preimage.studies.attacked import CLEAN, Condition, subject, told, told_early
from preimage.studies.cifar import Pictures
from preimage.studies.intervals import Interval, interval_of, paired
from preimage.studies.lesions import known, with_words
from preimage.studies.scales import Row, Study, markdown_table

COUNTS = {"smoke": 2, "small": 20, "paper": 100}
STEPS = {"smoke": 4, "small": 800, "paper": 1000}
EVERY = {"smoke": 2, "small": 50, "paper": 50}  # steps between two looks
FIXED = {"smoke": 2, "small": 750, "paper": 750}  # the published number of steps
WIDTHS = {"smoke": 4, "small": 16, "paper": 128}  # of the base network
ATTACKS = (Condition("fgsm", 10), Condition("bi", 10))
CONDITIONS = (CLEAN, *ATTACKS)
BASE, NO_SKIP, SHALLOW = "base", "skip 0", "levels 1"
SHARE = 0.5  # of the base network's gain that a network must reach, or it fails


class _Rectified(Block):
    def activated(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(x))


class _Exponential(Block):
    def activated(self, x: torch.Tensor) -> torch.Tensor:
        return functional.elu(self.norm(x))


class _Swish(Block):
    def activated(self, x: torch.Tensor) -> torch.Tensor:
        return functional.silu(self.norm(x))


@dataclass(frozen=True)
class Exactly:
    """The published hourglass with just so many levels, whatever the size of the picture.

    Args:
        kind: of its blocks, which have an activation each; Block has LeakyReLU 0.2.
    """

    width: int
    levels: int = 3
    skip: int = 4
    kernel: int = 3
    upsample: Upsample = "bilinear"
    kind: type[Block] = Block

    def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> SkipNet:
        del height, width
        wide = (self.width,) * self.levels
        network = SkipNet(
            in_channels,
            out_channels,
            down=wide,
            up=wide,
            skip=(self.skip,) * self.levels,
            down_kernel=self.kernel,
            up_kernel=self.kernel,
            upsample=self.upsample,
        )
        for module in network.modules():
            if isinstance(module, Block):
                module.__class__ = self.kind
        return network


def variants(width: int) -> dict[str, Recipe]:
    """The base network, and all that differ from it in one thing, by name; each name begins with that thing."""
    base = Exactly(width)
    networks = {
        **{f"levels {levels}": replace(base, levels=levels) for levels in (1, 2, 4)},
        **{f"width {wide}": replace(base, width=wide) for wide in (width // 2, 2 * width, 4 * width)},
        **{f"skip {skip}": replace(base, skip=skip) for skip in (0, 1, 16)},
        **{f"kernel {kernel}": replace(base, kernel=kernel) for kernel in (1, 5)},
        "up-sampling nearest": replace(base, upsample="nearest"),
        "activation ReLU": replace(base, kind=_Rectified),
        "activation ELU": replace(base, kind=_Exponential),
        "activation Swish": replace(base, kind=_Swish),
    }
    recipes = {name: replace(PAPER, network=network) for name, network in {BASE: base, **networks}.items()}
    inputs = {"input noise of 4 channels": Noise(4), "input mesh": Mesh()}
    return recipes | {name: replace(PAPER, network=base, code=code) for name, code in inputs.items()}


def run(study: Study) -> Path:
    """Every variant under every attack, those whose rows are all in the CSV left out; the figure; then the section."""
    classifier, pictures = subject(study, COUNTS[study.scale])
    done = known(study, "variant", "attack", "picture")
    for condition in CONDITIONS:
        given = condition.of(classifier, pictures)
        for name, recipe in study.mine(variants(WIDTHS[study.scale]).items()):
            keys = [(name, condition.attack, str(number)) for number in pictures.numbers]
            if any(key not in done for key in keys):
                # All pictures of a fit, also known ones: they agree to the last digit in the same fit alone.
                rows = measured(study, classifier, pictures, condition, given, name, recipe)
                for key, row in zip(keys, rows, strict=True):
                    if key not in done:
                        study.keep(row)
    if study.is_shared:
        return study.table
    figure = draw(study)
    return study.write_section("Architecture under attack", section(study, figure))


def looks(study: Study) -> range:
    """The steps at which the classifier is asked."""
    every = EVERY[study.scale]
    return range(every, STEPS[study.scale] + 1, every)


def measured(
    study: Study,
    classifier: Classifier,
    pictures: Pictures,
    condition: Condition,
    given: torch.Tensor,
    name: str,
    recipe: Recipe,
) -> list[Row]:
    """The rows of a variant under an attack: of the given pictures, and of their early outputs at all looks."""
    _, before = told(classifier, given, pictures.labels)
    confidence, right = told_early(classifier, given, pictures.labels, recipe, looks(study))
    return [
        {
            "variant": name,
            "attack": condition.attack,
            "eps": condition.eps,
            "picture": number,
            "given_right": int(before[k]),
            "right": " ".join(str(int(value)) for value in right[:, k]),
            "confidence": " ".join(f"{value:.4f}" for value in confidence[:, k].tolist()),
        }
        for k, number in enumerate(pictures.numbers)
    ]


# ---------------------------------------------------------------------- what the rows say


class Cleaned:
    """What a variant makes of the pictures: arrays (looks, pictures), the attacked ones as the mean over the attacks."""

    def __init__(self, rows: Sequence[Row], name: str) -> None:
        own = {c: _sorted(with_words(list(rows), variant=name, attack=c.attack)) for c in CONDITIONS}
        self.pictures = [int(row["picture"]) for row in own[CLEAN]]
        self.given = np.mean([[float(row["given_right"]) for row in own[c]] for c in ATTACKS], 0)
        self.clean = _array(own[CLEAN], "right")
        self.attacked = np.mean([_array(own[c], "right") for c in ATTACKS], 0)
        self.confidence = np.mean([_array(own[c], "confidence") for c in ATTACKS], 0)

    @property
    def best(self) -> int:
        """The look at which most of the attacked pictures are told right, among equals the most confident one."""
        return max(range(len(self.attacked)), key=lambda k: (self.attacked[k].mean(), self.confidence[k].mean()))

    @property
    def gain(self) -> np.ndarray:
        """(pictures,) over no defence, at the best look, in points."""
        return self.gain_at(self.best)

    def gain_at(self, look: int) -> np.ndarray:
        """The same at another look."""
        return 100 * (self.attacked[look] - self.given)


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(row["picture"]))


def _array(rows: Sequence[Row], column: str) -> np.ndarray:
    return np.array([[float(value) for value in str(row[column]).split()] for row in rows]).T


def cleans(variant: Cleaned, base: Cleaned) -> Interval:
    """By how many points a variant's gain is above the share of the base network's that it must reach."""
    return paired(list(variant.gain), list(SHARE * base.gain))


def verdict(variant: Cleaned, base: Cleaned) -> str:
    """Whether it is shown to reach that share; of a base network that is not shown to gain anything there is none to reach."""
    gains = interval_of(list(base.gain)).verdict() == "yes"
    return cleans(variant, base).verdict() if gains else "not shown"


# ---------------------------------------------------------------------- the section


def section(study: Study, figure: Path) -> str:
    """Every variant beside the base network, and the claim."""
    rows, at = study.rows(), looks(study)
    found = {name: Cleaned(rows, name) for name in variants(WIDTHS[study.scale])}
    base, fixed = found[BASE], at.index(FIXED[study.scale])
    lines = [_line(name, each, base, at, fixed) for name, each in found.items()]
    columns = ("clean", "attacked", "confidence", "attacked, less base")
    header = ["network", *(f"{column}, step {at[fixed]}" for column in columns), "best step"]
    header += [*(f"{column}, there" for column in columns), f"above {SHARE:.0%} of the base's gain"]
    attacks = " and ".join(map(str, ATTACKS))
    parts = [
        f"{len(base.pictures)} {_pictures(study)} that the classifier tells right; under {attacks} of the bare classifier "
        f"it tells {base.given.mean():.0%} right. Base network: three levels of {WIDTHS[study.scale]} channels, skips of 4, "
        "kernel 3, bilinear, LeakyReLU 0.2, noise of 32 channels; everything else as published. Share of the early outputs "
        f"that are told right, the mean of both attacks, at step {at[fixed]} and at the step that is best for this network "
        "(chosen on the same pictures and attacks, which favors every network alike), *confidence* in the true class of the "
        "attacked ones; paired differences in points with 95 % bootstrap intervals over pictures. Rows: "
        f"`{study.table.name}`; figure: `{figure.name}`.",
        markdown_table(header, lines),
        _claim(found),
    ]
    return "\n\n".join(parts)


def _pictures(study: Study) -> str:
    return {"smoke": "generated pictures", "small": "pictures of CIFAR-10", "paper": "pictures of ImageNet"}[
        study.scale
    ]


def _line(name: str, each: Cleaned, base: Cleaned, at: Sequence[int], fixed: int) -> list[str]:
    best = each.best
    own = name == BASE
    at_fixed = [*_shares(each, fixed), "" if own else str(paired(list(each.gain_at(fixed)), list(base.gain_at(fixed))))]
    at_best = [*_shares(each, best), "" if own else str(paired(list(each.gain), list(base.gain)))]
    return [name, *at_fixed, str(at[best]), *at_best, "" if own else verdict(each, base)]


def _shares(each: Cleaned, look: int) -> list[str]:
    told_right = [f"{values[look].mean():.0%}" for values in (each.clean, each.attacked)]
    return [*told_right, f"{each.confidence[look].mean():.2f}"]


def _claim(found: dict[str, Cleaned]) -> str:
    """Whether the networks of which it is said fail, and whether the others do not."""
    base = found[BASE]
    cleaned = interval_of(list(base.gain))
    lines = [["the base network cleans attacked pictures (gain above none)", str(cleaned), cleaned.verdict()]]
    for told_as, name in (("no skip at all", NO_SKIP), ("a very shallow network (one level)", SHALLOW)):
        reached = verdict(found[name], base)
        fails = {"yes": "no", "no": "yes"}.get(reached, reached)
        lines.append([f"{told_as} fails", str(cleans(found[name], base)), fails])
    others = [name for name in found if name not in (BASE, NO_SKIP, SHALLOW)]
    verdicts = {name: verdict(found[name], base) for name in others}
    counts = ", ".join(f"{word} {list(verdicts.values()).count(word)}" for word in dict.fromkeys(verdicts.values()))
    failing = ", ".join(name for name in others if verdicts[name] == "no") or "none"
    table = markdown_table(["claim", "measured", "holds here"], lines)
    return (
        "Kattamis, Adel, Weller 2019 (section 6): little changes with the architecture, except that no skip at all, or a very "
        "shallow network, fails. A network *fails* here where its gain over no defence is shown to be less than "
        f"{SHARE:.0%} of the base network's (measured, in points: how far above that bound).\n\n{table}\n\n"
        f"Of the {len(others)} other networks, above that bound: {counts}; failing: {failing}."
    )


def draw(study: Study) -> Path:
    """The mean confidence in the true class of attacked pictures against steps, a panel for each thing that is varied."""
    from matplotlib.figure import Figure

    from preimage.figures.restoration import save_figure

    rows, at = study.rows(), list(looks(study))
    names = [name for name in variants(WIDTHS[study.scale]) if name != BASE]
    things = list(dict.fromkeys(name.split()[0] for name in names))
    figure = Figure(figsize=(2.6 * len(things), 2.8), dpi=150, layout="constrained")
    places = figure.subplots(1, len(things), sharey=True, squeeze=False)[0]
    for axes, thing in zip(places, things, strict=True):
        for name in (BASE, *(name for name in names if name.split()[0] == thing)):
            line = Cleaned(rows, name).confidence.mean(1)
            axes.plot(at, line, "k--" if name == BASE else "-", linewidth=0.9, label=name)
        axes.set(title=thing, xlabel="step", ylim=(0, 1))
        axes.legend(fontsize=6)
    places[0].set_ylabel("confidence in the true class")
    return save_figure(figure, study.figure(f"{study.name}-{study.scale}.png"), overwrite=True)

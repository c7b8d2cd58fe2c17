"""Where a classifier looks in early outputs of an attacked picture (Kattamis et al. 2019, figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from preimage.classifiers.loss_estimator import rank_correlation
from preimage.defend.attribution import saliency_map
from preimage.defend.faithfulness import blurred, deletion, insertion, ranks_of
from preimage.defend.purification import PAPER
from preimage.defend.purify import purify
from preimage.defend.saliency import SaliencyOptions
from preimage.engine.recipe import Recipe
from preimage.explain.similarity import heat_map, high_frequency_share
from preimage.figures.saliency import overlay
from preimage.networks import SkipNet
from studies.harness import (
    Measured,
    Run,
    Study,
    attacked,
    by_scale,
    classifiers,
    figures,
    has_all,
    imaging,
    lesions,
    stats,
    tables,
)
from studies.harness.attacked import Condition
from studies.harness.tables import Claim, mean

PUBLISHED = (50, 100, 200, 300, 400, 500, 750, 1000, 2000, 4000)
STEPS = by_scale((2, 6), PUBLISHED, PUBLISHED)
COUNT, SHOWN = by_scale(2, 6, 20, 3), by_scale(1, 4, 6, 3)  # pictures, and of how many sheets are drawn
COUNT_ON_GPU = 8  # at scale imagenet
PATH = by_scale((2, 1), (20, 2), (50, 4))  # m and N of MIG-SG
CURVE = by_scale(5, 25, 50)  # steps of insertion and deletion
EPS = 10  # of 255; that of figure 2 is not known to us
TOP = 0.1  # share of pixels that are called the most salient
ORIGINAL_SEED, SEED = 1, 0  # of MIG-SG's noise, for the maps of originals and for all others
EQUAL = 100.0  # dB, for equal pictures
CLEAN = "clean"
# Levels and attack. Three levels are those of `purify --recipe paper`; five have the number of parameters that the paper prints.
KINDS = ((3, "bi"), (3, CLEAN), (5, "bi"), (3, "fgsm"))
SHARED = tuple(kind for kind in KINDS if kind[0] == 3)  # at scale imagenet: the fits of the other studies
EARLY, COMPLETE, LATER, LATE = (200,), (300, 400), (500, 750, 1000), (2000, 4000)
SURE = 0.5  # confidence
MARGIN = 0.05  # of rank correlation: what a map that is complete may still gain; chosen here
SOFT = 0.5  # of the original's share of fine detail: what a blurry output has at most; chosen here


@dataclass(frozen=True, eq=False)
class Original:
    """A correctly classified picture (1, 3, h, w), its class, and the map of that class (1, 1, h, w)."""

    picture: torch.Tensor
    label: int
    map: torch.Tensor


def subject(run: Run):
    return run.once(classifiers.subject, "tiny_imagenet10", classifiers.as_many(run, COUNT, COUNT_ON_GPU))


def originals(run: Run) -> dict[int, Original]:
    pictures, found = subject(run)[1], {}
    for number, x, label in zip(pictures.numbers, pictures.images.split(1), pictures.labels.tolist(), strict=True):
        found[number] = Original(x, label, explained(run, x, label, ORIGINAL_SEED).merged)
    return found


def explained(run: Run, picture: torch.Tensor, label: int, seed: int):
    """Where the classifier looks for a class, and how sure it is of it."""
    m, samples = PATH[run.scale]
    return saliency_map(picture, SaliencyOptions(subject(run)[0], label, n_steps=m, n_samples=samples, seed=seed))


def measure(run: Run, levels: int, attack: str, number: int):
    classifier, every = subject(run)[0], run.once(originals)
    own, others = every[number], [each.map for other, each in every.items() if other != number]
    condition = attacked.CLEAN if attack == CLEAN else Condition(attack, EPS)
    recipe, shown = recipe_of(run, levels), number in list(every)[: SHOWN[run.scale]]
    if shown:
        keep(run, own.picture, own.map, number, "original")
    if run.imagenet:
        given, found = attacked.shared_fit(run, *subject(run), number, condition)
        fitted = [(step, ({0: given} | found)[step], "") for step in (0, *STEPS[run.scale])]
    else:
        pictures = classifiers.Pictures(own.picture, torch.tensor([own.label]), (number,))
        fitted = outputs(condition.of(classifier, pictures), recipe, (0, *STEPS[run.scale]), number)
    for step, picture, seconds in fitted:
        found = explained(run, picture, own.label, SEED)
        if shown:
            keep(run, picture, found.map, number, levels, attack, step)
        row = {"step": step, "confidence": found.confidence, "right": int(found.prediction == found.target_class)}
        row |= {"psnr": min(EQUAL, imaging.dB(picture, own.picture)), "detail": detail(picture, own.picture)}
        row |= likeness(found.merged, own.map, others) | {"rank_of_factor": rank_correlation(factor(picture), own.map)}
        for curve in (insertion, deletion):  # of the original at every step, so that the steps can be compared
            area = curve(classifier, own.picture, found.merged, own.label, steps=CURVE[run.scale]).area
            row[curve.__name__] = float(area)
        yield row | {"precision": recipe.precision, "fit_seconds": seconds}


def outputs(given: torch.Tensor, recipe: Recipe, wanted: Sequence[int], seed: int):
    """(step, output, seconds of the fit so far) at some steps; at step 0 the input picture."""
    if 0 in wanted:
        yield 0, given, 0.0
    for step in purify(given, recipe=recipe, seed=seed, tile=None):
        if step.index in wanted:
            yield step.index, step.picture.cpu(), step.seconds
        if step.index >= max(wanted):
            return


def recipe_of(run: Run, levels: int) -> Recipe:
    """The published recipe with a network of so many levels, until the last step; in bfloat16 where it is fast, but at paper."""
    steps = STEPS[run.scale][-1]
    if run.smoke:
        return replace(PAPER, steps=steps, network=lesions.THIN["network"])
    network = SkipNet.Config((128,) * levels, (128,) * levels, (4,) * levels)
    return replace(PAPER if run.scale == "paper" else attacked.published(), steps=steps, network=network)


def likeness(saliency_map: torch.Tensor, own: torch.Tensor, others: list[torch.Tensor]) -> dict[str, float]:
    """Rank correlation and common share of the most salient pixels, with the original's own map and with those of others."""
    row = {}
    for name, like in (("rank", rank_correlation), ("common", common)):
        by_others = [like(saliency_map, other) for other in others]
        row |= {name: like(saliency_map, own), f"{name}_of_others": sum(by_others) / len(others)}
    return row


def common(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the most salient tenth of pixels of a map (1, 1, h, w) the share that is among those of another; 0.1 by chance."""
    most = round(TOP * a.numel())
    return int(((ranks_of(a) < most) & (ranks_of(b) < most)).sum()) / most


def factor(picture: torch.Tensor) -> torch.Tensor:
    """|x - x0|, merged as a map is: what MIG-SG multiplies its gradients by, (1, 3, h, w) -> (1, 1, h, w)."""
    return heat_map(picture - blurred(picture))


def detail(picture: torch.Tensor, reference: torch.Tensor) -> float:
    """The share of a picture's energy above half of the Nyquist frequency over that of another's: 0 is blurry, 1 as sharp."""
    return float(high_frequency_share(picture) / high_frequency_share(reference))


def keep(run: Run, picture: torch.Tensor, saliency_map: torch.Tensor, *words: object):
    figures.keep_picture(picture, run.figure(*words, "output"))
    figures.keep_picture(overlay(picture[0], saliency_map[0])[None], run.figure(*words, "map"))


COLUMNS = {
    **{
        "step": "step",
        "confidence": lambda rows: stats.interval_of(tables.numbers(rows, "confidence")),
        "correct": "right:.2f",
    },
    "PSNR, dB": lambda rows: "equal" if mean(rows, "psnr") == EQUAL else mean(rows, "psnr"),
    **{"detail": "detail:.2f", "rank": tables.beside("rank", "rank_of_others")},
    **{"common": tables.beside("common", "common_of_others"), "factor": "rank_of_factor:.2f"},
    **{"insertion": "insertion:.2f", "deletion": "deletion:.2f"},
}


def values(run: Run):
    groups = {kind: own for kind in KINDS if (own := run.rows(levels=kind[0], attack=kind[1]))}
    parts, lost = [], []
    for (levels, attack), own in groups.items():
        steps = [rows for _, rows in sorted(tables.grouped(own, "step").items())]
        heading = f"**{levels} levels, {attack}**, {len(tables.grouped(own, 'picture'))} pictures"
        parts += [heading, tables.table(COLUMNS, steps), tables.held("claim of figure 2, as a number", claims(own))]
        if attack != CLEAN and (levels, CLEAN) in groups:
            lost.append(f"- {levels} levels, {attack} less clean: {lost_more(own, groups[levels, CLEAN])}")
    return {
        "classifier": classifiers.described(run, "tiny_imagenet10"),
        "unmeasured": "" if parts else tables.unmeasured(run),
        "precision": " and ".join(sorted({row["precision"] for own in groups.values() for row in own})),
        "tables": "\n\n".join(parts),
        "lost": "\n".join(lost) or tables.unmeasured(run),
    }


def claims(rows) -> list[Claim]:
    """The claims of figure 2, as differences of the same picture."""
    at, loses = COMPLETE, "steps 2000, 4000: features are lost, rank less than at 300, 400"
    ranks = of_pictures(rows, "rank", at)
    others, by_factor = (less(ranks, of_pictures(rows, f"rank_of_{name}", at)) for name in ("others", "factor"))
    rank_gain = f"steps 300, 400: rank gains at most {MARGIN:g} at 500 to 1000"
    return [
        Claim("step 200: the confidence is above 0.5", difference(rows, "confidence", EARLY), SURE),
        Claim(rank_gain, difference(rows, "rank", LATER, at), most=MARGIN),
        Claim("there: rank above that with other originals' maps", others),
        Claim("there: rank above that of the factor", by_factor),
        Claim(f"there: blurry, detail at most {SOFT:g}", difference(rows, "detail", at), most=SOFT),
        Claim(loses, difference(rows, "rank", at, LATE)),
        Claim("there: confidence less than at 300, 400", difference(rows, "confidence", at, LATE)),
    ]


def of_pictures(rows, column: str, steps: Sequence[int], later: Sequence[int] = ()) -> dict[str, float]:
    """The mean of a column over some steps, less that over later ones, of each picture that has them all."""
    found = {}
    for name, own in tables.grouped(rows, "picture").items():
        first, second = ([row for row in own if row["step"] in some] for some in (steps, later))
        if len(first) == len(steps) and len(second) == len(later):
            found[str(name)] = mean(first, column) - (mean(second, column) if later else 0.0)
    return found


def less(first: dict[str, float], second: dict[str, float]) -> stats.Interval:
    return stats.interval_of([value - second[name] for name, value in first.items() if name in second])


def difference(rows, column: str, steps: Sequence[int], later: Sequence[int] = ()) -> stats.Interval:
    """Of the mean of a column over some steps, less that over others, picture by picture."""
    return stats.interval_of(list(of_pictures(rows, column, steps, later).values()))


def lost_more(changed, clean) -> stats.Interval:
    """The rank that is lost late of attacked pictures, less that of the same pictures as they were."""
    return less(*(of_pictures(rows, "rank", COMPLETE, LATE) for rows in (changed, clean)))


def draw(run: Run):
    """As figure 2: outputs above, their maps below, over the steps; the confidence in the true class over each."""
    for (number, levels, attack), rows in tables.grouped(run.rows(), "picture", "levels", "attack").items():
        words: dict[str, tuple[object, ...]] = {"original": (number, "original")}
        for row in sorted(rows, key=lambda row: row["step"]):
            name = f"step {row['step']}" if row["step"] else "input"
            words[f"{name}: {row['confidence']:.2f}"] = (number, levels, attack, row["step"])
        files = [[run.figure(*each, what) for each in words.values()] for what in ("output", "map")]
        figures.save_sheet(("output", "map"), list(words), files, run.figure(number, levels, attack))


def cases(run: Run):
    return [(*kind, number) for number in subject(run)[1].numbers for kind in (SHARED if run.imagenet else KINDS)]


DONE = has_all("step", lambda run: (0, *STEPS[run.scale]))
STUDY = Study(Measured(("levels", "attack", "picture", "step"), cases, measure, DONE), values, draw)

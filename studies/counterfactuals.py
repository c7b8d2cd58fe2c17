"""Another diagnosis of a lesion by deep prior with and without M, pixels, TV (Narayanaswamy et al. 2021, figure 4)."""

from dataclasses import dataclass
from typing import Any

import torch

from preimage.classifiers import TrainedModel
from preimage.explain.abcd import Signs, abcd
from preimage.explain.counterfactual import counterfactual
from preimage.explain.quality import judge, randomized, sanity, stability
from preimage.figures.panels import magnified
from preimage.recipes import recipe
from studies.harness import Measured, Run, Study, by_scale, chosen, classifiers, figures, fits, lesions, stats, tables
from studies.harness.tables import difference
from studies.preimage_recovery import WEIGHT

COUNT = by_scale(2, 40, 200)
FEW = by_scale(1, 4, 20)  # lesions for which stability and sanity are measured
SEEDS = 3  # of the stability
SHOWN = by_scale(1, 10, 10)  # lesions of which a figure is drawn
# The target diagnosis: what each is mistaken for.
TARGETS = {"akiec": "bcc", "bcc": "akiec", "bkl": "mel", "df": "nv", "mel": "nv", "nv": "mel", "vasc": "nv"}


@dataclass(frozen=True)
class Method:
    """How a counterfactual is made; `few`: whether its stability and sanity are measured."""

    title: str
    prior: Any
    weight: float = 0.0
    few: bool = False


METHODS = {
    "plain": Method("plain DIP", "deep", few=True),
    "m": Method("DIP with M", "deep", WEIGHT, few=True),
    "pixels": Method("pixels (adversarial)", "none"),
    "tv": Method("pixels with total variation", "tv"),
}
PAIRS = [("m", other) for other in ("plain", "pixels", "tv")]
NUMBERS = {
    "valid": "share valid",
    "confidence_after": "probability of the target",
    "inside_share": "**inside share**, 1 is chance",
    "inside_share_of_others": "the same under other pictures' masks",
    "own_place": "own over other masks",
    "transfer_reached": "share the second classifier follows",
    "transfer_gain": "**transfer**: its gain in the target's probability",
    "loss_before": "estimated loss before",
    "loss_after": "estimated loss after",
    "high_frequency_share": "high-frequency share",
    **{"l1": "L1", "l2": "L2", "ms_ssim": "MS-SSIM"},
    "feature_distance": "feature distance, second classifier",
    "seconds": "seconds",
}
CHECKS = {
    "stability": "correlation of two seeds' changes",
    "stability_of_heat_maps": "of their heat maps",
    "randomized_rank_correlation": "rank correlation with the map of a randomized classifier",
    "randomized_similarity": "SSIM with it",
}
SIGNS = tuple(Signs.__dataclass_fields__)
CLAIMS = (  # method, beside which other, which number; whether more or less of it
    ("with M the change is more inside the lesion than by plain DIP", "m", "plain", "inside_share", 1),
    ("and so against other pictures' masks", "m", "plain", "own_place", 1),
    ("with M a second classifier follows more", "m", "plain", "transfer_gain", 1),
    ("with M the estimated loss is lower", "m", "plain", "loss_after", -1),
    ("with M the change is smoother", "m", "plain", "high_frequency_share", -1),
    ("with M the change is more inside than an adversarial one", "m", "pixels", "inside_share", 1),
    ("with M a second classifier follows more than an adversarial change", "m", "pixels", "transfer_gain", 1),
)


def some(run: Run) -> dict[str, tuple[int, lesions.Lesion]]:
    return run.once(lesions.numbered, COUNT[run.scale], True)


def measure(run: Run, picture: str, name: str):
    (number, lesion), model, method = some(run)[picture], classifiers.classifier(run, "lesions"), METHODS[name]
    found = made(run, model, lesion, method)
    # What the change is counted from: the reconstruction without the class. Pixels that start as the picture and have no other
    # target are the picture: what Adam makes of rounding is no change.
    base = lesion.picture if name == "pixels" else found.reconstruction
    (quality,) = judge(
        lesion.picture,
        found.changed,
        classifier=model.classifier,
        target=found.target,
        reconstruction=base,
        estimator=model.estimator,
        mask=lesion.mask,
        other_masks=[other.mask for _, other in some(run).values() if other is not lesion],
        second=classifiers.classifier(run, "lesions-second").classifier,
        signs=True,
    )
    row = {"diagnosis": lesion.diagnosis, "target": model.classifier.classes[found.target], "area": lesion.area}
    row |= {key: float(value) for key, value in quality.items()}
    row |= {f"{key}_reconstruction": value for key, value in vars(abcd(base)).items()} | dict.fromkeys(CHECKS, "")
    if method.few and number < FEW[run.scale]:
        row |= checks(run, model, lesion, method, found)
    if number < SHOWN[run.scale]:
        confidence = f"counterfactual, {row['target']} {found.confidence:.2f}"
        panels = [(f"input, {lesion.diagnosis}", lesion.picture), (f"{method.title}: reconstruction", base)]
        panels += [(confidence, found.changed), ("difference, magnified", magnified(found.changed - base))]
        figures.save_panels([*panels, ("mask", lesion.mask[None, None].float())], run.figure(picture, name))
    return row | {"kept_step": found.kept_step[0], "steps": found.steps, "seconds": found.seconds}


def made(run: Run, model: TrainedModel, lesion: lesions.Lesion, method: Method, seed: int = 0) -> Any:
    """The counterfactual of a lesion towards its target, or towards the runner-up where that is predicted already."""
    with torch.no_grad():
        first, second = model.classifier.probabilities(lesion.picture)[0].argsort(descending=True)[:2].tolist()
    target = model.classifier.class_index(TARGETS[lesion.diagnosis])
    uncertainty = {"uncertainty": "loss" if method.weight else "none", "loss_weight": method.weight}
    how = recipe("fast", **lesions.thinned(run, method.prior, lesions.THIN["steps"]))  # another prior changes it
    options: dict[str, Any] = {"prior": method.prior, "recipe": how, "seed": seed, **uncertainty}
    fit = counterfactual(lesion.picture, classifier=model, target=second if target == first else target, **options)
    return fit.run()


def checks(run: Run, model: TrainedModel, lesion: lesions.Lesion, method: Method, found: Any) -> dict[str, float]:
    """How alike the changes of several seeds are, and that of a classifier that has learned nothing, from the same seed."""
    others = [made(run, model, lesion, method, seed).difference for seed in range(1, SEEDS)]
    agreement = stability(torch.cat([found.difference, *others]))
    unlearned = TrainedModel(randomized(model.classifier, lesion.picture), model.estimator, model.about)
    checked = sanity(found.difference, made(run, unlearned, lesion, method).difference)
    values = (agreement.change, agreement.heat_map, float(checked.rank_correlation), float(checked.similarity))
    return dict(zip(CHECKS, values, strict=True))


def derived(row) -> dict[str, float]:
    columns = ("inside_share", "inside_share_of_others", "transfer_before", "transfer_after")
    own, others, before, after = (tables.numbers([row], column)[0] for column in columns)
    return {"own_place": own / others if others else fits.NAN, "transfer_gain": after - before}


def values(run: Run):
    rows = [row | derived(row) for row in run.rows()]
    of = {name: own for name in METHODS if (own := chosen(rows, method=name))}
    few = {name: some for name, own in of.items() if (some := [row for row in own if row["stability"] != ""])}
    compared = [column for column in NUMBERS if column not in ("loss_before", "seconds")]
    differences = [[NUMBERS[c], *(difference(of[a], of[b], c) for a, b in PAIRS)] for c in compared]
    claims = []
    for text, one, other, column, sign in CLAIMS:
        found = difference(of[one], of[other], column)
        claims.append([text, found, (found if sign > 0 else -found).verdict()])
    inside = stats.interval_of([value - 1 for value in tables.numbers(of["plain"], "inside_share")])
    alone = "plain DIP changes irrelevant pixels: its inside share is no more than chance"
    heading = "what Narayanaswamy et al. 2021 (figure 4) claim, as numbers"
    header = ["difference", *(f"{METHODS[a].title} less {METHODS[b].title}" for a, b in PAIRS)]
    return {
        "count": len(of["m"]),
        "classifier": classifiers.described(run, "lesions"),
        "means": transposed(NUMBERS, of),
        "differences": tables.markdown(header, differences),
        "claims": tables.markdown(
            [heading, "measured difference", "holds here"], [*claims, [alone, inside, inside.at_most()]]
        ),
        "pairs": class_pairs(of),
        "signs": signs(of),
        "few": len(few.get("m", [])),
        "checks": transposed(CHECKS, few),
    }


def means(groups, columns) -> list[str]:
    return [tables.number(tables.mean(rows, column), ".3g") for rows in groups for column in columns]


def transposed(columns, of) -> str:
    lines = [[title, *means(of.values(), [column])] for column, title in columns.items()]
    return tables.markdown(["mean", *(METHODS[name].title for name in of)], lines)


def class_pairs(of) -> str:
    two = ("plain", "m")
    header, lines = ["from, to", "lesions"], []
    for name in two:
        header += [f"{METHODS[name].title}: valid", "inside share", "transfer"]
    for kind in sorted({(row["diagnosis"], row["target"]) for own in of.values() for row in own}):
        own = [chosen(of[name], diagnosis=kind[0], target=kind[1]) for name in two]
        lines.append([" to ".join(kind), len(own[0]), *means(own, ("valid", "inside_share", "transfer_gain"))])
    return tables.markdown(header, lines)


def signs(of) -> str:
    lines = []
    for name, own in of.items():
        for title, some in (("to mel", chosen(own, target="mel")), ("from mel", chosen(own, diagnosis="mel"))):
            changes = [tables.gain(some, f"{sign}_after", f"{sign}_reconstruction") for sign in SIGNS]
            lines += [[METHODS[name].title, f"{title}, {len(some)}", *changes]] if some else []
    table = tables.markdown(["", "lesions", *(sign.replace("_", " ") for sign in SIGNS)], lines)
    return table if lines else "No lesion had melanoma as its target or was one."


STUDY = Study(
    Measured(("picture", "method"), lambda run: [(name, method) for name in some(run) for method in METHODS], measure),
    values,
)

"""Counterfactuals of an ImageNet classifier: do other classifiers follow, and what of the change is a pattern alone?"""

from dataclasses import dataclass, field
from typing import Any

import torch

from preimage.explain.counterfactual import counterfactual
from preimage.explain.similarity import high_frequency_share
from preimage.figures.panels import magnified
from studies.harness import Measured, Run, Study, by_scale, figures, imaging, lite, tables

COUNT = by_scale(1, 30, 100)
COMPARED = by_scale(1, 6, 30)  # of these, by every method
STEPS = by_scale(6, None, None)
UNMEASURED = "Nothing is measured yet: `make study NAME=counterfactuals_imagenet`."
AIMS = {"followed": 0.6, "high_frequency_share": 0.15, "same": 0.9}


@dataclass(frozen=True)
class Method:
    """How a counterfactual is made; in_ensemble: the first judges that are asked as well, and judge no more."""

    title: str
    options: dict[str, Any] = field(default_factory=dict)
    in_ensemble: int = 0


METHODS = {
    "tv-copies": Method("default: pixels with total variation, altered copies, coarse to fine"),
    "copies": Method("deep prior, altered copies, coarse to fine", {"prior": "deep"}),
    "copies-alone": Method("deep prior, altered copies", {"prior": "deep", "coarse_to_fine": False}),
    "plain": Method("deep prior alone, as published", {"prior": "deep", "copies": 0}),
    "spectrum": Method(
        "Fourier coefficients in decorrelated colors, altered copies, coarse to fine", {"prior": "spectrum"}
    ),
    "ensemble": Method("the default of an ensemble with Lite1 (Lite2 alone judges)", in_ensemble=1),
    "pixels": Method("pixels (adversarial)", {"prior": "none"}),
    "tv": Method("pixels with total variation", {"prior": "tv", "copies": 0}),
}
DEFAULT = next(iter(METHODS))


def pictures(run: Run) -> dict[str, torch.Tensor]:
    if run.smoke:
        return {"generated": imaging.generated_picture(32)}
    return lite.recognized(run, COUNT[run.scale])


def cases(run: Run) -> list[tuple[str, str]]:
    """Some pictures by every method, so that their numbers can be compared soon; then all by the first, the default."""
    names = list(run.once(pictures))
    step = max(1, len(names) // COMPARED[run.scale])
    compared = names[::step][: COMPARED[run.scale]]
    return [(name, method) for method in METHODS for name in compared] + [
        (name, DEFAULT) for name in names if name not in compared
    ]


def measure(run: Run, picture: str, method: str):
    model, judges = run.once(lite.models)
    asked = min(METHODS[method].in_ensemble, len(judges) - 1)
    options: dict[str, Any] = METHODS[method].options | (
        {} if STEPS[run.scale] is None else {"steps": STEPS[run.scale]}
    )
    if asked:
        options["further_classifiers"] = judges[:asked]
    found = counterfactual(run.once(pictures)[picture], classifier=model, uncertainty="none", **options).run()
    before, change = found.given, found.difference
    assert before is not None
    base = before if method == "pixels" else found.reconstruction
    target = model.classes[found.target]
    rows = [found.probabilities[name] for name in ("given", "reconstruction", "counterfactual")]
    row: dict[str, Any] = {"class": model.classes[found.prediction], "target": target}
    row |= {"valid": int(found.valid), "confidence": found.confidence}
    row |= {"same": int(int(rows[1].argmax()) == found.prediction), "kept": float(rows[1][found.prediction])}
    with torch.no_grad():
        for number, judge in enumerate(judges, 1):
            index = judge.class_index(target)
            first, last = (judge.probabilities(x.clamp(0, 1))[0] for x in (base, found.changed))
            row |= {f"followed_{number}": int(int(last.argmax()) == index)}
            row |= {f"gain_{number}": float(last[index] - first[index])}
    free = [row[f"followed_{k}"] for k in range(1 + asked, len(judges) + 1)]
    row["followed"] = sum(free) / len(free)
    row["high_frequency_share"] = float(high_frequency_share(found.changed - base)[0])
    row["change"] = 255 * float((found.changed - base).square().mean().sqrt())
    shown = [(f"input, {row['class']}", before), (f"reconstruction, {row['kept']:.2f}", found.reconstruction)]
    shown += [(f"{target} {found.confidence:.2f}, judges {row['followed']:.1f}", found.changed)]
    figures.save_panels([*shown, ("difference, magnified", magnified(change))], run.figure(picture, method))
    return row | {"psi": found.numbers["layer"], "steps": found.steps, "seconds": found.seconds}


def gain(own: Any) -> str:
    """Of the first judge that judges."""
    name = f"gain_{METHODS[own[0]['method']].in_ensemble + 1}"
    return f"{tables.mean(own, name if name in own[0] else 'gain_1'):.2f}"


COLUMNS: dict[str, Any] = {"valid": "valid:.2f", "judges follow": "followed:.2f", "their gain": gain}
COLUMNS |= {"high-frequency share": "high_frequency_share:.3f", "change, of 255": "change:.1f"}
COLUMNS |= {"reconstruction of the same class": "same:.2f", "seconds": "seconds:.0f"}


def values(run: Run):
    groups = tables.grouped(run.rows(), "method")
    shared = set.intersection(*({row["picture"] for row in own} for own in groups.values())) if groups else set()
    compared = {name: [row for row in own if row["picture"] in shared] for name, own in groups.items()}
    titles: Any = {"method": lambda own: METHODS[own[0]["method"]].title, "pictures": lambda own: str(len(own))}
    means = tables.table(titles | COLUMNS, [compared[name] for name in METHODS if compared.get(name)])
    own = groups.get(DEFAULT)
    if not own:
        return {"count": 0, "psi": "", "means": UNMEASURED, "targets": "", "each": ""}
    follow, high, same = (tables.mean(own, name) for name in AIMS)
    met = {True: "yes", False: "no"}
    lines = [
        ["judges follow at least 60 %", f"{follow:.0%}", met[follow >= AIMS["followed"]]],
        ["high-frequency share below 0.15, mean", f"{high:.3f}", met[high < AIMS["high_frequency_share"]]],
        ["reconstruction of the same class, 90 %", f"{same:.0%}", met[same >= AIMS["same"]]],
    ]
    columns = {"picture": "picture", "class": "class", "target": "target"} | COLUMNS
    return {
        "count": len(own),
        "psi": own[0]["psi"],
        "means": means,
        "targets": tables.markdown(["target", "measured", "met"], lines),
        "each": tables.table(columns, tables.each(own)),
    }


STUDY = Study(
    Measured(("picture", "method"), cases, measure),
    values,
)

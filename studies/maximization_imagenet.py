"""What excites classes and channels of an ImageNet classifier: does another one see the class? Beside Olah et al. 2017."""

from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.explain.maximize import maximize
from preimage.explain.similarity import high_frequency_share
from studies.harness import Measured, Run, Study, by_scale, chosen, figures, fits, lite, tables

CLASSES = ("goldfish", "flamingo", "zebra", "tabby", "golden retriever", "monarch")
CLASSES += ("school bus", "pineapple", "castle", "volcano")
LAYER, CHANNELS = "_blocks.10", (3, 20, 41, 77)  # the middle of the network; channels as they come
COUNT = by_scale(1, 10, 10)
STEPS = by_scale(6, None, None)
COMPARED = ("zebra", "golden retriever", "pineapple", f"{LAYER} channel {CHANNELS[0]}")  # by every method
TOP, WANTED = 5, 0.7
SHOWN = "copies"  # the method of the sheet in pictures/
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "copies": ("default: deep prior, altered copies, coarse to fine", {"copies": 4}),
    "plain": ("deep prior alone, as published", {"copies": 0}),
    "spectrum": (
        "spectrum and altered copies (Olah et al. 2017)",
        {"prior": "spectrum", "copies": 4, "coarse_to_fine": False},
    ),
    "tv-copies": ("pixels with total variation, altered copies, coarse to fine", {"prior": "tv", "copies": 4}),
    "tv": ("pixels with total variation", {"prior": "tv", "copies": 0}),
    "pixels": ("pixels", {"prior": "none", "copies": 0}),
}


def goals(run: Run) -> dict[str, dict[str, Any]]:
    if run.smoke:
        return {"cat": {"target": "cat"}}
    found: dict[str, dict[str, Any]] = {name: {"target": name} for name in CLASSES[: COUNT[run.scale]]}
    return found | {f"{LAYER} channel {k}": {"layer": LAYER, "channel": k} for k in CHANNELS}


def cases(run: Run) -> list[tuple[str, str]]:
    """All by the first two methods, the altered copies and the published way; some by every one."""
    names = list(goals(run))
    whole, others = list(METHODS)[:2], list(METHODS)[2:]
    some = [name for name in names if name in COMPARED or run.smoke or run.scale == "paper"]
    return [(name, method) for name in names for method in whole] + [(n, method) for method in others for n in some]


def rank(classifier: Classifier, image: torch.Tensor, name: str) -> int:
    """1: no class is more probable."""
    logits = classifier(image)[0]
    return 1 + int((logits > logits[classifier.class_index(name)]).sum())


def measure(run: Run, maximized: str, method: str):
    model, judges = run.once(lite.models)
    goal, options = goals(run)[maximized], METHODS[method][1]
    steps: dict[str, Any] = {} if STEPS[run.scale] is None else {"steps": STEPS[run.scale]}
    found = maximize(classifier=model, **goal, **options, **steps).run()
    image = found.image.clamp(0, 1)
    figures.keep_picture(image, run.figure(maximized, method))
    of_class = "target" in goal
    row: dict[str, Any] = {"kind": "class" if of_class else "channel", "excitation": found.numbers["excitation"]}
    with torch.no_grad():
        ranks = [rank(each, image, goal["target"]) for each in judges] if of_class else []
        first = judges[0].probabilities(image)[0]
    row["rank"] = min(ranks) if of_class else fits.NAN
    row["worst_rank"] = max(ranks) if of_class else fits.NAN
    row["judge_confidence"] = float(first[judges[0].class_index(goal["target"])]) if of_class else fits.NAN
    row["high_frequencies"] = float(high_frequency_share(image)[0])
    return row | {"steps": found.steps, "seconds": found.seconds}


def within(rows) -> str:
    own = [row for row in rows if row["kind"] == "class"]
    return f"{sum(row['rank'] <= TOP for row in own)} of {len(own)}"


def by_all(rows) -> str:
    own = [row for row in rows if row["kind"] == "class"]
    return f"{sum(row['worst_rank'] <= TOP for row in own)} of {len(own)}"


SHARES = {"high frequencies": "high_frequencies:.3f", "seconds": "seconds:.0f"}


def values(run: Run):
    rows = run.rows()
    if not rows:
        return {"means": "Nothing is measured yet: `make study NAME=maximization_imagenet`.", "targets": "", "each": ""}
    groups = tables.grouped(rows, "method")
    columns: Any = {"method": lambda own: METHODS[own[0]["method"]][0], "among the five first of a judge": within}
    columns |= {"of both judges": by_all, "a judge's confidence": "judge_confidence:.2f"} | SHARES
    own = chosen(rows, method=SHOWN, kind="class")
    share = sum(row["rank"] <= TOP for row in own) / max(1, len(own))
    line = ["class among the five first of a judge, 7 of 10", within(own), "yes" if share >= WANTED else "no"]
    each: Any = {"maximized": "maximized", "method": "method", "excitation": "excitation:.1f", "rank": "rank", **SHARES}
    return {
        "means": tables.table(columns, [groups[name] for name in METHODS if name in groups]),
        "targets": tables.markdown(["target", "measured", "met"], [line]),
        "each": tables.table(each, tables.each(rows)),
    }


def draw(run: Run):
    names = list(tables.grouped(run.rows(), "maximized"))
    files = [[run.figure(name, method) for name in names] for method in METHODS]
    figures.save_sheet(list(METHODS), names, files, run.figure())
    shown = [row for row in chosen(run.rows(), method=SHOWN) if row["kind"] == "class"]
    kept = {row["maximized"]: run.figure(row["maximized"], SHOWN) for row in shown}
    panels = [(name, figures.kept(file)) for name, file in kept.items() if file.exists()]
    if panels:
        folder = run.folder / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        figures.save_panels(panels, folder / "maximizations.jpg", width=1.5)


STUDY = Study(
    Measured(("maximized", "method"), cases, measure),
    values,
    draw,
)

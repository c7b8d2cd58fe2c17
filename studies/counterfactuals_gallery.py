"""Twelve counterfactuals of an ImageNet classifier: photographs in the public domain (scikit-image: CC0 or NASA) and drawings.

Those that fail are among them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image, ImageDraw

from preimage.explain.counterfactual import counterfactual
from preimage.explain.similarity import high_frequency_share
from preimage.figures.panels import magnified
from studies.harness import Measured, Run, Study, by_scale, figures, imaging, lite, tables

SIDE = by_scale(32, 224, 224)
STEPS = by_scale(6, None, None)
# Photograph of skimage.data, top, bottom, left, right.
PHOTOGRAPHS = {
    "cat": ("chelsea", 0, 300, 75, 375),
    "coffee": ("coffee", 0, 400, 100, 500),
    "astronaut": ("astronaut", 230, 512, 190, 472),
    "rocket": ("rocket", 60, 400, 200, 440),
    "camera": ("camera", 0, 512, 0, 512),
}
UNMEASURED = "Nothing is measured yet: `make study NAME=counterfactuals_gallery`."
RUNNER_UP = "the runner-up"
ASKED = (
    *(("cat", RUNNER_UP), ("cat", "lynx"), ("cat", "Siamese cat"), ("cat", "red fox")),
    *(("coffee", RUNNER_UP), ("coffee", "cup"), ("astronaut", RUNNER_UP), ("rocket", RUNNER_UP)),
    *(("rocket", "beacon"), ("camera", RUNNER_UP), ("umbrella", "parachute"), ("clock", "stopwatch")),
)
CASES = by_scale(ASKED[-2:], ASKED, ASKED)


def umbrella(draw: ImageDraw.ImageDraw) -> None:
    """Red and yellow, before the sky; in a square of sides 1000."""
    draw.pieslice((110, 165, 890, 950), 180, 360, fill=(210, 40, 60))
    draw.chord((370, 165, 630, 950), 180, 360, fill=(250, 210, 80))
    for left, right in ((110, 370), (370, 630), (630, 890)):
        draw.pieslice((left, 490, right, 625), 180, 360, fill=(165, 205, 245))
    draw.rectangle((491, 535, 509, 890), fill=(60, 40, 30))
    draw.arc((402, 825, 509, 950), 0, 180, fill=(60, 40, 30), width=18)


def clock(draw: ImageDraw.ImageDraw) -> None:
    """A white face in a brown rim, ten past ten."""
    draw.ellipse((134, 134, 866, 866), fill=(90, 50, 25))
    draw.ellipse((184, 184, 816, 816), fill=(250, 248, 240))
    marks = [(30 * k, 262, 301, 20 if k % 3 == 0 else 11) for k in range(12)]
    for angle, inner, outer, width in [*marks, (298, 0, 167, 22), (57, 0, 251, 13)]:
        across, up = math.sin(math.radians(angle)), -math.cos(math.radians(angle))
        ends = [500 + radius * part for radius in (inner, outer) for part in (across, up)]
        draw.line(ends, fill=(20, 20, 20), width=width)


DRAWINGS: dict[str, tuple[Callable[[ImageDraw.ImageDraw], None], tuple[int, int, int], tuple[int, int, int]]] = {
    "umbrella": (umbrella, (130, 180, 240), (240, 245, 250)),
    "clock": (clock, (225, 215, 200), (200, 190, 170)),
}


def drawing(name: str, side: int) -> Image.Image:
    """One of DRAWINGS, before a ground that shades from the first color at the top to the second."""
    draw, top, bottom = DRAWINGS[name]
    ground = Image.new("RGB", (1, 2))
    ground.putdata([top, bottom])
    whole = ground.resize((1000, 1000), Image.Resampling.BILINEAR)
    draw(ImageDraw.Draw(whole))
    return whole.resize((side, side), Image.Resampling.LANCZOS)


def subject(run: Run, name: str) -> torch.Tensor:
    """(1, 3, h, w)."""
    if name in DRAWINGS:
        return imaging.tensor_of(drawing(name, SIDE[run.scale]))
    import skimage.data

    source, top, bottom, left, right = PHOTOGRAPHS[name]
    whole: Any = getattr(skimage.data, source)()
    picture = imaging.tensor_of(Image.fromarray(whole[top:bottom, left:right]).convert("RGB"))
    height, width = (round(n * SIDE[run.scale] / min(picture.shape[-2:])) for n in picture.shape[-2:])
    return imaging.resized(picture, height, width)


def measure(run: Run, picture: str, asked: str):
    model, judges = run.once(lite.models)
    target: Any = (None if asked == RUNNER_UP else asked) if not run.smoke else "cat"
    steps: dict[str, Any] = {} if STEPS[run.scale] is None else {"steps": STEPS[run.scale]}
    found = counterfactual(subject(run, picture), classifier=model, target=target, uncertainty="none", **steps).run()
    assert found.given is not None
    parts = {"given": found.given, "changed": found.changed, "difference": magnified(found.difference)}
    for part, image in parts.items():
        figures.keep_picture(image, run.figure(picture, asked, part))
    before, after = found.probabilities["given"], found.probabilities["counterfactual"]
    row: dict[str, Any] = {"class": model.classes[found.prediction], "target": model.classes[found.target]}
    row |= {"before": float(before[found.target]), "after": float(after[found.target]), "valid": int(found.valid)}
    for number, judge in enumerate(judges, 1):
        with torch.no_grad():
            seen = judge.probabilities(found.changed.clamp(0, 1))[0]
        row |= {f"judge_{number}": float(seen[judge.class_index(model.classes[found.target])])}
        row |= {f"followed_{number}": int(int(seen.argmax()) == judge.class_index(model.classes[found.target]))}
    row["high_frequency_share"] = float(high_frequency_share(found.changed - found.reconstruction)[0])
    return row | {"steps": found.steps, "seconds": found.seconds}


COLUMNS = {"picture": "picture", "class": "class", "target": "target"}
COLUMNS |= {"before": "before:.2f", "after": "after:.2f", "first judge": "judge_1:.2f", "second judge": "judge_2:.2f"}
COLUMNS |= {"high-frequency share": "high_frequency_share:.3f", "seconds": "seconds:.0f"}


def values(run: Run):
    rows = run.rows()
    judged = [name for name in (rows[0] if rows else ()) if name.startswith("followed")]
    columns = {title: of for title, of in COLUMNS.items() if not rows or of.partition(":")[0] in rows[0]}
    return {
        "count": len(rows),
        "valid": sum(row["valid"] for row in rows),
        "followed": sum(any(row[name] for name in judged) for row in rows),
        "each": tables.table(columns, tables.each(rows)) if rows else UNMEASURED,
    }


def draw(run: Run):
    """The sheet: of each the picture, what it became, and the difference magnified."""
    panels = []
    for row in run.rows():
        files = [run.figure(row["picture"], row["asked"], part) for part in ("given", "changed", "difference")]
        if all(file.exists() for file in files):
            titles = (f"{row['class']}", f"{row['target']} {row['after']:.2f}", "difference, magnified")
            panels += [(title, figures.kept(file)) for title, file in zip(titles, files, strict=True)]
    if panels:
        folder = run.folder / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        figures.save_panels(panels, folder / "counterfactuals.jpg", columns=6, width=1.5)


STUDY = Study(
    Measured(("picture", "asked"), lambda run: list(CASES[run.scale]), measure),
    values,
    draw,
)

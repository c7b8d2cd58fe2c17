"""The deviation of noise as the default of denoise estimates it, beside the oracle's: cameras, film, scans, white, and none."""

import math
import statistics
import time
from collections import Counter
from typing import Any

import torch

from preimage.images import as_picture
from preimage.noise.estimation import estimate_noise
from preimage.noise.returned import Returned
from preimage.restore.denoise import denoise
from preimage.restore.striped import without_stripes
from preimage.stopping.residual import ResidualNoiseTracker
from studies.camera_noise import pair as photographed
from studies.camera_noise import tuned
from studies.harness import Measured, Run, Study, by_scale, fits, imaging, tables
from studies.harness.camera import Camera, film_grain, scan
from studies.harness.rows import Row

SIDE = by_scale(64, 256, 256)
SHARP = [f"restoration/kodak24/kodim{n:02d}.png" for n in (1, 7, 13, 20)]
CLEAN = [f"restoration/kodak24/kodim{n:02d}.png" for n in (2, 3, 5, 6, 9, 10, 11, 12, 14, 16, 17, 18, 22, 24)]
CLEAN += [f"restoration/set12/{n}.png" for n in ("04", "05", "07", "11", "12")] + ["restoration/urban100_1/img_012.png"]
ISO, QUALITY = (400, 1600, 6400), (80, 90, 98)
SIGMA = (5, 10, 25, 50)  # of white noise, of 255
GRAIN, SCANNED = 8, 6  # of 255
GROUPS = {
    "cc": "Photographs of CC",
    "polyu": "Photographs of PolyU",
    **{f"camera-{quality}": f"Synthetic camera, JPEG of quality {quality}" for quality in QUALITY},
    "grain": "Film grain",
    "scan": "Scans",
    **{f"white-{sigma}": f"White noise of deviation {sigma}" for sigma in SIGMA},
    "clean": "Clean pictures",
}
FOUND = 1.0  # of 255: noise that is less is none
RATIO = (0.8, 1.25)
COLUMNS = {"picture": "picture", "kind": "kind", "true deviation": "deviation:.2f"}
COLUMNS |= {
    "measured": "measured:.2f",
    "certainty": "certainty:.2f",
    "**estimated**": "estimated:.2f",
    "ratio": "ratio:.2f",
    "seconds": "seconds:.0f",
}


def cases(run: Run) -> list[tuple[str, str]]:
    if run.smoke:
        return [(group, "generated") for group in ("camera-90", "white-25", "clean")]
    found = [(group, name) for group, names in tuned(run).items() for name in names]
    found += [(f"camera-{quality}", f"{name}@{iso}") for quality in QUALITY for name in SHARP for iso in ISO]
    found += [(group, name) for group in ("grain", "scan", *(f"white-{s}" for s in SIGMA)) for name in SHARP]
    return found + [("clean", name) for name in CLEAN]


def pair(run: Run, group: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What is given, and the same without noise: central crops."""
    if group in ("cc", "polyu"):
        given, clean = photographed(run, f"{group}-tuned", name)
        return imaging.center_crop(given, SIDE[run.scale]), imaging.center_crop(clean, SIDE[run.scale])
    kind, _, level = group.partition("-")
    name, _, iso = name.partition("@")
    side = SIDE[run.scale] * (2 if kind == "camera" else 1)
    sharp = imaging.center_crop(run.picture(name, smoke=side), side, 4)
    if kind == "camera":
        return Camera(float(iso or 1600), int(level))(sharp, seed=1)
    if kind == "grain":
        return film_grain(sharp, GRAIN / 255, seed=1)
    if kind == "scan":
        return scan(sharp, SCANNED / 255, seed=1)
    clean = imaging.eight_bit(sharp)
    return imaging.eight_bit(clean if kind == "clean" else imaging.with_gaussian_noise(clean, int(level) / 255)), clean


def estimated(given: torch.Tensor, fit: Any) -> tuple[str, float, float]:
    """The kind of noise that the default takes it for, its deviation, and how sure it is to be noise.

    A camera's is what the rule says of it at the end of the fit, and counts as far as it is sure to be one.
    """
    finish = fit.problem.finish
    if isinstance(finish, Returned) and finish.noise is not None:
        return "weak white", finish.noise.sigma(given), 1.0
    if isinstance(fit.tracker, ResidualNoiseTracker):
        fit.run()
        luma, chroma, certainty = fit.tracker.found[0]
        return ("none", 0.0, 1.0) if math.isnan(luma) else ("camera", math.hypot(luma, chroma), certainty)
    noise = estimate_noise(without_stripes(as_picture(given), "auto")[0].tensor)
    return f"{noise.kind}, correlated" if noise.length else noise.kind, noise.sigma, 1.0


def measure(run: Run, group: str, name: str) -> dict[str, Any]:
    given, clean = pair(run, group, name)
    fit = denoise(as_picture(given), recipe=fits.named(run.smoke, denoise, 20))
    begin = time.perf_counter()
    kind, measured, certainty = estimated(given, fit)
    seconds = time.perf_counter() - begin
    sigma = measured * certainty**0.5
    deviation = 255 * float((given - clean).square().mean().sqrt())
    row = {"size": imaging.size_of(given), "kind": kind, "deviation": deviation}
    row |= {"measured": 255 * measured, "certainty": certainty, "estimated": 255 * sigma}
    return row | {"ratio": 255 * sigma / deviation if deviation else math.nan, "seconds": seconds}


def summary(rows: list[Row]) -> str:
    """A line for each group: medians, extremes, and the kinds that were found."""
    lines = []
    for group, own in tables.grouped(rows, "set").items():
        ratios = [value for value in tables.numbers(own, "ratio") if not math.isnan(value)]
        shown = (statistics.median(ratios), min(ratios), max(ratios)) if ratios else (math.nan,) * 3
        kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(row["kind"] for row in own).most_common())
        lines.append(
            [GROUPS[group], len(own), tables.mean(own, "deviation"), tables.mean(own, "estimated"), *shown, kinds]
        )
    heading = ["noise", "pictures", "true deviation", "estimated", "**median ratio**", "least", "greatest", "found as"]
    return tables.markdown(heading, lines)


def claims(rows: list[Row]) -> list[tables.Claim]:
    found = []
    for group, own in tables.grouped(rows, "set").items():
        if group == "clean":
            none = sum(value < FOUND for value in tables.numbers(own, "estimated")) / len(own)
            found.append(tables.Claim("clean pictures in which nothing is found, share", none, 0.95))
            continue
        ratio = statistics.median(tables.numbers(own, "ratio"))
        found.append(tables.Claim(f"{GROUPS[group]}: median ratio, least", ratio, RATIO[0]))
        found.append(tables.Claim(f"{GROUPS[group]}: median ratio, greatest", ratio, most=RATIO[1]))
    return found


def values(run: Run) -> dict[str, str]:
    rows = run.rows()
    aims = "" if run.smoke else tables.held("claim", claims(rows))
    return {"summary": summary(rows), "aims": aims, "table": tables.restorations(rows, "set", GROUPS, COLUMNS)}


STUDY = Study(Measured(("set", "picture"), cases, measure), values)

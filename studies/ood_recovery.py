"""Cropped and blurred lesions: does the estimated loss lead back to the lesion? (Narayanaswamy et al. 2021, figure 3)"""

import math

import numpy as np
import torch

from preimage.operators import Blur, gaussian
from studies import preimage_recovery
from studies.harness import Measured, Run, Study, by_scale, classifiers, figures, lesions, tables
from studies.harness.tables import gain

WEIGHT, WAYS = preimage_recovery.WEIGHT, preimage_recovery.WAYS
COUNT, SHOWN = by_scale(2, 20, 200), by_scale(1, 6, 6)  # lesions; of these a figure is drawn
SHARE, SIGMA = 0.5, 3.0
EQUAL = 100.0  # dB, for equal pictures
DAMAGES = {"crop": "outside", "blur": "inside"}  # and where the lesion is lost
PLACES = {"inside": "PSNR inside", "outside": "PSNR outside", "to_given": "PSNR to the damaged picture"}
OTHERS = {"loss": "estimated loss", "right": "share correctly classified"}


def rectangle(picture: torch.Tensor, seed: int) -> torch.Tensor:
    """bool (h, w): a rectangle of half the area, of random shape and place."""
    height, width = picture.shape[-2:]
    draw = np.random.default_rng(seed)
    tall = draw.uniform(SHARE, 1)
    rows, columns = round(tall * height), round(SHARE / tall * width)
    top, left = int(draw.integers(height - rows + 1)), int(draw.integers(width - columns + 1))
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[top : top + rows, left : left + columns] = True
    return inside


def cropped(picture: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    return picture * inside


def blurred(picture: torch.Tensor) -> torch.Tensor:
    return Blur(gaussian(SIGMA), boundary="reflect")(picture).clamp(0, 1)


def some(run: Run) -> dict[str, tuple[int, lesions.Lesion]]:
    return run.once(lesions.numbered, COUNT[run.scale])


def measure(run: Run, damage: str, name: str):
    number, lesion = some(run)[name]
    inside = rectangle(lesion.picture, number)
    given = cropped(lesion.picture, inside) if damage == "crop" else blurred(lesion.picture)
    row, panels = {"diagnosis": lesion.diagnosis}, [("original", lesion.picture), ("input", given)]
    row |= {f"given_{k}": masked_psnr(given, lesion.picture, m) for k, m in (("inside", inside), ("outside", ~inside))}
    for way, setting in WAYS.items():
        found = preimage_recovery.recovered(run, given, number, setting)
        picture = found.image.clamp(0, 1)
        row |= {
            f"{way}_inside": masked_psnr(picture, lesion.picture, inside),
            f"{way}_outside": masked_psnr(picture, lesion.picture, ~inside),
            f"{way}_to_given": masked_psnr(picture, given, torch.ones_like(inside)),
            f"{way}_right": int(found.numbers["prediction_after"] == lesion.diagnosis),
            f"{way}_seconds": found.seconds,
            f"{way}_loss": lesions.loss_of(run, picture),
        }
        panels.append((way, picture))
    if number < SHOWN[run.scale]:
        figures.save_panels(panels, run.figure(damage, name))
    return row | {"given_loss": lesions.loss_of(run, given), "original_loss": lesions.loss_of(run, lesion.picture)}


def masked_psnr(picture: torch.Tensor, original: torch.Tensor, where: torch.Tensor) -> float:
    """PSNR of the pixels (1, c, h, w) where a mask (h, w) is true; EQUAL for equal ones."""
    error = float((picture - original)[..., where].square().mean())
    return min(EQUAL, -10 * math.log10(max(error, 1e-10)))


def of_damage(damage: str, rows) -> str:
    """The distances of the input and of both recoveries, the paired gain, and the claim."""
    lines = []
    for column, title in (PLACES | OTHERS).items():
        given = "" if column in ("to_given", "right") else tables.mean(rows, f"given_{column}")
        cells = ["equal" if given == EQUAL else given, *(tables.mean(rows, f"{way}_{column}") for way in WAYS)]
        lines.append([title, *cells, gain(rows, f"m_{column}", f"plain_{column}")])
    where = DAMAGES[damage]
    nearer, followed = (gain(rows, f"m_{column}", f"plain_{column}") for column in (where, "to_given"))
    return (
        f"{tables.markdown(['', 'input', 'plain DIP', 'DIP with M', 'M less plain'], lines)}\n\n"
        "Claim of Narayanaswamy et al. 2021 (figure 3): plain DIP reproduces the damage, DIP with M does not. Measured: with M "
        f"the picture is {nearer} dB nearer to the undamaged lesion, {where} (nearer: {nearer.verdict()}), and {followed} dB "
        "nearer to the damaged one."
    )


def values(run: Run):
    of = {damage: rows for damage in DAMAGES if (rows := run.rows(damage=damage))}
    parts = {f"{damage}, {len(rows)} lesions": of_damage(damage, rows) for damage, rows in of.items()}
    return {"classifier": classifiers.described(run, "lesions"), "tables": tables.titled(parts)}


STUDY = Study(
    Measured(("damage", "picture"), lambda run: [(damage, name) for name in some(run) for damage in DAMAGES], measure),
    values,
)

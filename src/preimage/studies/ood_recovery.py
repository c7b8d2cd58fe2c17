"""[N], figure 3: a lesion cropped or blurred, unlike what the classifier knows; does M lead the recovery back to the lesion?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from preimage.classifiers.model_file import TrainedModel
from preimage.operators.blur import Blur
from preimage.operators.kernels import gaussian
from preimage.studies.intervals import Interval, paired
from preimage.studies.lesions import Lesion, chosen, described, first_classifier, held_out, known, loss_of, with_words
from preimage.studies.panels import save_panels
from preimage.studies.preimage_recovery import WAYS, WEIGHT, recovered
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean

COUNTS = {"smoke": 2, "small": 20, "paper": 200}
SHOWN = {"smoke": 1, "small": 6, "paper": 6}  # lesions of which a figure is drawn
SHARE, SIGMA = 0.5, 3.0
EQUAL = 100.0  # dB, for equal pictures
DAMAGES = ("crop", "blur")
PLACES = {"inside": "inside", "outside": "outside", "to_given": "to the damaged picture"}


def run(study: Study) -> Path:
    """Every lesion with both damages, those already in the CSV left out; then the section of results.md."""
    lesions = chosen(held_out(study), COUNTS[study.scale])
    model = first_classifier(study)
    done = known(study, "damage", "picture")
    for number, lesion in study.mine(enumerate(lesions)):
        for damage in DAMAGES:
            if (damage, lesion.name) not in done:
                study.keep(measured(study, model, lesion, number, damage))
    if study.is_shared:
        return study.table
    return study.write_section("Recovery of damaged lesions", section(study, model))


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
    """Black outside."""
    return picture * inside


def blurred(picture: torch.Tensor) -> torch.Tensor:
    """By a Gaussian of sigma 3."""
    return Blur(gaussian(SIGMA), boundary="reflect")(picture).clamp(0, 1)


def measured(study: Study, model: TrainedModel, lesion: Lesion, number: int, damage: str) -> Row:
    """One damaged lesion, recovered both ways from the same seed: distances in dB of PSNR, and what the classifier says."""
    inside = rectangle(lesion.picture, number)
    given = cropped(lesion.picture, inside) if damage == "crop" else blurred(lesion.picture)
    row: Row = {"damage": damage, "picture": lesion.name, "diagnosis": lesion.diagnosis}
    row |= {"given_inside": masked_psnr(given, lesion.picture, inside)}
    row |= {"given_outside": masked_psnr(given, lesion.picture, ~inside)}
    panels = [("original", lesion.picture), ("given", given)]
    for name, way in WAYS.items():
        found = recovered(study, model, given, number, way)
        picture = found.image.clamp(0, 1)
        row |= {f"{name}_{place}": value for place, value in distances(picture, lesion.picture, given, inside).items()}
        row |= {
            f"{name}_right": int(found.numbers["prediction_after"] == lesion.diagnosis),
            f"{name}_seconds": found.seconds,
        }
        row[f"{name}_loss"] = loss_of(model, picture)
        panels.append((way.title, picture))
    row["given_loss"], row["original_loss"] = (loss_of(model, x) for x in (given, lesion.picture))
    if number < SHOWN[study.scale]:
        save_panels(panels, study.figure(f"ood_recovery-{damage}-{lesion.name}.png"))
    return row


def distances(
    picture: torch.Tensor, original: torch.Tensor, given: torch.Tensor, inside: torch.Tensor
) -> dict[str, float]:
    """PSNR in dB to the original inside the rectangle and outside of it, and to the damaged picture as a whole."""
    whole = torch.ones_like(inside)
    return {
        "inside": masked_psnr(picture, original, inside),
        "outside": masked_psnr(picture, original, ~inside),
        "to_given": masked_psnr(picture, given, whole),
    }


def masked_psnr(picture: torch.Tensor, original: torch.Tensor, where: torch.Tensor) -> float:
    """PSNR of the pixels (1, c, h, w) where a mask (h, w) is true; EQUAL for equal ones."""
    error = float((picture - original)[..., where].square().mean())
    return min(EQUAL, -10 * math.log10(max(error, 1e-10)))


def section(study: Study, model: TrainedModel) -> str:
    """For each damage the distances of what was given and of both recoveries, the paired gain, and the claim."""
    parts = [
        "Held-out lesions, one picture each, cropped (all outside a random rectangle of half the area black) or blurred "
        f"(Gaussian, sigma {SIGMA:g}), then `recover` with the fast recipe, weight of M {WEIGHT}, the same seed for both. "
        "PSNR in dB to the undamaged lesion inside and outside of the rectangle (which for the blur is no more than a place), "
        "and to the damaged picture that was given; the gain of M with its 95 % bootstrap interval. Estimated loss in units "
        f"of its spread, from the median of held-out pictures. {described(study, model)} Rows: `{study.table.name}`."
    ]
    for damage in DAMAGES:
        rows = with_words(study.rows(), damage=damage)
        if rows:
            parts.append(_of_damage(damage, rows))
    return "\n\n".join(parts)


def _of_damage(damage: str, rows: list[Row]) -> str:
    lines: list[list[object]] = []
    for place, told in PLACES.items():
        gain = gain_of(rows, place)
        given: object = "" if place == "to_given" else mean(rows, f"given_{place}")
        given = "equal" if given == EQUAL else given
        lines.append([f"PSNR {told}", given, mean(rows, f"plain_{place}"), mean(rows, f"m_{place}"), str(gain)])
    lines.append(
        ["estimated loss", *(mean(rows, f"{w}_loss") for w in ("given", "plain", "m")), str(gain_of(rows, "loss"))]
    )
    lines.append(
        ["share told right", "", mean(rows, "plain_right"), mean(rows, "m_right"), str(gain_of(rows, "right"))]
    )
    table = markdown_table(["", "given", "plain DIP", "DIP with M", "M less plain"], lines)
    where = "outside" if damage == "crop" else "inside"
    gain, followed = gain_of(rows, where), gain_of(rows, "to_given")
    return (
        f"### {damage}, {len(rows)} lesions\n\n{table}\n\nClaim of Narayanaswamy et al. 2021 (figure 3): plain DIP "
        f"reproduces the damage, DIP with M does not. Measured: with M the picture is {gain} dB nearer to the undamaged lesion, "
        f"{where} (nearer: {gain.verdict()}), and {followed} dB nearer to the damaged one."
    )


def gain_of(rows: list[Row], what: str) -> Interval:
    """Of M over plain, picture by picture."""
    return paired([float(row[f"m_{what}"]) for row in rows], [float(row[f"plain_{what}"]) for row in rows])

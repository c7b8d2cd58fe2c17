"""[N], figure 2: a held-out lesion recovered from the features of the first block, with the estimated loss and without it."""

from __future__ import annotations

from pathlib import Path

from preimage.explain.panels import magnified
from preimage.explain.recover import recover
from preimage.predictors.model_file import TrainedModel
from preimage.studies.intervals import interval_of, paired
from preimage.studies.lesions import Lesion, chosen, described, first_classifier, held_out, known, recipe_of
from preimage.studies.panels import save_panels, titled
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean

COUNTS = {"smoke": 2, "small": 40, "paper": 200}
SHOWN = {"smoke": 1, "small": 6, "paper": 6}  # lesions of which a figure is drawn
WEIGHT = 0.02  # l1 of [N]
CLAIM = (0.5, 1.0)  # dB that M gains


def run(study: Study) -> Path:
    """Every lesion, those already in the CSV left out; then the section of results.md."""
    lesions = chosen(held_out(study), COUNTS[study.scale])
    model = first_classifier(study)
    done = known(study, "picture")
    for number, lesion in enumerate(lesions):
        if (lesion.name,) not in done:
            study.keep(measured(study, model, lesion, number))
    return study.write_section("Recovery of held-out lesions", section(study, model))


def measured(study: Study, model: TrainedModel, lesion: Lesion, number: int) -> Row:
    """One lesion, recovered both ways from the same seed."""
    row: Row = {"picture": lesion.name, "diagnosis": lesion.diagnosis}
    panels = [("given", lesion.picture)]
    for name, weight in (("plain", 0.0), ("m", WEIGHT)):
        found = recover(
            lesion.picture,
            predictor=model,
            doubt="loss" if weight else "none",
            loss_weight=weight,
            recipe=recipe_of(study),
            seed=number,
        ).run()
        row |= {name: found.numbers["psnr"], f"seconds_{name}": found.seconds}
        picture = found.image.clamp(0, 1)
        title = "plain" if name == "plain" else "with M"
        panels += [(titled(title, row[name]), picture), ("difference", magnified(picture - lesion.picture))]
    if number < SHOWN[study.scale]:
        save_panels(panels, study.figure(f"preimage_recovery-{lesion.name}.png"))
    return row


def section(study: Study, model: TrainedModel) -> str:
    """Means, the paired gain, and the claim."""
    rows = study.rows()
    gain = paired([float(row["m"]) for row in rows], [float(row["plain"]) for row in rows])
    by_class = [
        [name, len(own), mean(own, "plain"), mean(own, "m"), str(interval_of([r["m"] - r["plain"] for r in own]))]
        for name in sorted({str(row["diagnosis"]) for row in rows})
        if (own := [row for row in rows if row["diagnosis"] == name])
    ]
    whole = [f"**all {len(rows)}**", len(rows), mean(rows, "plain"), mean(rows, "m"), str(gain)]
    better = sum(row["m"] > row["plain"] for row in rows)
    parts = [
        f"{len(rows)} held-out lesions, one picture each, `recover` with the fast recipe, weight of M {WEIGHT}; PSNR in dB, the "
        f"gain of M with its 95 % bootstrap interval, the same seed for both. {described(study, model)} "
        f"Rows: `{study.table.name}`.",
        markdown_table(["class", "lesions", "plain", "with M", "gain"], [*by_class, whole]),
        f"Claim of Narayanaswamy et al. 2021 (figure 2): M gains {CLAIM[0]} to {CLAIM[1]:.0f} dB. Measured: {gain} dB, better on "
        f"{better} of {len(rows)}. A gain at all: {gain.verdict()}; of {CLAIM[0]} dB or more: {gain.verdict(CLAIM[0])}.",
    ]
    return "\n\n".join(parts)

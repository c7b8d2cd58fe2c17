"""[N], figure 2: a held-out lesion recovered from the features of the first block, with the estimated loss and without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from preimage.classifiers.model_file import TrainedModel
from preimage.engine.recipe import Recipe
from preimage.explain.explanation import Explanation
from preimage.explain.recipes import PAPER_RECOVERY
from preimage.explain.recover import recover
from preimage.figures.panels import magnified
from preimage.studies.intervals import interval_of, paired
from preimage.studies.lesions import (
    Lesion,
    chosen,
    described,
    first_classifier,
    held_out,
    known,
    loss_of,
    recipe_of,
    with_words,
)
from preimage.studies.panels import save_panels, titled
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean

COUNTS = {"smoke": 2, "small": 40, "paper": 200}
SHOWN = {"smoke": 1, "small": 6, "paper": 6}  # lesions of which a figure is drawn
WEIGHT = 0.02  # l1 of [N]
CLAIM = (0.5, 1.0)  # dB that M gains
FEW = {"smoke": 1, "small": 3, "paper": 20}  # lesions on which one setting at a time is changed


@dataclass(frozen=True)
class Setting:
    """What differs from the study's own: the block (from 1), the weight of M, the loss asked for (a quantile), the recipe.

    `own_plain`: whether the plain recovery differs as well; if not it is the study's.
    """

    title: str
    block: int | None = None
    weight: float = WEIGHT
    target: float | None = None
    longer: int = 1
    unet: bool = False

    @property
    def own_plain(self) -> bool:
        return self.block is not None or self.longer > 1 or self.unet

    def recipe(self, usual: Recipe) -> Recipe:
        recipe = replace(usual, steps=self.longer * usual.steps)
        return replace(recipe, network=PAPER_RECOVERY.network) if self.unet else recipe


WAYS = {"plain": Setting("plain", weight=0.0), "m": Setting("with M")}
"""What is compared, by the name of its column."""

SETTINGS = (
    Setting("weight of M 0.002", weight=0.002),
    Setting("weight of M 0.0002", weight=0.0002),
    Setting("target loss: the 0.05 quantile", target=0.05),
    Setting("target loss: the median", target=0.5),
    Setting("features of the second block", block=2),
    Setting("features of the third block", block=3),
    Setting("U-Net as published, other settings of the fast recipe", unet=True),
    Setting("four times the steps", longer=4),
)


def run(study: Study) -> Path:
    """Every lesion, those already in the CSVs left out, then some with other settings; then the section of results.md."""
    lesions = chosen(held_out(study), COUNTS[study.scale])
    model = first_classifier(study)
    done = known(study, "picture")
    for number, lesion in study.mine(enumerate(lesions)):
        if (lesion.name,) not in done:
            study.keep(measured(study, model, lesion, number))
    if study.is_shared:  # the settings are held against rows of all lesions, and left to the last call
        return study.table
    varied, plain = settings_of(study), {str(row["picture"]): row for row in study.rows()}
    done = known(varied, "setting", "picture")
    for setting in SETTINGS:
        for number, lesion in enumerate(lesions[: FEW[study.scale]]):
            if (setting.title, lesion.name) not in done:
                varied.keep(with_setting(study, model, lesion, number, setting, plain[lesion.name]))
    return study.write_section("Recovery of held-out lesions", section(study, model))


def settings_of(study: Study) -> Study:
    """The same study with a table for the other settings."""
    return replace(study, name=f"{study.name}_settings")


def measured(study: Study, model: TrainedModel, lesion: Lesion, number: int) -> Row:
    """One lesion, recovered both ways from the same seed."""
    row: Row = {"picture": lesion.name, "diagnosis": lesion.diagnosis}
    panels = [("given", lesion.picture)]
    for name, way in WAYS.items():
        found = recovered(study, model, lesion.picture, number, way)
        row |= {name: found.numbers["psnr"], f"seconds_{name}": found.seconds}
        picture = found.image.clamp(0, 1)
        row[f"loss_{name}"] = loss_of(model, picture)
        panels += [(titled(way.title, row[name]), picture), ("difference", magnified(picture - lesion.picture))]
    row["loss_given"] = loss_of(model, lesion.picture)
    if number < SHOWN[study.scale]:
        save_panels(panels, study.figure(f"preimage_recovery-{lesion.name}.png"))
    return row


def with_setting(study: Study, model: TrainedModel, lesion: Lesion, number: int, setting: Setting, usual: Row) -> Row:
    """One lesion, recovered with another setting; the plain recovery again only where that is another as well."""
    found = recovered(study, model, lesion.picture, number, setting)
    plain = usual["plain"]
    if setting.own_plain:
        plain = recovered(study, model, lesion.picture, number, replace(setting, weight=0.0)).numbers["psnr"]
    row: Row = {"setting": setting.title, "picture": lesion.name, "plain": plain, "m": found.numbers["psnr"]}
    losses = {"loss_given": usual["loss_given"], "loss_m": loss_of(model, found.image.clamp(0, 1))}
    return row | losses | {"seconds_m": found.seconds}


def recovered(study: Study, model: TrainedModel, picture: torch.Tensor, number: int, setting: Setting) -> Explanation:
    """The recovery of a picture (1, 3, h, w) with some setting; its number is the seed."""
    assert model.estimator is not None
    blocks = model.estimator.layers
    return recover(
        picture,
        classifier=model,
        layer=None if setting.block is None else blocks[min(setting.block, len(blocks)) - 1],
        uncertainty="loss" if setting.weight else "none",
        loss_weight=setting.weight,
        target_loss=setting.target,
        recipe=setting.recipe(recipe_of(study)),
        input_jitter=not setting.unet,
        seed=number,
    ).run()


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
    moved = paired([float(row["loss_m"]) for row in rows], [float(row["loss_plain"]) for row in rows])
    parts = [
        f"{len(rows)} held-out lesions, one picture each, `recover` with the fast recipe, weight of M {WEIGHT}; PSNR in dB, the "
        f"gain of M with its 95 % bootstrap interval, the same seed for both. {described(study, model)} "
        f"Rows: `{study.table.name}`.",
        markdown_table(["class", "lesions", "plain", "with M", "gain"], [*by_class, whole]),
        f"Claim of Narayanaswamy et al. 2021 (figure 2): M gains {CLAIM[0]} to {CLAIM[1]:.0f} dB. Measured: {gain} dB, better on "
        f"{better} of {len(rows)}. A gain at all: {gain.verdict()}; of {CLAIM[0]} dB or more: {gain.verdict(CLAIM[0])}. The "
        f"estimated loss, in units of its spread: {mean(rows, 'loss_given'):.2f} of the lesions as they are, "
        f"{mean(rows, 'loss_plain'):.2f} after a plain recovery, {mean(rows, 'loss_m'):.2f} with M ({moved} less plain).",
        *_varied(settings_of(study).rows()),
    ]
    return "\n\n".join(parts)


def _varied(rows: list[Row]) -> list[str]:
    """One setting changed at a time."""
    lines = []
    for setting in SETTINGS:
        own = with_words(rows, setting=setting.title)
        if own:
            gain = paired([float(row["m"]) for row in own], [float(row["plain"]) for row in own])
            change = f"{mean(own, 'loss_given'):.2f}, {mean(own, 'loss_m'):.2f}"
            lines.append([setting.title, len(own), mean(own, "plain"), mean(own, "m"), str(gain), change])
    if not lines:
        return []
    header = ["one setting changed", "lesions", "plain", "with M", "gain", "estimated loss given, with M"]
    return [markdown_table(header, lines)]

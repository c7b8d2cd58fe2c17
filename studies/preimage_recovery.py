"""Held-out lesions recovered from features, with the estimated loss and without (Narayanaswamy et al. 2021, figure 2)."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from preimage.explain.recipes import PAPER_RECOVERY
from preimage.explain.recover import recover
from preimage.figures.panels import magnified
from studies.harness import classifiers, figures, lesions, tables
from studies.harness.study import Measured, Run, Study, by_scale
from studies.harness.tables import gain, mean

COUNT, FEW = by_scale(2, 40, 200), by_scale(1, 3, 20)  # lesions; of these one setting at a time is changed
SHOWN = by_scale(1, 6, 6)  # lesions of which a figure is drawn
WEIGHT = 0.02  # l1 of [N]
CLAIM = (0.5, 1)  # dB that M gains
VARIED = "_settings"


@dataclass(frozen=True)
class Setting:
    """What differs from the study's own: block (from 1), weight of M, target loss (a quantile), steps, network."""

    weight: float = WEIGHT
    block: int | None = None
    target: float | None = None
    longer: int = 1
    unet: bool = False

    @property
    def own_plain(self) -> bool:
        """Whether the plain recovery differs as well; if not it is the study's."""
        return self.block is not None or self.longer > 1 or self.unet


WAYS = {"plain": Setting(weight=0.0), "m": Setting()}
SETTINGS = {
    "weight of M 0.002": Setting(weight=0.002),
    "weight of M 0.0002": Setting(weight=0.0002),
    "target loss: the 0.05 quantile": Setting(target=0.05),
    "target loss: the median": Setting(target=0.5),
    "features of the second block": Setting(block=2),
    "features of the third block": Setting(block=3),
    "U-Net as published, other settings of the fast recipe": Setting(unet=True),
    "four times the steps": Setting(longer=4),
}


def recovered(run: Run, picture: torch.Tensor, number: int, setting: Setting) -> Any:
    """The recovery of a picture (1, 3, h, w) with some setting; its number is the seed."""
    model, recipe = lesions.classifier_of_lesions(run), lesions.recipe_of(run)
    blocks = model.estimator.layers if model.estimator is not None else ()
    recipe = replace(recipe, steps=setting.longer * recipe.steps)
    fit = recover(
        picture,
        classifier=model,
        layer=None if setting.block is None else blocks[min(setting.block, len(blocks)) - 1],
        uncertainty="loss" if setting.weight else "none",
        loss_weight=setting.weight,
        target_loss=setting.target,
        recipe=replace(recipe, network=PAPER_RECOVERY.network) if setting.unet else recipe,
        input_jitter=not setting.unet,  # as published
        seed=number,
    )
    return fit.run()


def some(run: Run) -> dict[str, tuple[int, lesions.Lesion]]:
    return {lesion.name: (k, lesion) for k, lesion in enumerate(lesions.some_lesions(run, COUNT[run.scale]))}


def measure(run: Run, name: str):
    """One lesion, recovered both ways from the same seed."""
    (number, lesion), model = run.once(some)[name], lesions.classifier_of_lesions(run)
    row: dict[str, Any] = {"diagnosis": lesion.diagnosis}
    panels = [("input", lesion.picture)]
    for way, setting in WAYS.items():
        found = recovered(run, lesion.picture, number, setting)
        picture = found.image.clamp(0, 1)
        row |= {
            way: found.numbers["psnr"],
            f"seconds_{way}": found.seconds,
            f"loss_{way}": lesions.loss_of(model, picture),
        }
        panels += [(figures.with_dB(way, row[way]), picture), ("difference", magnified(picture - lesion.picture))]
    if number < SHOWN[run.scale]:
        figures.save_panels(panels, run.figure(name))
    return row | {"loss_given": lesions.loss_of(model, lesion.picture)}


def measure_varied(run: Run, title: str, name: str):
    """One lesion, recovered with another setting; the plain recovery again only where that is another as well."""
    (number, lesion), setting, usual = run.once(some)[name], SETTINGS[title], run.rows(picture=name)[0]
    found, plain = recovered(run, lesion.picture, number, setting), usual["plain"]
    if setting.own_plain:
        plain = recovered(run, lesion.picture, number, replace(setting, weight=0.0)).numbers["psnr"]
    loss = lesions.loss_of(lesions.classifier_of_lesions(run), found.image.clamp(0, 1))
    row = {"plain": plain, "m": found.numbers["psnr"], "loss_given": usual["loss_given"], "loss_m": loss}
    return row | {"seconds_m": found.seconds}


COLUMNS = {"lesions": len, "plain": "plain:.2f", "with M": "m:.2f", "gain": lambda rows: gain(rows, "m", "plain")}
LOSSES = {"estimated loss input, with M": lambda rows: f"{mean(rows, 'loss_given'):.2f}, {mean(rows, 'loss_m'):.2f}"}


def values(run: Run):
    rows = run.rows()
    total = rows[0] | {"diagnosis": f"**all {len(rows)}**"}
    groups = [own for _, own in sorted(tables.grouped(rows, "diagnosis").items())]
    varied = tables.grouped(run.rows(VARIED), "setting")
    settings = [varied[title] for title in SETTINGS if title in varied]
    return {
        "count": len(rows),
        "classifier": classifiers.described(run, "lesions"),
        "table": tables.table({"class": "diagnosis"} | COLUMNS, [*groups, [total, *rows[1:]]]),
        "varied": tables.table({"one setting changed": "setting"} | COLUMNS | LOSSES, settings) if settings else "",
        "gain": gain(rows, "m", "plain"),
        "any": gain(rows, "m", "plain").verdict(),
        "as_claimed": gain(rows, "m", "plain").verdict(CLAIM[0]),
        "better": sum(row["m"] > row["plain"] for row in rows),
        "losses": {name: mean(rows, f"loss_{name}") for name in ("given", "plain", "m")},
        "moved": gain(rows, "loss_m", "loss_plain"),
    }


STUDY = Study(
    (
        Measured(("picture",), lambda run: [(name,) for name in run.once(some)], measure),
        Measured(
            ("setting", "picture"),
            lambda run: [(title, name) for title in SETTINGS for name in list(run.once(some))[: FEW[run.scale]]],
            measure_varied,
            suffix=VARIED,
            alone=True,
        ),
    ),
    values,
)

"""Held-out lesions recovered from features, with the estimated loss and without (Narayanaswamy et al. 2021, figure 2)."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from preimage.explain.recipes import FAST_RECOVERY, PAPER_RECOVERY
from preimage.explain.recover import recover
from preimage.figures.panels import magnified
from studies.harness import Measured, Run, Study, by_scale, classifiers, figures, lesions, tables
from studies.harness.tables import gain, mean

COUNT, FEW = by_scale(2, 40, 200), by_scale(1, 3, 20)  # lesions; of these one setting at a time is changed
SHOWN = by_scale(1, 6, 6)  # lesions of which a figure is drawn
WEIGHT = 0.02  # l1 of [N]
CLAIM = (0.5, 1)  # dB that M gains
VARIED = "_settings"


@dataclass(frozen=True)
class Setting:
    """What differs from the study's own: block (from 1), weight of M, target loss (a quantile), steps, network.

    own: whether the target is the quantile of the picture's own estimated loss.
    late: whether M has a weight in the last third of the steps alone: a fit of these, from the weights of the others.
    plain: whether the plain recovery differs as well; if not it is the study's.
    """

    weight: float = WEIGHT
    block: int | None = None
    target: float | None = None
    own: bool = False
    late: bool = False
    longer: int = 1
    unet: bool = False
    plain: bool = False


WAYS = {"plain": Setting(weight=0.0), "m": Setting()}
SETTINGS = {
    "weight of M 0.002": Setting(weight=0.002),
    "weight of M 0.0002": Setting(weight=0.0002),
    "target loss: the 0.05 quantile": Setting(target=0.05),
    "target loss: the median": Setting(target=0.5),
    "target loss: the picture's own": Setting(own=True),
    "M in the last third of the steps alone": Setting(late=True, plain=True),
    "features of the second block": Setting(block=2, plain=True),
    "features of the third block": Setting(block=3, plain=True),
    "U-Net as published, other settings of the fast recipe": Setting(unet=True, plain=True),
    "four times the steps": Setting(longer=4, plain=True),
}


def recovered(run: Run, picture: torch.Tensor, number: int, setting: Setting) -> Any:
    """The recovery of a picture (1, 3, h, w) with some setting; its number is the seed."""
    model = classifiers.classifier(run, "lesions")
    recipe = replace(FAST_RECOVERY, **lesions.THIN) if run.smoke else FAST_RECOVERY
    recipe = replace(recipe, steps=setting.longer * recipe.steps)
    blocks = model.estimator.layers if model.estimator is not None else ()

    def fit(steps: int, weight: float, initial: Any = None) -> Any:
        how = replace(recipe, steps=steps)
        return recover(
            picture,
            classifier=model,
            layer=None if setting.block is None else blocks[min(setting.block, len(blocks)) - 1],
            uncertainty="loss" if weight else "none",
            loss_weight=weight,
            target_loss=own_quantile(run, picture) if setting.own else setting.target,
            recipe=replace(how, network=PAPER_RECOVERY.network) if setting.unet else how,
            input_jitter=not setting.unet,  # as published
            seed=number,
            initial=initial,
        ).run()

    last = recipe.steps // 3 if setting.late else recipe.steps
    return fit(last, setting.weight, fit(recipe.steps - last, 0.0) if setting.late else None)


def own_quantile(run: Run, picture: torch.Tensor) -> float:
    """The share of held-out pictures whose estimated loss is below that of a picture (1, 3, h, w)."""
    estimator = classifiers.classifier(run, "lesions").estimator
    assert estimator is not None
    levels = estimator.relative(estimator.quantiles, 0.5)
    return float((levels < lesions.loss_of(run, picture)).float().mean())


def some(run: Run) -> dict[str, tuple[int, lesions.Lesion]]:
    return run.once(lesions.numbered, COUNT[run.scale])


def measure(run: Run, name: str):
    (number, lesion), row, panels = some(run)[name], {}, []
    for way, setting in WAYS.items():
        found = recovered(run, lesion.picture, number, setting)
        picture = found.image.clamp(0, 1)
        row |= {way: found.numbers["psnr"], f"seconds_{way}": found.seconds}
        row[f"loss_{way}"] = lesions.loss_of(run, picture)
        panels += [(figures.with_dB(way, row[way]), picture), ("difference", magnified(picture - lesion.picture))]
    if number < SHOWN[run.scale]:
        figures.save_panels([("input", lesion.picture), *panels], run.figure(name))
    return {"diagnosis": lesion.diagnosis} | row | {"loss_given": lesions.loss_of(run, lesion.picture)}


def measure_varied(run: Run, title: str, name: str):
    """One lesion, recovered with another setting; the plain recovery again only where that is another as well."""
    (number, lesion), setting, usual = some(run)[name], SETTINGS[title], run.rows(picture=name)[0]
    found, plain = recovered(run, lesion.picture, number, setting), usual["plain"]
    if setting.plain:
        plain = recovered(run, lesion.picture, number, replace(setting, weight=0.0)).numbers["psnr"]
    row = {"plain": plain, "m": found.numbers["psnr"], "loss_given": usual["loss_given"]}
    return row | {"loss_m": lesions.loss_of(run, found.image.clamp(0, 1)), "seconds_m": found.seconds}


COLUMNS = {"lesions": len, "plain": "plain:.2f", "with M": "m:.2f", "gain": lambda rows: gain(rows, "m", "plain")}
LOSSES = {"estimated loss input, with M": lambda rows: f"{mean(rows, 'loss_given'):.2f}, {mean(rows, 'loss_m'):.2f}"}


def values(run: Run):
    rows, varied = run.rows(), tables.grouped(run.rows(VARIED), "setting")
    total = rows[0] | {"diagnosis": f"**all {len(rows)}**"}
    groups = [own for _, own in sorted(tables.grouped(rows, "diagnosis").items())]
    settings = [varied[title] for title in SETTINGS if title in varied]
    gained = gain(rows, "m", "plain")
    return {
        "count": len(rows),
        "classifier": classifiers.described(run, "lesions"),
        "table": tables.table({"class": "diagnosis"} | COLUMNS, [*groups, [total, *rows[1:]]]),
        "varied": tables.table({"one setting changed": "setting"} | COLUMNS | LOSSES, settings) if settings else "",
        "gain": gained,
        "any": gained.verdict(),
        "as_claimed": gained.verdict(CLAIM[0]),
        "better": sum(row["m"] > row["plain"] for row in rows),
        "losses": {name: mean(rows, f"loss_{name}") for name in ("given", "plain", "m")},
        "moved": gain(rows, "loss_m", "loss_plain"),
    }


def few(run: Run) -> list[tuple[str, str]]:
    return [(title, name) for title in SETTINGS for name in list(some(run))[: FEW[run.scale]]]


STUDY = Study(
    (
        Measured(("picture",), some, measure),
        Measured(("setting", "picture"), few, measure_varied, suffix=VARIED, alone=True),
    ),
    values,
)

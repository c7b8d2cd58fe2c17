"""[U], feature inversion: what the layers of a classifier keep of a picture, from shallow to deep, seen through three priors.

By number: how far the features are met, and how much of the picture's colors and of its fine detail is in the inversion. A
blob in the middle has something of every lesion, so each correlation stands beside that with other pictures: what is above
it was kept of this one.

PREIMAGE_WEIGHTS: a file with weights of torchvision's resnet18; with it that classifier is inverted as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional

from preimage.classifiers import Classifier, load_classifier
from preimage.engine.devices import choose_device
from preimage.explain.inputs import at_working_size
from preimage.explain.invert import invert
from preimage.explain.layers import blocks_of
from preimage.explain.options import ImagePrior
from preimage.explain.recipes import INVERSION
from preimage.explain.recipes import chosen as chosen_recipe
from preimage.recipes import NamedRecipe, recipe
from preimage.studies.lesions import THIN, chosen, first_classifier, held_out, known, shaded_disc, with_words
from preimage.studies.scales import Row, Study, generated_picture, markdown_table
from preimage.studies.sheets import keep_picture, save_sheet
from preimage.studies.tables import mean

PRIORS: tuple[ImagePrior, ...] = ("deep", "tv", "alpha")
PICTURES = {
    "building": "dip_paper/feature_inversion/building.jpg",
    "monkey": "dip_paper/feature_inversion/monkey.jpg",
}
LESIONS = {"small": 2, "paper": 6}
GRID = 8  # squares a side, of which the mean colors are compared
ROUNDING = 1e-5  # root mean square, below which a picture is taken not to vary
LIKENESSES = ("color", "light", "detail")


def run(study: Study) -> Path:
    """Every inversion, those already in the CSV left out; the sheets; then the section of results.md."""
    pictures = specimens(study)
    for classifier_name, classifier in classifiers(study):
        shown = {name: at_working_size(picture, classifier) for name, picture in pictures.items()}
        layers = layers_of(study, classifier, next(iter(shown.values())))
        done = known(study, "classifier_name", "picture", "layer", "prior")
        for name, picture in shown.items():
            others = [other for its_name, other in shown.items() if its_name != name]
            for layer in layers:
                for prior in PRIORS:
                    if (classifier_name, name, layer, prior) not in done:
                        row = inverted(study, classifier, picture, layer, prior, others)
                        place = inversion_file(study, classifier_name, name, prior, layer)
                        keep_picture(row.pop("image"), place)
                        study.keep({"classifier_name": classifier_name, "picture": name} | row)
            sheet(study, classifier_name, name, picture, layers)
    return study.write_section("Feature inversion", section(study))


# ---------------------------------------------------------------------- what is inverted


def specimens(study: Study) -> dict[str, torch.Tensor]:
    """Pictures (1, 3, h, w): those of the authors, and held-out lesions."""
    if study.scale == "smoke":
        return {"generated": generated_picture(32), "disc": shaded_disc(0)[0]}
    lesions = chosen(held_out(study), LESIONS[study.scale])
    return {name: study.picture(file) for name, file in PICTURES.items()} | {
        lesion.name: lesion.picture for lesion in lesions
    }


def classifiers(study: Study) -> Iterator[tuple[str, Classifier]]:
    """The classifier_name of lesions, and torchvision's resnet18 where there are weights for it."""
    yield "lesions", first_classifier(study).classifier
    natural = of_own_weights(study)
    if natural is not None:
        yield "resnet18", natural


def of_own_weights(study: Study) -> Classifier | None:
    """torchvision's resnet18 with the weights that PREIMAGE_WEIGHTS names; None where it names none."""
    weights = os.environ.get("PREIMAGE_WEIGHTS")
    if not weights or study.scale == "smoke":
        return None
    return load_classifier(f"torchvision:resnet18@{weights}", device=choose_device())


def layers_of(study: Study, classifier: Classifier, picture: torch.Tensor) -> list[str]:
    """The last of each block, then the logits; of a smoke run the first and the last of these."""
    layers = blocks_of(classifier, picture)
    return [layers[0], layers[-1]] if study.scale == "smoke" else layers


def recipe_of(study: Study) -> NamedRecipe:
    """The published one at scale paper, else the fast one."""
    return (
        recipe("fast", **THIN | {"steps": 6})
        if study.scale == "smoke"
        else recipe("paper" if study.scale == "paper" else "fast")
    )


def inverted(
    study: Study,
    classifier: Classifier,
    picture: torch.Tensor,
    layer: str,
    prior: ImagePrior,
    others: list[torch.Tensor],
) -> Row:
    """One inversion and its numbers; its picture under "image"."""
    found = invert(picture, classifier=classifier, layers=layer, prior=prior, recipe=recipe_of(study)).run()
    image = found.image.clamp(0, 1)
    own = likenesses(image, picture)
    by_chance = [likenesses(image, as_large_as(other, picture)) for other in others]
    return {
        "layer": layer,
        "prior": prior,
        "feature_error": found.numbers["feature_error"],
        "psnr": found.numbers["psnr"],
        **own,
        **{f"{name}_of_others": sum(each[name] for each in by_chance) / len(by_chance) for name in LIKENESSES},
        "steps": found.steps,
        "seconds": found.seconds,
        "image": image,
    }


# ---------------------------------------------------------------------- how much of the picture is in it


def likenesses(a: torch.Tensor, b: torch.Tensor) -> dict[str, float]:
    """Correlations of two pictures (1, 3, h, w) over places, -1 to 1, an evenly tinted one having none of them.

    color: of red against green and of yellow against blue, of squares' means; light: of the squares' mean lightness; detail:
    of what of the lightness varies within the squares.
    """
    squares = [functional.adaptive_avg_pool2d(x, GRID) for x in (a, b)]
    light = [x.mean(1, keepdim=True) for x in (a, b)]
    fine = [x - smoothed(x) for x in light]
    return {
        "color": correlation(opponents(squares[0]), opponents(squares[1])),
        "light": correlation(squares[0].mean(1, keepdim=True), squares[1].mean(1, keepdim=True)),
        "detail": correlation(fine[0], fine[1]),
    }


def opponents(x: torch.Tensor) -> torch.Tensor:
    """(1, 3, h, w) -> (1, 2, h, w): red less green, and their mean less blue; no gray has any."""
    red, green, blue = x.unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], 1)


def smoothed(x: torch.Tensor) -> torch.Tensor:
    """The squares' means, laid out again in the size of the picture."""
    return functional.interpolate(
        functional.adaptive_avg_pool2d(x, GRID), size=x.shape[-2:], mode="bilinear", align_corners=False
    )


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two pictures over places, each channel's mean removed; 0 where one does not vary."""
    a, b = (x.double() - x.double().mean((2, 3), keepdim=True) for x in (a, b))
    size = (a.square().mean() * b.square().mean()).sqrt()
    varies = min(float(x.square().mean()) for x in (a, b)) > ROUNDING**2
    return float((a * b).mean() / size) if varies else 0.0


def as_large_as(x: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, size=picture.shape[-2:], mode="bilinear", align_corners=False, antialias=True)


# ---------------------------------------------------------------------- sheets and the section


def inversion_file(study: Study, classifier_name: str, picture: str, prior: str, layer: str) -> Path:
    return study.figure(f"{study.name}-{study.scale}-{classifier_name}-{picture}-{prior}-{layer}.png")


def sheet(study: Study, classifier_name: str, name: str, picture: torch.Tensor, layers: list[str]) -> None:
    """A row for each prior: the picture, then its inversions from shallow to deep."""
    given = keep_picture(picture, inversion_file(study, classifier_name, name, "given", "given"))
    save_sheet(
        PRIORS,
        ["given", *layers],
        lambda prior, layer: given if layer == "given" else inversion_file(study, classifier_name, name, prior, layer),
        study.figure(f"{study.name}-{study.scale}-{classifier_name}-{name}.png"),
    )


def section(study: Study) -> str:
    """A table for each classifier, and the claims."""
    recipe_used, _ = chosen_recipe(INVERSION, recipe_of(study), None)
    parts = [
        f"`invert`, {recipe_used.steps} steps each, seed 0, with the deep prior and from pixels with total variation (tv) "
        "or that and the alpha norm (alpha), their weights as they are in `explain/invert.py`. Means over pictures; *color*, "
        "*light* and *detail*: correlation with the given picture, in parentheses with other pictures; colors and lightness of "
        f"{GRID} x {GRID} squares, detail within them. Sheets: `{study.name}-{study.scale}-CLASSIFIER-PICTURE.png`. "
        f"Rows: `{study.table.name}`."
    ]
    rows = study.rows()
    for classifier_name in dict.fromkeys(str(row["classifier_name"]) for row in rows):
        own = with_words(rows, classifier_name=classifier_name)
        pictures = list(dict.fromkeys(str(row["picture"]) for row in own))
        parts += [f"**{classifier_name}**, {len(pictures)} pictures: {', '.join(pictures)}.", table(own), claims(own)]
    return "\n\n".join(parts)


def table(rows: list[Row]) -> str:
    """A line for each layer and prior: means over pictures."""
    lines = []
    for layer in dict.fromkeys(str(row["layer"]) for row in rows):
        for prior in PRIORS:
            if own := with_words(rows, layers=layer, prior=prior):
                alike = [f"{mean(own, name):.2f} ({mean(own, f'{name}_of_others'):.2f})" for name in LIKENESSES]
                error = f"{mean(own, 'feature_error'):.2g}"
                lines.append([layer, prior, error, mean(own, "psnr"), *alike])
    return markdown_table(["layer", "prior", "feature error", "PSNR, dB", *LIKENESSES], lines)


def claims(rows: list[Row]) -> str:
    """What was published, beside what was measured."""
    last = list(dict.fromkeys(str(row["layer"]) for row in rows))[-2:]
    lines = []
    for layer in last:
        own = with_words(rows, layers=layer, prior="deep")
        for name in ("color", "detail"):
            above = [float(row[name]) - float(row[f"{name}_of_others"]) for row in own]
            lines.append(
                f"- {layer}, deep prior: {name} {sum(above) / len(above):+.2f} above that of other pictures, "
                f"above it for {sum(each > 0 for each in above)} of {len(above)}."
            )
    for prior in PRIORS[1:]:
        gain, better, count = against(rows, prior)
        lines.append(
            f"- Deep prior against {prior}: {gain:+.2f} dB in the mean over layers and pictures, better for {better} of {count}."
        )
    published = (
        "Claims of Ulyanov et al. (shown as pictures, without numbers): the last layers still hold color and low-level detail, "
        "and inversions with the deep prior are clearer than with total variation. Measured:"
    )
    return "\n".join([published, "", *lines])


def against(rows: list[Row], prior: str) -> tuple[float, int, int]:
    """The deep prior's mean gain in PSNR over another's, how often it is better, and of how many."""
    theirs = {(row["picture"], row["layer"]): float(row["psnr"]) for row in with_words(rows, prior=prior)}
    gains = [
        float(row["psnr"]) - theirs[row["picture"], row["layer"]]
        for row in with_words(rows, prior="deep")
        if (row["picture"], row["layer"]) in theirs
    ]
    return sum(gains) / max(1, len(gains)), sum(gain > 0 for gain in gains), len(gains)

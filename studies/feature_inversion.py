"""What the layers of a classifier keep of a picture, by deep prior, TV, alpha norm (Ulyanov et al. 2018).

By number: how far the features are met, and how much of the picture's colors and of its fine detail is in the inversion. A
blob in the middle has something of every lesion, so each correlation stands beside that with other pictures: what is above
it was kept of this one.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.explain.inputs import at_working_size
from preimage.explain.invert import invert
from preimage.explain.run import blocks_of
from preimage.recipes import recipe
from studies.harness import Measured, Run, Study, by_scale, chosen, classifiers, figures, imaging, lesions, tables

PRIORS = ("deep", "tv", "alpha")
AUTHORS = ("building", "monkey")  # dip_paper/feature_inversion
LESIONS = by_scale(0, 2, 6)
RECIPE = by_scale("fast", "fast", "paper")
GRID = 8  # squares a side, of which the mean colors are compared
ROUNDING = 1e-5  # root mean square, below which a picture is taken not to vary
LIKENESSES = ("color", "light", "detail")


def models(run: Run) -> dict[str, Classifier]:
    found = {"lesions": classifiers.classifier(run, "lesions").classifier, "resnet18": classifiers.own_resnet18(run)}
    return {name: model for name, model in found.items() if model is not None}


def specimens(run: Run) -> dict[str, torch.Tensor]:
    """Pictures (1, 3, h, w): those of the authors, and held-out lesions."""
    if run.smoke:
        return {"generated": imaging.generated_picture(32), "disc": imaging.shaded_disc(0)[0]}
    own = {lesion.name: lesion.picture for lesion in lesions.some_lesions(run, LESIONS[run.scale])}
    return {name: run.picture(f"dip_paper/feature_inversion/{name}.jpg") for name in AUTHORS} | own


def shown(run: Run, classifier: str) -> dict[str, torch.Tensor]:
    model = run.once(models)[classifier]
    return {name: at_working_size(picture, model) for name, picture in run.once(specimens).items()}


def layers(run: Run, classifier: str) -> list[str]:
    """The last of each block, then the logits; of a smoke run the first and the last of these."""
    found = blocks_of(run.once(models)[classifier], next(iter(run.once(shown, classifier).values())))
    return [found[0], found[-1]] if run.smoke else found


def measure(run: Run, classifier: str, name: str, layer: str, prior):
    model, pictures = run.once(models)[classifier], run.once(shown, classifier)
    how = recipe(RECIPE[run.scale], **lesions.thinned(run, prior, steps=6))
    found = invert(pictures[name], classifier=model, layers=layer, prior=prior, recipe=how).run()
    image, (height, width) = found.image.clamp(0, 1), pictures[name].shape[-2:]
    figures.keep_picture(image, run.figure(classifier, name, prior, layer))
    figures.keep_picture(pictures[name], run.figure(classifier, name, "input"))
    others = [likenesses(image, imaging.resized(x, height, width)) for key, x in pictures.items() if key != name]
    row = {"feature_error": found.numbers["feature_error"], "psnr": found.numbers["psnr"]}
    row |= likenesses(image, pictures[name]) | {"steps": found.steps, "seconds": found.seconds}
    return row | {f"{key}_of_others": sum(each[key] for each in others) / len(others) for key in LIKENESSES}


def likenesses(a: torch.Tensor, b: torch.Tensor) -> dict[str, float]:
    """Correlations of two pictures (1, 3, h, w) over places, -1 to 1, an evenly tinted one having none of them.

    color: of red against green and of yellow against blue, of squares' means; light: of the squares' mean lightness; detail:
    of what of the lightness varies within the squares.
    """
    squares = [functional.adaptive_avg_pool2d(x, GRID) for x in (a, b)]
    light = [x.mean(1, keepdim=True) for x in (a, b)]
    return {
        "color": correlation(*map(opponents, squares)),
        "light": correlation(*(x.mean(1, keepdim=True) for x in squares)),
        "detail": correlation(*(x - smoothed(x) for x in light)),
    }


def opponents(x: torch.Tensor) -> torch.Tensor:
    """(1, 3, h, w) -> (1, 2, h, w): red less green, and their mean less blue; no gray has any."""
    red, green, blue = x.unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], 1)


def smoothed(x: torch.Tensor) -> torch.Tensor:
    means = functional.adaptive_avg_pool2d(x, GRID)
    return functional.interpolate(means, size=x.shape[-2:], mode="bilinear", align_corners=False)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two pictures over places, each channel's mean removed; 0 where one does not vary."""
    a, b = (x.double() - x.double().mean((2, 3), keepdim=True) for x in (a, b))
    varies = min(float(x.square().mean()) for x in (a, b)) > ROUNDING**2
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()) if varies else 0.0


COLUMNS = {"layer": "layer", "prior": "prior", "feature error": "feature_error:.2g", "PSNR, dB": "psnr:.2f"}
COLUMNS |= {name: tables.beside(name, f"{name}_of_others") for name in LIKENESSES} | {"seconds": "seconds:.0f"}
PUBLISHED = (
    "Claims of Ulyanov et al. (shown as pictures, without numbers): the last layers still hold color and low-level detail, "
    "and inversions with the deep prior are clearer than with total variation. Measured:\n"
)


def values(run: Run):
    parts = []
    for classifier, rows in tables.grouped(run.rows(), "classifier").items():
        pictures, layers = (list(tables.grouped(rows, column)) for column in ("picture", "layer"))
        order = [(layer, prior) for layer in layers for prior in PRIORS]
        groups = tables.grouped(rows, "layer", "prior")
        parts.append(f"**{classifier}**, {len(pictures)} pictures: {', '.join(pictures)}.")
        parts.append(tables.table(COLUMNS, [groups[each] for each in order if each in groups]))
        parts.append("\n".join([PUBLISHED, *claims(rows, layers[-2:])]))
    return {"steps": run.rows()[0]["steps"], "tables": "\n\n".join(parts)}


def claims(rows, last: list[str]) -> Iterator[str]:
    deep = chosen(rows, prior="deep")
    for layer in last:
        for name in ("color", "detail"):
            above = [row[name] - row[f"{name}_of_others"] for row in chosen(deep, layer=layer)]
            count = f"above it for {sum(each > 0 for each in above)} of {len(above)}"
            mean = f"{sum(above) / len(above):+.2f}"
            yield f"- {layer}, deep prior: {name} {mean} above that of other pictures, {count}."
    for prior in PRIORS[1:]:
        theirs = {(row["picture"], row["layer"]): row["psnr"] for row in chosen(rows, prior=prior)}
        ours = {(row["picture"], row["layer"]): row["psnr"] for row in deep}
        gains = [psnr - theirs[key] for key, psnr in ours.items() if key in theirs]
        better = f"better for {sum(gain > 0 for gain in gains)} of {len(gains)}"
        gain = f"{sum(gains) / max(1, len(gains)):+.2f} dB"
        yield f"- Deep prior against {prior}: {gain} in the mean over layers and pictures, {better}."


def draw(run: Run):
    """A sheet for each classifier and picture: a row for each prior, the picture, then its inversions, shallow to deep."""
    for words, rows in tables.grouped(run.rows(), "classifier", "picture").items():
        layers = list(tables.grouped(rows, "layer"))
        files = [[run.figure(*words, "input"), *(run.figure(*words, prior, x) for x in layers)] for prior in PRIORS]
        figures.save_sheet(PRIORS, ["input", *layers], files, run.figure(*words))


def cases(run: Run):
    of = {classifier: (run.once(shown, classifier), run.once(layers, classifier)) for classifier in run.once(models)}
    return [(c, name, x, prior) for c, (some, deep) in of.items() for name in some for x in deep for prior in PRIORS]


STUDY = Study(Measured(("classifier", "picture", "layer", "prior"), cases, measure), values, draw)

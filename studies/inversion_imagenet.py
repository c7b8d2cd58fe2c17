"""What the blocks of an ImageNet classifier keep of a picture: color and detail, by deep prior, spectrum and total variation."""

from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.explain.invert import invert
from studies.feature_inversion import correlation
from studies.harness import Measured, Run, Study, by_scale, chosen, classifiers, figures, imaging, lite, tables

PRIORS = ("deep", "spectrum", "tv")
COUNT = by_scale(1, 3, 6)
STEPS = by_scale(6, None, None)
BLUR = 8  # pixels of 224: standard deviation before colors are compared
AIM = 0.9
UNMEASURED = "Nothing is measured yet: `make study NAME=inversion_imagenet`."


def model(run: Run) -> Classifier:
    return classifiers.classifier(run, "cifar10").classifier if run.smoke else lite.lite0()


def pictures(run: Run) -> dict[str, torch.Tensor]:
    return {"generated": imaging.generated_picture(32)} if run.smoke else lite.recognized(run, COUNT[run.scale])


def blocks(run: Run) -> list[str]:
    """Every block, from shallow to deep."""
    layers = run.once(model).layers()
    return [name for name in layers if name.rpartition(".")[0] in ("_blocks", "blocks")] or layers[:1]


def kept(found: torch.Tensor, given: torch.Tensor) -> dict[str, float]:
    """color: of a and b of Lab after a blur; light: of L after it; detail: of what the blur takes from L."""
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab

    sigma = BLUR * min(given.shape[-2:]) / 224
    both = [rgb2lab(x[0].permute(1, 2, 0).numpy()) for x in (found, given)]
    smooth = [gaussian_filter(x, (sigma, sigma, 0)) for x in both]
    sharp, soft = ([torch.from_numpy(x).permute(2, 0, 1)[None] for x in each] for each in (both, smooth))
    return {
        "color": correlation(*(x[:, 1:] for x in soft)),
        "light": correlation(*(x[:, :1] for x in soft)),
        "detail": correlation(*(x[:, :1] - y[:, :1] for x, y in zip(sharp, soft, strict=True))),
    }


def measure(run: Run, picture: str, layer: str, prior: Any):
    steps: dict[str, Any] = {} if STEPS[run.scale] is None else {"steps": STEPS[run.scale]}
    given = run.once(pictures)[picture]
    found = invert(given, classifier=run.once(model), layers=layer, prior=prior, **steps).run()
    image, seen = found.image.clamp(0, 1), found.given
    assert seen is not None
    figures.keep_picture(image, run.figure(picture, layer, prior))
    row = {"feature_error": found.numbers["feature_error"], "psnr": found.numbers["psnr"]}
    return row | kept(image, seen) | {"steps": found.steps, "seconds": found.seconds}


COLUMNS = {"layer": "layer", "prior": "prior", "feature error": "feature_error:.2g", "PSNR, dB": "psnr:.2f"}
COLUMNS |= {"color": "color:.2f", "light": "light:.2f", "detail": "detail:.2f", "seconds": "seconds:.0f"}


def values(run: Run):
    rows = run.rows()
    if not rows:
        return {"means": UNMEASURED, "targets": ""}
    order = list(tables.grouped(rows, "layer"))
    early = order[: len(order) // 2 + 1]
    deep = chosen(rows, prior="deep")
    least = min((tables.mean(chosen(deep, layer=layer), "color") for layer in early), default=0.0)
    line = [
        f"color at least {AIM} up to the middle block ({early[-1]})",
        f"{least:.2f}",
        "yes" if least >= AIM else "no",
    ]
    groups = tables.grouped(rows, "layer", "prior")
    shown = [groups[each] for each in ((layer, prior) for layer in order for prior in PRIORS) if each in groups]
    return {"means": tables.table(COLUMNS, shown), "targets": tables.markdown(["target", "least", "met"], [line])}


def draw(run: Run):
    for picture, own in tables.grouped(run.rows(), "picture").items():
        layers = list(tables.grouped(own, "layer"))
        files = [[run.figure(picture, layer, prior) for layer in layers] for prior in PRIORS]
        figures.save_sheet(PRIORS, layers, files, run.figure(picture))


def cases(run: Run):
    return [(name, layer, prior) for prior in PRIORS for name in run.once(pictures) for layer in run.once(blocks)]


STUDY = Study(Measured(("picture", "layer", "prior"), cases, measure), values, draw)

"""What the blocks of an ImageNet classifier keep of a picture: color and detail, by deep prior, spectrum and total variation."""

from typing import Any

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.explain.invert import invert
from studies.harness import Measured, Run, Study, by_scale, chosen, classifiers, figures, imaging, lite, tables

PRIORS = ("deep", "spectrum", "tv")
COUNT = by_scale(1, 2, 6)
STEPS = by_scale(6, 150, None)
BLUR = 8  # pixels of 224: standard deviation before colors are compared
AIM = 0.9
XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
UNMEASURED = "Nothing is measured yet: `make study NAME=inversion_imagenet`."


def model(run: Run) -> Classifier:
    return classifiers.classifier(run, "cifar10").classifier if run.smoke else lite.lite0()


def pictures(run: Run) -> dict[str, torch.Tensor]:
    return {"generated": imaging.generated_picture(32)} if run.smoke else lite.recognized(run, COUNT[run.scale])


def blocks(run: Run) -> list[str]:
    """Every block, from shallow to deep."""
    layers = run.once(model).layers()
    return [name for name in layers if name.rpartition(".")[0] in ("_blocks", "blocks")] or layers[:1]


def lab(x: torch.Tensor) -> torch.Tensor:
    """sRGB (1, 3, h, w) in 0 to 1 -> CIE L*a*b* (D65)."""
    linear = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("oc,bchw->bohw", x.new_tensor(XYZ), linear) / x.new_tensor(WHITE)[:, None, None]
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-8) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.cat([116 * f[:, 1:2] - 16, 500 * (f[:, :1] - f[:, 1:2]), 200 * (f[:, 1:2] - f[:, 2:])], 1)


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = max(1, min(round(3 * sigma), min(x.shape[-2:]) - 1))
    weights = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(x.shape[1], 1, -1)
    x = functional.pad(x, (reach,) * 4, mode="reflect")
    x = functional.conv2d(x, weights[..., :, None], groups=x.shape[1])
    return functional.conv2d(x, weights[..., None, :], groups=x.shape[1])


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's, of all values of two images, each channel's mean removed."""
    a, b = (x.double() - x.double().mean((2, 3), keepdim=True) for x in (a, b))
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))


def kept(found: torch.Tensor, given: torch.Tensor) -> dict[str, float]:
    """color: of a and b of Lab after a blur; light: of L after it; detail: of what the blur takes from L."""
    sigma = BLUR * min(given.shape[-2:]) / 224
    both = [lab(x) for x in (found, given)]
    smooth = [blurred(x, sigma) for x in both]
    detail = correlation(*(x[:, :1] - y[:, :1] for x, y in zip(both, smooth, strict=True)))
    return {
        "color": correlation(*(x[:, 1:] for x in smooth)),
        "light": correlation(*(x[:, :1] for x in smooth)),
        "detail": detail,
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

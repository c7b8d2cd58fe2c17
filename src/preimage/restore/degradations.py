"""Degradations: known ways to degrade clean images, each with the task that undoes it, for calibration.

    y = Phi(x) + noise, x known:    gaussian:25  poisson:30  speckle:0.2  impulse:0.3  jpeg:20  downsample:4  missing:0.5
                                    blur:1.6  blur:15,30

What comes out lies in 0 to 1, as files clip it, and goes to the task with the options that its user would give and no others.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from preimage.engine.checkpoint import fingerprint
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.images.formats import EXTENSIONS
from preimage.metrics import psnr
from preimage.operators import Blur, Downsample, lanczos2
from preimage.recipes import RecipeLike
from preimage.restore.deblur import blur_kernel, deblur
from preimage.restore.denoise import denoise
from preimage.restore.inpaint import inpaint
from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts
from preimage.restore.super_resolve import super_resolve
from preimage.tasks import TaskSpec

Source = Tensor | NDArray[Any] | Pillow.Image | str | Path | Picture

_BLUR_NOISE = 0.01  # beside a blur, in 0..1


@dataclass(frozen=True, eq=False)
class Specimen:
    """A picture before and after.

    Args:
        given: what the task is given.
        truth: (1, c, h, w) in 0..1, the picture that it is to find.
        options: of the task, that belong to what is given.
        name: of the picture, for reports.
    """

    given: Picture
    truth: Tensor
    options: dict[str, Any]
    name: str = ""

    def psnr(self, image: Tensor) -> float:
        """dB of a result, (1, c, h, w), clipped to 0..1; -inf for one that is not finite."""
        value = float(psnr(image.cpu().clamp(0, 1), self.truth))
        return -math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class Degradation:
    """A way to spoil pictures, and the task that is for it.

    Example:
        >>> degradation = read_degradation("downsample:4")
        >>> specimen = degradation.spoil(torch.rand(1, 3, 70, 64), torch.Generator().manual_seed(0))
        >>> specimen.given.tensor.shape, specimen.truth.shape, specimen.options
        (torch.Size([1, 3, 17, 16]), torch.Size([1, 3, 68, 64]), {'factor': 4})

    Args:
        name: as it is written, gaussian:25.
        spec: the task.
        spoil: a clean picture, (1, c, h, w) in 0..1, and a generator -> Specimen, whose truth may be smaller (by a blur's
            reach, say); an InputError for a picture that is too small, or has channels that it cannot have.
        flags: the options beside INPUT on the command line.
    """

    name: str
    spec: TaskSpec[..., Run]
    spoil: Callable[[Tensor, torch.Generator], Specimen]
    flags: str = ""

    @property
    def task(self) -> str:
        """The task's command: super-resolve."""
        return self.spec.name

    def start(
        self, specimen: Specimen, recipe: RecipeLike = "fast", *, seed: int = 0, device: str | torch.device = "auto"
    ) -> Run:
        """The task's Run on a specimen: a recipe's name is adapted to it, a value is used exactly as it is."""
        return self.spec(specimen.given, **specimen.options, recipe=recipe, seed=seed, device=device, tile=None)


def read_degradation(text: str) -> Degradation:
    """A degradation by its name.

    Example:
        >>> read_degradation("gaussian:25").task
        'denoise'

    Args:
        text: gaussian:SIGMA (in 8-bit units), poisson:COUNTS (at full white), speckle:SHARE (of the brightness),
            impulse:SHARE (of the values, black or white), jpeg:QUALITY, downsample:FACTOR (Lanczos), missing:SHARE (of the
            pixels), blur:SIGMA or blur:LENGTH,ANGLE (in pixels and degrees, with noise of 0.01).

    Raises:
        InputError: an unknown kind, or a number that is none or out of range.
    """
    kind, _, rest = text.replace(" ", "").partition(":")
    if kind not in _KINDS:
        raise InputError(
            f"there is no degradation {text!r}: specify {', '.join(_EXAMPLES[:-1])} or {_EXAMPLES[-1]}", code="option"
        )
    known, numbers = _KINDS[kind], _numbers(rest)
    moving = kind == "blur" and len(numbers) == 2
    if not moving:
        _check_number(text, known, numbers)
    if kind == "blur":
        kernel = f"{'motion' if moving else 'gaussian'}:{rest}"
        weights, _ = blur_kernel(kernel, 15)
        return Degradation(text, deblur, partial(known.make, (kernel, weights)), f"--kernel {kernel}")
    value = int(numbers[0]) if known.least else numbers[0]
    return Degradation(text, known.spec, partial(known.make, value), known.flags.format(value))


@dataclass(frozen=True)
class _Kind:
    """`least`: of a whole number; 0: any number above 0."""

    spec: TaskSpec[..., Run]
    make: Callable[..., Specimen]
    meaning: str
    most: float
    example: str
    least: int = 0
    flags: str = ""


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        return []


def _check_number(text: str, kind: _Kind, numbers: list[float]) -> None:
    value = numbers[0] if len(numbers) == 1 else float("nan")
    if (kind.least <= value <= kind.most and value == int(value)) if kind.least else (0 < value <= kind.most):
        return
    between = f"a whole number from {kind.least}" if kind.least else "a number above 0"
    raise InputError(f"degradation {text!r}: {kind.meaning} is {between} to {kind.most:g}, as in {kind.example}")


# ------------------------------------------------------------------ how each spoils


def _noisy(kind: str, level: float, clean: Tensor, generator: torch.Generator) -> Specimen:
    if kind == "poisson":
        noisy = torch.poisson(clean * level, generator=generator) / level
    elif kind == "impulse":
        chance = torch.rand(clean.shape, generator=generator)
        noisy = torch.where(chance < level, (chance < level / 2).float(), clean)
    else:
        normal = torch.randn(clean.shape, generator=generator)
        noisy = clean * (1 + level * normal) if kind == "speckle" else clean + level / 255 * normal
    return Specimen(as_picture(noisy.clamp(0, 1)), clean, {})


def _jpeg(quality: int, clean: Tensor, generator: torch.Generator) -> Specimen:
    del generator
    channels = clean.shape[1]
    if channels not in (1, 3):
        raise InputError(f"a JPEG has 1 or 3 channels, got {channels}: choose other images", code="shape")
    pixels = (clean[0] * 255).round().byte().movedim(0, -1).numpy()
    buffer = io.BytesIO()
    Pillow.fromarray(pixels if channels == 3 else pixels[..., 0]).save(buffer, "JPEG", quality=quality)
    return Specimen(as_picture(Pillow.open(buffer)), clean, {})


def _downsampled(factor: int, clean: Tensor, generator: torch.Generator) -> Specimen:
    del generator
    height, width = (side // factor * factor for side in clean.shape[-2:])
    truth = clean[..., :height, :width]
    if min(height, width) < 16 * factor:
        raise InputError(
            f"{width} x {height} pixels are too few to be {factor} times fewer a side: take a larger side", code="size"
        )
    return Specimen(as_picture(Downsample(lanczos2(factor), factor)(truth).clamp(0, 1)), truth, {"factor": factor})


def _missing(share: float, clean: Tensor, generator: torch.Generator) -> Specimen:
    missing = torch.rand(clean.shape[-2:], generator=generator) < share
    options = {"mask": missing.numpy().astype("uint8") * 255, "mask_white": "missing"}
    return Specimen(as_picture(clean.masked_fill(missing, 0)), clean, options)


def _blurred(kernel: tuple[str, Tensor], clean: Tensor, generator: torch.Generator) -> Specimen:
    """What a camera sees: the margin, of which it sees only a part, is no part of the truth either."""
    name, weights = kernel
    blur = Blur(weights, boundary="valid")
    blurred = blur(clean)
    height, width = blurred.shape[-2:]
    if min(height, width) < 16:
        raise InputError(
            f"a blur that reaches {max(blur.margin)} pixels leaves too little: take a larger side", code="size"
        )
    below, beside = blur.margin
    truth = clean[..., below : below + height, beside : beside + width]
    noise = _BLUR_NOISE * torch.randn(blurred.shape, generator=generator)
    return Specimen(as_picture((blurred + noise).clamp(0, 1)), truth, {"kernel": name})


_KINDS = {
    "gaussian": _Kind(
        denoise, partial(_noisy, "gaussian"), "the standard deviation in 8-bit units", 255, "gaussian:25"
    ),
    "poisson": _Kind(denoise, partial(_noisy, "poisson"), "the count at full white", 1e6, "poisson:30"),
    "speckle": _Kind(
        denoise, partial(_noisy, "speckle"), "the deviation relative to the brightness", 10, "speckle:0.2"
    ),
    "impulse": _Kind(denoise, partial(_noisy, "impulse"), "the share of black and white values", 0.99, "impulse:0.3"),
    "jpeg": _Kind(remove_jpeg_artifacts, _jpeg, "the quality", 100, "jpeg:20", least=1),
    "downsample": _Kind(super_resolve, _downsampled, "the factor", 16, "downsample:4", least=2, flags="--factor {}"),
    "missing": _Kind(
        inpaint, _missing, "the share of missing pixels", 0.99, "missing:0.5", flags="--mask MASK --mask-white missing"
    ),
    "blur": _Kind(deblur, _blurred, "the deviation in pixels (or length,angle)", 100, "blur:1.6 or blur:15,30"),
}
_EXAMPLES = [each for kind in _KINDS.values() for each in kind.example.split(" or ")]


# ------------------------------------------------------------------ the pictures


def specimens(
    pictures: str | Path | Sequence[Source], degradation: Degradation, *, side: int, limit: int | None, seed: int
) -> list[Specimen]:
    """The central `side` pixels of each picture, spoiled; in random order, and at most `limit` of them.

    Which noise a picture gets depends on its place among all, by name, and not on the limit.

    Raises:
        InputError: no folder, fewer than two pictures, one that cannot be used, or the same one twice.
    """
    found = _sources(pictures)
    if len(found) < 2:
        where = f"{pictures} has" if isinstance(pictures, str | Path) else "pictures are"
        raise InputError(f"{where} {len(found)}: two are the least, one to choose by and one to hold out", code="size")
    order = torch.randperm(len(found), generator=_generator(seed, len(found))).tolist()
    chosen = [_specimen(found[i], degradation, side, _generator(seed, i)) for i in order[:limit]]
    known: dict[str, str] = {}
    for each in chosen:
        pixels = fingerprint(each.truth)
        if pixels in known:
            raise InputError(f"{known[pixels]} and {each.name} are the same in their central {side} pixels: remove one")
        known[pixels] = each.name
    return chosen


def _sources(pictures: str | Path | Sequence[Source]) -> list[tuple[str, Source]]:
    """Names and pictures; of a folder all files with the extension of one, by name."""
    if not isinstance(pictures, str | Path):
        named = (str(each) if isinstance(each, str | Path) else f"picture {i + 1}" for i, each in enumerate(pictures))
        return list(zip(named, pictures, strict=True))
    folder = Path(pictures)
    if not folder.is_dir():
        raise InputError(
            f"{folder} {'is no folder' if folder.exists() else 'does not exist'}: give one of clean images",
            code="not-found",
        )
    known = (*EXTENSIONS, ".gif")
    files = sorted(each for each in folder.iterdir() if each.suffix.lower() in known and not each.name.startswith("."))
    return [(each.name, each) for each in files]


def _specimen(named: tuple[str, Source], degradation: Degradation, side: int, generator: torch.Generator) -> Specimen:
    name, source = named
    try:
        clean = as_picture(source).tensor
        if len(clean) > 1:
            raise InputError(f"{len(clean)} pages in one: give each as an image", code="shape")
        top, left = (max(0, (length - side) // 2) for length in clean.shape[-2:])
        spoiled = degradation.spoil(clean[..., top : top + side, left : left + side], generator)
    except InputError as error:
        raise InputError(f"{name}: {error}" if name not in str(error) else str(error), code=error.code) from error
    return replace(spoiled, name=name)


def _generator(seed: int, place: int) -> torch.Generator:
    """A stream for each place: PyTorch's generator on the CPU takes no more than 32 bits of a seed."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, place]).generate_state(1)[0]))

"""Images from files, arrays, tensors and Pillow images."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError, SalvageWarning
from preimage.images.files import open_file
from preimage.images.fits_reading import is_fits, read_fits
from preimage.images.from_samples import picture_from
from preimage.images.heif import kind_of, read_heic
from preimage.images.picture import Layout, Picture
from preimage.images.ranges import known_ends
from preimage.images.raster import SALVAGING, coding_of, read_raster, samples_of_image
from preimage.images.raw import is_raw, read_raw
from preimage.images.samples import MOST_CHANNELS, SMALLEST_SIDE, Samples, check_size, check_values
from preimage.images.tiff_reading import SIGNATURES, no_such_page, read_tiff

if TYPE_CHECKING:
    from PIL import Image


def read(
    path: str | Path,
    *,
    page: int | Literal["all"] | None = None,
    value_range: tuple[float, float] | None = None,
    missing: bool = False,
    salvage: bool | None = False,
    mosaic: bool = False,
) -> Picture:
    """Read a picture file: PNG, JPEG, WebP, BMP, a still GIF or AVIF, HEIC, FITS, or TIFF.

    Example:
        >>> read("cells.tif", page="all").tensor.shape
        torch.Size([3, 1, 32, 32])

    page is 1 to the number of pages, or "all", which become the axis b; a file of several pages needs it. value_range
    are the values that become 0 and 1; by default 0 and 255 for 8 bits, else the least and greatest of the pages read.
    With missing, values that say nothing of the scene, or would make all else one gray, are left out of the value range, and
    masked: NaN and what the file declares as missing in `Picture.missing`, `outliers`, and `bright` sources. A value_range need
    then not hold all values.
    With salvage, of a JPEG, PNG or BMP that is cut off what is there is read, and a SalvageWarning says so; with None, that is
    not proposed. A camera's raw file (DNG and others) is developed or, with mosaic, its Bayer mosaic is read.
    Raises InputError, one line with the way out, for a file that does not exist, is damaged or no picture of real
    numbers, for infinite values, and for NaN unless missing.
    """
    samples = read_samples(path, page=page, salvage=salvage, mosaic=mosaic)
    for remark in samples.remarks if samples.salvaged else ():
        warnings.warn(remark, SalvageWarning, stacklevel=2)
    try:
        return picture_from(samples, str(path), value_range=value_range, path=Path(path), missing=missing)
    except MemoryError as error:
        raise _too_large(path) from error


def read_samples(
    path: str | Path,
    *,
    page: int | Literal["all"] | None = None,
    salvage: bool | None = False,
    at_least: tuple[int, int] | None = None,
    mosaic: bool = False,
) -> Samples:
    """The samples of a picture file as stored, not yet turned upright: what `read` makes a Picture of.

    Arguments and errors are those of `read`; at_least: (width, height) below which no side of a JPEG needs to be.
    """
    path = Path(path)
    name = str(path)
    if page is not None and page != "all" and (isinstance(page, bool) or not isinstance(page, int) or page < 1):
        raise InputError(f'page must be a number from 1 or "all", got {page!r}')
    try:
        head, raw = _head(path)
        if head[:4] in SIGNATURES and not raw:
            return read_tiff(path, name, page)
        if is_fits(path, head):
            return read_fits(path, name, page)
        if page not in (None, "all", 1):
            raise no_such_page(name, page, 1)
        if raw:
            return read_raw(path, name, mosaic=mosaic)
        if kind_of(head) == "HEIC":
            return read_heic(path, name)
        return read_raster(path, name, salvage=bool(salvage), at_least=at_least)
    except InputError as error:
        if salvage is None and SALVAGING in str(error):
            raise InputError(str(error).replace(SALVAGING, ""), code=error.code) from error
        raise
    except MemoryError as error:
        raise _too_large(path) from error


def _too_large(path: str | Path) -> InputError:
    return InputError(f"{path} is too large for the memory of this machine: cut it, or read one page", code="memory")


def as_picture(
    image: torch.Tensor | NDArray[Any] | Image.Image | str | Path | Picture,
    *,
    value_range: tuple[float, float] | None = None,
    missing: bool = False,
    mosaic: bool = False,
) -> Picture:
    """A Picture of whatever holds the pixels.

    Example:
        >>> as_picture(np.zeros((16, 20, 3), np.uint8)).tensor.shape
        torch.Size([1, 3, 16, 20])

    A numpy array is (h, w) or (h, w, c) of bool, integers or floats; its channels are all data, none is alpha. A tensor
    is (h, w), (c, h, w) or (b, c, h, w): uint8, or float within 0 to 1 unless value_range is given. Strings and paths
    are read, a Picture is passed on. missing and mosaic are as for `read`.
    Raises InputError for anything else, and for a Picture with missing values unless missing.
    """
    if isinstance(image, Picture):
        if value_range is not None and value_range != image.units():
            given = f"{image.name} has its value range already, {image.units()}"
            raise InputError(f"{given}: give it when reading", code="option")
        if image.missing is not None and not missing:
            lacks = f"{image.name} has {int(image.missing.sum())} missing values, of {image.missing.numel()}"
            raise InputError(f"{lacks}: fill them first (inpaint does)", code="range")
        return image
    if isinstance(image, (str, Path)):
        return read(image, value_range=value_range, missing=missing, mosaic=mosaic)
    if isinstance(image, torch.Tensor):
        return _from_tensor(image, value_range, missing)
    if isinstance(image, np.ndarray):
        return _from_array(image, value_range, missing)
    pillow = sys.modules.get("PIL.Image")  # who gives a Pillow image has imported it
    if pillow is not None and isinstance(image, pillow.Image):
        check_size(image.width, image.height, len(image.getbands()), "the PIL image")
        samples = samples_of_image(image, "the PIL image", "PIL image", coding=coding_of(image))
        return picture_from(samples, "the PIL image", value_range=value_range, missing=missing)
    expected = "a path, a numpy array, a tensor or a Pillow image"
    raise InputError(f"expected {expected}, got {type(image).__name__}", code="type")


def _head(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether it holds a camera's raw values."""
    with open_file(path) as file:
        head = file.read(64)
        raw = is_raw(path, head, file)
    if not head:
        raise InputError(f"{path} is empty (0 bytes): get or save it again", code="unreadable")
    return head, raw


def _from_array(array: NDArray[Any], value_range: tuple[float, float] | None, missing: bool) -> Picture:
    if array.ndim not in (2, 3) or array.size == 0:
        expected = "an array (h, w) or (h, w, c)"
        raise InputError(f"expected {expected}, got shape {array.shape}: give one picture", code="shape")
    if array.ndim == 3 and _has_channels_first(array.shape):
        _refuse_order(
            "the array", array.shape, "(h, w, c)", "(c, h, w)", "numpy.moveaxis(array, 0, -1), or give it as a tensor"
        )
    layout: Layout = "hw" if array.ndim == 2 else "hwc"
    samples = Samples(array.reshape(1, *array.shape[:2], -1), "array")
    return picture_from(samples, "the array", value_range=value_range, layout=layout, missing=missing)


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether (h, w, c) cannot be meant, and (c, h, w) can."""
    cannot = min(shape[:2]) < SMALLEST_SIDE or shape[2] > MOST_CHANNELS
    return cannot and 1 <= shape[0] <= MOST_CHANNELS and min(shape[1:]) >= SMALLEST_SIDE


def _refuse_order(name: str, shape: Sequence[int], expected: str, found: str, way_out: str) -> NoReturn:
    raise InputError(
        f"{name} must be {expected}, got shape {tuple(shape)}, which seems to be {found}: give {way_out}", code="shape"
    )


def _from_tensor(tensor: torch.Tensor, value_range: tuple[float, float] | None, missing: bool) -> Picture:
    if tensor.ndim not in (2, 3, 4) or tensor.numel() == 0:
        expected = "a tensor (h, w), (c, h, w) or (b, c, h, w)"
        raise InputError(f"expected {expected}, got shape {tuple(tensor.shape)}: give one picture", code="shape")
    height, width, last = tensor.shape[-3:] if tensor.ndim > 2 else (0, 0, 0)
    if _has_channels_first((last, width, height)):
        moved = "permute(2, 0, 1)" if tensor.ndim == 3 else "permute(0, 3, 1, 2)"
        _refuse_order("the tensor", tensor.shape, "([b,] c, h, w)", "([b,] h, w, c)", f"tensor.{moved}")
    layouts: dict[int, Layout] = {2: "tensor hw", 3: "chw", 4: "bchw"}
    four = tensor.detach().cpu().reshape(*[1] * (4 - tensor.ndim), *tensor.shape)
    pages = (four.float() if four.dtype == torch.bfloat16 else four).numpy().transpose(0, 2, 3, 1)
    check_size(pages.shape[2], pages.shape[1], pages.shape[3], "the tensor")
    if value_range is None and pages.dtype.kind == "f":
        check_values(pages, "the tensor", missing=missing)
        lowest, highest = known_ends(pages)
        if lowest < 0 or highest > 1:
            outside = f"the tensor's values go from {lowest:g} to {highest:g}, and 0 to 1 is expected"
            raise InputError(f"{outside}: give value_range=(low, high), or scale it", code="range")
        value_range = (0.0, 1.0)
    samples, layout = Samples(pages, "tensor"), layouts[tensor.ndim]
    return picture_from(samples, "the tensor", value_range=value_range, layout=layout, missing=missing)

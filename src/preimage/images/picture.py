"""An image as a tensor, with all that is needed to write a result in the same format, dtype and value range."""

from __future__ import annotations

import contextlib
import functools
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.atomic import check_place, write_bytes_atomically
from preimage.images.formats import EXTENSIONS, TIFF, Format, check_holds
from preimage.images.pixel_size import enlarged_exif
from preimage.images.ranges import from_unit, quantize
from preimage.images.raster_writing import encode_raster
from preimage.images.samples import SMALLEST_SIDE, Metadata, Samples, apart_from, as_stored, nodata_of
from preimage.images.tiff_writing import write_tiff

Layout = Literal["file", "hw", "hwc", "tensor hw", "chw", "bchw"]


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels as a tensor, and how they were stored.

    Example:
        >>> picture = read("photo.png")
        >>> picture.tensor.shape
        torch.Size([1, 3, 32, 32])
        >>> picture.write(picture.tensor, "copy.png").name
        'copy.png'

    tensor is (b, c, h, w) float32, 0 to 1, upright, without alpha; b is the number of pages read. alpha is (b, h, w),
    upright, in dtype. low and high are the values, in file units, that are 0 and 1 in the tensor. orientation is the
    EXIF value that was applied: 1 if the file has the rows and columns as they are in the tensor. missing, of a picture
    read with missing=True, is (b, c, h, w) bool, True where the value was NaN or the file's mark of a missing one, and the
    tensor holds the mean of the valid values of that page and channel; None if no value is missing. remarks say what was not
    read as it stands in the file.

    Of a picture read with missing=True, too: outliers, single values far beyond all others, for which the tensor holds the median
    around them; bright, values of few and extended sources, which are beyond 0 to 1 in the tensor (both like missing); given, the
    file's values (b, h, w, c), None where all of them are in the tensor; kept, (b, c or 1, h, w) bool, True where `write` takes
    the value of `given` instead of the result's.
    """

    tensor: torch.Tensor = field(repr=False)
    low: float
    high: float
    dtype: np.dtype[Any]
    format: str  # "PNG", "TIFF" ...; "array", "tensor" or "PIL image" for what came from memory
    layout: Layout = "file"
    path: Path | None = None
    alpha: NDArray[Any] | None = field(default=None, repr=False)
    orientation: int = 1
    metadata: Metadata = field(default_factory=Metadata, repr=False)
    missing: torch.Tensor | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
    outliers: torch.Tensor | None = field(default=None, repr=False)
    bright: torch.Tensor | None = field(default=None, repr=False)
    given: NDArray[Any] | None = field(default=None, repr=False)
    kept: torch.Tensor | None = field(default=None, repr=False)

    @property
    def unfitted(self) -> torch.Tensor | None:
        """Where a value is missing, an outlier or bright, (b, c, h, w) bool; None if it is nowhere.

        Example:
            >>> int(as_picture(np.full((16, 16), np.nan) * np.eye(16), missing=True).unfitted.sum())    # doctest: +SKIP
            256
        """
        masks = [mask for mask in (self.missing, self.outliers, self.bright) if mask is not None]
        return functools.reduce(torch.logical_or, masks) if masks else None

    @property
    def name(self) -> str:
        """Its name in error messages: its path, or "the array" and the like."""
        return str(self.path) if self.path is not None else f"the {self.format}"

    def units(self) -> tuple[float, float]:
        """(low, high) in file units: value = low + x * (high - low).

        Example:
            >>> as_picture(np.zeros((16, 16), np.uint8)).units()
            (0.0, 255.0)
        """
        return self.low, self.high

    def transparent(self) -> torch.Tensor | None:
        """Where the picture is not fully opaque: (b, 1, h, w) bool, or None if it has no alpha or is opaque everywhere.

        Example:
            >>> read("transparent.png").transparent().float().mean()
            tensor(0.2500)

        Partly transparent pixels count: their color is mixed with an unknown one. Opaque is the greatest value of
        an integer dtype, and 1 of a float.
        """
        if self.alpha is None:
            return None
        holes = torch.from_numpy(self.alpha < _full_alpha(self.alpha.dtype))
        return holes[:, None] if holes.any() else None

    def white(self) -> torch.Tensor:
        """Where a black and white picture, a mask, is white: (b, 1, h, w) bool, above half of its brightest value.

        Example:
            >>> as_picture(np.eye(16, dtype=np.uint8)).white().sum()
            tensor(16)

        The values of the file count, so that a mask of 0 and 1, or one that is all white, is read correctly.
        """
        brightness = (self.low + self.tensor * (self.high - self.low)).mean(1, keepdim=True)
        brightest = float(brightness.max())
        return brightness > 0.5 * brightest if brightest > 0 else torch.zeros_like(brightness, dtype=torch.bool)

    def shown(self, image: torch.Tensor) -> torch.Tensor:
        """An image (c, h, w) of this kind as it is to be looked at: CMYK as the light that inks and black leave, (3, h, w)."""
        return image[:3] * image[3:4] if self.metadata.cmyk else image

    def opaque(self) -> Picture:
        """This picture with all of its alpha fully opaque, to write a result whose transparent part was filled.

        Example:
            >>> picture = read("transparent.png")
            >>> picture.opaque().write(picture.tensor, "whole.png").name
            'whole.png'

        A picture without alpha is returned as it is.
        """
        if self.alpha is None:
            return self
        return replace(self, alpha=np.full_like(self.alpha, self.opaque_alpha()))

    def opaque_alpha(self) -> float:
        """The value of alpha that is fully opaque."""
        if self.alpha is None:
            return 1
        greatest = np.fmax.reduce(self.alpha, axis=None)  # more than 1 in a float file that counts to 255
        return max(_full_alpha(self.alpha.dtype), greatest)

    def to_array(self, tensor: torch.Tensor) -> NDArray[Any]:
        """A result as a numpy array with the dtype and layout of this image, upright.

        Example:
            >>> picture = as_picture(np.zeros((16, 20, 3), np.uint16))
            >>> picture.to_array(picture.tensor).shape
            (16, 20, 3)

        tensor is (b, c, h, w) or (c, h, w), 0 to 1; h and w may differ from the picture's (super-resolution: alpha is
        enlarged too). What came as an array or a tensor comes back arranged as it came. A file or PIL image comes back
        (h, w) or (h, w, c), alpha as the last channel, with b in front if several pages were read; CMYK as inks.
        Raises InputError if pages or channels differ from the picture's, or values are not finite.
        """
        pages, alpha = self._in_kind(tensor, self.dtype, self.low, self.high)
        if self.metadata.cmyk and pages.dtype.kind == "u":
            pages = np.iinfo(pages.dtype).max - pages
        if self.layout == "tensor hw":
            return pages[0, ..., 0]
        if self.layout in ("chw", "bchw"):
            channels_first = np.ascontiguousarray(pages.transpose(0, 3, 1, 2))
            return channels_first[0] if self.layout == "chw" else channels_first
        if alpha is not None:
            pages = np.concatenate([pages, alpha[..., None]], axis=3)
        if self.layout != "hwc" and pages.shape[3] == 1:
            pages = pages[..., 0]
        return pages[0] if pages.shape[0] == 1 else pages

    def check_destination(
        self, path: str | Path, *, overwrite: bool = False, size: tuple[int, int] | None = None
    ) -> None:
        """Find out before hours of fitting whether a result can be written to path.

        Example:
            >>> as_picture(np.zeros((16, 16), np.uint16)).check_destination("out.jpg")
            Traceback (most recent call last):
            ...
            preimage.errors.InputError: out.jpg: JPEG cannot hold uint16 values: use .png, .tif or .tiff

        size is the height and width of the result, if it will be larger than the picture. Raises InputError where the
        folder is missing or not writable, the file exists and overwrite is False, it is the input itself, its extension
        names no format that is written, or the format cannot hold such a picture.
        """
        path = Path(path)
        b, c, h, w = self.tensor.shape
        self._destination(path, (b, c, *(size or (h, w))))
        check_place(path, overwrite=overwrite)
        # A corner, encoded with all metadata: a profile too long for the format shows now.
        corner = np.s_[..., :SMALLEST_SIDE, :SMALLEST_SIDE]
        alpha = None if self.alpha is None else self.alpha[corner]
        trial = replace(self, tensor=self.tensor[corner], alpha=alpha, kept=None)
        trial._encode(trial.tensor, path, io.BytesIO())

    def write(self, tensor: torch.Tensor, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a result with this image's dtype, value range, alpha, orientation, profile and metadata.

        Example:
            >>> picture = read("noisy.tif")
            >>> picture.write(picture.tensor / 2, "restored.tif").name
            'restored.tif'
            >>> read("restored.tif").dtype
            dtype('uint16')

        The extension chooses the format; of another format than the input's, what it can hold is carried over.
        JPEG is written with quality 95 and full color resolution, WebP without loss. The file is there whole or not
        at all. Raises InputError as `check_destination` and `to_array` do, and if the disk is full.
        """
        path = Path(path)
        self._destination(path, tuple(self._four_axes(tensor).shape))
        return write_bytes_atomically(path, functools.partial(self._encode, tensor, path), overwrite=overwrite)

    def _encode(self, tensor: torch.Tensor, path: Path, file: BinaryIO) -> None:
        form, dtype, low, high = self._destination(path, tuple(self._four_axes(tensor).shape))
        pages, alpha = self._in_kind(tensor, dtype, low, high)
        # Programs follow the orientation of one format and not of another: another one gets the picture upright.
        keeps = form.name == self.format and (form is TIFF or self.metadata.exif is not None)
        orientation = self.orientation if keeps else 1
        metadata = self._metadata_for(pages.shape[1:3], orientation)
        alpha = None if alpha is None else as_stored(alpha, orientation)
        samples = Samples(as_stored(pages, orientation), form.name, alpha, orientation, metadata)
        if form is TIFF:
            write_tiff(samples, file, str(path))
        else:
            file.write(encode_raster(samples, form, str(path)))

    def _destination(self, path: Path, shape: tuple[int, ...]) -> tuple[Format, np.dtype[Any], float, float]:
        if self.path is not None and _same_file(path, self.path):
            problem = f"{path} is the input itself, which is never overwritten"
            raise InputError(f"{problem}: choose another name", code="exists")
        dtype, low, high = self.dtype, self.low, self.high
        # No image file holds bool as such; a float tensor has no kind of file of its own, and 8 bits are customary.
        customary = self.format == "tensor" and dtype.kind == "f" and EXTENSIONS.get(path.suffix.lower()) is not TIFF
        if dtype == np.bool_ or customary:
            dtype, low, high = np.dtype(np.uint8), 0.0, 255.0
        b, c, h, w = shape
        color: Any = {"alpha": self.alpha is not None, "cmyk": bool(self.metadata.cmyk), "bits": self.metadata.bits}
        form = check_holds(path, dtype=dtype, channels=c, pages=b, side=max(h, w), **color)
        return form, dtype, low, high

    def _four_axes(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 3:
            tensor = tensor[None]
        expected = tuple(self.tensor.shape)
        if tensor.ndim != 4 or tuple(tensor.shape[:2]) != expected[:2]:
            wanted = f"a result of {expected[0]} pages and {expected[1]} channels, (b, c, h, w)"
            way_out = "give the tensor that was made from this picture"
            raise InputError(
                f"{self.name}: expected {wanted}, got shape {tuple(tensor.shape)}: {way_out}", code="shape"
            )
        return tensor

    def _in_kind(
        self, tensor: torch.Tensor, dtype: np.dtype[Any], low: float, high: float
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        tensor = self._four_axes(tensor).detach().float()
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            problem = f"the result for {self.name} has {bad} values that are not finite, of {tensor.numel()}"
            raise InputError(f"{problem}: fit again with a lower learning rate", code="range")
        pages = from_unit(tensor, low, high, dtype)
        if self.kept is not None and self.given is not None and dtype == self.dtype:
            scale = pages.shape[1] // self.given.shape[1]
            there, own = (each.repeat(scale, 1).repeat(scale, 2) for each in (_channels_last(self.kept), self.given))
            pages = np.where(there, own, apart_from(pages, nodata_of(self.metadata))).astype(dtype, copy=False)
        return pages, self.alpha_of_size(int(tensor.shape[2]), int(tensor.shape[3]))

    def alpha_of_size(self, h: int, w: int) -> NDArray[Any] | None:
        """Alpha, (b, h, w) in its dtype, as it is or interpolated; None if there is none."""
        if self.alpha is None or self.alpha.shape[1:] == (h, w):
            return self.alpha
        values = torch.from_numpy(self.alpha.astype(np.float64))[:, None]
        resized = torch.nn.functional.interpolate(values, size=(h, w), mode="bilinear", align_corners=False)
        return quantize(resized[:, 0].numpy(), self.alpha.dtype)

    def _metadata_for(self, size: tuple[int, ...], orientation: int) -> Metadata:
        """Of an enlarged picture each pixel is smaller: more dots per inch. size is upright."""
        before, after = tuple(self.tensor.shape[2:]), tuple(size)
        if self.orientation >= 5:  # rows and columns as they were stored
            before, after = before[::-1], after[::-1]
        other = orientation if orientation != self.orientation else None
        exif = None if self.metadata.exif is None else enlarged_exif(self.metadata.exif, before, after, other)
        dpi = self.metadata.dpi
        if dpi is not None:
            dpi = (dpi[0] * after[1] / before[1], dpi[1] * after[0] / before[0])
            if self.orientation >= 5 and orientation == 1:
                dpi = dpi[::-1]
        return replace(self.metadata, dpi=dpi, exif=exif)


def _channels_last(mask: torch.Tensor) -> NDArray[np.bool_]:
    return mask.numpy().transpose(0, 2, 3, 1)


def _full_alpha(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 1


def _same_file(path: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):  # one of them is not there
        return path.samefile(other)
    return False

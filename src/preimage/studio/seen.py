"""Pictures as the page looks at them: decoded once, page by page, and kept until others need the room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.formats import READ_BY_PILLOW
from preimage.images.reading import read_samples
from preimage.images.samples import Samples, upright
from preimage.images.tiff_reading import SeveralPages
from preimage.studio import looks
from preimage.studio.looks import Region

T = TypeVar("T")
_SHARE = 0.25  # of the memory limit that is kept
_LEAST = 2**28


@dataclass(frozen=True, eq=False)
class Seen:
    """One page as it is looked at: file values (h, w, c), upright, and how much of the file there is."""

    values: NDArray[Any]
    alpha: NDArray[Any] | None
    inks: bool
    pages: int
    samples: Samples

    @classmethod
    def of(cls, path: Path, page: int | None = None, *, salvage: bool = True) -> Seen:
        """A page of a file, the first unless another is named.

        Raises:
            InputError: a file that cannot be read, no such page.
        """
        count = 1
        try:
            samples = read_samples(path, page=page, salvage=salvage)
        except SeveralPages as error:
            count = error.count
            samples = read_samples(path, page=1, salvage=salvage)
        values = upright(samples.pages, samples.orientation)[0]
        alpha = None if samples.alpha is None else upright(samples.alpha, samples.orientation)[0]
        return cls(values, alpha, bool(samples.metadata.cmyk), count, samples)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.alpha is None else self.alpha.nbytes)

    @cached_property
    def window(self) -> tuple[float, float]:
        """The values that are black and white unless the page says otherwise."""
        return looks.window_of(self.values)

    def png(self, region: Region, low: float | None = None, high: float | None = None) -> bytes:
        """A region within a contrast window."""
        own = self.window
        window = looks.window_of(self.values, own[0] if low is None else low, own[1] if high is None else high)
        image = looks.colored(looks.shrunk(region.cut(self.values), region.out), window, inks=self.inks)
        if self.alpha is None:
            return looks.png(image)
        alpha = looks.shrunk(region.cut(self.alpha)[..., None], region.out)[..., 0]
        full = looks.eight_bits(self.alpha[:1, :1]) if self.alpha.dtype.kind in "iu" else None
        shown = looks.eight_bits(alpha.astype(self.alpha.dtype) if full is not None else alpha)
        return looks.png(image, shown)


def _key(path: Path, page: int | None) -> Hashable:
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size, page


class Kept:
    """What was made lately, while it takes no more than so many bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit: int = max(_LEAST, int(_SHARE * limit))
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """What is known by this key, made if it is not kept."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        made = make()
        self._held[key] = made, size(made)
        while len(self._held) > 1 and sum(each for _, each in self._held.values()) > self.limit:
            self._held.popitem(last=False)
        return made

    def picture(self, path: Path, page: int | None) -> Seen:
        """A page of a file, as the file is now; of a file of one page the first is it."""
        whole = self._held.get(_key(path, None))
        if page in (None, 1) and whole is not None:
            return self.get(_key(path, None), lambda: whole[0], lambda seen: seen.nbytes)
        return self.get(_key(path, page), lambda: Seen.of(path, page), lambda seen: seen.nbytes)

    def keep(self, path: Path, seen: Seen) -> None:
        """What was decoded for another purpose."""
        self.get(_key(path, None), lambda: seen, lambda seen: seen.nbytes)


def check_claims(path: Path, most: int) -> None:
    """Raise InputError for a file whose header counts more pixels, of all its pages, than are read here; decodes nothing."""
    claimed = _claimed(path)
    if claimed > most:
        raise InputError(
            f"{claimed} pixels are more than the {most} of this studio: cut or reduce the picture first", code="size"
        )


def _claimed(path: Path) -> int:
    """Pixels by the header, as far as it is one that can be read without decoding; 0 of others, which their readers check."""
    from PIL import Image

    from preimage.images.raster import pillow_unguarded
    from preimage.images.tiff_reading import SIGNATURES

    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head in SIGNATURES:
            import tifffile

            with tifffile.TiffFile(path) as tif:
                first = tif.pages.first
                return int(first.imagewidth) * int(first.imagelength) * len(tif.pages)
        with pillow_unguarded(), Image.open(path, formats=READ_BY_PILLOW) as image:
            return int(np.prod([int(side) for side in image.size], dtype=object))
    except Exception:  # the reader says what is wrong
        return 0

"""Real files of many origins, read and written unchanged; they are found by the environment variable PREIMAGE_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from preimage.errors import InputError
from preimage.images import read

FOLDER = Path(os.environ.get("PREIMAGE_DATA", ""))
PLACES = ("microscopy/*.*", "microscopy/format_samples/*.*", "restoration/real_noise_2/*", "dip_paper/*/*.*")
FILES = sorted(path for place in PLACES for path in FOLDER.glob(place)) if os.environ.get("PREIMAGE_DATA") else []

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FILES, reason="PREIMAGE_DATA does not name the folder of test pictures"),
]


@pytest.mark.parametrize("path", FILES or [Path("none")], ids=lambda path: path.name)
def test_real_file(path: Path, tmp_path: Path) -> None:
    if path.name == "multipage.tif":
        with pytest.raises(InputError, match="is 10 x 15 pixels"):
            read(path, page=1)
        return
    picture = read(path, page="all")
    copy = picture.write(picture.tensor, tmp_path / f"copy{path.suffix}")
    again = read(copy, page="all")
    before, after = picture.to_array(picture.tensor), again.to_array(again.tensor)
    if path.suffix == ".jpg":
        assert np.abs(before.astype(int) - after).mean() < 2
    else:
        np.testing.assert_array_equal(after, before)
        assert again.units() == picture.units()
        assert again.metadata.dpi == picture.metadata.dpi
        twice = again.write(again.tensor, tmp_path / f"twice{path.suffix}")
        assert twice.read_bytes() == copy.read_bytes()
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as old, tifffile.TiffFile(copy) as new:
            np.testing.assert_array_equal(new.asarray(), old.asarray())
            assert new.byteorder == old.byteorder
            assert len(new.pages) == len(old.pages)
            # A MetaMorph stack of one page becomes a plain TIFF: its own tags are not written.
            assert new.series[0].axes == old.series[0].axes

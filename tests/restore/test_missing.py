"""Which pixels are missing, told by masks of any kind, transparency or NaNs; and what kind of gap they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from specimens import THIN, clean

from preimage.errors import InputError
from preimage.images import Picture, as_picture, read
from preimage.restore.inpaint import inpaint
from preimage.restore.missing import depth, describe, drawn_missing, kind_of_gap, missing_of


def drawn(side: int = 32) -> np.ndarray:
    """(side, side) True in a rectangle off the center: a mask that is no mirror image of itself."""
    mask = np.zeros((side, side), bool)
    mask[4:12, 6:24] = True
    return mask


def picture(side: int = 32) -> Picture:
    return as_picture(clean(side))


def expected(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None]


# ---------------------------------------------------------------------- masks

EIGHT = drawn().astype(np.uint8)
KINDS = {
    "bool": drawn(),
    "0 and 1": EIGHT,
    "0 and 255": EIGHT * 255,
    "not quite black and white": EIGHT * 180 + 30,
    "uint16": EIGHT.astype(np.uint16) * 65535,
    "int64": EIGHT.astype(np.int64),
    "float": EIGHT.astype(np.float32),
    "color": np.repeat(EIGHT[..., None] * 255, 3, 2),
    "tensor": torch.from_numpy(drawn()),
    "tensor (1, 1, h, w)": torch.from_numpy(drawn())[None, None].float(),
    "PIL": Image.fromarray(EIGHT * 255),
    "Picture": as_picture(EIGHT * 255),
}


@pytest.mark.parametrize("mask", KINDS.values(), ids=KINDS.keys())
def test_masks_of_any_kind(mask):
    assert torch.equal(drawn_missing(mask, "missing"), expected(drawn()))
    assert torch.equal(drawn_missing(mask, "valid"), expected(~drawn()))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "0 and 1"])
def test_masks_from_files(tmp_path, mode):
    image = Image.fromarray(EIGHT) if mode == "0 and 1" else Image.fromarray(EIGHT * 255).convert(mode)
    image.save(tmp_path / "mask.png")
    for path in (tmp_path / "mask.png", str(tmp_path / "mask.png")):
        assert torch.equal(drawn_missing(path, "missing"), expected(drawn()))


def test_a_mask_of_several_pages_has_as_many():
    own = torch.from_numpy(np.stack([drawn(), drawn().T]))[:, None]
    assert torch.equal(drawn_missing(own, "missing"), own)


def test_a_folder_has_a_mask_of_the_input_s_name(tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(EIGHT * 255).save(tmp_path / "masks" / "a.png")
    Image.fromarray(EIGHT.T * 255).save(tmp_path / "masks" / "b.png")
    options = {
        "mask": tmp_path / "masks",
        "mask_white": "missing",
        "recipe": replace(THIN, stop="steps"),
        "device": "cpu",
    }
    for name, mask in (("a", drawn()), ("b", drawn().T), ("c", None)):
        Image.new("L", (32, 32), 90).save(tmp_path / f"{name}.png")
        if mask is None:
            with pytest.raises(InputError) as caught:
                inpaint(tmp_path / "c.png", **options)
            assert caught.value.code == "not-found"
            assert "c.png" in str(caught.value)
        else:
            weight = inpaint(tmp_path / f"{name}.png", **options).problem.weight
            assert torch.equal(weight, 1 - expected(mask).float())


@pytest.mark.parametrize("value", [1, 255, 65535])
@pytest.mark.parametrize(("white", "found"), [("missing", "everything is missing"), ("valid", "nothing is missing")])
def test_an_all_white_mask_is_white(value, white, found):
    mask = np.full((32, 32), value, np.uint8 if value < 256 else np.uint16)
    with pytest.raises(InputError) as caught:
        missing_of(picture(), mask, white)
    assert caught.value.code == "mask"
    assert found in str(caught.value)


# ---------------------------------------------------------------------- transparency and NaNs


def with_hole(alpha: int = 0) -> Picture:
    pixels = np.full((32, 32, 4), 255, np.uint8)
    pixels[4:12, 6:24, 3] = alpha
    return as_picture(Image.fromarray(pixels))


@pytest.mark.parametrize("alpha", [0, 128, 254])
def test_what_is_not_opaque_is_missing_and_written_opaque(alpha):
    missing, written = missing_of(with_hole(alpha), None, None)
    assert torch.equal(missing, expected(drawn()))
    assert written.alpha is not None
    assert (written.alpha == 255).all()


def test_a_mask_leaves_transparency_as_it_is():
    missing, written = missing_of(with_hole(), drawn().T, "missing")
    assert torch.equal(missing, expected(drawn().T))
    assert written.transparent() is not None


def test_nans_are_missing_in_their_own_channel():
    pixels = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    pixels[4:12, 6:24, 1] = np.nan
    missing, _ = missing_of(as_picture(pixels, missing=True), None, None)
    assert missing.shape == (1, 3, 32, 32)
    assert torch.equal(missing[:, 1:2], expected(drawn()))
    assert not bool(missing[:, ::2].any())


def test_a_mask_and_nans_are_both_missing():
    pixels = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    pixels[20:24, 2:5] = np.nan
    missing, _ = missing_of(as_picture(pixels, missing=True), drawn(), "missing")
    both = drawn()
    both[20:24, 2:5] = True
    assert torch.equal(missing, expected(both))


# ---------------------------------------------------------------------- what kind of gap


def written_text(size: int, side: int = 256, leading: float = 4) -> torch.Tensor:
    """A page with lines of text, so many times its size apart."""
    page = Image.new("L", (side, side))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=size)
    for top in range(10, side, int(leading * size)):
        pen.text((4, top), "The quick brown fox jumps over the lazy dog", fill=255, font=font)
    return torch.from_numpy(np.asarray(page) > 127)[None, None]


def square(side: int, of: int = 256) -> torch.Tensor:
    gap = torch.zeros(1, 1, of, of, dtype=torch.bool)
    gap[..., 30 : 30 + side, 50 : 50 + side] = True
    return gap


def single_pixels(share: float, side: int = 256) -> torch.Tensor:
    return torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)) < share


@pytest.mark.parametrize("size", [16, 24, 40, 60])
def test_strokes_are_text(size):
    assert kind_of_gap(written_text(size)) == "text"


@pytest.mark.parametrize("size", [10, 16, 24, 40])
def test_a_page_full_of_text_is_text(size):
    """Up to a fifth of it is covered, but what is between the strokes is known as a whole."""
    assert kind_of_gap(written_text(size, leading=1.2)) == "text"


def test_a_scratch_is_text():
    gap = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
    gap[..., 100:103, :] = True
    assert kind_of_gap(gap) == "text"


@pytest.mark.parametrize("side", [30, 40])
def test_a_patch_is_a_region(side):
    assert kind_of_gap(square(side)) == "region"


@pytest.mark.parametrize("side", [80, 128, 200])
def test_a_large_patch_is_a_hole(side):
    assert kind_of_gap(square(side)) == "hole"


def test_all_but_a_patch_is_a_hole():
    """More than 90 % is missing, but no single pixels are what is known."""
    known = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
    known[..., 90:150, 100:160] = True
    assert kind_of_gap(~known) == "hole"


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.75])
def test_half_of_the_pixels_is_scattered(share, side):
    assert kind_of_gap(single_pixels(share, side)) == "scattered"


@pytest.mark.parametrize("share", [0.8, 0.85, 0.89])
def test_most_of_the_pixels_is_no_text(share):
    assert kind_of_gap(single_pixels(share)) in ("scattered", "sparse")


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("share", [0.95, 0.98])
def test_nearly_all_of_the_pixels_is_sparse(share, side):
    assert kind_of_gap(single_pixels(share, side)) == "sparse"


@pytest.mark.parametrize("kind", ["text", "region", "hole", "scattered", "sparse"])
def test_the_kind_does_not_depend_on_how_it_lies(kind):
    gap = {
        "text": written_text(24),
        "region": square(40),
        "hole": square(100),
        "scattered": single_pixels(0.5),
        "sparse": single_pixels(0.98),
    }[kind]
    for turned in (gap, gap.transpose(-1, -2), gap.flip(-1), torch.cat([gap, gap.flip(-2)])):
        assert kind_of_gap(turned) == kind


@pytest.mark.data
@pytest.mark.parametrize(("name", "kind"), [("kate", "text"), ("vase", "region"), ("library", "hole")])
def test_the_paper_s_masks_are_what_it_calls_them(data: Path, name, kind):
    """The published settings of each were made for just these; white is known."""
    mask = read(data / "dip_paper" / "inpainting" / f"{name}_mask.png").tensor
    assert kind_of_gap(mask.mean(1, keepdim=True) <= 0.5) == kind


@pytest.mark.parametrize(("side", "deep"), [(1, 1), (2, 1), (3, 2), (7, 4), (40, 20)])
def test_depth_is_how_far_the_deepest_pixel_is_from_a_known_one(side, deep):
    assert depth(square(side)) == deep


def test_the_kind_of_a_huge_hole_is_known_soon(monkeypatch):
    """Each erosion of 12 million pixels takes a second or more: once a hole is large, how large does not matter."""
    calls = []
    original = torch.nn.functional.max_pool2d
    monkeypatch.setattr(torch.nn.functional, "max_pool2d", lambda *a, **k: (calls.append(1), original(*a, **k))[1])
    assert kind_of_gap(square(200)) == "hole"
    assert len(calls) < 60


def test_depth_at_an_edge_counts_from_inside():
    """What lies beyond the picture is not known either."""
    gap = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    gap[..., :10] = True
    assert depth(gap) == 10
    assert depth(torch.zeros(1, 1, 8, 8, dtype=torch.bool)) == 0


def test_the_share_is_said_and_more_than_half_is_warned_of():
    quarter = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    quarter[..., :8, :] = True
    (said,) = describe(quarter, "region")
    assert said.startswith("25.0 % ")
    said, warning = describe(~quarter, "hole")
    assert said.startswith("75.0 % ")
    assert warning.startswith("warning:")


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("mask", "white", "code"),
    [
        (drawn(), None, "option"),
        (drawn(), "black", "option"),
        (None, "valid", "option"),
        (None, None, "mask"),
        (np.zeros((32, 32), bool), "missing", "mask"),
        (np.ones((32, 32), bool), "missing", "mask"),
        (np.zeros((32, 32), bool), "valid", "mask"),
        ("no_such_mask.png", "missing", "not-found"),
        ([1, 2], "missing", "type"),
    ],
)
def test_what_says_nothing_is_one_line(mask, white, code):
    with pytest.raises(InputError) as caught:
        missing_of(picture(), mask, white)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "mask", [drawn(40), drawn()[:, :20], np.stack([drawn()] * 3)[..., None]], ids=lambda m: str(m.shape)
)
def test_a_mask_of_another_size_or_number_of_pages_is_refused(mask):
    pages = as_picture(torch.cat([clean(32)] * 2))
    own = torch.from_numpy(mask).movedim(-1, 1) if mask.ndim == 4 else mask
    with pytest.raises(InputError) as caught:
        inpaint(pages, mask=own, mask_white="missing", recipe=THIN, device="cpu")
    assert caught.value.code == "shape"
    assert "mask" in str(caught.value)


def test_a_page_of_which_nothing_is_known_is_named():
    """It would be filled with what no page has said."""
    values = torch.cat([clean(32), clean(32)])
    values[1] = float("nan")
    with pytest.raises(InputError) as caught:
        missing_of(as_picture(values, missing=True), None, None)
    assert caught.value.code == "mask"
    assert "page 2" in str(caught.value)


def test_a_picture_that_is_opaque_everywhere_says_nothing():
    opaque = replace(with_hole(), alpha=np.full((1, 32, 32), 255, np.uint8))
    with pytest.raises(InputError) as caught:
        missing_of(opaque, None, None)
    assert caught.value.code == "mask"

"""--preview: the middle of a picture alone, its companions cut alike, and the projected time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.images import as_picture
from preimage.jobs.places import PREVIEW_SIDE
from preimage.jobs.reading import middle, middle_of, middle_of_reference, projected


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


TINY = ("--recipe", "tiny.json", "--steps", "2", "--stop", "steps")


@pytest.fixture
def wide(here):
    """A picture of 300 x 40 pixels and a mask of a stripe in its middle."""
    values = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    Image.fromarray(values).save("wide.png")
    mask = np.zeros((40, 300), np.uint8)
    mask[:, 145:155] = 255
    Image.fromarray(mask).save("stripe.png")
    return values


def test_the_middle_is_restored_and_the_whole_projected(wide, run):
    ran = run("denoise", "wide.png", "--preview", *TINY, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert pixels("wide-denoise-preview.png").shape == (40, 256, 3)
    assert not Path("wide-denoise.png").exists()
    assert "256 x 40 pixels" in ran.out
    assert json.loads(Path("report.json").read_text())["size"] == [40, 256]


def test_what_lies_beside_is_cut_alike(wide, run):
    stripe = ("--mask", "stripe.png", "--mask-white", "missing")
    ran = run("inpaint", "wide.png", *stripe, "--preview", "-o", "p.png", *TINY)
    assert ran.code == 0, ran.err
    left = (300 - PREVIEW_SIDE) // 2 // 16 * 16
    known = np.r_[0 : 145 - left, 155 - left : 256]
    assert np.array_equal(pixels("p.png")[:, known], wide[:, left : left + 256][:, known])


def test_a_reference_is_cut_at_the_same_place(wide, run):
    ran = run("denoise", "wide.png", "--preview", "--reference", "wide.png", *TINY, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert json.loads(Path("report.json").read_text())["input_psnr"] is None  # it is the input itself: no error at all


def test_places_are_multiples_of_16_and_a_small_picture_is_whole():
    picture = as_picture(torch.rand(1, 3, 600, 100))
    assert middle(600, 100) == (slice(0, 1), slice(160, 416), slice(0, 100))
    assert torch.equal(middle_of(picture).tensor, picture.tensor[:, :, 160:416])
    reference = torch.rand(1, 3, 1200, 200)
    assert torch.equal(middle_of_reference(reference, picture), reference[:, :, 320:832])


def test_time_grows_with_the_pixels():
    assert projected(3.0, (2, 1, 512, 512)).endswith("about 24 s")
    assert projected(60.0, (1, 1, 1024, 512)).endswith("about 8 minutes")


@pytest.mark.parametrize("other", [("--warm-start",), ("--tile", "256"), ("--autosave", "5"), ("--resume",)])
def test_what_makes_no_sense_beside_it(wide, run, other):
    ran = run("denoise", "wide.png", "--preview", *other, *TINY)
    assert ran.failed_in_one_line("--preview", other[0], code="option")

"""Bad input of the restoration tasks besides denoising: one clear line each, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = ("--recipe", "tiny.json", "--steps", "3", "--stop", "steps")
pytestmark = pytest.mark.usefixtures("more")

BAD = [
    ("super-resolve", ["--factor", "0"], ["factor", "2 to 16", "0"]),
    ("super-resolve", ["--factor", "1"], ["factor", "2 to 16", "1"]),
    ("super-resolve", ["--factor", "17"], ["factor", "2 to 16", "17"]),
    ("super-resolve", ["--factor", "2.5"], ["--factor", "2.5"]),
    ("super-resolve", ["--kernel", "odd.npy"], ["factor 4", "3 x 3"]),
    ("super-resolve", ["--factor", "3", "--kernel", "even.npy"], ["factor 3", "4 x 4"]),
    ("super-resolve", ["--factor", "3", "--kernel", "large.npy"], ["63 x 63", "72 x 60"]),
    ("super-resolve", ["--kernel", "gaussian:wide"], ["gaussian:wide", "sigma"]),
    ("super-resolve", ["--kernel", "lanczos3"], ["lanczos3"]),
    ("super-resolve", ["--kernel", "nowhere.npy"], ["nowhere.npy"]),
    ("super-resolve", ["--strength", "0.5"], ["--strength", "24 x 20", "96 x 80"]),
    ("super-resolve", ["--reference", "clean.png"], ["reference", "24 x 20", "96 x 80"]),
    ("super-resolve", ["--reference", "deep.png"], ["reference", "uint16"]),
    ("inpaint", [], ["noisy.png"]),
    ("inpaint", ["--mask", "mask.png"], ["mask_white"]),
    ("inpaint", ["--mask-white", "valid"], ["mask"]),
    ("inpaint", ["--mask", "mask.png", "--mask-white", "black"], ["--mask-white", "black"]),
    ("inpaint", ["--mask", "large.png", "--mask-white", "valid"], ["noisy.png", "48 x 40", "24 x 20"]),
    ("inpaint", ["--mask", "empty.png", "--mask-white", "missing"], ["noisy.png"]),
    ("inpaint", ["--mask", "full.png", "--mask-white", "missing"], ["noisy.png"]),
    ("inpaint", ["--mask", "full.png", "--mask-white", "valid"], ["noisy.png"]),
    ("inpaint", ["--mask", "nowhere.png", "--mask-white", "valid"], ["nowhere.png"]),
    ("inpaint", ["--mask", "out", "--mask-white", "valid"], ["out", "no image for noisy.png"]),
    ("inpaint", ["--mask", "mask.png", "--mask-white", "valid", "--gap", "blob"], ["--gap", "blob"]),
    ("deblur", [], ["--kernel"]),
    ("deblur", ["--kernel", "even.npy"], ["4 x 4"]),
    ("deblur", ["--kernel", "large.npy"], ["63 x 63", "24 x 20"]),
    ("deblur", ["--kernel", "gaussian:"], ["gaussian:SIGMA"]),
    ("deblur", ["--kernel", "gaussian:0"], ["sigma"]),
    ("deblur", ["--kernel", "motion:5"], ["motion:LENGTH,ANGLE"]),
    ("deblur", ["--kernel", "fuzzy"], ["fuzzy"]),
    ("deblur", ["--kernel", "unknown", "--kernel-size", "4"], ["kernel_size", "odd", "4"]),
    ("deblur", ["--kernel", "unknown", "--kernel-size", "4.5"], ["--kernel-size", "4.5"]),
    ("deblur", ["--kernel", "gaussian:1", "--sigma", "-2"], ["sigma"]),
    ("remove-jpeg-artifacts", ["--jpeg-quality", "0"], ["jpeg_quality", "1 to 100", "0"]),
    ("remove-jpeg-artifacts", ["--jpeg-quality", "101"], ["jpeg_quality", "1 to 100", "101"]),
    ("remove-jpeg-artifacts", ["--jpeg-quality", "best"], ["--jpeg-quality", "best"]),
    ("flash-no-flash", [], ["--flash"]),
    ("flash-no-flash", ["--flash", "large.png"], ["noisy.png", "24 x 20", "48 x 40"]),
    ("flash-no-flash", ["--flash", "deep.png"], ["noisy.png", "uint8", "uint16"]),
    ("flash-no-flash", ["--flash", "nowhere.png"], ["nowhere.png"]),
    ("flash-no-flash", ["--flash", "clean.png", "--prior", "pixels"], ["flash"]),
]


@pytest.mark.parametrize(("command", "tokens", "words"), BAD, ids=[" ".join([c, *t]) for c, t, _ in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(here, run, command, tokens, words):
    before = sorted(here.rglob("*"))
    tiny = TINY if "--prior" not in tokens else ("--steps", "3")
    ran = run(command, "noisy.png", *tokens, *tiny)
    assert ran.failed_in_one_line(*words), ran
    assert sorted(here.rglob("*")) == before


def test_a_quality_beside_a_jpeg_s_own(here, run):
    ran = run("remove-jpeg-artifacts", "photo.jpg", "--jpeg-quality", "40", *TINY)
    assert ran.failed_in_one_line("photo.jpg", "40", "jpeg_quality")


def test_one_bad_input_of_several_does_not_stop_the_others(here, run):
    ran = run("inpaint", "noisy.png", "large.png", "clean.png", "--mask", "mask.png", "--mask-white", "missing", *TINY,
              "-o", "out")  # fmt: skip
    assert ran.failed_in_one_line("large.png", "24 x 20", "48 x 40")
    assert Path("out/noisy-inpaint.png").exists()
    assert Path("out/clean-inpaint.png").exists()

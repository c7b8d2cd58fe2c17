"""`--tile`: a picture in tiles, with every other option beside it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cli.tiny import TINY, pictures
from PIL import Image

from preimage.cli.progress import Progress
from preimage.engine.step import Step
from preimage.images import read
from preimage.recipes import read_recipe
from preimage.restore.denoise import denoise, recipes
from preimage.series import tiling
from preimage.stopping import after

RECIPE = read_recipe({**TINY, "steps": 4}, recipes()["fast"])
COMMON = ("--recipe", "four.json", "--stop", "steps", "--threads", 1, "--device", "cpu")
TILED = ("denoise", "wide.png", *COMMON, "--tile", 24, "--tile-overlap", 8)  # 3 tiles of 24 x 20


@pytest.fixture
def here(here: Path) -> Path:
    """wide.png, the truth of it, and its recipe."""
    clean, noisy = pictures(20, 50)
    Image.fromarray(clean).save("truth.png")
    Image.fromarray(noisy).save("wide.png")
    tifffile.imwrite("stack.tif", noisy.transpose(2, 0, 1).copy(), photometric="minisblack", metadata=None)
    Path("four.json").write_text(json.dumps({**TINY, "steps": 4}))
    return here


def report() -> Any:
    return json.loads(Path("r.json").read_text())


def test_a_picture_in_tiles_is_what_python_makes_of_it(here, run):
    ran = run(*TILED, "-o", "out.png", "--report", "r.json")
    assert ran.code == 0, ran.err
    expected = denoise("wide.png", recipe=RECIPE, stop=after(), device="cpu", tile=(24, 8)).run()
    assert np.array_equal(np.asarray(Image.open("out.png")), expected.to_array())
    assert report()["tiles"] == {
        "side": 24,
        "overlap": 8,
        "count": 3,
        "as_given": 0,
        "order": [0, 1, 2],
        "kept_steps": [[4], [4], [4]],
    }
    assert report()["kept_steps"] == [4, 4, 4]
    assert "step 1 of 12" in ran.err
    assert "tile 1 of 3" in ran.err


def test_whole_pictures_have_no_tiles_in_their_report(here, run):
    for tile in ("auto", "none", 64):
        assert run("denoise", "wide.png", *COMMON, "--tile", tile, "--report", "r.json", "--overwrite").code == 0
        assert "tiles" not in report()


@pytest.mark.parametrize(
    ("tokens", "words", "code"),
    [
        (("--tile", 8), ("tile", "16", "8"), ""),
        (("--tile", -3), ("tile", "-3"), ""),
        (("--tile", "big"), ("--tile", "big"), "option"),
        (("--tile", 32.5), ("--tile", "32.5"), "option"),
        (("--tile", 24, "--tile-overlap", 12), ("24", "11", "12"), ""),
        (("--tile", 24, "--tile-overlap", -1), ("overlap", "-1"), "invalid-value"),
        (("--tile-overlap", 8), ("overlap",), "option"),
        (("--tile", 24, "--warm-start"), ("warm", "24"), "option"),
    ],
)
def test_tiles_that_cannot_be_are_one_line(here, run, tokens, words, code):
    ran = run("denoise", "wide.png", *COMMON, *tokens)
    assert ran.failed_in_one_line(*words, code=code), ran
    assert not Path("wide-denoise.png").exists()


def test_every_other_option_goes_along(here, run):
    extra = ("--figure", "f.png", "--film", "f.gif", "--every", 2, "--restarts", 2, "--uncertainty", "u.tif")
    assert run(*TILED, *extra, "-o", "a.png").code == 0
    film = [Path(name).read_bytes() for name in ("f.gif", "u.tif")]
    with Image.open("f.gif") as shown:
        assert getattr(shown, "n_frames", 1) == 3  # of steps 1, 6 and 12, which is the result
    assert tifffile.imread("u.tif").shape == (20, 50, 3)
    ran = run(*TILED, *extra, "-o", "b.png", "--reference", "truth.png", "--report", "r.json", "--overwrite")
    assert ran.code == 0, ran.err
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert [Path(name).read_bytes() for name in ("f.gif", "u.tif")] == film
    assert report()["peak_psnr"] >= report()["psnr"] - 1
    assert 1 <= report()["peak_step"] <= 6


def test_all_pages_are_cut(here, run):
    ran = run("denoise", "stack.tif", "--page", "all", *COMMON, "--tile", 24, "-o", "out.tif", "--report", "r.json")
    assert ran.code == 0, ran.err
    assert report()["tiles"]["count"] == 9
    picture = read("stack.tif", page="all")
    expected = denoise(picture, recipe=RECIPE, stop=after(), device="cpu", tile=24).run()
    assert np.array_equal(tifffile.imread("out.tif"), picture.to_array(expected.image))


def test_a_mask_is_cut_along(here, run):
    mask = np.zeros((20, 50), np.uint8)
    mask[4:8, 2:9] = 255
    Image.fromarray(mask).save("mask.png")
    recipe = ("--recipe", "four.json", "--device", "cpu", "--tile", 24)
    ran = run(
        "inpaint",
        "wide.png",
        "--mask",
        "mask.png",
        "--mask-white",
        "missing",
        *recipe,
        "-o",
        "o.png",
        "--report",
        "r.json",
    )
    assert ran.code == 0, ran.err
    assert report()["tiles"]["order"] == [0]
    given, filled = (np.asarray(Image.open(name)) for name in ("wide.png", "o.png"))
    assert np.array_equal(given[mask == 0], filled[mask == 0])


def test_tiles_share_an_unknown_kernel(here, run):
    tokens = ("--kernel", "unknown", "--kernel-size", 3, "--recipe", "four.json", "--device", "cpu", "--tile", 24)
    ran = run("deblur", "wide.png", *tokens, "-o", "o.png", "--report", "r.json")
    assert ran.code == 0, ran.err
    assert report()["tiles"]["count"] == 3
    assert np.asarray(Image.open("o.png")).shape == (20, 50, 3)


@pytest.mark.parametrize("how", [(), ("--warm-start",), ("--tile", 24)], ids=["joined", "in turn", "tiles"])
def test_pages_of_another_number_of_channels(here, run, how):
    tokens = ("--pattern", "RGGB", "--page", "all", "--recipe", "four.json", "--device", "cpu", *how)
    ran = run("demosaic", "stack.tif", *tokens, "-o", "o.tif")
    assert ran.code == 0, ran.err
    assert tifffile.imread("o.tif").shape == (3, 20, 50, 3)


# ---------------------------------------------------------------------- interrupted


def end(run: Any, *tokens: object, at: int) -> None:
    """Run a command that is asked to end at its n-th step."""
    seen: list[int] = []

    def show(progress: Progress, step: Step) -> None:
        seen.append(step.index)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "show", show)
        assert run(*tokens).code == 143


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_resumed_tiles_give_the_same_bytes(here, run):
    extra = ("--film", "f.gif", "--reference", "truth.png", "--report", "r.json")
    assert run(*TILED, *extra, "-o", "whole.png").code == 0
    film = Path("f.gif").read_bytes()
    tokens = (*TILED, *extra, "-o", "out.png", "--autosave", 3, "--overwrite")
    end(run, *tokens, at=4)  # the first tile is done, the others are not
    assert report()["reason_code"] == "interrupted"
    assert report()["tiles"]["kept_steps"] == [[4]]
    end(run, *tokens, "--resume", at=2)
    assert report()["reason_code"] == "interrupted"
    assert report()["tiles"]["kept_steps"] == [[4], [2]]
    given, kept = (np.asarray(Image.open(name)) for name in ("wide.png", "out.png"))
    assert np.array_equal(given[:, 40:], kept[:, 40:])
    assert run(*tokens, "--resume").code == 0
    assert Path("out.png").read_bytes() == Path("whole.png").read_bytes()
    assert Path("f.gif").read_bytes() == film
    assert not Path("out.png.checkpoint").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_auto_goes_on_as_it_began_whatever_is_free_then(here, run, monkeypatch):
    tokens = ("denoise", "wide.png", *COMMON, "--autosave", 2, "-o", "out.png", "--overwrite")
    monkeypatch.setattr(tiling, "SIDES", (24,))
    monkeypatch.setattr(tiling, "free_memory", lambda device: 1000)
    end(run, *tokens, "--report", "r.json", at=6)
    assert report()["tiles"]["side"] == 24
    monkeypatch.setattr(tiling, "free_memory", lambda device: 10**12)
    ran = run(*tokens, "--resume", "--report", "r.json")
    assert ran.code == 0, ran.err
    assert report()["tiles"]["count"] == 3
    end(run, *tokens, at=2)
    monkeypatch.setattr(tiling, "free_memory", lambda device: 1000)
    assert run(*tokens, "--resume", "--report", "r.json").code == 0
    assert "tiles" not in report()

"""The commands of the restoration tasks besides denoising, from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from preimage.engine.fit import Fit
from preimage.images import read
from preimage.metrics import psnr
from preimage.registry import task_named
from preimage.tasks import described

KEYS = {"task", "input", "output", "size", "channels", "pages", "recipe", "recipe_name", "seed", "device", "precision"}
KEYS |= {
    "threads",
    "steps",
    "kept_step",
    "kept_steps",
    "reason",
    "seconds",
    "peak_memory_bytes",
    "remarks",
    "events",
    "warnings",
    "reason_code",
    "sha256",
}

# Each command, its own options, the size of its result for the input of 24 x 20, and words of its remarks.
COMMANDS = {
    "super-resolve": (["--factor", "2"], (40, 48), ["2 times as large: 48 x 40 pixels", "kernel lanczos2"]),
    "inpaint": (
        ["--mask", "mask.png", "--mask-white", "missing"], (20, 24), ["% of the picture will be filled", "settings for"]
    ),
    "deblur": (["--kernel", "gaussian:1"], (20, 24), ["blur kernel of 7 x 7 pixels, gaussian:1"]),
    "remove-jpeg-artifacts": (["--jpeg-quality", "40"], (20, 24), ["quality 40"]),
    "flash-no-flash": (["--flash", "clean.png"], (20, 24), []),
}  # fmt: skip
each_command = pytest.mark.parametrize("command", COMMANDS)
TINY = ("--recipe", "tiny.json", "--steps", "3", "--stop", "steps")
pytestmark = pytest.mark.usefixtures("more")


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# ---------------------------------------------------------------------- what every command does


@each_command
def test_help_shows_its_example_and_its_own_options(command, run):
    ran = run(command, "--help")
    assert ran.code == 0
    task = task_named(command)
    assert task.example.startswith(f"preimage {command} ")
    assert task.example in ran.out
    for name, stated in described(task.options).items():
        assert stated.kind == "python" or f"--{name.replace('_', '-')}" in ran.out


@each_command
def test_the_result_stands_beside_the_caller(here, run, command):
    options, size, words = COMMANDS[command]
    ran = run(command, "noisy.png", *options, *TINY, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert pixels(f"noisy-{command}.png").shape == (*size, 3)
    assert not (pixels(f"noisy-{command}.png") == pixels(f"noisy-{command}.png")[0, 0]).all()
    report = json.loads(Path("report.json").read_text())
    assert report.keys() == KEYS
    assert (report["task"], report["size"], report["channels"], report["steps"]) == (command, list(size), 3, 3)
    assert (report["output"], report["recipe"]["steps"]) == (f"noisy-{command}.png", 3)
    for word in words:
        assert word in ran.out
        assert any(word in remark for remark in report["remarks"])


@each_command
def test_what_was_decided_is_said_before_the_fit(here, run, command, monkeypatch):
    options, _, words = COMMANDS[command]

    def broken(self: object) -> None:
        raise RuntimeError("no step is done")

    monkeypatch.setattr(Fit, "__next__", broken)
    ran = run(command, "noisy.png", *options, *TINY)
    assert ran.failed_in_one_line("noisy.png", "no step is done")
    assert all(word in ran.out for word in words)


@each_command
def test_figure_film_uncertainty_and_json(here, run, command):
    options, size, _ = COMMANDS[command]
    ran = run(command, "noisy.png", *options, *TINY, "--restarts", "2", "--figure", "figure.png", "--film", "film.gif",
              "--every", "1", "--uncertainty", "u.tif", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["kept_steps"] == [3, 3]
    assert pixels("figure.png").shape[0] > 500
    with Image.open("film.gif") as film:
        assert film.size == size[::-1]
        assert getattr(film, "n_frames", 1) >= 3  # of steps 1 to 3; the result is that of the last
    assert tifffile.imread("u.tif").shape == (*size, 3)


@each_command
def test_several_inputs_go_to_a_folder(here, run, command):
    options, size, _ = COMMANDS[command]
    ran = run(command, "noisy.png", "clean.png", *options, *TINY, "-o", "out", "--report", "report.json")
    assert ran.code == 0, ran.err
    for name in ("noisy", "clean"):
        assert pixels(f"out/{name}-{command}.png").shape == (*size, 3)
    assert [each["input"] for each in json.loads(Path("report.json").read_text())] == ["noisy.png", "clean.png"]


@each_command
def test_pages_of_a_stack(here, run, command):
    options, size, _ = COMMANDS[command]
    options = ["flashes.tif" if option == "clean.png" else option for option in options]
    ran = run(command, "stack.tif", *options, *TINY, "--page", "all", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert tifffile.imread(f"stack-{command}.tif").shape == (2, *size)
    assert json.loads(Path("report.json").read_text())["pages"] == 2
    one = run(command, "stack.tif", *options, *TINY, "--page", "2", "-o", "one.tif")
    assert one.code == 0, one.err
    assert tifffile.imread("one.tif").shape == size


@each_command
def test_a_reference_of_the_result_s_size(here, run, command):
    options, size, _ = COMMANDS[command]
    name = "large.png" if size[0] == 40 else "clean.png"
    ran = run(command, "noisy.png", *options, *TINY, "--reference", name, "--report", "report.json", "-o", "a.png")
    assert ran.code == 0, ran.err
    report = json.loads(Path("report.json").read_text())
    assert report["psnr"] == pytest.approx(float(psnr(read("a.png").tensor, read(name).tensor)), abs=1e-4)
    assert 1 <= report["peak_step"] <= 4
    assert ("input_psnr" in report) == (command != "super-resolve")
    assert run(command, "noisy.png", *options, *TINY, "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


@each_command
@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_the_recipes_by_name(here, run, command, recipe):
    options, _, _ = COMMANDS[command]
    ran = run(
        command, "noisy.png", *options, "--recipe", recipe, "--steps", "1", "--restarts", "1", "--report", "r.json"
    )
    assert ran.code == 0, ran.err
    report = json.loads(Path("r.json").read_text())
    assert (report["recipe_name"], report["steps"]) == (recipe, 1)
    assert report["recipe"]["optimizer"] == ("muon" if recipe == "fast" else "adam")


@each_command
def test_interrupted_and_resumed_is_as_if_it_never_was(here, run, command, monkeypatch):
    options, _, _ = COMMANDS[command]
    options = ["unknown" if option == "gaussian:1" else option for option in options]
    assert run(command, "noisy.png", *options, *TINY, "-o", "whole.png").code == 0
    following = Fit.__next__

    def failing(self: Fit) -> object:
        if self.index == 2:
            raise RuntimeError("the power failed")
        return following(self)

    monkeypatch.setattr(Fit, "__next__", failing)
    assert run(command, "noisy.png", *options, *TINY, "-o", "a.png", "--autosave", "1").failed_in_one_line("power")
    monkeypatch.setattr(Fit, "__next__", following)
    assert Path("a.png.checkpoint").exists()
    ran = run(command, "noisy.png", *options, *TINY, "-o", "a.png", "--resume")
    assert ran.code == 0, ran.err
    assert Path("a.png").read_bytes() == Path("whole.png").read_bytes()
    assert not Path("a.png.checkpoint").exists()


# ---------------------------------------------------------------------- each by itself


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian:0.8", "even.npy", "estimate"])
def test_super_resolve_with_kernels(here, run, kernel):
    ran = run("super-resolve", "noisy.png", "--factor", "2", "--kernel", kernel, *TINY)
    assert ran.code == 0, ran.err
    assert f"kernel {kernel}" in ran.out


@pytest.mark.parametrize("kernel", ["motion:5,30", "odd.npy", "unknown"])
def test_deblur_with_kernels(here, run, kernel):
    size = ["--kernel-size", "5"] if kernel == "unknown" else []
    ran = run("deblur", "noisy.png", "--kernel", kernel, *size, *TINY)
    assert ran.code == 0, ran.err
    assert ("5 x 5" if kernel == "unknown" else kernel) in ran.out


@pytest.mark.parametrize(("factor", "steps", "jitter"), [("4", 2000, 0.03), ("8", 4000, 0.05)])
def test_the_paper_s_settings_are_the_factor_s(here, run, factor, steps, jitter, monkeypatch):
    seen = {}
    monkeypatch.setattr(Fit, "__next__", lambda self: seen.update(recipe=self.recipe) or exit_now())
    run("super-resolve", "noisy.png", "--factor", factor, "--recipe", "paper")
    assert (seen["recipe"].steps, seen["recipe"].jitter) == (steps, jitter)


def exit_now() -> None:
    raise RuntimeError("enough")


def test_known_pixels_are_the_same_bytes_in_the_png(here, run):
    ran = run("inpaint", "noisy.png", "--mask", "mask.png", "--mask-white", "missing", "--restarts", "3", *TINY)
    assert ran.code == 0, ran.err
    known = pixels("mask.png") == 0
    written = pixels("noisy-inpaint.png")
    assert (written[known] == pixels("noisy.png")[known]).all()
    assert (written[~known] != pixels("noisy.png")[~known]).any()
    assert f"{100 * (1 - known.mean()):.1f} % of the picture will be filled" in ran.out
    assert "warning" not in ran.out


def test_white_may_be_known(here, run):
    ran = run("inpaint", "noisy.png", "--mask", "mask.png", "--mask-white", "valid", *TINY)
    assert ran.code == 0, ran.err
    known = pixels("mask.png") > 0
    assert (pixels("noisy-inpaint.png")[known] == pixels("noisy.png")[known]).all()
    assert "warning: more than half of the picture is missing" in ran.out


def test_a_folder_of_masks(here, run):
    common = ("--mask", "masks", "--mask-white", "missing", *TINY, "-o", "out")
    ran = run("inpaint", "noisy.png", "clean.png", *common)
    assert ran.code == 0, ran.err
    for name in ("noisy", "clean"):
        known = pixels(f"masks/{name}.png") == 0
        assert (pixels(f"out/{name}-inpaint.png")[known] == pixels(f"{name}.png")[known]).all()
        assert (pixels(f"out/{name}-inpaint.png")[~known] != pixels(f"{name}.png")[~known]).any()


@pytest.mark.parametrize("kind", ["mask", "flash", "reference"])
def test_a_folder_of_companions_in_another_format(here, run, kind):
    """JPEG photographs, PNG beside them: paired by stem, each with its own."""
    Path("photos").mkdir()
    Path("beside").mkdir()
    for number, name in enumerate(("noisy", "clean")):
        Image.fromarray(pixels(f"{name}.png")).save(f"photos/{name}.jpg", quality=95)
        beside = (
            pixels("mask.png")[:: (1, -1)[number]] if kind == "mask" else np.full((20, 24, 3), 90 + number, np.uint8)
        )
        Image.fromarray(beside).save(f"beside/{name}.png")
    task, options = {
        "mask": ("inpaint", ["--mask", "beside", "--mask-white", "missing"]),
        "flash": ("flash-no-flash", ["--flash", "beside"]),
        "reference": ("denoise", ["--reference", "beside"]),
    }[kind]
    common = (*options, *TINY, "-o", "out", "--report", "r.json")
    ran = run(task, "photos/noisy.jpg", "photos/clean.jpg", *common)
    assert ran.code == 0, ran.err
    if kind == "mask":
        filled = [each for each in ran.out.splitlines() if "will be filled" in each]
        assert len(filled) == 2
    if kind == "reference":
        first, second = (each["psnr"] for each in json.loads(Path("r.json").read_text()))
        assert first != second
    Image.new("RGB", (24, 20)).save("beside/clean.bmp")
    common = (*options, *TINY, "-o", "out", "--overwrite")
    assert run(task, "photos/noisy.jpg", "photos/clean.jpg", *common).failed_in_one_line(
        "clean.bmp and clean.png", code="option"
    )
    Path("beside/clean.bmp").unlink()
    Path("beside/clean.png").unlink()
    assert run(task, "photos/noisy.jpg", "photos/clean.jpg", *common).failed_in_one_line(
        "photos/clean.jpg", "beside", code="not-found"
    )


def test_a_mask_for_each_page(here, run):
    ran = run("inpaint", "stack.tif", "--page", "all", "--mask", "masks.tif", "--mask-white", "missing", *TINY)
    assert ran.code == 0, ran.err
    known = tifffile.imread("masks.tif") == 0
    assert (tifffile.imread("stack-inpaint.tif")[known] == tifffile.imread("stack.tif")[known]).all()


def test_a_mask_for_each_page_of_a_warm_start(here, run):
    common = ("--warm-start", "--mask", "masks.tif", "--mask-white", "missing", *TINY)
    ran = run("inpaint", "stack.tif", "--page", "all", *common)
    assert ran.code == 0, ran.err
    known = tifffile.imread("masks.tif") == 0
    assert (tifffile.imread("stack-inpaint.tif")[known] == tifffile.imread("stack.tif")[known]).all()
    assert (tifffile.imread("stack-inpaint.tif")[~known] != tifffile.imread("stack.tif")[~known]).any()


def test_the_page_of_the_mask_is_that_of_the_input(here, run):
    ran = run("inpaint", "stack.tif", "--page", "2", "--mask", "masks.tif", "--mask-white", "missing", *TINY)
    assert ran.code == 0, ran.err
    known = tifffile.imread("masks.tif")[1] == 0
    assert (tifffile.imread("stack-inpaint.tif")[known] == tifffile.imread("stack.tif")[1][known]).all()


def test_transparency_is_filled_and_gone(here, run):
    ran = run("inpaint", "hole.png", *TINY)
    assert ran.code == 0, ran.err
    written, given = pixels("hole-inpaint.png"), pixels("hole.png")
    assert (written[..., 3] == 255).all()
    known = given[..., 3] == 255
    assert (written[known] == given[known]).all()


def test_nans_are_filled_by_inpaint_alone(here, run):
    ran = run("inpaint", "nan.tif", *TINY)
    assert ran.code == 0, ran.err
    written, given = tifffile.imread("nan-inpaint.tif"), tifffile.imread("nan.tif")
    assert np.isfinite(written).all()
    np.testing.assert_allclose(written[np.isfinite(given)], given[np.isfinite(given)], rtol=0, atol=1e-5)
    for command in ("denoise", "deblur"):
        kernel = ["--kernel", "gaussian:1"] if command == "deblur" else []
        ran = run(command, "nan.tif", *kernel, *TINY)
        assert ran.code == 0, ran.err
        assert "missing: not fitted, and written as they were in the file; inpaint fills them" in ran.out
        np.testing.assert_array_equal(np.isnan(tifffile.imread(f"nan-{command}.tif")), np.isnan(given))


def test_a_jpeg_tells_its_own_quality(here, run):
    ran = run("remove-jpeg-artifacts", "photo.jpg", *TINY, "-o", "clean.tif")
    assert ran.code == 0, ran.err
    assert "JPEG of quality 40 (from its table)" in ran.out
    ran = run("remove-jpeg-artifacts", "clean.png", *TINY, "-o", "b.png")
    assert ran.code == 0, ran.err
    assert "no quantization table is known" in ran.out


def test_a_flash_picture_of_other_channels(here, run):
    ran = run("flash-no-flash", "noisy.png", "--flash", "mask.png", *TINY)
    assert ran.code == 0, ran.err
    assert pixels("noisy-flash-no-flash.png").shape == (20, 24, 3)


@pytest.mark.parametrize("name", ["mask.png", "clean.png", "odd.npy"])
def test_what_is_read_is_never_written_over(here, run, name):
    """Also with --overwrite, which is of results."""
    options = {
        "mask.png": ("inpaint", "--mask", "mask.png", "--mask-white", "missing"),
        "clean.png": ("flash-no-flash", "--flash", "clean.png"),
        "odd.npy": ("deblur", "--kernel", "odd.npy"),
    }[name]
    before = Path(name).read_bytes()
    place = ("--report", name) if name.endswith("npy") else ("-o", name)
    ran = run(options[0], "noisy.png", *options[1:], *TINY, *place, "--overwrite")
    assert ran.failed_in_one_line(name), ran
    assert Path(name).read_bytes() == before

"""`preimage denoise` from file to file: every option, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from cli.tiny import pictures
from PIL import Image

from preimage.images import read
from preimage.metrics import psnr
from preimage.stopping import NAMES

KEYS = {"task", "size", "recipe", "seed", "device", "precision", "threads", "steps", "kept_step", "reason", "seconds"}
KEYS |= {"peak_memory_bytes"}


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def report_of(path: str = "report.json") -> dict:
    return json.loads(Path(path).read_text())


def test_default_name_beside_the_caller(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json")
    assert ran.code == 0, ran.err
    assert pixels("noisy-denoise.png").shape == (20, 24, 3)
    assert "noisy-denoise.png" in ran.out
    assert not list(here.glob(".preimage*"))


def test_output_chooses_the_format_and_a_folder_the_name(here, run):
    (here / "folder").mkdir()
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "clean.tif").code == 0
    assert tifffile.imread("clean.tif").shape == (20, 24, 3)
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "folder").code == 0
    assert Path("folder/noisy-denoise.png").exists()


def test_report_has_the_agreed_keys(here, run):
    ran = run(
        "denoise", "noisy.png", "--recipe", "tiny.json", "--report", "report.json", "--seed", "5", "--device", "cpu"
    )
    assert ran.code == 0, ran.err
    report = report_of()
    assert report.keys() >= KEYS
    assert (report["task"], report["size"], report["seed"], report["device"]) == ("denoise", [20, 24], 5, "cpu")
    assert report["steps"] == 12
    assert 1 <= report["kept_step"] <= 12
    assert report["seconds"] > 0
    assert report["peak_memory_bytes"] > 1e7
    assert "psnr" not in report


def test_a_reported_recipe_is_a_recipe_file(here, run):
    run("denoise", "noisy.png", "--recipe", "tiny.json", "--report", "report.json", "-o", "a.png")
    Path("again.json").write_text(json.dumps(report_of()["recipe"]))
    assert run("denoise", "noisy.png", "--recipe", "again.json", "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_reference_reports_the_picture_as_written_and_its_peak(here, run):
    common = ("denoise", "noisy.png", "--recipe", "tiny.json", "--stop", "steps")
    ran = run(*common, "--reference", "clean.png", "--report", "report.json", "-o", "a.jpg")
    assert ran.code == 0, ran.err
    report = report_of()
    written = psnr(read("a.jpg").tensor, read("clean.png").tensor)
    assert report["psnr"] == pytest.approx(float(written), abs=1e-4)
    assert 0 < report["ssim"] <= 1
    assert report["steps"] == report["kept_step"] == 12
    assert 1 <= report["peak_step"] <= 18
    assert "PSNR" in ran.out
    # Looking for the peak takes half as many steps again, and changes nothing.
    assert run(*common, "-o", "b.jpg").code == 0
    assert Path("a.jpg").read_bytes() == Path("b.jpg").read_bytes()


def test_the_peak_may_lie_after_the_stop(here, run):
    run("denoise", "noisy.png", "--recipe", "tiny.json", "--stop", "steps", "--steps", "4", "--reference", "clean.png",
        "--report", "report.json")  # fmt: skip
    report = report_of()
    assert report["steps"] == 4
    assert report["peak_step"] == 6
    assert report["peak_psnr"] > report["psnr"]


def test_json_alone_on_stdout(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--json")
    assert json.loads(ran.out).keys() >= KEYS
    assert "noisy-denoise.png" in ran.err
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--json", "--quiet", "--overwrite")
    assert json.loads(ran.out)["output"] == "noisy-denoise.png"
    assert ran.err == ""


def test_quiet_says_nothing(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_plain_progress_where_there_is_no_terminal(here, run):
    assert "noisy.png: step 1 of 12" in run("denoise", "noisy.png", "--recipe", "tiny.json").err


def test_equal_runs_give_equal_bytes(here, run):
    for name in ("a", "b"):
        ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--restarts", "2", "-o", f"{name}.png",
                  "--figure", f"{name}-figure.png", "--film", f"{name}.webp",
                  "--uncertainty", f"{name}.tif")  # fmt: skip
        assert ran.code == 0, ran.err
    for end in (".png", "-figure.png", ".webp", ".tif"):
        assert Path(f"a{end}").read_bytes() == Path(f"b{end}").read_bytes(), end


def test_another_seed_gives_another_picture(here, run):
    run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "a.png")
    run("denoise", "noisy.png", "--recipe", "tiny.json", "-o", "b.png", "--seed", "1")
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()


def test_uncertainty_is_in_units_of_the_file(here, run):
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "--restarts", "2", "--uncertainty", "u.tif").code == 0
    deviation = tifffile.imread("u.tif")
    assert deviation.shape == (20, 24, 3)
    assert deviation.dtype == np.float32
    assert 0.1 < deviation.mean() < 100


def test_uncertainty_needs_two_fits(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--uncertainty", "u.tif")
    assert ran.failed_in_one_line("--uncertainty", "--restarts", code="option")
    assert not Path("noisy-denoise.png").exists()


@pytest.mark.parametrize("name", ["film.gif", "film.webp"])
def test_film_has_a_picture_every_so_many_steps(here, run, name):
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "--film", name, "--every", "5").code == 0
    with Image.open(name) as film:
        assert film.size == (24, 20)
        assert getattr(film, "n_frames", 1) == 4  # of steps 1, 5 and 10, and the result
    assert run("denoise", "noisy.png", "--every", "4").failed_in_one_line("--film", code="option")


def test_strength_blends_with_the_input(here, run):
    for strength in (0, 0.5, 1):
        run("denoise", "noisy.png", "--recipe", "tiny.json", "--strength", strength, "-o", f"{strength}.png")
    assert (pixels("0.png") == pixels("noisy.png")).all()
    middle = (pixels("0.png").astype(float) + pixels("1.png")) / 2
    assert np.abs(pixels("0.5.png") - middle).max() <= 1


@pytest.mark.parametrize("rule", sorted(NAMES))
def test_every_rule_by_its_name(here, run, rule):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--stop", rule, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert report_of()["steps"] <= 12


def test_steps_exactly_with_stop_steps(here, run):
    run("denoise", "noisy.png", "--recipe", "tiny.json", "--stop", "steps", "--steps", "7", "--report", "report.json")
    assert (report_of()["steps"], report_of()["kept_step"]) == (7, 7)


@pytest.mark.parametrize(
    ("prior", "kind"), [("deep-decoder", "DeepDecoder"), ("pixels", "Pixels"), ("skip", "SkipNet")]
)
def test_priors(here, run, prior, kind):
    own = ("--recipe", "tiny.json") if prior == "skip" else ()
    ran = run("denoise", "noisy.png", *own, "--prior", prior, "--tv", "1e-6", "--steps", "3", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert report_of()["recipe"]["network"]["kind"] == kind
    assert report_of()["steps"] <= 3


@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_named_recipes(here, run, recipe):
    ran = run("denoise", "noisy.png", "--recipe", recipe, "--steps", "1", "--restarts", "1", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert report_of()["recipe_name"] == recipe
    assert report_of()["recipe"]["debiased"] is (recipe == "fast")


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "speckle", "impulse"])
def test_noise_kinds(here, run, kind):
    assert run("denoise", "noisy.png", "--recipe", "tiny.json", "--noise", kind, "--steps", "3").code == 0


def test_sigma_is_in_units_of_the_file(here, run):
    ran = run("denoise", "noisy.png", "--recipe", "tiny.json", "--sigma", "51")
    assert "sigma is 51 in units of the input, 0.2000 in 0..1" in ran.out


def test_threads_are_as_asked_and_put_back(here, run):
    before = torch.get_num_threads()
    run("denoise", "noisy.png", "--recipe", "tiny.json", "--threads", "2", "--steps", "2", "--report", "report.json")
    assert report_of()["threads"] == 2
    assert torch.get_num_threads() == before


def test_16_bit_color_with_alpha_end_to_end(here, run):
    clean, noisy = (picture.astype(np.uint16) * 200 + 1000 for picture in pictures())
    alpha = np.arange(20 * 24, dtype=np.uint16).reshape(20, 24, 1) * 100
    for name, values in (("n16.png", noisy), ("c16.png", clean)):
        cv2.imwrite(name, np.concatenate([values[..., ::-1], alpha], axis=2))
    ran = run("denoise", "n16.png", "--recipe", "tiny.json", "--stop", "steps", "-o", "o16.png", "--figure", "f.png",
              "--film", "f.gif", "--reference", "c16.png", "--report", "report.json")  # fmt: skip
    assert ran.code == 0, ran.err
    written = cv2.imread("o16.png", cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert (written.dtype, written.shape) == (np.dtype(np.uint16), (20, 24, 4))
    assert (written[..., 3:] == alpha).all()
    span = float(noisy.max()) - float(noisy.min())
    error = np.mean(((written[..., 2::-1].astype(float) - clean) / span) ** 2)
    assert report_of()["psnr"] == pytest.approx(-10 * np.log10(error), abs=0.01)


def test_range_and_two_channels(here, run):
    values = np.random.default_rng(0).integers(100, 200, (2, 20, 24)).astype(np.uint16)
    tifffile.imwrite("two.tif", values, photometric="minisblack", planarconfig="separate")
    ran = run("denoise", "two.tif", "--recipe", "tiny.json", "--range", "0", "255", "-o", "out.tif",
              "--figure", "f.png", "--film", "f.gif")  # fmt: skip
    assert ran.code == 0, ran.err
    assert tifffile.imread("out.tif").shape == (2, 20, 24)
    assert run("denoise", "two.tif", "--range", "150", "255").failed_in_one_line("two.tif", code="range")


def test_pages(here, run):
    pages = np.stack([pictures()[1][..., 0] // (i + 1) for i in range(3)])
    tifffile.imwrite("stack.tif", pages, photometric="minisblack", metadata=None)
    common = ("denoise", "stack.tif", "--recipe", "tiny.json", "--steps", "3")
    assert run(*common).failed_in_one_line("stack.tif", "page")
    assert run(*common, "--page", "2", "-o", "one.tif").code == 0
    assert tifffile.imread("one.tif").shape == (20, 24)
    ran = run(*common, "--page", "all", "-o", "all.tif", "--figure", "f.png", "--reference", "stack.tif", "--json")
    assert ran.code == 0, ran.err
    assert tifffile.imread("all.tif").shape == (3, 20, 24)
    assert json.loads(ran.out)["pages"] == 3


@pytest.mark.parametrize(("quality", "restarts"), [("fast", 1), ("balanced", 3), ("best", 8)])
def test_quality_is_how_many_fits_are_averaged(here, run, quality, restarts):
    Image.fromarray(pictures(16, 16)[1]).save("small.png")
    ran = run(
        "denoise", "small.png", "--quality", quality, "--steps", "1", "--stop", "steps", "--report", "report.json"
    )
    assert ran.code == 0, ran.err
    report = json.loads(Path("report.json").read_text())
    assert (report["recipe_name"], len(report["kept_steps"])) == (quality, restarts)

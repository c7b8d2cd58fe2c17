"""remove_jpeg_artifacts: what a file tells of its own rounding, and that every result is a picture it may have been."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean

from preimage.codes import Noise
from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.images import as_picture, read
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.operators import JpegCoefficients, rounded
from preimage.optimizers import adam
from preimage.restore.quantization import default_rule, jpeg_coding, jpeg_problem
from preimage.restore.remove_jpeg_artifacts import recipes, remove_jpeg_artifacts
from preimage.stopping import After, Discrepancy, after

BRIEF = replace(THIN, steps=4)
FAST, PAPER = recipes()["fast"], recipes()["paper"]
# From what is shown to what is stored, by EXIF orientation.
STORED = {
    1: lambda x: x,
    2: lambda x: x.flip(-1),
    3: lambda x: x.flip(-1, -2),
    4: lambda x: x.flip(-2),
    5: lambda x: x.transpose(-1, -2),
    6: lambda x: x.rot90(1, (-2, -1)),
    7: lambda x: x.flip(-1, -2).transpose(-1, -2),
    8: lambda x: x.rot90(-1, (-2, -1)),
}


def problem_of(picture, quality):
    return jpeg_problem(picture, jpeg_coding(picture, quality)[0])


def photograph(height: int = 48, width: int = 48, *, grey: bool = False) -> np.ndarray:
    """A real texture in the middle of the range."""
    from skimage import data

    window = data.chelsea()[60 : 60 + height, 100 : 100 + width]
    pixels = (70 + 0.45 * window).round().astype(np.uint8)
    return pixels.mean(2).astype(np.uint8) if grey else pixels


def written(pixels: np.ndarray, path: Path, orientation: int = 1, **options) -> Path:
    """A file that libjpeg wrote, of quality 20 unless said."""
    path.write_bytes(encoded(pixels, orientation, **options))
    return path


def opened(pixels: np.ndarray, orientation: int = 1, **options) -> Image.Image:
    return Image.open(io.BytesIO(encoded(pixels, orientation, **options)))


def encoded(pixels: np.ndarray, orientation: int, **options) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, **({"quality": 20} | options))
    return buffer.getvalue()


def tensor_of(pixels: np.ndarray) -> torch.Tensor:
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(planes.copy()).movedim(-1, 0)[None].float() / 255


def steps_beyond(image: torch.Tensor, file: Image.Image, orientation: int = 1) -> torch.Tensor:
    """By how much, in units of 1/255, coefficients of a picture lie beyond those that the file holds, and half a step."""
    stored = tensor_of(np.asarray(file))
    coding = as_picture(file).metadata.quantization
    assert coding is not None
    assert torch.equal(STORED[orientation](as_picture(file).tensor), stored)
    tables = [torch.tensor(table) for table in coding.tables]
    size = (file.height, file.width)
    view = JpegCoefficients(tables, size, subsampling=coding.subsampling, space=coding.space)
    off = view(STORED[orientation](image)) - rounded(view(stored), view.steps)
    return (off.abs() - view.steps / 2) * 255


def random(like: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- what the file tells


@pytest.mark.parametrize("quality", [1, 10, 33, 75, 95])
def test_the_table_is_read_from_the_file_and_its_quality_said(tmp_path, quality):
    path = written(photograph(), tmp_path / "photo.jpg", quality=quality)
    fit = remove_jpeg_artifacts(path, recipe=BRIEF, device="cpu")
    (said,) = fit.remarks
    assert f"JPEG of quality {quality} (from its table)" in said
    with Image.open(path) as file:
        entries = getattr(file, "quantization", {})[0]
    table = torch.tensor(entries) / 255
    coefficients = fit.problem.target[:, :64]
    assert torch.allclose(coefficients / table, (coefficients / table).round(), atol=1e-3)
    assert "only the prior is used" not in said


@pytest.mark.parametrize(("subsampling", "said"), [(0, "1x1"), (1, "1x2"), (2, "2x2")])
def test_how_color_was_sub_sampled_is_said_and_used(subsampling, said):
    fit = remove_jpeg_artifacts(opened(photograph(), subsampling=subsampling), recipe=BRIEF, device="cpu")
    assert f"color {said} sub-sampled" in fit.remarks[0]
    assert fit.problem.target.shape == (1, 48 * 48 * (1 + 2 // (1, 2, 4)[subsampling]) + 48 * 24 * (subsampling == 2))


def test_a_path_and_an_open_image_are_one_problem(tmp_path):
    path = written(photograph(), tmp_path / "photo.jpg")
    with Image.open(path) as file:
        runs = [remove_jpeg_artifacts(each, recipe=BRIEF, device="cpu") for each in (path, str(path), file)]
    images = [run.run().image for run in runs]
    assert all(torch.equal(image, images[0]) for image in images)


def test_without_a_table_only_the_prior_is_used():
    fit = remove_jpeg_artifacts(photograph(), recipe=BRIEF, device="cpu")
    assert "no quantization table is known" in fit.remarks[0]
    assert fit.problem.finish is None
    assert torch.equal(fit.problem.target, tensor_of(photograph()))


@pytest.mark.parametrize("grey", [False, True])
def test_a_copy_in_png_is_the_jpeg_once_its_quality_is_said(tmp_path, grey):
    path = written(photograph(grey=grey), tmp_path / "photo.jpg", quality=35)
    with Image.open(path) as file:
        file.save(tmp_path / "copy.png")
    own, copied = (
        remove_jpeg_artifacts(tmp_path / name, jpeg_quality=quality, recipe=BRIEF, device="cpu")
        for name, quality in (("photo.jpg", None), ("copy.png", 35))
    )
    assert torch.equal(own.problem.target, copied.problem.target)
    assert "JPEG of quality 35, as specified" in copied.remarks[0]
    assert torch.equal(own.run().image, copied.run().image)


# ---------------------------------------------------------------------- every result is a picture of the same file


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_result_of_any_orientation_gives_the_same_file(orientation):
    file = opened(photograph(32, 48), orientation=orientation)
    result = remove_jpeg_artifacts(file, recipe=BRIEF, device="cpu").run()
    assert result.image.shape[-2:] == ((32, 48) if orientation < 5 else (48, 32))
    assert float(steps_beyond(result.image, file, orientation).max()) < 0.5 + 1e-2
    assert float(steps_beyond(result.image.flip(-1), file, orientation).max()) > 20


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize(("grey", "subsampling"), [(True, 0), (False, 0), (False, 1), (False, 2)])
def test_a_result_of_any_kind_gives_the_same_file(grey, subsampling, restarts):
    file = opened(photograph(grey=grey), subsampling=subsampling)
    result = remove_jpeg_artifacts(file, recipe=BRIEF, restarts=restarts, device="cpu").run()
    assert result.image.shape == (1, 1 if grey else 3, 48, 48)
    assert float(steps_beyond(result.image, file).max()) < 0.5 + 1e-2


def test_without_the_constraint_it_would_not():
    file = opened(photograph())
    fit = remove_jpeg_artifacts(file, recipe=BRIEF, device="cpu")
    fit.run()
    assert float(steps_beyond(fit.outputs.averages[0], file).max()) > 20


@pytest.mark.parametrize("size", [(48, 48), (41, 50), (33, 17), (44, 39)])
@pytest.mark.parametrize(
    ("grey", "subsampling", "quality"), [(True, 0, 10), (True, 0, 75), (False, 0, 10), (False, 0, 50), (False, 2, 75)]
)
def test_the_original_is_left_alone(quality, grey, subsampling, size):
    """It is one of the pictures that the file may have been, whatever the size: nothing may lead away from it."""
    pixels = photograph(*size, grey=grey)
    problem = problem_of(as_picture(opened(pixels, quality=quality, subsampling=subsampling)), None)
    assert problem.finish is not None
    moved = (problem.finish(tensor_of(pixels)) - tensor_of(pixels)) * 255
    assert float(moved.abs().max()) < 0.1


@pytest.mark.parametrize("size", [(48, 48), (41, 50)])
@pytest.mark.parametrize(("grey", "subsampling"), [(True, 0), (False, 0), (False, 2)])
def test_the_constraint_leads_closer_to_the_original(grey, subsampling, size):
    """Exactly where coefficients keep distances (grey); nearly so in color."""
    original = tensor_of(photograph(*size, grey=grey))
    file = opened(photograph(*size, grey=grey), quality=30, subsampling=subsampling)
    problem = problem_of(as_picture(file), None)
    assert problem.finish is not None
    guesses = [original + strength * (random(original, 3) - 0.5) for strength in (0.02, 0.1, 0.5)]
    for guess in (*guesses, random(original, 4), torch.nn.functional.avg_pool2d(original, 3, 1, 1)):
        before, after_it = ((each - original).norm() for each in (guess, problem.finish(guess)))
        assert float(after_it) <= float(before) * (1 + 1e-4 if grey else 1.01)


def test_what_was_clipped_stays_near_the_file():
    """Black on white: a result lies within 0..1 as well as, but for a rest, in what the file holds."""
    pixels = np.full((48, 48), 255, np.uint8)
    pixels[8:40:6, 5:43] = pixels[10:38, 20:22] = 0
    file = opened(pixels)
    result = remove_jpeg_artifacts(file, recipe=BRIEF, device="cpu").run()
    assert 0 <= float(result.image.min()) <= float(result.image.max()) <= 1
    assert float(steps_beyond(result.image, file).max()) < 2


@pytest.mark.parametrize("value_range", [(0, 400), (-100, 300)])
def test_a_range_of_one_s_own_changes_nothing(tmp_path, value_range):
    path = written(photograph(), tmp_path / "photo.jpg", quality=50)
    own, other = (problem_of(read(path, value_range=each), None) for each in (None, value_range))
    low, high = value_range
    original = tensor_of(photograph())
    assert own.finish is not None
    assert other.finish is not None
    moved = other.finish((original * 255 - low) / (high - low)) * (high - low) + low
    assert torch.allclose(moved, own.finish(original) * 255, atol=0.05)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_table_of_8_bits_does_not_serve_other_values(kind):
    """It counts in 255ths of white, and where white is nobody knows."""
    decoded = np.asarray(opened(photograph(grey=True), quality=50))
    with pytest.raises(InputError) as caught:
        problem_of(as_picture(decoded.astype(kind) * 257), 50)
    assert caught.value.code == "type"
    assert "8 bits" in str(caught.value)


# ---------------------------------------------------------------------- settings, the fit, errors


def test_the_paper_s_settings(golden: Path):
    """PAPERS.md: skip [8, 16, 32, 64, 128] / [0, 0, 0, 4, 4], noise 3, jitter 1/30, Adam 0.01, 2400 steps, as denoising."""
    network = PAPER.network
    assert isinstance(network, SkipNet.Config)
    assert network.down == network.up == (8, 16, 32, 64, 128)
    assert network.skip == (0, 0, 0, 4, 4)
    assert (network.upsample, network.padding, network.downsample) == ("bilinear", "reflect", "stride")
    assert (PAPER.code, PAPER.jitter, PAPER.jitter_pool) == (Noise(3), 1 / 30, None)
    assert (PAPER.optimizer, PAPER.rate, PAPER.steps) == (adam, 0.01, 2400)
    assert (PAPER.averaging, PAPER.debiased, PAPER.stop, PAPER.restarts) == (0.99, False, "steps", 1)
    counts = json.loads((golden / "parameter_counts.json").read_text())
    (published,) = (count for name, count in counts.items() if name.startswith("JPEG"))
    with torch.device("meta"):
        assert sum(p.numel() for p in network(3, 3, 512, 512).parameters()) == published


@pytest.mark.parametrize("quality", [10, 40])
def test_the_original_s_error_is_that_of_rounding(quality):
    """A twelfth of a step squared, on the mean over the coefficients that are not 0."""
    pixels = photograph(96, 96)
    problem = problem_of(as_picture(opened(pixels, quality=quality, subsampling=0)), None)
    rule = default_rule(problem, FAST)
    assert isinstance(rule, Discrepancy)
    assert rule.distance is not None
    error = rule.distance(problem.apply(tensor_of(pixels)), problem.target)
    assert float(error) == pytest.approx(1 / 12, rel=0.2)
    stored = problem.target
    assert float(rule.distance(stored, stored)) == 0


def test_it_stops_when_the_error_is_that_of_rounding():
    pixels = (clean(32)[0].movedim(0, -1) * 255).round().byte().numpy()
    fit = remove_jpeg_artifacts(opened(pixels, quality=10), recipe=replace(THIN, steps=300), device="cpu")
    result = fit.run()
    assert isinstance(fit, Fit)
    assert result.steps < 300
    assert "the error fell to that of the noise" in result.reason


def test_without_a_table_and_as_published_it_does_a_number_of_steps():
    untold = remove_jpeg_artifacts(photograph(), recipe=FAST, device="cpu")
    assert isinstance(untold.rule, After)
    assert untold.rule.steps == 300
    published = remove_jpeg_artifacts(opened(photograph()), recipe=PAPER, device="cpu")
    assert isinstance(published.rule, After)


def test_a_rule_of_one_s_own_is_taken():
    file = opened(photograph())
    own = after(2)
    fit = remove_jpeg_artifacts(file, recipe=BRIEF, stop=own, device="cpu")
    assert fit.rule is own
    assert fit.run().steps == 2
    assert (fit.task, fit.fingerprint["jpeg_quality"]) == ("remove-jpeg-artifacts", None)


def test_it_comes_closer_to_the_original_than_the_file_is():
    pixels = (clean(32)[0].movedim(0, -1) * 255).round().byte().numpy()
    file = opened(pixels, quality=5, subsampling=0)
    result = remove_jpeg_artifacts(file, recipe=replace(THIN, steps=40), device="cpu").run()
    assert float(psnr(result.image, tensor_of(pixels))) > float(psnr(as_picture(file).tensor, tensor_of(pixels))) + 0.5


@pytest.mark.parametrize("name", ["clean.png", "clean.jpg"])
def test_the_result_is_written_upright_as_the_file_was(tmp_path, name):
    path = written(photograph(32, 48), tmp_path / "photo.jpg", orientation=6)
    result = remove_jpeg_artifacts(path, recipe=BRIEF, device="cpu").run()
    saved = read(result.save(tmp_path / name)).tensor
    assert saved.shape == result.image.shape == (1, 3, 48, 32)
    assert float((saved - result.image).abs().max()) < (0.51 / 255 if name.endswith("png") else 0.2)


@pytest.mark.parametrize("quality", [0, 101, -3, 30.0, True, "30"])
def test_a_quality_that_is_none(quality):
    with pytest.raises(InputError) as caught:
        remove_jpeg_artifacts(photograph(), jpeg_quality=quality, recipe=BRIEF, device="cpu")
    assert caught.value.code == "invalid-value"
    assert repr(quality) in str(caught.value)


def test_a_quality_beside_the_file_s_own(tmp_path):
    path = written(photograph(), tmp_path / "photo.jpg", quality=64)
    with pytest.raises(InputError) as caught:
        remove_jpeg_artifacts(path, jpeg_quality=64, recipe=BRIEF, device="cpu")
    assert caught.value.code == "option"
    assert "64" in str(caught.value)


@pytest.mark.parametrize("channels", [2, 4])
def test_a_quality_for_channels_that_no_jpeg_has(channels):
    with pytest.raises(InputError) as caught:
        remove_jpeg_artifacts(torch.rand(channels, 20, 20), jpeg_quality=50, recipe=BRIEF, device="cpu")
    assert caught.value.code == "shape"
    assert str(channels) in str(caught.value)

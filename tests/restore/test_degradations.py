"""Degradations: what each does to a picture, what it leaves for the truth, and names that are none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from specimens import THIN, clean

from preimage.errors import InputError
from preimage.images import as_picture
from preimage.networks import SkipNet
from preimage.restore.degradations import Degradation, Source, Specimen, read_degradation, specimens
from preimage.restore.denoise import denoise

BRIEF = replace(
    THIN, network=SkipNet.Config((8,) * 2, (8,) * 2, (2,) * 2, upsample="nearest", padding="zeros"), steps=4
)
TASKS = {
    "gaussian:25": "denoise",
    "poisson:30": "denoise",
    "speckle:0.2": "denoise",
    "impulse:0.3": "denoise",
    "jpeg:20": "remove-jpeg-artifacts",
    "downsample:2": "super-resolve",
    "missing:0.5": "inpaint",
    "missing:0.95": "inpaint",
    "blur:1.6": "deblur",
    "blur:5,30": "deblur",
}


def pictures() -> list[Source]:
    return [clean(32).roll(5 * i, -1) for i in range(3)]


def spoiled(name: str, picture: torch.Tensor) -> Specimen:
    return read_degradation(name).spoil(picture, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("degradation", "task"), TASKS.items())
def test_a_task_is_given_what_fits_the_truth_and_never_the_truth(degradation, task):
    assert read_degradation(degradation).task == task
    for channels in (1, 3):
        specimen = spoiled(degradation, clean(64, channels))
        fit = read_degradation(degradation).start(specimen, BRIEF, device="cpu")
        assert next(iter(fit)).picture.shape == specimen.truth.shape
        given = specimen.given.tensor
        assert 0 <= float(given.min()) <= float(given.max()) <= 1
        assert given.shape != specimen.truth.shape or specimen.psnr(given) < 45


def test_degradations_are_as_strong_as_they_say():
    grey = torch.full((1, 3, 128, 128), 0.5)
    noise = {name: spoiled(name, grey).given.tensor - grey for name in ("gaussian:25", "poisson:50", "speckle:0.2")}
    deviations = [float(each.std()) for each in noise.values()]
    assert deviations == pytest.approx([25 / 255, math.sqrt(0.5 / 50), 0.1], rel=0.03)
    replaced = spoiled("impulse:0.3", grey).given.tensor
    shares = [float((replaced == value).float().mean()) for value in (0, 1)]
    assert shares == pytest.approx([0.15, 0.15], abs=0.01)
    specimen = spoiled("missing:0.7", grey)
    assert float((specimen.options["mask"] == 255).mean()) == pytest.approx(0.7, abs=0.01)
    assert (specimen.given.tensor[0, 1][torch.from_numpy(specimen.options["mask"] == 255)] == 0).all()
    coding = spoiled("jpeg:20", clean(32)).given.metadata.quantization
    assert coding is not None
    assert coding.quality == 20


def test_sizes_of_what_is_given():
    picture = clean(70)[..., :66]
    assert spoiled("downsample:4", picture).given.tensor.shape == (1, 3, 17, 16)
    assert spoiled("downsample:4", picture).truth.shape == (1, 3, 68, 64)
    blurred = spoiled("blur:9,0", picture)
    assert blurred.given.tensor.shape == blurred.truth.shape == (1, 3, 70, 58)
    assert (blurred.truth == picture[..., 4:-4]).all()
    assert blurred.options == {"kernel": "motion:9,0"}


def test_noise_is_another_for_each_picture_and_seed():
    degradation = read_degradation("gaussian:25")

    def given(seed: int, limit: int | None = None) -> dict[str, torch.Tensor]:
        chosen = specimens(pictures(), degradation, side=32, limit=limit, seed=seed)
        return {each.name: each.given.tensor - each.truth for each in chosen}

    first, again, other = given(0), given(0), given(1)
    assert all((first[name] == again[name]).all() for name in first)
    assert all((first[name] != other[name]).any() for name in first)
    assert len({float(each[0, 0, 0, 0]) for each in first.values()}) == 3
    limited = given(0, limit=2)
    assert len(limited) == 2
    assert all((limited[name] == first[name]).all() for name in limited)


def test_only_the_middle_of_a_large_picture_is_taken():
    degradation = Degradation("none", denoise, lambda x, generator: Specimen(as_picture(x), x, {}))
    wholes = [clean(48), clean(48) / 2]
    for specimen in specimens(wholes, degradation, side=20, limit=None, seed=0):
        assert specimen.truth.shape == (1, 3, 20, 20)
        assert any((specimen.truth == whole[..., 14:34, 14:34]).all() for whole in wholes)
        assert specimen.name in ("picture 1", "picture 2")


def test_of_a_folder_all_pictures_are_taken_in_random_order(tmp_path: Path):
    for i, name in enumerate("edcba"):
        picture = Image.fromarray((clean(32).roll(5 * i, -1)[0].movedim(0, -1) * 255).byte().numpy())
        picture.save(tmp_path / f"{name}.{'PNG' if i else 'bmp'}")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture either")
    (tmp_path / "more").mkdir()
    names = [each.name for each in specimens(tmp_path, read_degradation("jpeg:20"), side=32, limit=None, seed=0)]
    assert sorted(names) == ["a.PNG", "b.PNG", "c.PNG", "d.PNG", "e.bmp"]
    assert names != sorted(names)


@pytest.mark.parametrize(
    "degradation",
    [
        "fog:3",
        "",
        "gaussian",
        "gaussian:many",
        "gaussian:0",
        "gaussian:nan",
        "gaussian:25,3",
        "poisson:-1",
        "speckle:inf",
        "impulse:1",
        "jpeg:0",
        "jpeg:20.5",
        "downsample:1",
        "missing:1",
        "blur:0",
        "blur:1,2,3",
        "blur:0,30",
    ],
)
def test_what_is_no_degradation_is_one_line_that_names_it(degradation):
    with pytest.raises(InputError) as caught:
        read_degradation(degradation)
    assert "\n" not in str(caught.value)
    assert degradation == "blur:0,30" or repr(degradation) in str(caught.value)

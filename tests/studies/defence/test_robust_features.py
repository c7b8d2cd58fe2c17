"""Feature matching: near to the one picture in features, begun at another; folders that are gone on with; the published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from defend.small import CLASSES, pictures, trained
from PIL import Image
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.labelled import read_labelled
from preimage.errors import InputError
from studies.defence import robust_features
from studies.defence.robust_features import (
    features_matched,
    features_of,
    read_published,
    relative_distance,
    shuffled,
    write_features_matched,
    write_image_folder,
)


def starts_of(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    images, _ = pictures(count)
    return images, shuffled(images, 1)


def test_features_come_near_and_the_picture_stays_within_its_range():
    images, starts = starts_of()
    found = features_matched(images, trained(), starts=starts, steps=60)
    assert found.shape == images.shape
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    before, after = (relative_distance(trained(), x, images) for x in (starts, found))
    assert (after < 0.5 * before).all()  # one ends in a valley of its own
    assert float(after.median()) < 0.05
    assert not torch.allclose(found, images, atol=0.1), "the picture itself would do as well, and is not the point"


def test_each_picture_is_matched_for_itself():
    images, starts = starts_of()
    together = features_matched(images, trained(), starts=starts, steps=5)
    apart = features_matched(images, trained(), starts=starts, steps=5, batch=2)
    torch.testing.assert_close(together, apart, atol=1e-3, rtol=0)


def test_a_step_has_the_length_that_was_asked_for():
    images, starts = starts_of()
    images, starts = 0.25 + images / 2, 0.25 + starts / 2  # nothing is cut off
    moved = features_matched(images, trained(), starts=starts, steps=1, rate=0.1) - starts
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), torch.full((len(images),), 0.1), atol=1e-4, rtol=0)


def test_noise_is_the_start_where_none_is_given_and_repeats_by_its_seed():
    images, _ = starts_of(2)
    first, again, other = (features_matched(images, trained(), steps=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_the_penultimate_layer_is_what_the_last_linear_one_is_given():
    images, _ = starts_of(2)
    model = trained().model
    assert isinstance(model.head, nn.Linear)
    found = features_of(trained(), images)
    torch.testing.assert_close(trained()(images), model.head(found))
    named = features_of(trained(), images, "first")
    assert named.shape == (2, 12 * 16 * 16)


def test_no_picture_starts_from_itself():
    for count in (2, 3, 9):
        numbers = torch.arange(float(count)).reshape(-1, 1, 1, 1)
        for seed in range(5):
            assert sorted(shuffled(numbers, seed).flatten().tolist()) == list(range(count))
            assert (shuffled(numbers, seed) != numbers).all()
    with pytest.raises(InputError, match="one picture alone"):
        shuffled(torch.zeros(1, 3, 16, 16))


class Unended(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps and batch must be at least 1"),
        ({"rate": 0.0}, "rate above 0"),
        ({"starts": torch.zeros(1, 3, 16, 16)}, "starts must have the shape"),
        ({"layer": "head2"}, "no layer 'head2'"),
        ({"classifier": Classifier(Unended(), 3)}, "no linear layer that gives its logits"),
    ],
)
def test_what_cannot_be_is_one_line(change, said):
    images, _ = starts_of(2)
    with pytest.raises(InputError, match=said):
        features_matched(images, **({"classifier": trained(), "steps": 1} | change))


# ---------------------------------------------------------------------- folders


def test_a_folder_is_read_as_labelled_pictures(tmp_path):
    images, labels = pictures(12)
    paths = write_image_folder(tmp_path / "all", images, labels, CLASSES)
    assert paths[1] == tmp_path / "all" / "falling" / "00001.png"
    data = read_labelled(tmp_path / "all")
    assert (data.classes, len(data)) == (tuple(sorted(CLASSES)), 12)
    held = torch.from_numpy(np.array(Image.open(paths[1]))).movedim(-1, 0) / 255
    assert float((held - images[1]).abs().max()) <= 0.5 / 255 + 1e-6


def test_pictures_that_are_there_are_not_made_again_and_the_rest_is_as_it_would_have_been(tmp_path, monkeypatch):
    images, labels = pictures(6)
    whole = write_features_matched(tmp_path / "whole", images, labels, trained(), steps=3, batch=2)
    made = []

    def counted(some: torch.Tensor, *given: object, **settings: object) -> torch.Tensor:
        made.append(len(some))
        return features_matched(some, *given, **settings)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(robust_features, "features_matched", counted)
    for path in whole[:4]:
        copy = tmp_path / "part" / path.relative_to(tmp_path / "whole")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    part = write_features_matched(tmp_path / "part", images, labels, trained(), steps=3, batch=2)
    assert made == [2]
    for a, b in zip(whole, part, strict=True):
        assert np.array_equal(np.array(Image.open(a)), np.array(Image.open(b)))
    write_features_matched(tmp_path / "part", images, labels, trained(), steps=3)
    assert made == [2]


def test_folders_that_cannot_be_are_one_line(tmp_path):
    images, labels = pictures(3)
    with pytest.raises(InputError, match="2 classes, 0 to 1, got 0 to 2"):
        write_image_folder(tmp_path, images, labels, CLASSES[:2])
    with pytest.raises(InputError, match="class index of each of 3 images"):
        write_image_folder(tmp_path, images, labels[:2], CLASSES)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_image_folder(tmp_path / "file", images, labels, CLASSES)


# ---------------------------------------------------------------------- the published files


def published(folder: Path, images: object, labels: object) -> Path:
    torch.save(images, folder / "CIFAR_ims")
    torch.save(labels, folder / "CIFAR_lab")
    return folder


def test_tensors_and_lists_of_them_are_read(tmp_path):
    images, labels = torch.rand(6, 3, 32, 32), torch.arange(6)
    for held in ((images, labels), (list(images.split(4)), list(labels.split(4)))):
        found, said = read_published(published(tmp_path, *held))
        assert torch.equal(found, images)
        assert torch.equal(said, labels)
        assert said.dtype == torch.int64


class Dangerous:
    def __reduce__(self):
        return (Path("ran").touch, ())


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.rand(2, 3, 8, 8) * 255, torch.arange(2), "must be from 0 to 1"),
        (torch.full((2, 3, 8, 8), torch.nan), torch.arange(2), "not finite"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2), "must be floats"),
        (torch.rand(2, 8, 8), torch.arange(2), r"got shape \(2, 8, 8\)"),
        (torch.rand(2, 3, 8, 8), torch.arange(3), "class index of each of 2 images"),
        (torch.rand(2, 3, 8, 8), torch.rand(2), "class index of each of 2 images"),
        ("text", torch.arange(2), "holds no tensors"),
        ({"a": 1}, torch.arange(2), "holds no tensors"),
        (Dangerous(), torch.arange(2), "holds no tensors"),
    ],
)
def test_anything_else_is_one_line_and_never_run(tmp_path, monkeypatch, images, labels, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        read_published(published(tmp_path, images, labels))
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(InputError, match="CIFAR_ims does not exist: give the folder"):
        read_published(tmp_path)
    (tmp_path / "CIFAR_ims").write_bytes(b"no archive")
    with pytest.raises(InputError, match="holds no tensors"):
        read_published(tmp_path)

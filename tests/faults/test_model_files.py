"""Faults of model files: they name code that is then run, name themselves, lack parts; and names in them that are paths."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from classifiers.small import own_classifier, tiny
from faults.parts import picture
from specimens import save_sealed

from preimage import InputError, load_classifier, load_model
from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from studies.defence.robust_features import write_features_matched, write_image_folder

MODULE = """
from pathlib import Path

Path("imported").touch()

def made():
    Path("called").touch()
    from classifiers.small import tiny
    return tiny()
"""


@pytest.fixture
def foreign(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """model.pt, which names a function of planted.py of the working folder, where it would leave a trace."""
    Path("planted.py").write_text(MODULE)
    write_model(Path("model.pt"), TrainedModel(own_classifier(), origin="planted:made"))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return "model.pt"


def nothing_ran() -> bool:
    return not Path("imported").exists() and not Path("called").exists()


@pytest.mark.parametrize("load", [load_model, load_classifier])
def test_a_model_file_runs_no_code(foreign, load):
    with contextlib.suppress(InputError):
        load(foreign)
    assert nothing_ran()


def test_the_function_that_a_model_file_names_must_be_given_again(foreign):
    with pytest.raises(InputError) as error:
        load_model(foreign)
    assert "planted:made" in str(error.value)
    assert "\n" not in str(error.value)


COMMANDS = {
    "counterfactual": ("counterfactual", "noisy.png", "--recipe", "tiny.json", "--device", "cpu"),
    "saliency": ("saliency", "noisy.png", "--method", "gradient", "--device", "cpu"),
    "inspect": ("inspect", "noisy.png", "--recipe", "tiny.json", "--device", "cpu"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_runs_the_code_that_a_model_file_names(foreign, run, command):
    ran = run(*command, "--classifier", foreign)
    assert ran.failed_in_one_line("planted:made"), ran
    assert nothing_ran()


def test_a_function_that_is_given_again_takes_the_weights_of_the_model_file(here, monkeypatch):
    changed = tiny()
    with torch.no_grad():
        changed.model.head.bias.add_(1)
    write_model(Path("model.pt"), TrainedModel(changed, origin="classifiers.small:own_classifier"))
    found = load_classifier("classifiers.small:own_classifier@model.pt")
    assert torch.equal(found.model.head.bias, changed.model.head.bias)


# ---------------------------------------------------------------------- files that name themselves, or lack parts


@pytest.fixture
def written(here: Path) -> dict:
    """The content of a sound model file."""
    model = Backbone("thin_resnet10").build(3)
    write_model(Path("sound.pt"), TrainedModel(Classifier(model, 3), origin=Backbone("thin_resnet10")))
    return torch.load("sound.pt", weights_only=True)


def refused(path: str) -> str:
    with pytest.raises(InputError) as error:
        load_model(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("spec", ["model.pt", "./model.pt", "other.pt"])
def test_a_model_file_that_names_itself_is_refused(written, run, monkeypatch, spec):
    save_sealed({**written, "spec": spec, "backbone": None}, "model.pt")
    save_sealed({**written, "spec": "model.pt", "backbone": None}, "other.pt")
    reads, load = [], torch.load

    def counted(*args, **settings):
        reads.append(args)
        if len(reads) > 8:
            pytest.fail("the file was read again and again")
        return load(*args, **settings)

    monkeypatch.setattr(torch, "load", counted)
    assert "model.pt" in refused("model.pt")
    ran = run(*COMMANDS["saliency"], "--classifier", "model.pt")
    assert ran.failed_in_one_line("model.pt"), ran
    assert "defect" not in ran.err


def test_a_model_file_that_names_neither_a_backbone_nor_a_function_is_refused(written, run):
    save_sealed({**written, "backbone": None}, "model.pt")
    assert "model.pt" in refused("model.pt")
    ran = run(*COMMANDS["saliency"], "--classifier", "model.pt")
    assert ran.failed_in_one_line("model.pt"), ran
    assert "defect" not in ran.err


@pytest.mark.parametrize(
    "part", ["format", "backbone", "small", "classes", "mean", "std", "size", "weights", "estimator", "about"]
)
def test_a_model_file_without_one_of_its_parts_is_refused(written, part):
    save_sealed({name: value for name, value in written.items() if name != part}, "model.pt")
    assert "model.pt" in refused("model.pt")


def test_a_sound_model_file_is_read(written):
    assert load_model("sound.pt").classifier.classes == ("0", "1", "2")


# ---------------------------------------------------------------------- 9: names of classes become names of folders

NAMES = {
    "parents": "../../escaped",
    "parent": "..",
    "a path": "a/../../../escaped",
    "absolute": None,  # in the temporary folder, filled in below
}


def outside(root: Path, folder: Path) -> list[Path]:
    """Files that lie elsewhere than in a folder."""
    return [path for path in root.rglob("*.png") if folder.resolve() not in path.resolve().parents]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_picture_is_written_outside_the_folder(tmp_path, name):
    folder = tmp_path / "a" / "b" / "robust"
    classes = ("round", str(tmp_path / "escaped") if name is None else name)
    with contextlib.suppress(InputError):
        write_image_folder(folder, torch.stack([picture(16), picture(16)]), [0, 1], classes)
    assert outside(tmp_path, folder) == []


@pytest.mark.parametrize("name", ["../../escaped", "a/../../../escaped"])
def test_no_picture_leaves_the_folder_by_its_own_name(tmp_path, name):
    folder = tmp_path / "a" / "b" / "robust"
    with contextlib.suppress(InputError):
        write_image_folder(folder, picture(16)[None], [0], ("round", "square"), [f"{name}/x"])
    assert outside(tmp_path, folder) == []


def test_classes_of_a_model_file_stay_within_the_folder(tmp_path):
    classes = ["round", "../../escaped", "star"]
    model = tiny().model
    classifier = Classifier(model, classes, (0.5,) * 3, (0.25,) * 3)
    folder = tmp_path / "a" / "b" / "robust"
    with contextlib.suppress(InputError):
        images = torch.stack([picture(16), picture(16, seed=1)])
        write_features_matched(folder, images, torch.tensor([0, 1]), classifier, layer="block2", steps=1)
    assert outside(tmp_path, folder) == []


def test_class_names_of_an_npz_stay_within_the_folder(tmp_path):
    from preimage.classifiers.labelled import read_labelled

    x = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
    names = np.array(["round", "../../escaped"])
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 2, class_names=names)
    folder = tmp_path / "a" / "b" / "robust"
    with contextlib.suppress(InputError):
        data = read_labelled(tmp_path / "data.npz")
        write_image_folder(folder, data.pictures.float() / 255, data.labels, data.classes)
    assert outside(tmp_path, folder) == []


def test_classes_of_different_names_have_folders_of_their_own(tmp_path):
    with contextlib.suppress(InputError):
        images = torch.stack([picture(16), picture(16, seed=1)])
        paths = write_image_folder(tmp_path, images, [0, 1], ("round", "./round"))
        assert len({path.resolve() for path in paths}) == 2
        assert len({path.resolve().parent for path in paths}) == 2

"""The studies of features: what is called kept of a picture, sheets, classifiers of one's own weights."""

from __future__ import annotations

import pytest
import torch

from preimage.images import read
from studies import activation_maximization, feature_inversion
from studies.activation_maximization import excitations, goals, middle
from studies.feature_inversion import LIKENESSES, likenesses, smoothed
from studies.harness import imaging
from studies.harness.classifiers import own_resnet18, untrained
from studies.harness.figures import keep_picture, save_sheet
from studies.harness.study import Run


def noise(seed: int = 0, *shape: int) -> torch.Tensor:
    return torch.rand(*(shape or (1, 3, 48, 64)), generator=torch.Generator().manual_seed(seed))


def test_a_picture_is_like_itself_and_unlike_another():
    x = noise()
    assert likenesses(x, x) == pytest.approx(dict.fromkeys(LIKENESSES, 1.0))
    assert likenesses(x, 1 - x) == pytest.approx(dict.fromkeys(LIKENESSES, -1.0))
    assert all(abs(value) < 0.35 for value in likenesses(x, noise(1)).values())


def test_each_likeness_has_its_own_part():
    x = noise()
    gray = x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert likenesses(gray, x) == pytest.approx({"color": 0, "light": 1, "detail": 1}, abs=1e-6)
    blurred = likenesses(smoothed(x), x)
    assert blurred["color"] > 0.9 > 0.5 > abs(blurred["detail"])
    tinted = (0.5 * x + torch.tensor([0.4, 0.1, 0.0]).reshape(1, 3, 1, 1)).clamp(0, 1)
    assert likenesses(tinted, x)["color"] == pytest.approx(1, abs=1e-4)
    assert likenesses(torch.full_like(x, 0.3), x) == dict.fromkeys(LIKENESSES, 0.0)


def test_a_sheet_shows_what_there_is(tmp_path):
    files = [[tmp_path / f"{row}-{column}.png" for column in "xy"] for row in "ab"]
    assert save_sheet("ab", "xy", files, tmp_path / "sheet.png") is None
    keep_picture(noise(2), files[0][1])
    assert torch.allclose(read(files[0][1]).tensor, noise(2), atol=0.5 / 255 + 1e-6)
    assert save_sheet("ab", "xy", files, tmp_path / "sheet.png") == tmp_path / "sheet.png"
    assert read(tmp_path / "sheet.png").tensor.std() > 0.01


def test_weights_of_one_s_own(tmp_path, monkeypatch):
    from torchvision import models

    monkeypatch.delenv("PREIMAGE_WEIGHTS", raising=False)
    study = Run("feature_inversion", "small", None, tmp_path)
    assert own_resnet18(study) is None
    model = models.resnet18(weights=None)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    monkeypatch.setenv("PREIMAGE_WEIGHTS", str(tmp_path / "w.pth"))
    classifier = own_resnet18(study)
    assert classifier is not None
    assert classifier.size == (224, 224)
    assert all(name in classifier.classes for name in activation_maximization.CLASSES["resnet18"])
    assert own_resnet18(Run("feature_inversion", "smoke", None, tmp_path)) is None
    study.memory[feature_inversion.models,] = {"resnet18": classifier}
    study.memory[feature_inversion.specimens,] = {"noise": noise(0, 1, 3, 64, 64)}
    assert feature_inversion.layers(study, "resnet18") == ["layer1", "layer2", "layer3", "layer4", "fc"]


def test_goals_are_classes_and_the_channels_that_differ_most():
    pictures = [imaging.shaded_disc(k)[0] for k in range(4)]
    asked = activation_maximization.Subject("lesions", untrained(None, "lesions").classifier, None, pictures)
    found = list(goals(Run("a", "small"), asked).values())
    classes, channels = found[:4], found[4:]
    assert [goal["target"] for goal in classes] == list(activation_maximization.CLASSES["lesions"])
    assert len(channels) == len({goal["channel"] for goal in channels}) == 4
    spread = torch.cat([asked.model.features(x, "1").mean((2, 3)) for x in pictures]).std(0)
    assert float(spread[[goal["channel"] for goal in channels]].min()) >= float(spread.sort().values[-4])


def test_excitations_of_pictures_are_those_that_are_maximized():
    classifier = untrained(None, "lesions").classifier
    pictures = [imaging.shaded_disc(k)[0] for k in range(2)]
    found = excitations(classifier, pictures, {"target": "mel"})
    assert found == pytest.approx([float(classifier(x)[0, classifier.class_index("mel")]) for x in pictures])
    channel = torch.zeros(7, 8)
    channel[2:5, 2:5] = 1
    assert float(middle(channel)) == 1
    assert float(middle(channel.roll(1, 0))) == pytest.approx(2 / 3)

"""Psi: the first block whose inversion keeps color and light, of networks made here and of those of libraries."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from explain.small import BRIEF, estimated, picture
from torch import nn

from preimage.classifiers import Classifier, TrainedModel, load_classifier
from preimage.explain import psi
from preimage.explain.counterfactual import counterfactual
from preimage.explain.psi import KEPT, candidates, kept_by, psi_of
from preimage.explain.recover import recover

TABLE = Path(__file__).with_name("psi_layers.csv")
SAMPLE = (
    "resnet18",
    "alexnet",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "squeezenet1_1",
    "convnextv2_atto",
    "edgenext_xx_small",
    "mambaout_femto",
)


class Mixed(nn.Module):
    """1 x 1 convolutions that keep what their matrix keeps, with the kernels of a whole block."""

    def __init__(self, matrix: torch.Tensor, stride: int = 2) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride)
        self.layers = nn.Sequential(*(nn.Conv2d(matrix.shape[1], matrix.shape[0], 1) for _ in range(1)))
        self.same = nn.Sequential(*(nn.Conv2d(matrix.shape[0], matrix.shape[0], 1) for _ in range(2)))
        with torch.no_grad():
            for convolution in (*self.layers, *self.same):
                convolution.bias.zero_()
            self.layers[0].weight.copy_(matrix[..., None, None])
            for convolution in self.same:
                convolution.weight.copy_(torch.eye(matrix.shape[0])[..., None, None])

    def forward(self, x):
        return self.same(self.layers(self.pool(x)))


GRAY = torch.full((3, 3), 1 / 3)  # light alone
COLOR = torch.eye(3) - 1 / 3  # all but light
ALL = torch.eye(3)


class Row(nn.Module):
    def __init__(self, *matrices: torch.Tensor) -> None:
        super().__init__()
        self.stage = nn.ModuleList(Mixed(matrix) for matrix in matrices)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        for stage in self.stage:
            x = stage(x)
        return self.head(x.mean((2, 3)))


def chosen(*matrices: torch.Tensor) -> psi.Psi:
    return psi_of(
        TrainedModel(Classifier(Row(*matrices), 2, (0.5,) * 3, (0.25,) * 3, size=64)), torch.rand(1, 3, 64, 64)
    )


@pytest.mark.parametrize("lost", [GRAY, COLOR, torch.diag(torch.tensor([1.0, 1, 0]))], ids=["color", "light", "blue"])
def test_a_layer_that_loses_color_or_light_is_found_out(lost):
    classifier = Classifier(Row(ALL, lost), 2, (0.5,) * 3, (0.25,) * 3)
    assert kept_by(classifier, "stage.0", (64, 64)) > 0.98
    assert kept_by(classifier, "stage.1", (64, 64)) < 0.75


def test_the_first_of_the_last_four_stages_that_keeps_them_is_chosen():
    assert chosen(ALL, ALL, ALL).layer == "stage.0"
    assert chosen(ALL, ALL, ALL, ALL, ALL).layer == "stage.1"
    assert chosen(ALL, GRAY, GRAY, GRAY, GRAY).layer == "stage.0"  # the one before it
    assert chosen(ALL, ALL, ALL, GRAY, GRAY).remarks == ()


def test_where_none_keeps_them_the_best_is_chosen_and_it_is_said():
    found = chosen(GRAY, GRAY, GRAY)
    assert found.layer == "stage.0"
    assert found.kept < KEPT
    assert "stage.0" in found.remarks[0]


def test_it_is_measured_once_for_a_classifier(monkeypatch):
    measured, model = [], TrainedModel(Classifier(Row(ALL, ALL), 2, size=32))
    monkeypatch.setattr(psi, "kept_by", lambda classifier, layer, size: measured.append(layer) or 1.0)
    for _ in range(3):
        assert psi_of(model, torch.rand(1, 3, 32, 32)).layer == "stage.0"
    assert measured == ["stage.0"]


def test_resnets_estimators_and_named_layers_need_no_measurement(monkeypatch):
    monkeypatch.setattr(psi, "kept_by", lambda *_: pytest.fail("measured"))
    x = torch.rand(1, 3, 64, 64)
    for name in ("torchvision:resnet18", "torchvision:resnet50", "timm:test_resnet"):
        assert psi_of(TrainedModel(load_classifier(f"{name}@none")), x).layer == "layer1"
    assert psi_of(estimated(), x).layer == "block1"
    assert psi_of(estimated(), x, "block2").layer == "block2"


def test_a_gray_classifier_has_no_colors_to_keep():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU()), nn.Flatten(), nn.Linear(4 * 256, 2))
    assert kept_by(Classifier(network, 2, (0.5,), (0.25,)), "0.0", (32, 32)) > 0.9


def test_tasks_take_it_and_say_so():
    model = Classifier(Row(ALL, GRAY), 2, (0.5,) * 3, (0.25,) * 3, size=32)
    options = {"classifier": model, "recipe": BRIEF, "device": "cpu"}
    assert "layer stage.0" in counterfactual(picture(), **options).run().remarks[0]
    blind = Classifier(Row(GRAY, GRAY), 2, (0.5,) * 3, (0.25,) * 3, size=32)
    found = recover(picture(), **(options | {"classifier": blind})).run()
    assert any("no layer was found that keeps color and light" in remark for remark in found.remarks)


# ---------------------------------------------------------------------- classifiers of libraries, untrained


def table() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.read_text().splitlines()))


def check(row: dict[str, str]) -> None:
    classifier = load_classifier(f"{row['classifier']}@none")
    x = torch.rand(1, 3, *classifier.size)
    found = psi_of(TrainedModel(classifier), x)
    assert found.layer == row["layer"]
    assert found.layer in candidates(classifier, x)
    if row["kept"]:
        assert found.kept == pytest.approx(float(row["kept"]), abs=0.02)
    else:
        assert found.kept is None


def test_the_table_has_forty_families():
    names = [row["classifier"] for row in table()]
    assert len(names) == len(set(names)) >= 40
    assert {name.partition(":")[2] for name in names} >= set(SAMPLE)


@pytest.mark.parametrize(
    "row", [row for row in table() if row["classifier"].partition(":")[2] in SAMPLE], ids=lambda row: row["classifier"]
)
def test_the_layer_of_some_families(row):
    check(row)


@pytest.mark.long
@pytest.mark.parametrize(
    "row",
    [row for row in table() if row["classifier"].partition(":")[2] not in SAMPLE],
    ids=lambda row: row["classifier"],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_the_layer_of_the_other_families(row):
    check(row)

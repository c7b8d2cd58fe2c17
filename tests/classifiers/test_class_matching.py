"""A data set may show a few of many classes: they are found by name, synset id or index, and what is not found is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, refused
from PIL import Image

from preimage.classifiers import Classifier, load_classifier, load_model
from preimage.classifiers.class_matching import indices_of, is_alike
from preimage.classifiers.labelled import Labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.defend.train import TrainOptions, summary_lines
from preimage.defend.training_run import TrainingRun

ANIMALS = [
    "cat",
    "tench, Tinca tinca",
    "golden retriever",
    "African elephant, Loxodonta africana",
    "T-shirt",
    "orange",
    "7",
]
NUMBERS = [str(i) for i in range(1000)]


def imagenet() -> list[str]:
    return list(load_classifier("timm:test_resnet@none").classes)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        (["cat"], [0]),
        (["Golden Retriever", "CAT"], [2, 0]),
        (["golden_retriever", "t_shirt"], [2, 4]),
        (["golden-retriever"], [2]),
        (["tench", "Tinca_tinca"][:1], [1]),
        (["loxodonta africana", "orange"], [3, 5]),
        (["2", "0", "5"], [2, 0, 5]),
        (["002", "cat"], [2, 0]),
        (["7"], [6]),  # a name before an index
        (["001.African_elephant", "12 orange"], [3, 5]),
    ],
)
def test_a_few_classes_by_name_or_index(own, found):
    assert indices_of(own, ANIMALS, "few") == found


@pytest.mark.parametrize(
    "names", [imagenet, lambda: NUMBERS, lambda: list(load_classifier("torchvision:resnet18@none").classes)]
)
def test_synset_ids_are_those_of_imagenet(names):
    own = ["n01443537", "n02099601", "n07747607", "n01440764_tench", "n02504458-African_elephant"]
    assert indices_of(own, names(), "TEN") == [1, 207, 950, 0, 386]


def test_as_many_that_are_named_otherwise_are_taken_in_their_order():
    assert indices_of(["a", "b", "c"], ["cat", "dog", "hen"], "letters") == [0, 1, 2]


@pytest.mark.parametrize(
    ("own", "classes", "found"),
    [
        (["cat", "dog"], ANIMALS, ["1 of the 2 classes of TEN", "7 classes, 'dog' for one", "synset id or index"]),
        (["golden retreiver", "cat"], ANIMALS, ["'golden retreiver'", "did you mean golden retriever"]),
        (["n02099601", "cat"], ANIMALS, ["'n02099601'"]),
        (["n02099602", "goldfish"], NUMBERS, ["2 of the 2", "did you mean", "n0209"]),
        (["cat", "99"], ANIMALS, ["'99'"]),
        (["cat", "horse", "hen"], ["cat", "dog", "hen"], ["1 of the 3", "'horse'"]),
        (["cat", "dog", "hen", "cow"], ["cat", "dog", "hen"], ["1 of the 4", "'cow'"]),
        (["cat", "Cat"], ["cat", "dog", "hen"], ["'cat' and 'Cat' of TEN are both the classifier's 'cat'"]),
        (["cat", "0"], ["cat", "dog", "hen"], ["both the classifier's 'cat'"]),
        (["crane"], ["crane, bird", "crane, machine", "hen"], ["several classes, 0 and 1"]),
    ],
)
def test_what_is_none_of_them_is_one_line_with_the_nearest(own, classes, found):
    message = refused("class", indices_of, own, classes, "TEN")
    assert all(words in message for words in found), message


def test_names_that_differ_in_writing_alone():
    assert is_alike("Golden_Retriever", "golden retriever")
    assert not is_alike("tench", "tench, Tinca tinca")


# ---------------------------------------------------------------------- the loss estimator of a few of many


def data(names: tuple[str, ...], each: int = 8) -> Labelled:
    draws = np.random.default_rng(0)
    pictures = torch.from_numpy(draws.integers(0, 256, (len(names) * each, 3, 32, 32)).astype(np.uint8))
    labels = torch.arange(len(names)).repeat_interleave(each)
    parts = tuple("test" if i % 4 == 0 else "train" for i in range(len(labels)))
    return Labelled(pictures, labels, tuple(map(str, range(len(labels)))), parts, names, "TEN")


def many(count: int = 50) -> Classifier:
    return Classifier(Tiny(count), [f"class {i}" for i in range(count)])


BRIEF = Settings(epochs=2, batch=8)


@pytest.mark.parametrize(
    "names", [("class 7", "class_49", "Class-3"), ("7", "49", "3"), ("07.class 7", "class 49", "3")]
)
def test_the_estimator_of_a_few_of_many_classes(names):
    training = Training(data(names), BRIEF, classifier=many(), device="cpu")
    assert sorted(set(training.data.labels.tolist())) == [3, 7, 49]
    model = training.run()
    assert model.classifier.classes == many().classes
    assert model.estimator is not None
    assert model.estimator.is_settled or float(model.estimator.quantile(0.9)) > float(model.estimator.quantile(0.1))
    recall = model.about["test"]["recall"]
    assert [i for i, share in enumerate(recall) if share is not None] == [3, 7, 49]
    assert sum(line.startswith("recall of") for line in summary_lines(model)) == 3


def test_its_true_losses_are_those_of_all_classes():
    few = Training(data(("class 7", "class 49")), BRIEF, classifier=many(), device="cpu")
    x, labels = few.learned.pictures.float() / 255, few.learned.labels
    expected = torch.nn.functional.cross_entropy(many()(x), labels, reduction="none")
    primary, _ = few._losses(x, [(1.0, labels)])
    assert float(primary) == pytest.approx(float(expected.mean()), rel=1e-2)
    assert set(labels.tolist()) == {7, 49}


def test_what_is_taken_is_said():
    run = TrainingRun(data(("7", "49")), TrainOptions(classifier=many(), freeze=True, epochs=1, device="cpu"))
    assert "by synset id, index or one of their names: 7 is class 7, 49 is class 49" in " ".join(run.remarks)
    assert "of 2 of the classifier's 50 classes" in run.remarks[-1]
    run = TrainingRun(
        data(("class 7", "class_49")), TrainOptions(classifier=many(), freeze=True, epochs=1, device="cpu")
    )
    assert "other class names" not in " ".join(run.remarks)


def test_none_of_them_is_one_line_and_nothing_is_trained():
    message = refused("class", Training, data(("dog", "class 49")), BRIEF, classifier=many(), device="cpu")
    assert "'dog'" in message
    assert "50 classes" in message
    refused("class", Training, replace(data(("a", "b", "c")), name="x"), BRIEF, classifier=many(2), device="cpu")


def test_the_command_on_folders_of_synset_ids(tmp_path, monkeypatch):
    from preimage.cli import main

    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("n01443537", "n02099601", "n07747607")):
        (tmp_path / "TEN" / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(10 * number + i).integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "TEN" / name / f"{i}.png")
    brief = [
        "--epochs",
        "1",
        "--batch",
        "4",
        "--threads",
        "1",
        "--size",
        "32",
        "--device",
        "cpu",
        "--report",
        "r.json",
        "-o",
        "m.pt",
    ]
    assert main(["train", "TEN", "--classifier", "timm:test_resnet@none", "--freeze", *brief]) == 0
    model = load_model("m.pt")
    assert len(model.classifier.classes) == 1000
    assert model.estimator is not None
    report = json.loads(Path("r.json").read_text())
    assert [i for i, share in enumerate(report["test"]["recall"]) if share is not None] == [1, 207, 950]

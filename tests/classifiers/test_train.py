"""Training: labelled pictures of three kinds, a classifier and its loss estimator, resumed as if it had never stopped."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, refused, tiny
from PIL import Image

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.augmentation import loss_of, mixup
from preimage.classifiers.labelled import Labelled, read_labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Batch, Epoch, Training
from preimage.rng import drawing_from

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
BRIEF = Settings(backbone="timm:test_resnet", epochs=2, batch=16, mix=0.0)


def picture(color: tuple[int, int, int], seed: int, side: int = 24) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 25, (side, side + 8, 3))
    return (np.array(color) + noise).clip(0, 255).astype(np.uint8)


def written(root, each: int = 8, first: int = 0):
    for number, (name, color) in enumerate(COLORS.items()):
        (root / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(picture(color, first + 100 * number + i)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def colors() -> Labelled:
    """36 pictures of three colors, 9 of them to test."""
    pictures = np.stack([picture(color, 100 * k + i) for k, color in enumerate(COLORS.values()) for i in range(12)])
    labels = torch.arange(3).repeat_interleave(12)
    parts = tuple("test" if i % 4 == 0 else "train" for i in range(36))
    groups = tuple(str(i) for i in range(36))
    return Labelled(torch.from_numpy(pictures).movedim(-1, 1), labels, groups, parts, tuple(COLORS), "colors")


# ---------------------------------------------------------------------- labelled pictures


def test_a_folder_per_class(tmp_path):
    data = read_labelled(written(tmp_path / "plain"))
    assert (data.classes, len(data), data.size) == (("blue", "green", "red"), 24, (24, 32))
    assert data.part("test").labels.bincount().tolist() == [2, 2, 2]
    reds = data.pictures[data.labels == 2].float().mean((0, 2, 3))
    assert int(reds.argmax()) == 0


def test_a_folder_with_parts(tmp_path):
    written(tmp_path / "train")
    written(tmp_path / "test", each=3, first=1000)
    data = read_labelled(tmp_path, size=16)
    assert (len(data.part("train")), len(data.part("test")), data.size) == (24, 9, (16, 20))


def table(tmp_path, **columns):
    written(tmp_path)
    rows = [
        {
            "filename": f"{name}/{i}.png",
            "class_index": number,
            "dx": name,
            "split": "test" if i > 5 else "train",
            "who": f"{name}{i // 2}",
        }
        for number, name in enumerate(COLORS)
        for i in range(8)
    ]  # fmt: skip
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_csv_with_its_split_and_the_words_for_its_numbers(tmp_path):
    data = read_labelled(table(tmp_path), split_column="split")
    assert (data.classes, len(data.part("test"))) == (("red", "green", "blue"), 6)
    assert data.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_no_group_is_on_two_sides(tmp_path):
    data = read_labelled(table(tmp_path), group="who", label_column="dx")
    train, test = data.part("train"), data.part("test")
    assert len(train) + len(test) == 24
    assert not set(train.groups) & set(test.groups)
    rest, held = train.split(0.3, 1)
    assert not set(rest.groups) & set(held.groups)
    assert set(held.labels.tolist()) == set(rest.labels.tolist()) == {0, 1, 2}


def test_an_npz(tmp_path, colors):
    x = colors.pictures.movedim(1, -1).numpy()
    parts = {"x_train": x[:30], "y_train": colors.labels[:30], "x_test": x[30:], "y_test": colors.labels[30:]}
    np.savez(tmp_path / "d.npz", **parts, class_names=list(COLORS))
    data = read_labelled(tmp_path / "d.npz")
    assert torch.equal(data.pictures, colors.pictures)
    assert (len(data.part("test")), data.classes) == (6, tuple(COLORS))
    np.savez(tmp_path / "grey.npz", x=x[..., 0], y=colors.labels)
    assert read_labelled(tmp_path / "grey.npz", size=(20, 28)).pictures.shape == (36, 3, 20, 28)


def arrays(folder, **named):
    np.savez(folder / "a.npz", **named)
    return folder / "a.npz"


def damaged(folder):
    for file in folder.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:120])
    return folder


def lines(folder, *text):
    (folder / "a.csv").write_text("\n".join(text) + "\n")
    return folder / "a.csv"


@pytest.mark.parametrize(
    ("make", "code", "found"),
    [
        (lambda p: p / "nothing", "not-found", "nothing"),
        (lambda p: p, "not-found", "class"),
        (lambda p: (p / "a.txt").write_text("") or p / "a.txt", "unreadable", "a.txt"),
        (lambda p: written(p / "one" / "two", each=0) and p / "one", "not-found", "one"),
        (lambda p: written(p / "few", each=1), "class", "1"),
        (lambda p: lines(p, "filename,class_index"), "unreadable", "rows"),
        (lambda p: lines(p, "where,label", "x.png,1"), "not-found", "'filename'"),
        (lambda p: lines(p, "filename,class_index", "a.png,0", ",1"), "unreadable", "line 3"),
        (lambda p: lines(p, "filename,class_index", "a.png"), "unreadable", "line 2"),
        (lambda p: lines(p, "filename,class_index", "a.png,0", "b.png,0"), "class", "1"),
        (lambda p: (p / "a.csv").write_bytes(b"\xff\xfe\x00") and p / "a.csv", "unreadable", "a.csv"),
        (lambda p: (p / "a.npz").write_bytes(b"PK") and p / "a.npz", "unreadable", "a.npz"),
        (lambda p: lines(p, "filename,class_index", *(f"{i}.png,{i % 2}" for i in range(8))), "not-found", "0.png"),
        (lambda p: arrays(p, x=np.zeros((8, 16, 16, 3)), y=np.arange(8) % 2), "type", "float64"),
        (lambda p: arrays(p, x=np.zeros((8, 16, 16, 3), np.uint8), y=np.arange(7) % 2), "shape", "7"),
        (lambda p: arrays(p, x=np.zeros((8, 16, 16, 3), np.uint8), y=np.arange(8) - 1), "class", "-1"),
        (lambda p: arrays(p, x=np.zeros((8, 8, 8, 3), np.uint8), y=np.arange(8) % 2), "size", "8 x 8"),
        (lambda p: arrays(p, z=np.zeros(8)), "unreadable", "z"),
        (lambda p: damaged(written(p / "d")), "unreadable", "0.png"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_one_line(tmp_path, make, code, found):
    assert found in refused(code, read_labelled, make(tmp_path))


@pytest.mark.parametrize("size", [8, 20.5, (20,), (20, 15), "20", True])
def test_a_size_that_cannot_be_is_one_line(tmp_path, size):
    refused("size", read_labelled, tmp_path, size=size)


def test_a_split_with_a_group_on_two_sides_or_without_a_class_is_refused(tmp_path):
    path = table(tmp_path)
    refused("option", read_labelled, tmp_path, group="who")
    content = path.read_text()
    path.write_text(content.replace("test,red3", "train,red3", 1))
    assert "red3" in refused("invalid-value", read_labelled, path, split_column="split", group="who")
    path.write_text(content.replace("train,red", "test,red"))
    assert "red" in refused("class", read_labelled, path, split_column="split")
    path.write_text(content.replace("train,red", "spare,red"))
    assert "spare" in refused("invalid-value", read_labelled, path, split_column="split")


# ---------------------------------------------------------------------- training


def test_it_learns_the_classes_and_the_order_of_its_losses(colors):
    training = Training(colors, replace(BRIEF, epochs=5, rate=3e-3), device="cpu")
    epochs = list(training)
    assert epochs[-1].loss < 0.8 * epochs[0].loss
    model = training.result()
    assert model.about["test"]["balanced_accuracy"] > 0.8
    assert model.classifier(colors.pictures[:2].float() / 255).shape == (2, 3)
    assert model.estimator is not None
    assert float(model.estimator.quantile(0.9)) > float(model.estimator.quantile(0.1))
    assert model.about["epoch"] == epochs[-1].best
    assert model.about["pictures"]["test"] == 9


def test_resumed_it_ends_as_if_it_had_never_stopped(colors):
    straight, first, second = (Training(colors, replace(BRIEF, epochs=3), device="cpu") for _ in range(3))
    straight.run()
    next(iter(first))
    second.load_state_dict(first.state_dict())
    again, whole = second.run(), straight.result()
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(again.classifier.state_dict()[name], value), name
    assert again.about["test"] == whole.about["test"]
    assert [row["loss"] for row in second.history] == [row["loss"] for row in straight.history]


def test_an_incomplete_epoch_counts_for_nothing(colors):
    """Its state, its result and its next iteration are those of the last complete epoch."""
    straight, left, resumed = (Training(colors, BRIEF, device="cpu") for _ in range(3))
    epochs = []
    for step in left.steps():
        if isinstance(step, Epoch):
            epochs.append(step.index)
            before = left.result()
        elif step.epoch == 2:
            break
    assert (left.index, epochs, step) == (1, [1], Batch(1, 2, 2, 2))
    assert equal(left.result(), before)
    state = copy.deepcopy(left.state_dict())
    resumed.load_state_dict(state)
    whole = straight.run()
    assert equal(resumed.run(), whole)
    assert equal(left.run(), whole)
    assert resumed.history[-1]["loss"] == left.history[-1]["loss"] == straight.history[-1]["loss"]


def equal(one: TrainedModel, other: TrainedModel) -> bool:
    """Whether two models have the same weights and scores."""
    pairs = zip(one.classifier.state_dict().values(), other.classifier.state_dict().values(), strict=True)
    return one.about["test"] == other.about["test"] and all(torch.equal(a, b) for a, b in pairs)


def test_a_result_in_between_changes_nothing(colors):
    straight, looked = (Training(colors, BRIEF, device="cpu") for _ in range(2))
    for _ in looked:
        looked.result()
    assert equal(looked.result(), straight.run())


def test_a_state_shares_nothing_with_the_training_that_takes_it(colors):
    first, second = (Training(colors, BRIEF, device="cpu") for _ in range(2))
    next(iter(first))
    second.load_state_dict(first.state_dict())
    second.run()
    third = Training(colors, BRIEF, device="cpu")
    third.load_state_dict(first.state_dict())
    assert equal(third.run(), second.result())


def test_the_number_of_epochs_goes_by_the_number_of_images_unless_it_is_specified():
    assert [Settings(batch=64).of(count).epochs for count in (2170, 8500, 100_000, 50)] == [76, 20, 20, 200]
    assert Settings(epochs=7).of(2170) == Settings(epochs=7)


def test_a_blend_keeps_more_of_each_image_and_every_image_once():
    blends = [mixup(4, 0.5, torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert all(0.5 <= share <= 1 and sorted(order.tolist()) == [0, 1, 2, 3] for share, order in blends)
    assert len({share for share, _ in blends}) == 40
    share, order = mixup(4, 0.0, torch.Generator())
    assert (share, order.tolist()) == (1.0, [0, 1, 2, 3])


def test_a_blended_image_has_the_loss_of_both_its_classes():
    logits, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    first, second = (loss_of(logits, [(1.0, each)]) for each in (labels, labels.flip(0)))
    both = loss_of(logits, [(0.7, labels), (0.3, labels.flip(0))])
    torch.testing.assert_close(both, 0.7 * first + 0.3 * second)
    torch.testing.assert_close(first, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))


def test_nothing_is_blended_for_a_finished_classifier(colors):
    plain, mixed = (
        Training(colors, replace(BRIEF, epochs=1, mix=mix), classifier=tiny(), device="cpu").run() for mix in (0.0, 0.5)
    )
    assert plain.about["history"][0]["loss"] == mixed.about["history"][0]["loss"]


def test_the_fingerprint_distinguishes_settings_images_and_classifiers(colors):
    other = replace(colors, pictures=255 - colors.pictures)
    found = [
        Training(data, settings, classifier=given, device="cpu").fingerprint
        for data, settings, given in (
            (colors, BRIEF, None), (other, BRIEF, None), (colors, replace(BRIEF, rate=0.1), None),
            (colors, BRIEF, tiny()), (colors, BRIEF, Classifier(Tiny(3), 3, std=(0.1,) * 3)),
        )
    ]  # fmt: skip
    assert len({str(each) for each in found}) == 5
    assert Training(colors, BRIEF, device="cpu").fingerprint == found[0]


def test_the_classes_of_a_finished_classifier_are_found_by_name(colors):
    given = Classifier(Tiny(3), ["Blue", "red", "green"])
    training = Training(colors, BRIEF, classifier=given, device="cpu")
    blues = training.learned.pictures[training.learned.labels == 0].float().mean((0, 2, 3))
    assert (int(blues.argmax()), training.data.classes) == (2, given.classes)
    other = Training(colors, BRIEF, classifier=Classifier(Tiny(3), ["a", "b", "c"]), device="cpu")
    assert other.data.labels.equal(colors.labels)


def test_a_finished_classifier_stays_as_it_is(colors):
    given = Classifier(Tiny(3), 3)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    model = Training(colors, BRIEF, classifier=given, device="cpu").run()
    assert all(torch.equal(value, before[name]) for name, value in model.classifier.state_dict().items())
    assert model.about["frozen"]
    assert not any(p.requires_grad for p in given.parameters())
    refused("class", Training, colors, classifier=tiny(2), device="cpu")


def test_a_training_leaves_global_generators_and_the_users_classifier_alone(colors):
    given = Classifier(Tiny(3), 3)
    layouts = [value.stride() for value in given.state_dict().values()]
    before = torch.get_rng_state()
    for classifier in (None, given):
        Training(colors, replace(BRIEF, epochs=1), classifier=classifier, device="cpu").run()
    assert torch.equal(torch.get_rng_state(), before)
    assert [value.stride() for value in given.state_dict().values()] == layouts


def test_draws_within_a_context_are_those_of_its_generator_with_none_named_too():
    with drawing_from(torch.Generator().manual_seed(3)):
        found = [torch.rand(4, generator=None), torch.rand(4), torch.randint(9, (4,)), torch.empty(4).uniform_()]
    draws = torch.Generator().manual_seed(3)
    assert torch.equal(found[0], torch.rand(4, generator=draws))
    assert torch.equal(found[1], torch.rand(4, generator=draws))
    assert torch.equal(found[2], torch.randint(9, (4,), generator=draws))
    assert torch.equal(found[3], torch.empty(4).uniform_(generator=draws))


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5])
def test_a_seed_that_cannot_be_is_refused(seed):
    refused("invalid-value", Settings, seed=seed)


def test_the_test_part_changes_nothing(colors):
    """What is trained and chosen is the same whatever the test part holds."""
    spoiled = replace(colors, pictures=colors.pictures.clone())
    spoiled.pictures[[i for i, part in enumerate(colors.parts) if part == "test"]] = 0
    one, other = (Training(data, BRIEF, device="cpu").run() for data in (colors, spoiled))
    for a, b in zip(one.classifier.parameters(), other.classifier.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.about["test"] != other.about["test"]


def test_a_loss_that_is_not_finite_and_a_result_before_an_epoch_are_one_line(colors):
    training = Training(colors, replace(BRIEF, rate=1e30), device="cpu")
    refused("option", training.result)
    assert "rate" in refused("invalid-value", training.run)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"backbone": "resnet99"}, "not-found"),
        ({"backbone": "raft_large"}, "not-found"),
        ({"backbone": "vit_b_16"}, "classifier"),
        ({"backbone": "thin_resnet10", "layers": ("layer9",)}, "layer"),
    ],
    ids=str,
)
def test_architectures_that_cannot_be_trained_are_one_line(colors, changes, code):
    refused(code, Training, colors, Settings(**changes), device="cpu")

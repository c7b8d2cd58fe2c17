"""Insertion and deletion against a loop by hand and known answers, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch
from classifiers.small import tiny
from defend.networks import Patch, pictures, with_modes
from torch import nn

from preimage.defend.faithfulness import Curve, blurred, deletion, insertion, ranks_of
from preimage.errors import InputError


def maps(count: int = 2, side: int = 32) -> torch.Tensor:
    """All values different."""
    order = [torch.randperm(side**2, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]
    return torch.stack(order).reshape(count, 1, side, side).float()


def quarter() -> torch.Tensor:
    """Where alone the model Patch looks."""
    true = torch.zeros(1, 1, 32, 32)
    true[..., :16, :16] = 1
    return true


def by_hand(model, picture, saliency_map, target, steps, before, after) -> list[float]:
    """The probabilities of one picture (c, h, w), pixel after pixel."""
    order = sorted(range(32 * 32), key=lambda i: -float(saliency_map.flatten()[i]))
    shown, curve, done = before.clone(), [], 0
    for step in range(steps + 1):
        for i in order[done : round(1024 * step / steps)]:
            shown[:, i // 32, i % 32] = after[:, i // 32, i % 32]
        done = round(1024 * step / steps)
        curve.append(float(model(shown[None]).softmax(1)[0, target]))
    return curve


def test_the_curves_are_those_of_a_loop_pixel_by_pixel(monkeypatch):
    monkeypatch.setattr("preimage.defend.users_model.PIXELS_PER_PASS", 3 * 32**2)
    model, x, order = tiny(), pictures(), maps()
    soft = blurred(x)
    found = insertion(model, x, order, ["star", 0], steps=7)
    gone = deletion(model, x, order, ["star", 0], steps=7)
    softened = deletion(model, x, order, ["star", 0], steps=7, to="blur")
    for each, target in enumerate([2, 0]):
        case = (model, x[each], order[each], target, 7)
        torch.testing.assert_close(found.probabilities[each], torch.tensor(by_hand(*case, soft[each], x[each])))
        torch.testing.assert_close(
            gone.probabilities[each], torch.tensor(by_hand(*case, x[each], torch.zeros_like(x[each])))
        )
        torch.testing.assert_close(softened.probabilities[each], torch.tensor(by_hand(*case, x[each], soft[each])))
    assert found.probabilities.shape == (2, 8)
    assert found.shares.tolist() == pytest.approx([step / 7 for step in range(8)], abs=1e-3)
    assert (found.shares[0], found.shares[-1]) == (0, 1)


def test_they_begin_and_end_where_they_should():
    model, x = tiny(), pictures()
    whole, soft, black = (model.probabilities(each)[:, 1] for each in (x, blurred(x), torch.zeros_like(x)))
    put_in = insertion(model, x, maps(), 1, steps=3).probabilities
    taken, softened = (deletion(model, x, maps(), 1, steps=3, to=to).probabilities for to in ("black", "blur"))
    for curve, first, last in ((put_in, soft, whole), (taken, whole, black), (softened, whole, soft)):
        torch.testing.assert_close(curve[:, 0], first)
        torch.testing.assert_close(curve[:, -1], last)


def test_insertion_is_deletion_to_the_blur_of_the_opposite_map_backwards():
    model, x = tiny(), pictures()
    forth = insertion(model, x, maps(), 2, steps=8).probabilities
    back = deletion(model, x, -maps(), 2, steps=8, to="blur").probabilities
    torch.testing.assert_close(forth, back.flip(1))


def test_the_area_is_that_under_the_curve():
    curve = Curve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    assert curve.area.tolist() == [0.25, 1.0]


def test_a_true_map_scores_better_than_a_false_one():
    x = torch.where(quarter().bool(), 0.9, 0.2) * torch.ones(1, 3, 1, 1)
    true, false = quarter(), 1 - quarter()
    for to in ("black", "blur"):
        assert float(deletion(Patch(), x, true, 1, to=to).area) < float(deletion(Patch(), x, false, 1, to=to).area)
    assert float(insertion(Patch(), x, true, 1).area) > float(insertion(Patch(), x, false, 1).area)
    # A quarter of the pixels is all that counts: afterwards nothing changes.
    curve = deletion(Patch(), x, true, 1, steps=8).probabilities[0]
    assert curve[0] > 0.99
    assert curve[2:].tolist() == pytest.approx([float(torch.sigmoid(torch.tensor(-3.6)))] * 7)


def test_equal_pixels_come_in_the_order_of_the_rows():
    level = torch.zeros(1, 1, 4, 4)
    assert torch.equal(ranks_of(level).flatten(), torch.arange(16))
    level[0, 0, 2, 1] = level[0, 0, 3, 3] = 1
    assert ranks_of(level).flatten().tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 11, 12, 13, 14, 15, 1]


def test_a_batch_gives_what_singles_give_and_passes_change_nothing(monkeypatch):
    model, x, order = tiny(), pictures(3), maps(3)
    batch = insertion(model, x, order, [0, 1, 2], steps=5)
    monkeypatch.setattr("preimage.defend.users_model.PIXELS_PER_PASS", 2 * 32**2)
    for each in range(3):
        alone = insertion(model, x[each : each + 1], order[each], each, steps=5)
        torch.testing.assert_close(alone.probabilities[0], batch.probabilities[each])


def test_models_of_all_kinds_and_their_modes():
    model = with_modes().train()
    found = deletion(model, pictures(), maps(), 2, steps=2)
    assert all(module.training for module in model.modules())
    assert torch.equal(deletion(model, pictures(), maps(), 2, steps=2).probabilities, found.probabilities)

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3)) - 0.5

    one = deletion(Mean(), torch.ones(1, 3, 32, 32), maps(1), None, steps=4).probabilities[0]
    torch.testing.assert_close(one, torch.sigmoid(torch.tensor([0.5, 0.25, 0, -0.25, -0.5])))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 40), (33, 20), (224, 224)])
def test_the_blur_keeps_what_is_level_and_takes_what_is_small(height, width):
    level = torch.full((1, 3, height, width), 0.3)
    torch.testing.assert_close(blurred(level), level)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    checkerboard = ((rows + columns) % 2).float().expand(1, 1, height, width)
    inside = blurred(checkerboard)[..., 4:-4, 4:-4]
    assert float((inside - 0.5).abs().max()) < 0.05


BAD = [
    ({"images": pictures()[0]}, "images must be a tensor (b, c, h, w), got shape (3, 32, 32)"),
    ({"images": pictures()[:0]}, "got shape (0, 3, 32, 32)"),
    ({"maps": maps(1)}, "the saliency maps are (1, 1, 32, 32)"),
    ({"maps": pictures()}, "they must be (2, 1, 32, 32), channels merged"),
    ({"maps": maps(2, 16)}, "(2, 1, 16, 16)"),
    ({"maps": maps() * math.nan}, "not finite"),
    ({"maps": None}, "NoneType"),
    ({"target": 7}, "no class 7"),
    ({"target": None}, "give target"),
    ({"steps": 0}, "steps must be a whole number, at least 1, got 0"),
    ({"steps": 2000}, "at most the 1024 pixels"),
    ({"model": tiny}, "got function"),
]


@pytest.mark.parametrize("measure", [insertion, deletion])
@pytest.mark.parametrize(("wrong", "words"), BAD, ids=[f"{i}-{next(iter(wrong))}" for i, (wrong, _) in enumerate(BAD)])
def test_bad_input_is_one_line(measure, wrong, words):
    given = {"model": tiny(), "images": pictures(), "maps": maps(), "target": 0, **wrong}
    if measure is deletion:
        given["to"] = "blur"
    with pytest.raises(InputError) as error:
        measure(given.pop("model"), given.pop("images"), given.pop("maps"), given.pop("target"), **given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_end_is_an_error():
    with pytest.raises(InputError, match="to black or blur, got 'pink'"):
        deletion(tiny(), pictures(), maps(), 0, to="pink")  # pyright: ignore[reportArgumentType]

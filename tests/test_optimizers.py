"""Adam and Muon: which parameters go where, and what a Muon step is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preimage.optimizers import KernelMuon, Optimizer, Together, adam, muon


def kernel(out: int, inner: int, size: int = 3, *, channels_last: bool = False) -> nn.Parameter:
    values = torch.randn(out, inner, size, size, generator=torch.Generator().manual_seed(out))
    return nn.Parameter(values.contiguous(memory_format=torch.channels_last) if channels_last else values)


def test_narrow_kernels_and_vectors_go_to_adam():
    wide, narrow, vector = kernel(16, 16), kernel(4, 16), nn.Parameter(torch.zeros(16))
    first, second = muon([wide, narrow, vector], 0.1)
    assert isinstance(first, KernelMuon)
    assert first.kernels[0] is wide
    assert [id(p) for p in second.param_groups[0]["params"]] == [id(narrow), id(vector)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("out", "inner"), [(8, 16), (32, 8)])
def test_a_step_moves_every_direction_equally(out, inner, channels_last):
    p = kernel(out, inner, 1 if out > inner else 3, channels_last=channels_last)
    before = p.detach().clone()
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    muon([p], 0.1)[0].step()
    moved = (before - p.detach()).flatten(1) / 0.1
    scale = max(1, moved.shape[0] / moved.shape[1]) ** 0.5
    singular = torch.linalg.svdvals(moved) / scale
    assert float(singular.min()) > 0.5
    assert float(singular.max()) < 1.4
    assert float((moved * p.grad.flatten(1)).sum()) > 0  # downhill


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_are_those_of_torch_optim_muon(channels_last, decay):
    """Three kernels of two shapes, four steps each."""
    ours = [kernel(out, 16, channels_last=channels_last) for out in (8, 8, 200)]
    theirs = [nn.Parameter(p.detach().flatten(1).clone()) for p in ours]
    optimizer = KernelMuon(ours, 0.1, decay)
    published = torch.optim.Muon(
        theirs, lr=0.1, momentum=0.9, nesterov=False, weight_decay=decay, adjust_lr_fn="original"
    )
    before = [p.detach().clone() for p in theirs]
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            q.grad = torch.randn(q.shape, generator=generator)
            p.grad = q.grad.reshape(p.shape).clone()
        optimizer.step()
        published.step()
    for p, q, old in zip(ours, theirs, before, strict=True):
        moved = float((q.detach() - old).norm())
        assert float((p.detach().flatten(1) - q.detach()).norm()) < 0.02 * moved  # bfloat16 has three digits


def test_a_state_resumes_exactly():
    a, b = kernel(16, 8), kernel(16, 8)
    generator = torch.Generator().manual_seed(4)
    gradients = [torch.randn(a.shape, generator=generator) for _ in range(4)]
    whole, first = muon([a], 0.1)[0], muon([b], 0.1)[0]
    for step, gradient in enumerate(gradients):
        if step == 2:
            saved = first.state_dict()
            first = muon([b], 0.3)[0]
            first.load_state_dict(saved)
        for p, optimizer in ((a, whole), (b, first)):
            p.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(a, b)


def test_memory_order_of_a_kernel_does_not_matter():
    a, b = kernel(16, 8), kernel(16, 8, channels_last=True)
    gradient = torch.randn(a.shape, generator=torch.Generator().manual_seed(2))
    for p in (a, b):
        optimizer = muon([p], 0.1)[0]
        for _ in range(3):
            p.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(a, b, atol=2e-2)


def test_a_rate_can_be_lowered_after_loading_a_state():
    p = kernel(16, 8)
    optimizer = muon([p], 0.1)[0]
    p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(before, p.detach())


def test_adam_is_the_published_one():
    p = nn.Parameter(torch.tensor([1.0]))
    optimizer = adam([p], 0.01)[0]
    p.grad = torch.tensor([3.0])
    optimizer.step()
    assert float(p.detach()) == pytest.approx(0.99, abs=1e-6)  # the first step of Adam has the length of the rate


@pytest.mark.parametrize("factory", [adam, muon])
@pytest.mark.parametrize("slower", [False, True])
def test_members_moved_together_move_as_each_alone(factory, slower):
    """Also where one of them was set to a lower rate, or back to an earlier state."""
    moved = []
    for together in (False, True):
        members = [[kernel(16, 16), kernel(8, 16), nn.Parameter(torch.ones(16))] for _ in range(3)]
        each: list[list[Optimizer]] = [factory(own, 0.1) for own in members]
        all_of_them = Together([optimizer for own in each for optimizer in own])
        generator = torch.Generator().manual_seed(3)
        for step in range(4):
            for p in (p for own in members for p in own):
                p.grad = torch.randn(p.shape, generator=generator)
            if slower and step == 2:
                for optimizer in each[1]:
                    optimizer.load_state_dict(optimizer.state_dict())
                    optimizer.param_groups[0]["lr"] = 0.05
            for optimizer in [all_of_them] if together else [optimizer for own in each for optimizer in own]:
                optimizer.step()
        moved.append(([p.detach() for own in members for p in own], [o.state_dict() for own in each for o in own]))
    (alone, states), (joined, joined_states) = moved
    assert all(torch.allclose(p, q, atol=2e-3) for p, q in zip(alone, joined, strict=True))  # bfloat16 has three digits
    counted = [
        [held["step"] for state in one for held in state.get("state", {}).values()] for one in (states, joined_states)
    ]
    assert counted[0] == counted[1]
    assert set(map(float, counted[0])) == {4.0}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("without", [[1], [0, 2], [0, 1, 2]])
def test_a_kernel_without_gradient_stays_and_the_others_of_its_shape_move_as_alone(channels_last, without):
    """As torch.optim.Muon does; also when its gradient comes back."""

    def kernels() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(5)
        values = [torch.randn(8, 16, 3, 3, generator=generator) for _ in range(3)]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return [nn.Parameter(value.contiguous(memory_format=layout)) for value in values]

    together, alone = kernels(), kernels()
    optimizer, each = KernelMuon(together, 0.1), [KernelMuon([p], 0.1) for p in alone]
    generator = torch.Generator().manual_seed(6)
    for step in range(5):
        before = [p.detach().clone() for p in together]
        for i, (p, q) in enumerate(zip(together, alone, strict=True)):
            gradient = torch.randn(p.shape, generator=generator)
            missing = step in (0, 2, 3) and i in without
            p.grad = None if missing else gradient.clone()
            q.grad = None if missing else gradient.clone()
        optimizer.step()
        for i, own in enumerate(each):
            own.step()
            assert torch.equal(before[i], together[i]) == (together[i].grad is None)
    for p, q in zip(together, alone, strict=True):
        assert torch.allclose(p, q, atol=2e-3)  # bfloat16 has three digits

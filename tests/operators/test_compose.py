"""compose: the first first, and whatever is in a module moves and is fitted along."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from preimage.errors import InputError
from preimage.operators import Blur, Composed, Downsample, Mask, box, compose, gaussian, noiseless


class NoisyPhysics(nn.Module):
    """What `noiseless` knows a deepinv Physics by."""

    def __init__(self) -> None:
        super().__init__()
        self.noise_model = nn.Identity()
        self.register_buffer("gain", torch.tensor(2.0))

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802 (the name in deepinv)
        return self.get_buffer("gain") * x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.A(x) + torch.randn_like(x)


def test_the_first_is_applied_first() -> None:
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(compose(lambda x: x + 1, lambda x: 2 * x)(x), 2 * (x + 1))
    blur, down, mask = Blur(gaussian(1.0)), Downsample(box(2), 2), Mask(torch.eye(5, dtype=torch.bool)[None, None])
    assert torch.equal(compose(blur, down, mask)(x), mask(down(blur(x))))
    assert torch.equal(compose(blur)(x), blur(x))


def test_modules_are_registered_and_callables_allowed() -> None:
    blur = Blur(box(3), trainable=True)
    operator = compose(lambda x: x.mean(1, keepdim=True), blur, torch.clone)
    assert isinstance(operator, Composed)
    assert [id(p) for p in operator.parameters()] == [id(p) for p in blur.parameters()]
    assert operator[1] is blur
    operator(torch.rand(1, 3, 16, 16)).square().sum().backward()
    assert blur.filter.logits.grad is not None
    other = compose(lambda x: x, Blur(gaussian(0.5), trainable=True), torch.clone)
    other.load_state_dict(compose(lambda x: x, Blur(gaussian(0.5), trainable=True), torch.clone).state_dict())


def test_copies_are_independent() -> None:
    operator = compose(Blur(box(3), trainable=True), torch.clone)
    other = copy.deepcopy(operator)
    with torch.no_grad():
        next(other.parameters()).add_(torch.arange(9.0).view(3, 3))
    x = torch.rand(1, 1, 16, 16)
    assert not torch.equal(operator(x), other(x))


def test_compositions_can_be_composed() -> None:
    x = torch.rand(1, 1, 16, 16)
    inner = compose(Blur(box(3)), torch.clone)
    torch.testing.assert_close(compose(inner, Downsample(box(2), 2))(x), Downsample(box(2), 2)(Blur(box(3))(x)))


def test_a_physics_takes_part_without_its_noise_and_moves_along() -> None:
    operator = compose(NoisyPhysics(), Blur(box(3)))
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(operator(x), 2 * Blur(box(3))(x))
    assert {buffer.device.type for buffer in operator.to("meta").buffers()} == {"meta"}


def test_noiseless_is_the_view_of_a_physics_and_anything_else_as_it_is() -> None:
    class OnlyA:
        def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
            return x

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    physics, blur, plain = NoisyPhysics(), Blur(gaussian(1.0)), OnlyA()
    assert noiseless(physics) == physics.A
    assert noiseless(blur) is blur
    assert noiseless(plain) is plain
    assert noiseless(torch.clone) is torch.clone


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="got none") as raised:
        compose()
    assert raised.value.code == "operator"
    with pytest.raises(InputError, match="got Tensor") as raised:
        compose(torch.clone, torch.ones(3))  # type: ignore[arg-type]
    assert raised.value.code == "operator"

"""The deep decoder and no prior at all."""

from __future__ import annotations

import pytest
import torch

from preimage.networks import DeepDecoder, Pixels


def test_deep_decoder_doubles_for_each_width():
    net = DeepDecoder(8, 3, widths=[8, 8, 8])
    assert net.stride == net.scale == 8
    assert net(torch.rand(1, 8, 3, 5)).shape == (1, 3, 24, 40)


def test_deep_decoder_has_only_pointwise_kernels_without_bias():
    net = DeepDecoder(8, 3, widths=[8, 8])
    assert all(p.shape[-2:] == (1, 1) for p in net.parameters() if p.ndim == 4)
    assert not [name for name, _ in net.named_parameters() if name.endswith("conv.bias")]


def test_deep_decoder_needs_a_width():
    with pytest.raises(ValueError, match="at least one"):
        DeepDecoder(8, 3, widths=[])


def test_pixels_are_the_parameter():
    net = Pixels(2, size=(16, 20))
    out = net(torch.empty(1, 1, 16, 20))
    assert out.shape == (1, 2, 16, 20)
    assert out.data_ptr() != net.image.data_ptr()
    out.sum().backward()
    assert torch.equal(net.image.grad, torch.ones_like(net.image))

"""The residual network at full resolution: its structure against plain PyTorch, its size, members, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preimage.codes import Noise
from preimage.engine.members import Members
from preimage.engine.memory import saved_bytes
from preimage.networks import ResNet
from preimage.prior import Prior

VARIANTS = {
    "default": {},
    "zeros": {"padding": "zeros"},
    "not residual": {"residual": False},
    "no block": {"blocks": 0},
}
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())


def thin(in_channels: int = 5, out_channels: int = 3, **settings) -> ResNet:
    torch.manual_seed(0)
    return ResNet(in_channels, out_channels, **{"width": 6, "blocks": 2, **settings})


def prior_of(settings, dtype: torch.dtype = torch.float32) -> Prior:
    def network() -> ResNet:
        return ResNet(5, 3, **{"width": 6, "blocks": 2, **settings})

    return Prior(network, Noise(5), (30, 39), members=3, seed=4, jitter=0.03, dtype=dtype)


@variants
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_shapes_and_range_at_any_size(channels, settings):
    net = thin(5, channels, **settings)
    out = net(torch.rand(1, 5, 17, 31)).detach()
    assert out.shape == (1, channels, 17, 31)
    assert (net.stride, net.scale) == (1, 1)
    assert 0 < float(out.min()) < float(out.max()) < 1


def test_linear_output_leaves_the_range():
    net = thin(output="linear")
    with torch.no_grad():
        net.out.conv.bias.fill_(5.0)
    assert float(net(torch.rand(1, 5, 16, 16)).detach().max()) > 1


def test_parameters_counted_by_hand():
    first, block, last, head = 9 * 2 * 4 + 4, 2 * (9 * 4 * 4 + 2 * 4), 9 * 4 * 4 + 4 + 2 * 4, 9 * 4 * 3 + 3
    net = ResNet(2, 3, width=4, blocks=2)
    assert sum(p.numel() for p in net.parameters()) == first + 2 * block + last + head


def test_published_number_of_parameters():
    """As counted in a network with the structure of the authors' code (8 blocks of 32 channels, one channel of code)."""
    with torch.device("meta"):
        net = ResNet(1, 3)
    assert sum(p.numel() for p in net.parameters()) == 158_979


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_structure_as_published(padding, residual):
    """Written out in plain layers, which take the weights in the same order."""
    net = thin(padding=padding, residual=residual)
    around = nn.ReflectionPad2d(1) if padding == "reflect" else nn.ZeroPad2d(1)
    first, head = nn.Conv2d(5, 6, 3), nn.Conv2d(6, 3, 3)
    blocks = [
        nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(0.2),
            nn.Conv2d(6, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
        )
        for _ in range(2)
    ]
    last = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
    plain = nn.ModuleList([first, *blocks, last, head])
    for theirs, ours in zip(plain.parameters(), net.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    code = torch.rand(1, 5, 16, 12)
    x = nn.functional.leaky_relu(first(around(code)), 0.2)
    for block in blocks:
        x = x + block(x) if residual else block(x)
    assert torch.allclose(net(code), torch.sigmoid(head(around(last(x)))), atol=1e-5)


def test_a_residual_block_that_adds_nothing_hands_its_input_on():
    net = thin()
    x = torch.rand(1, 6, 8, 8)
    with torch.no_grad():
        net.blocks[0].norm2.weight.zero_()
    assert torch.equal(net.blocks[0](x), x)
    assert not thin(residual=False).blocks[0].residual


@variants
def test_the_same_seed_gives_the_same_picture_and_nothing_but_weights_is_kept(settings):
    images = [prior_of(settings)()[0].detach() for _ in range(2)]
    assert torch.equal(*images)
    assert not torch.equal(images[0][0], images[0][1])
    assert not list(thin(**settings).buffers())


@variants
def test_stacked_and_one_after_another_agree(settings):
    images, gradients = [], []
    for stacks in (True, False):
        prior = prior_of(settings)
        x = Members(prior, stacks).outputs([2, 0], prior.inputs([2, 0]).codes)
        x.square().sum().backward()
        images.append(x.detach())
        gradients.append([p.grad for p in prior.networks[0].parameters()])
        assert all(p.grad is None for p in prior.networks[1].parameters())
    assert images[0].shape == (2, 3, 30, 39)
    assert torch.allclose(images[0], images[1], atol=1e-5)
    largest = max(float(g.abs().max()) for g in gradients[1])
    for ours, expected in zip(*gradients, strict=True):
        assert float((ours - expected).abs().max()) <= 1e-3 * largest


@variants
def test_half_precision_gives_nearly_the_same_picture(settings):
    whole, half = (prior_of(settings, dtype=dtype)([0, 1])[0] for dtype in (torch.float32, torch.bfloat16))
    half.square().sum().backward()
    assert half.dtype == torch.float32
    assert 0 < float((whole - half).detach().abs().max()) < 0.05


def test_memory_can_be_estimated():
    assert saved_bytes(prior_of({})) > 30 * 39 * 4 * (5 + 6 * 5)


@variants
def test_a_fit_comes_closer(settings):
    net, code = thin(**settings), torch.rand(1, 5, 32, 32)
    target = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net(code) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"width": 0}, "width must be at least 1, got 0"), ({"blocks": -1}, "blocks must be at least 0, got -1")],
)
def test_errors_name_the_constraint(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNet(4, 3, **settings)

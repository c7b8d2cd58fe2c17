"""The U-Net: its structure against plain PyTorch, its size, its skips, members, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from preimage.codes import Noise
from preimage.engine.members import Members
from preimage.engine.memory import saved_bytes
from preimage.networks import UNet
from preimage.networks.layers import Norm
from preimage.prior import Prior

PUBLISHED = {"upsample": "transposed", "padding": "zeros", "norm": "instance", "up_norm": False}
VARIANTS = {
    "default": {},
    "published": PUBLISHED,
    "nearest": {"upsample": "nearest", "padding": "zeros"},
    "instance": {"norm": "instance"},
}
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())


def thin(in_channels: int = 5, out_channels: int = 3, **settings) -> UNet:
    torch.manual_seed(0)
    return UNet(in_channels, out_channels, **{"widths": (6, 8, 10), **settings})


def prior_of(settings, dtype: torch.dtype = torch.float32) -> Prior:
    def network() -> UNet:
        return UNet(5, 3, widths=(6, 8, 10), **settings)

    return Prior(network, Noise(5), (30, 39), members=3, seed=4, jitter=0.03, dtype=dtype)


@variants
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_shapes_and_range(channels, settings):
    net = thin(5, channels, **settings)
    out = net(torch.rand(1, 5, 32, 24)).detach()
    assert out.shape == (1, channels, 32, 24)
    assert (net.levels, net.stride, net.scale) == (2, 4, 1)
    assert 0 < float(out.min()) < float(out.max()) < 1


def test_linear_output_leaves_the_range():
    net = thin(output="linear")
    with torch.no_grad():
        net.out.conv.bias.fill_(5.0)
    assert float(net(torch.rand(1, 5, 16, 16)).detach().max()) > 1


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        # Down 2 -> 4 -> 4 and 4 -> 6 -> 6, up 6 -> 4, 8 -> 4 -> 4, head 4 -> 3, and twice 4, 6, 4 weights and biases of norms.
        ({}, (76 + 148) + (222 + 330) + (220 + 292 + 148) + 15 + 2 * 2 * (4 + 6 + 4)),
        # No learned norms; the transposed kernel has 4 x 4 weights.
        (PUBLISHED, (76 + 148) + (222 + 330) + (16 * 6 * 4 + 4 + 292 + 148) + 15),
    ],
)
def test_parameters_counted_by_hand(settings, count):
    assert sum(p.numel() for p in UNet(2, 3, widths=(4, 6), **settings).parameters()) == count


def test_published_number_of_parameters():
    """As counted in a network with the structure of the authors' code (feature_scale 8, one more level)."""
    with torch.device("meta"):
        net = UNet(1, 3, widths=(8, 16, 32, 64, 128, 128), **PUBLISHED)
    assert sum(p.numel() for p in net.parameters()) == 1_616_315
    assert net.stride == 32


def test_structure_as_published():
    """One level written out: conv-norm-ReLU twice, maxima, the same, transposed, [up, skip], conv-ReLU twice, 1x1, sigmoid."""
    net = thin(5, 3, widths=(6, 8), **PUBLISHED)
    w = dict(net.named_parameters())
    code = torch.rand(1, 5, 16, 12)

    def conv(x, name):
        return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    def down(x, name):
        x = functional.relu(functional.instance_norm(conv(x, f"{name}.conv1")))
        return functional.relu(functional.instance_norm(conv(x, f"{name}.conv2")))

    skip = down(code, "downs.0")
    below = down(functional.max_pool2d(skip, 2), "downs.1")
    up = functional.conv_transpose2d(below, w["ups.0.rise.weight"], w["ups.0.rise.bias"], stride=2, padding=1)
    y = functional.relu(conv(torch.cat([up, skip], 1), "ups.0.mix.conv1"))
    y = functional.relu(conv(y, "ups.0.mix.conv2"))
    expected = torch.sigmoid(functional.conv2d(y, w["out.conv.weight"], w["out.conv.bias"]))
    assert torch.allclose(net(code), expected, atol=1e-5)


def test_interpolation_is_followed_by_a_convolution_to_the_width_of_the_level():
    net = thin(widths=(6, 10))
    x, skip = torch.rand(1, 10, 8, 8), torch.rand(1, 6, 16, 16)
    doubled = nn.Upsample(scale_factor=2, mode="bilinear")(x)
    padded = functional.pad(doubled, (1, 1, 1, 1), mode="reflect")
    risen = functional.conv2d(padded, net.ups[0].rise.weight, net.ups[0].rise.bias)
    assert torch.allclose(net.ups[0](x, skip), net.ups[0].mix(torch.cat([risen, skip], 1)), atol=1e-6)


def test_a_norm_that_learns_nothing_is_the_instance_norm_of_one_image():
    x = torch.randn(1, 4, 9, 7) * 3 + 2
    assert torch.allclose(Norm(4, affine=False)(x), nn.InstanceNorm2d(4)(x), atol=1e-5)


def reached(net: UNet) -> list[bool]:
    """Of each level, whether the gradient of the picture reaches the first convolution of its way down."""
    net(torch.rand(1, 5, 32, 32)).square().sum().backward()
    return [bool(down.conv1.weight.grad.abs().max() > 1e-6) for down in net.downs]


@variants
@pytest.mark.parametrize("level", [0, 1])
def test_skips_alone_carry_what_is_above(level, settings):
    """Without what comes from below a level, the first channels of its concatenation, its own skip is all there is."""
    net = thin(**settings)
    with torch.no_grad():
        net.ups[level].mix.conv1.weight[:, : net.ups[level].rise.out_channels] = 0
    assert reached(net) == [i <= level for i in range(3)]


@variants
def test_without_its_skip_a_picture_comes_from_below(settings):
    net = thin(**settings)
    with torch.no_grad():
        for up in net.ups:
            up.mix.conv1.weight[:, up.rise.out_channels :] = 0
    assert reached(net) == [True, True, True]


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


@variants
def test_memory_can_be_estimated(settings):
    assert saved_bytes(prior_of(settings)) > 32 * 40 * 4 * (5 + 6 * 4)


@variants
def test_a_fit_comes_closer(settings):
    net, code = thin(**settings), torch.rand(1, 5, 32, 32)
    target = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net(code) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("widths", [(), (8,), (8, 0)])
def test_widths_that_make_no_u_are_said(widths):
    with pytest.raises(ValueError, match="widths must be at least two, each at least 1, got "):
        UNet(4, 3, widths=widths)


@variants
def test_a_code_too_small_is_said_and_the_smallest_is_not(settings):
    net = thin(**settings)
    assert net(torch.rand(1, 5, 8, 8)).isfinite().all()
    with pytest.raises(ValueError, match="at least 8 pixels a side for 2 levels, got 32 x 4: give fewer widths"):
        net(torch.rand(1, 5, 4, 32))

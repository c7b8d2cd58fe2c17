"""The published hourglass: exact results, parameter counts, shapes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from preimage.codes import Noise
from preimage.engine.members import Members
from preimage.errors import InputError
from preimage.networks import SkipNet
from preimage.prior import Prior

GOLDEN = ("skip_bilinear_reflect", "skip_nearest_avg_zero", "skip_no1x1")
PUBLISHED = {
    "denoise": ((32,), {"down": [128] * 5, "up": [128] * 5, "skip": [4] * 5}),
    "JPEG": ((3,), {"down": [8, 16, 32, 64, 128], "up": [8, 16, 32, 64, 128], "skip": [0, 0, 0, 4, 4]}),
    "text inpainting": ((32,), {"down": [128] * 5, "up": [128] * 5, "skip": [128] * 5, "upsample": "nearest"}),
    "region inpainting": ((2,), {"down": [128] * 5, "up": [128] * 5, "skip": [0] * 5, "upsample": "nearest"}),
    "large hole": (
        (1,),
        {
            "down": [16, 32, 64, 128, 128, 128],
            "up": [16, 32, 64, 128, 128, 128],
            "skip": [0] * 6,
            "down_kernel": 5,
            "pointwise": False,
        },
    ),
    "feature inversion": (
        (32,),
        {
            "down": [16, 32, 64, 128, 128, 128],
            "up": [16, 32, 64, 128, 128, 128],
            "skip": [4] * 6,
            "down_kernel": [7, 7, 5, 5, 3, 3],
            "up_kernel": [7, 7, 5, 5, 3, 3],
        },
    ),
    "activation maximization": (
        (32,),
        {
            "down": [16, 32, 64, 128, 128, 128],
            "up": [16, 32, 64, 128, 128, 128],
            "skip": [0, 4, 4, 4, 4, 4],
            "down_kernel": [5, 3, 5, 5, 3, 5],
            "up_kernel": [5, 3, 5, 3, 5, 3],
        },
    ),
    "CIFAR architecture-1": ((32,), {"down": [128] * 3, "up": [128] * 3, "skip": [4] * 3}),
    "CIFAR architecture-2": ((32,), {"down": [16] * 3, "up": [16] * 3, "skip": [4] * 3}),
}


def published(stored) -> tuple[SkipNet, dict[str, torch.Tensor]]:
    c = json.loads(str(stored["config"]))
    net = SkipNet(
        c["in_channels"],
        c["out_channels"],
        down=c["num_channels_down"],
        up=c["num_channels_up"],
        skip=c["num_channels_skip"],
        down_kernel=c.get("filter_size_down", 3),
        up_kernel=c.get("filter_size_up", 3),
        downsample="average" if c.get("downsample_mode") == "avg" else "stride",
        upsample=c["upsample_mode"],
        padding="reflect" if c["pad"] == "reflection" else "zeros",
        pointwise=c.get("need1x1_up", True),
    )
    weights = {k.removeprefix("param/"): torch.tensor(stored[k]) for k in stored.files if k.startswith("param/")}
    return net, weights


def assert_gradients(net: torch.nn.Module, stored) -> None:
    for name, parameter in net.named_parameters():
        expected = torch.tensor(stored[f"grad/{name}"])
        bound = 1e-7 + 1e-4 * float(expected.abs().max())
        assert parameter.grad is not None
        assert float((parameter.grad - expected).abs().max()) <= bound, name


@pytest.mark.parametrize("name", GOLDEN)
def test_published_output_and_gradients(golden, name):
    stored = np.load(golden / f"{name}.npz")
    net, weights = published(stored)
    assert set(net.state_dict()) == set(weights)
    net.load_state_dict(weights)
    output = net(torch.tensor(stored["input"]))
    loss = (output - torch.tensor(stored["target"])).square().mean()
    loss.backward()
    assert float((output.detach() - torch.tensor(stored["output"])).abs().max()) <= 1e-5
    assert float(loss.detach()) == pytest.approx(float(stored["loss"]), rel=1e-5)
    assert_gradients(net, stored)


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "one after another"])
@pytest.mark.parametrize("name", GOLDEN)
def test_published_results_as_one_of_three_members(golden, name, stacked):
    stored = np.load(golden / f"{name}.npz")
    _, weights = published(stored)
    code, target = torch.tensor(stored["input"]), torch.tensor(stored["target"])
    size = (code.shape[-2], code.shape[-1])
    prior = Prior(lambda: published(stored)[0], Noise(code.shape[1]), size, members=3, seed=3)
    prior.networks[1].load_state_dict(weights)
    prior.codes[1].copy_(code)
    output = Members(prior, stacked).outputs([0, 1, 2], prior.inputs([0, 1, 2]).codes)
    (output - target).square().flatten(1).mean(1).sum().backward()
    assert float((output[1].detach() - torch.tensor(stored["output"])[0]).abs().max()) <= 1e-5
    assert_gradients(prior.networks[1], stored)


def test_parameter_counts(golden):
    counts = json.loads((golden / "parameter_counts.json").read_text())
    seen = set()
    for name, ((code,), settings) in PUBLISHED.items():
        key = next(k for k in counts if k.startswith(name))
        assert sum(p.numel() for p in SkipNet(code, 3, **settings).parameters()) == counts[key], name
        seen.add(key)
    assert seen == set(counts)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", ["nearest", "bilinear"]])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_shapes_and_range(channels, upsample):
    net = SkipNet(5, channels, down=[8, 8], up=[8, 8], skip=[0, 2], upsample=upsample)
    out = net(torch.rand(1, 5, 16, 24))
    assert out.shape == (1, channels, 16, 24)
    assert 0 <= float(out.detach().min()) <= float(out.detach().max()) <= 1
    assert net.stride == 4


def test_linear_output_leaves_the_range():
    net = SkipNet(4, 1, down=[8], up=[8], skip=[0], output="linear")
    with torch.no_grad():
        net.out.conv.bias.fill_(5.0)
    assert float(net(torch.rand(1, 4, 16, 16)).detach().max()) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"down": [8, 8], "up": [8], "skip": [4, 4]}, "up must have one entry"),
        ({"down": [8], "up": [8], "skip": [4], "down_kernel": 4}, "odd"),
        ({"down": [], "up": [], "skip": []}, "at least one level"),
    ],
)
def test_errors_name_the_constraint(settings, message):
    with pytest.raises(ValueError, match=message):
        SkipNet(4, 3, **settings)


@pytest.mark.parametrize("widths", [{"down": (0, 4)}, {"up": (4, 0)}, {"skip": (2, -1)}, {"down": (4.5, 4)}])
def test_a_level_without_channels_is_refused(widths):
    with pytest.raises(InputError, match=next(iter(widths))):
        SkipNet.Config(**{"down": (4, 4), "up": (4, 4), "skip": (2, 2), **widths})

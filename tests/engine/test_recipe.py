"""Recipes: plain data there and back, what cannot be is said, and networks that suit the picture's size."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED

from preimage.codes import Mesh, Noise
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import DeepDecoder, Pixels, ResNet, SkipNet, UNet
from preimage.networks.layers import halvings
from preimage.optimizers import adam, muon
from preimage.recipes import NamedRecipe, choose, read_recipe
from preimage.recipes import recipe as named
from preimage.restore.denoise import recipes

FAST, PAPER = recipes()["fast"], recipes()["paper"]
HOLE = UNet.Config((8, 16, 32, 64, 128, 128), upsample="transposed", padding="zeros", norm="instance", up_norm=False)
OTHERS = replace(THIN, precision="bfloat16", stop="steps", debiased=False, restarts=4)
RECIPES = {
    "paper": PAPER,
    "fast": FAST,
    "thin": THIN,
    "adam": THIN_ADAM,
    "others": OTHERS,
    "decoder": Recipe(network=DeepDecoder.Config(widths=(8, 8)), code=Noise(8, 1.0), jitter=0.0),
    "U": Recipe(network=UNet.Config()),
    "hole": Recipe(network=HOLE, code=Noise(1), rate=0.001),
    "residual": Recipe(network=ResNet.Config(width=8, blocks=3, padding="zeros", residual=False, output="linear")),
    "free": Recipe(network=Pixels.Config(), code=Mesh(), jitter_pool=None),
    "kernels": Recipe(
        network=SkipNet.Config((8,) * 2, (8,) * 2, (0, 4), down_kernel=(5, 3), upsample=("nearest", "bilinear"))
    ),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("base", [PAPER, OTHERS], ids=["over paper", "over others"])
def test_read_recipe_is_the_inverse_of_describe_through_json(recipe, base):
    assert read_recipe(json.loads(json.dumps(recipe.describe())), base) == recipe


def test_what_is_not_named_comes_from_the_base():
    changed = read_recipe({"format": 2, "steps": 7}, FAST)
    assert changed == replace(FAST, steps=7)
    assert read_recipe({"format": 2}, PAPER) == PAPER
    assert FAST.steps != 7


def test_describe_names_everything_that_a_fit_depends_on():
    described = FAST.describe()
    assert set(described) == {"format", *(field.name for field in fields(Recipe))}
    assert described["optimizer"] == "muon"
    assert described["network"]["kind"] == "SkipNet"

    def own(in_channels, out_channels, height, width):
        return SkipNet(in_channels, out_channels, down=[8], up=[8], skip=[0])

    assert replace(FAST, network=own).describe()["network"] == "own"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stepz": 3}, "no setting 'stepz': it has averaging, code"),
        ({"network": {"kind": "Transformer"}}, "'network' cannot be"),
        ({"network": {"kind": "Noise"}}, "'network' cannot be"),
        ({"code": {"kind": "SkipNet"}}, "'code' cannot be"),
        ({"code": {"kind": "Masked", "filled": "no"}}, "filled must be true or false, got 'no'"),
        ({"network": {"down": [8]}}, "'network' cannot be .*: 'kind'"),
        ({"network": "SkipNet"}, "'network' cannot be 'SkipNet'"),
        ({"network": {"kind": "SkipNet", "wide": 3}}, "unexpected keyword argument 'wide'"),
        ({"network": {"kind": "SkipNet", "padding": "mirror"}}, "padding must be reflect or zeros, got 'mirror'"),
        ({"network": {"kind": "SkipNet", "upsample": ["nearest", "cubic"]}}, "upsample must be bilinear or nearest"),
        ({"network": {"kind": "SkipNet", "downsample": "max"}}, "downsample must be stride or average, got 'max'"),
        ({"network": {"kind": "DeepDecoder", "output": "tanh"}}, "output must be sigmoid or linear, got 'tanh'"),
        (
            {"network": {"kind": "UNet", "upsample": "cubic"}},
            "upsample must be transposed or bilinear or nearest, got",
        ),
        ({"network": {"kind": "SkipNet", "upsample": "transposed"}}, "upsample must be bilinear or nearest, got"),
        ({"network": {"kind": "UNet", "norm": "layer"}}, "norm must be batch or instance, got 'layer'"),
        ({"network": {"kind": "UNet", "output": "tanh"}}, "output must be sigmoid or linear, got 'tanh'"),
        ({"network": {"kind": "UNet", "widths": []}}, r"each at least 1, got \(\)"),
        ({"network": {"kind": "UNet", "widths": 8}}, "no network can be built"),
        ({"network": {"kind": "UNet", "levels": 4}}, "unexpected keyword argument 'levels'"),
        ({"network": {"kind": "ResNet", "padding": "mirror"}}, "padding must be reflect or zeros, got 'mirror'"),
        ({"network": {"kind": "ResNet", "blocks": -1}}, "blocks must be at least 0, got -1"),
        ({"network": {"kind": "ResNet", "width": 0}}, "width must be at least 1, got 0"),
        ({"network": {"kind": "ResNet", "blocks": "many"}}, "no network can be built"),
        ({"network": {"kind": "SkipNet", "down": [8] * 3, "up": [8] * 2, "skip": [0] * 3}}, "one entry for each"),
        ({"network": {"kind": "SkipNet", "down": 8}}, "down must be a whole number for each level"),
        ({"network": {"kind": "SkipNet", "down_kernel": 4}}, "kernel size must be odd"),
        ({"network": {"kind": "DeepDecoder", "widths": []}}, "at least one layer"),
        ({"code": {"kind": "Noise", "channels": 0}}, "at least 1 channel, got 0"),
        ({"code": {"kind": "Noise", "channels": "many"}}, "no network can be built"),
        ({"optimizer": "sgd"}, "'optimizer' cannot be 'sgd'"),
        ({"optimizer": ["adam"]}, "'optimizer' cannot be"),
        ({"steps": 0}, "steps must be a whole number, at least 1, got 0"),
        ({"steps": 10.5}, "steps must be a whole number, at least 1, got 10.5"),
        ({"steps": "10"}, "steps must be a whole number, at least 1, got '10'"),
        ({"restarts": 0}, "restarts must be a whole number, at least 1, got 0"),
        ({"restarts": True}, "restarts must be a whole number"),
        ({"restarts": 10_001}, "restarts must be at most 10000, got 10001"),
        ({"rate": 0}, "rate must be above 0, got 0"),
        ({"rate": float("nan")}, "rate must be above 0, got nan"),
        ({"rate": float("inf")}, "rate must be above 0, got inf"),
        ({"rate": "fast"}, "wrong type"),
        ({"averaging": 1.0}, "averaging must be from 0 to below 1, got 1.0"),
        ({"jitter": -0.1}, "jitter must be at least 0, got -0.1"),
        ({"jitter_pool": 0}, "jitter_pool must be a whole number, or none, got 0"),
        ({"precision": "float64"}, "precision must be auto, float32 or bfloat16, got 'float64'"),
        ({"stop": "soon"}, "stop must be auto or steps, got 'soon'"),
    ],
)
def test_what_cannot_be_is_one_line(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        read_recipe({"format": 2, **settings}, FAST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("recipe", [PAPER, FAST], ids=["paper", "fast"])
@pytest.mark.parametrize("side", [16, 17, 31, 32, 63, 64, 127, 128, 300])
def test_a_small_picture_takes_fewer_levels(recipe, side):
    with torch.device("meta"):
        network = recipe.network(32, 3, side, 3 * side)
    assert network.stride == 2**network.levels
    coarsest = -(-side // network.stride)
    assert coarsest >= 4
    assert network.levels == 5 or side / (2 * network.stride) < 4, "as many levels as there can be"
    assert network.levels == {16: 2, 17: 2, 31: 2, 32: 3, 63: 3, 64: 4, 127: 4}.get(side, 5)


def test_halvings():
    assert [halvings(side) for side in (4, 8, 15, 16, 40, 64, 1024)] == [1, 1, 1, 2, 3, 4, 8]
    assert halvings(64, smallest=2) == 5


def test_a_cut_network_has_the_settings_of_its_levels():
    deep = SkipNet.Config(
        (8, 12, 16), (9, 13, 17), (1, 0, 4), down_kernel=(7, 5, 3), upsample=("nearest", "bilinear", "nearest")
    )
    expected = SkipNet(
        4, 3, down=[8, 12], up=[9, 13], skip=[1, 0], down_kernel=(7, 5), upsample=("nearest", "bilinear")
    )
    made = deep(4, 3, 16, 40)
    assert {k: v.shape for k, v in made.state_dict().items()} == {k: v.shape for k, v in expected.state_dict().items()}
    assert sum(p.numel() for p in deep(4, 3, 64, 64).parameters()) > sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("side", [16, 17, 33, 64, 127, 128, 300])
def test_a_small_picture_takes_fewer_levels_of_a_u(side):
    with torch.device("meta"):
        network = HOLE(1, 3, 3 * side, side)
    assert network.levels == {16: 2, 17: 2, 33: 3, 64: 4, 127: 4}.get(side, 5)
    assert -(-side // network.stride) >= 4
    assert [down.conv1.out_channels for down in network.downs] == [8, 16, 32, 64, 128, 128][: network.levels + 1]


def test_descriptions_hand_every_setting_on():
    """What is described is what is built: by the names, shapes and settings of all layers."""
    with torch.device("meta"):
        pairs = [
            (
                HOLE(2, 5, 512, 512),
                UNet(2, 5, widths=HOLE.widths, upsample="transposed", padding="zeros", norm="instance", up_norm=False),
            ),
            (
                UNet.Config(upsample="nearest", output="linear")(4, 3, 256, 300),
                UNet(4, 3, upsample="nearest", output="linear"),
            ),
            (UNet.Config()(4, 3, 256, 300), UNet(4, 3)),
            (ResNet.Config()(1, 3, 16, 20), ResNet(1, 3)),
            (
                ResNet.Config(8, 3, "zeros", residual=False, output="linear")(1, 3, 16, 20),
                ResNet(1, 3, width=8, blocks=3, padding="zeros", residual=False, output="linear"),
            ),
        ]
    for made, expected in pairs:
        assert type(made) is type(expected)
        assert settings_of(made) == settings_of(expected)


def settings_of(network: torch.nn.Module) -> dict[str, dict[str, object]]:
    """Of each layer its plain attributes, strides, choices and switches, and the shapes of what it learns."""
    return {
        name: {k: v for k, v in vars(layer).items() if isinstance(v, int | str | tuple)}
        | {k: None if v is None else v.shape for k, v in layer._parameters.items()}
        for name, layer in network.named_modules()
    }


def test_other_networks_suit_the_size():
    assert isinstance(decoder := DeepDecoder.Config()(128, 3, 16, 20), DeepDecoder)
    assert decoder.scale == 4
    assert isinstance(pixels := Pixels.Config()(2, 5, 16, 20), Pixels)
    assert pixels(torch.zeros(1, 2, 16, 20)).shape == (1, 5, 16, 20)


@pytest.mark.parametrize("side", [16, 19, 33, 300])
def test_a_prior_has_the_picture_s_size(side):
    recipe = replace(THIN, network=SkipNet.Config((4,) * 5, (4,) * 5, (2,) * 5), code=Noise(2))
    prior = recipe.prior(2, (side, side + 7), members=2, device="cpu")
    with torch.no_grad():
        assert prior([0, 1])[0].shape == (2, 2, side, side + 7)


@pytest.mark.parametrize(
    ("channels", "size", "said"),
    [
        (3, (15, 64), "at least 16 pixels a side, got 64 x 15"),
        (0, (32, 32), "got 0"),
        (17, (32, 32), "1 to 16 channels"),
    ],
)
def test_pictures_too_small_or_with_too_many_channels(channels, size, said):
    with pytest.raises(InputError, match=said):
        THIN.prior(channels, size, device="cpu")


def test_paper_is_as_published():
    """Ulyanov et al. 2018, denoising at sigma 25: skip 5x128/4, noise 32, jitter 1/30, Adam 0.01, average 0.99."""
    network = PAPER.network
    assert isinstance(network, SkipNet.Config)
    assert (network.down, network.up, network.skip) == ((128,) * 5, (128,) * 5, (4,) * 5)
    assert (network.down_kernel, network.up_kernel, network.skip_kernel) == (3, 3, 1)
    assert (network.downsample, network.upsample, network.padding) == ("stride", "bilinear", "reflect")
    assert (network.pointwise, network.output) == (True, "sigmoid")
    assert PAPER.code == Noise(32, 0.1)
    assert (PAPER.jitter, PAPER.jitter_pool) == (1 / 30, None)
    assert (PAPER.optimizer, PAPER.rate, PAPER.steps) == (adam, 0.01, 3000)
    assert (PAPER.averaging, PAPER.debiased, PAPER.restarts) == (0.99, False, 1)
    assert (PAPER.precision, PAPER.stop) == ("float32", "steps")


def test_paper_s_network_has_the_published_number_of_parameters(golden):
    counts = json.loads((golden / "parameter_counts.json").read_text())
    with torch.device("meta"):
        network = PAPER.network(32, 3, 512, 512)
    assert sum(p.numel() for p in network.parameters()) == 2_217_831
    assert 2_217_831 in [value if isinstance(value, int) else value.get("parameters") for value in counts.values()]


def test_fast_is_thinner_shorter_and_stops_blindly():
    assert FAST.stop == "auto"
    assert FAST.optimizer is muon
    assert FAST.steps <= PAPER.steps / 3
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in r.network(32, 3, 256, 256).parameters()) for r in (FAST, PAPER)]
    assert sizes[0] < sizes[1] / 3


# ---------------------------------------------------------------------- formats, names and values


@pytest.mark.parametrize("settings", [{"steps": 3}, {"format": 1}, {"format": None}, {"format": 3, "steps": 3}])
def test_another_format_is_refused(settings):
    with pytest.raises(InputError) as caught:
        read_recipe(settings, FAST)
    assert caught.value.code == "format"


NAMES = {"fast": FAST, "paper": PAPER}


def adapt(name: str, base: Recipe) -> Recipe:
    """What a task makes of a name for an image."""
    return replace(base, steps=len(name), rate=0.5)


def test_a_name_is_adapted_and_then_changed():
    assert choose(NAMES, "paper").adapted(adapt) == replace(PAPER, steps=5, rate=0.5)
    changed = choose(NAMES, named("fast", rate=0.25), {"steps": 9, "restarts": None}).adapted(adapt)
    assert changed == replace(FAST, steps=9, rate=0.25)


@pytest.mark.parametrize("value", [FAST, PAPER, replace(FAST, steps=7)])
def test_a_value_is_used_exactly_as_it_is_even_where_it_equals_a_default(value):
    assert choose(NAMES, value).adapted(adapt) == value
    assert choose(NAMES, value, {"steps": 9}).adapted(adapt) == replace(value, steps=9)


def test_a_named_recipe_is_a_value():
    assert named() == named("fast") == NamedRecipe("fast")
    assert named("fast", steps=3) != named("fast", steps=4)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: choose(NAMES, "best"), "invalid-value"),
        (lambda: choose(NAMES, 3), "type"),  # pyright: ignore[reportArgumentType]
        (lambda: named("fast", stepz=3), "option"),
        (lambda: choose(NAMES, "fast", {"stepz": 3}), "option"),
        (lambda: choose(NAMES, named("fast", steps=0)).adapted(adapt), "invalid-value"),
    ],
)
def test_what_is_no_recipe_is_an_error(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.code == code


def test_what_is_not_stated_of_a_recipe_and_its_prior():
    assert Recipe().debiased
    assert len(THIN.prior(3, (32, 32), device="cpu")) == 1
    least = {"steps": 1, "restarts": 1, "averaging": 0.0, "jitter": 0.0, "jitter_pool": 1}
    assert replace(THIN, **least).averaging == 0
    assert replace(THIN, restarts=10_000).restarts == 10_000
    given, other = (
        replace(THIN, jitter_pool=None).prior(3, (32, 32), device="cpu", **seed) for seed in ({}, {"seed": 0})
    )
    for ours, theirs in zip(given.networks[0].parameters(), other.networks[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_small_is_made_whatever_memory_is_said_to_be_free(monkeypatch):
    monkeypatch.setattr("preimage.engine.recipe.free_memory", lambda device: 1000)
    assert len(THIN.prior(3, (32, 32), device="cpu")) == 1


@pytest.mark.parametrize(("size", "fits"), [((4096, 16), True), ((4096, 4096), False), ((16, 4096), True)])
def test_codes_that_do_not_fit_into_memory_are_refused_before_they_are_made(monkeypatch, size, fits):
    monkeypatch.setattr("preimage.engine.recipe.free_memory", lambda device: 2**29)
    recipe = replace(THIN, code=Noise(8), jitter_pool=None)
    if fits:
        assert recipe.prior(3, size, device="cpu").size == size
    else:
        with pytest.raises(InputError, match=r"0\.5 GB is free") as raised:
            recipe.prior(3, size, device="cpu")
        assert raised.value.code == "memory"


def test_a_pool_of_jittered_codes_counts_as_memory(monkeypatch):
    monkeypatch.setattr("preimage.engine.recipe.free_memory", lambda device: 2**29)
    with pytest.raises(InputError, match=r"need 1\.1 GB"):
        replace(THIN, code=Noise(8), jitter_pool=16).prior(3, (1024, 1024), device="cpu")


@pytest.mark.parametrize("channels", [0, 17])
def test_an_image_has_1_to_16_channels(channels):
    assert [len(THIN.prior(count, (32, 32), device="cpu")) for count in (1, 16)] == [1, 1]
    with pytest.raises(InputError, match=f"1 to 16 channels, got {channels}"):
        THIN.prior(channels, (32, 32), device="cpu")


def test_a_prior_of_a_masked_code_can_be_asked_before_it_has_an_image():
    prior = THIN_MASKED.prior(3, (32, 32), device="cpu")
    assert prior.outputs([0], prior.inputs([0]).codes).shape == (1, 3, 32, 32)


def test_tuples_are_lists_in_plain_data():
    network = THIN.describe()["network"]
    assert network["down"] == [16, 16, 16]
    assert isinstance(network["down"], list)

"""Prior: sizes, codes, jitter and members."""

from __future__ import annotations

import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, noisy

from preimage.codes import Masked, Mesh, Noise, reflected
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import DeepDecoder, SkipNet
from preimage.prior import Prior
from preimage.problem import Problem
from preimage.rng import generator


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (33, 47), (31, 64)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_size_and_channels(size, channels):
    prior = THIN.prior(channels, size, device="cpu")
    assert prior.images([0]).shape == (1, channels, *size)


def test_members_differ_and_do_not_depend_on_their_number():
    alone = THIN.prior(3, (32, 32), members=1, device="cpu").images([0])
    together = THIN.prior(3, (32, 32), members=3, device="cpu").images([0, 1, 2])
    assert torch.allclose(alone[0], together[0], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def stackable(*, stacks: bool) -> Prior:
    network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4))
    return Prior(lambda: network(8, 3, 33, 47), Noise(8), (33, 47), members=3, jitter=0.03, stacks=stacks)


def test_stacked_and_one_after_another_agree_in_images_and_gradients():
    """Also on one thread, where grouped 1x1 convolutions in channels_last have wrong gradients in PyTorch 2.15."""
    images, gradients = [], []
    for stacks in (True, False):
        prior = stackable(stacks=stacks)
        x = prior.images([2, 0]) if stacks else torch.cat([prior.image(2), prior.image(0)])
        x.square().sum().backward()
        images.append(x.detach())
        gradients.append([p.grad for name, p in prior.networks[0].named_parameters() if not name.endswith("conv.bias")])
        assert all(p.grad is None for p in prior.networks[1].parameters())
    assert torch.allclose(images[0], images[1], atol=1e-5)
    for ours, expected in zip(*gradients, strict=True):
        assert float((ours - expected).abs().max()) <= 1e-3 * float(expected.abs().max()) + 1e-2


@pytest.mark.parametrize("how", [{}, {"upsample": "nearest", "padding": "zeros"}])
def test_stacked_members_are_as_precise_as_others(how):
    """In bfloat16, which autocast does not bring into torch.vmap: layers that take members do it themselves."""
    network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4), **how)
    images, gradients = [], []
    for stacks in (True, False):
        settings = {"members": 3, "jitter": 0.03, "stacks": stacks, "dtype": torch.bfloat16}
        prior = Prior(lambda: network(8, 3, 32, 32), Noise(8), (32, 32), **settings)
        x = prior.images([0, 1, 2])
        (x - 0.5).square().sum().backward()
        images.append(x.detach())
        gradients.append([p.grad for name, p in prior.networks[1].named_parameters() if name.endswith("conv.weight")])
    assert torch.allclose(images[0], images[1], atol=0.02)
    for ours, expected in zip(*gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(ours.flatten(), expected.flatten(), dim=0) > 0.98


def test_layers_of_others_are_stacked_by_torch_func_and_in_float32_alone():
    def decoder() -> torch.nn.Module:
        return DeepDecoder(8, 3, widths=[8, 8])

    for dtype, stacks in ((torch.float32, True), (torch.bfloat16, False)):
        prior = Prior(decoder, Noise(8), (32, 32), members=2, dtype=dtype)
        assert (prior.natively, prior.stacks) == (False, stacks)
        together = prior.outputs([0, 1], prior.codes)
        alone = torch.cat([prior.outputs([i], [prior.codes[i]]) for i in (0, 1)])
        assert torch.allclose(together, alone, atol=1e-5)


def test_stacked_members_share_their_weights_and_not_their_gradients():
    prior = stackable(stacks=True)
    before = [{name: p.detach().clone() for name, p in network.named_parameters()} for network in prior.networks]
    x = prior.images([0, 1, 2])
    x[1].sum().backward()
    for i, network in enumerate(prior.networks):
        assert all(torch.equal(p, before[i][name]) for name, p in network.named_parameters())
        moved = any(float(p.grad.abs().max()) > 0 for p in network.parameters() if p.grad is not None)
        assert moved == (i == 1)
    prior.networks[2].load_state_dict(prior.networks[0].state_dict())
    with torch.no_grad():
        shown = prior.outputs([0, 1, 2], [prior.codes[0]] * 3)
    assert torch.allclose(shown[0], shown[2], atol=1e-5)
    assert not torch.allclose(shown[0], shown[1], atol=1e-2)


def test_streams_never_meet():
    draws = {
        tuple(torch.rand(4, generator=generator(seed, source, member)).tolist())
        for seed in (0, 1)
        for source in ("weights", "code", "jitter", "hold-out")
        for member in (0, 1, 2)
    }
    assert len(draws) == 24


def test_weights_do_not_touch_the_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    THIN.prior(3, (32, 32), members=2, device="cpu")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM], ids=["pool", "fresh"])
def test_jitter_has_its_deviation_and_changes_at_every_step(recipe):
    prior = recipe.prior(3, (64, 64), device="cpu")
    code = prior.codes[0]
    noises = [prior.jitter.added_to(code, 0) - code for _ in range(3)]
    assert float(torch.stack(noises).std()) == pytest.approx(recipe.jitter, rel=0.05)
    assert not torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[1], noises[2])


def test_published_code_is_uniform_and_narrower_than_its_jitter():
    code = Noise().draw(64, 64, generator(0, "code", 0))
    assert 0 <= float(code.min()) < 0.001 < 0.099 < float(code.max()) <= 0.1
    assert float(code.std()) == pytest.approx(0.1 / 12**0.5, rel=0.02)
    assert float(code.std()) < Recipe().jitter


def test_mesh_holds_positions():
    x, y = Mesh().draw(3, 5, generator(0, "code", 0))[0]
    assert x[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert y[:, 0].tolist() == [0, 0.5, 1]


def test_a_code_that_is_an_image_is_padded_by_reflection():
    image = torch.arange(5.0).reshape(1, 1, 1, 5).expand(1, 1, 5, 5)
    assert reflected(image, 5, 12)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    prior = Prior(
        lambda: SkipNet.Config(down=(8,), up=(8,), skip=(0,))(1, 3, 17, 19), image.expand(1, 1, 5, 5), (17, 19)
    )
    assert prior.codes[0].shape == (1, 1, 18, 20)


def test_state_brings_back_weights_and_streams():
    prior = THIN_ADAM.prior(3, (32, 32), members=2, device="cpu")
    prior.images([0, 1])
    saved = {**prior.state_dict(), "jitter": [g.clone() for g in prior.state_dict()["jitter"]]}
    expected = prior.images([0, 1])
    prior.images([0, 1])
    prior.load_state_dict(saved)
    assert torch.equal(prior.images([0, 1]), expected)


# ---------------------------------------------------------------------- a masked code


def masked_prior(weight: torch.Tensor | None = None, members: int = 2, seed: int = 0) -> Prior:
    prior = THIN_MASKED.prior(3, (30, 33), members=members, seed=seed, device="cpu")
    prior.show(noisy(40)[..., :30, :33], weight)
    return prior


def test_a_masked_code_is_what_is_shown_and_where():
    prior, picture = masked_prior(), noisy(40)[..., :30, :33]
    values, shown = prior.input(0)[..., :30, :33].chunk(2, 1)
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    assert float(shown.mean()) == pytest.approx(0.7, abs=0.05)
    assert torch.equal(values, picture * shown)
    asked = prior.asked([0])
    assert asked is not None
    assert torch.equal(asked, 1 - shown)


def test_masks_are_new_at_each_step_and_of_each_member_and_repeat_with_the_seed():
    prior = masked_prior()
    first, other, second = prior.input(0), prior.input(1), prior.input(0)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(first, masked_prior().input(0))
    assert not torch.equal(first, masked_prior(seed=1).input(0))


def test_what_has_no_weight_is_neither_shown_nor_asked_for():
    weight = (torch.rand(1, 1, 30, 33, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    prior = masked_prior(weight)
    prior.known[0][..., 30:, :] = 0  # beyond the picture it goes on by reflection
    for _ in range(3):
        shown = prior.input(0)[:, 3:, :30, :33]
        asked = prior.asked([0])
        assert asked is not None
        assert torch.equal(shown + asked, weight.expand(1, 3, 30, 33))


def test_only_hidden_values_count():
    prior = masked_prior(members=1)
    x = prior.images([0]).detach().requires_grad_()
    asked = prior.asked([0])
    assert asked is not None
    Problem(noisy(40)[..., :30, :33]).terms(x, asked)["squared"].sum().backward()
    assert x.grad is not None
    assert torch.equal((x.grad != 0).float(), asked)


def test_masks_do_not_depend_on_how_members_are_computed():
    inputs = []
    for stacks in (True, False):
        network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4))
        prior = Prior(lambda n=network: n(6, 3, 32, 32), Masked(0.5), (32, 32), members=2, stacks=stacks)
        prior.show(noisy(32))
        inputs.append(prior.input(1))
    assert torch.equal(*inputs)


@pytest.mark.parametrize("pool", [None, 2])
def test_jitter_of_all_is_that_of_each(pool):
    def prior() -> Prior:
        network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4))
        how = {"members": 3, "jitter": 0.03, "pool": pool, "stacks": True}
        return Prior(lambda: network(8, 3, 33, 47), Noise(8), (33, 47), **how)

    together, apart = prior(), prior()
    for members in ([0, 1, 2], [2, 0], [2, 0]):
        for ours, expected in zip(together.inputs(members), [apart.input(i) for i in members], strict=True):
            assert torch.equal(ours, expected)


def test_codes_that_were_taken_over_are_those_that_are_jittered():
    prior = stackable(stacks=True)
    prior.inputs([0, 1, 2])
    given = [
        {"network": network.state_dict(), "code": torch.full_like(prior.codes[0], 5)} for network in prior.networks
    ]
    prior.start_from(given)
    assert all(float(x.min()) > 4 for x in prior.inputs([0, 1, 2]))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 8)])
def test_a_masked_code_shows_a_picture_of_the_prior_s_size_alone(shape):
    prior = THIN_MASKED.prior(3, (32, 32), device="cpu")
    with pytest.raises(InputError, match="32 x 32 pixels, got"):
        prior.show(torch.zeros(shape))


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0])
def test_shares_that_cannot_be_kept(keep):
    with pytest.raises(InputError, match=f"got {keep}"):
        Masked(keep)

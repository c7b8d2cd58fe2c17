"""Prior: sizes, codes, jitter and members."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, noisy
from torch.nn import functional

from preimage.codes import Masked, Mesh, Noise, reflected
from preimage.engine.members import Members
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import DeepDecoder, SkipNet
from preimage.prior import Prior
from preimage.problem import Problem
from preimage.rng import checked_seed, drawing_from, generator


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (33, 47), (31, 64)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_size_and_channels(size, channels):
    prior = THIN.prior(channels, size, device="cpu")
    assert prior([0])[0].shape == (1, channels, *size)


def test_members_differ_and_do_not_depend_on_their_number():
    alone = THIN.prior(3, (32, 32), members=1, device="cpu")([0])[0]
    together = THIN.prior(3, (32, 32), members=3, device="cpu")()[0]
    assert torch.allclose(alone[0], together[0], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def stackable(*, stacked: bool) -> Members:
    network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4))
    return Members(Prior(lambda: network(8, 3, 33, 47), Noise(8), (33, 47), members=3, jitter=0.03), stacked)


def images(members: Members, chosen: list[int]) -> torch.Tensor:
    """Outputs of some members from their next inputs."""
    return members.outputs(chosen, members.prior.inputs(chosen).codes)


def test_stacked_and_one_after_another_agree_in_images_and_gradients():
    """Also on one thread, where grouped 1x1 convolutions in channels_last have wrong gradients in PyTorch."""
    found, gradients = [], []
    for stacked in (True, False):
        members = stackable(stacked=stacked)
        x = images(members, [2, 0]) if stacked else torch.cat([images(members, [2]), images(members, [0])])
        x.square().sum().backward()
        found.append(x.detach())
        networks = members.prior.networks
        gradients.append([p.grad for name, p in networks[0].named_parameters() if not name.endswith("conv.bias")])
        assert all(p.grad is None for p in networks[1].parameters())
    assert torch.allclose(found[0], found[1], atol=1e-5)
    for ours, expected in zip(*gradients, strict=True):
        assert float((ours - expected).abs().max()) <= 1e-3 * float(expected.abs().max()) + 1e-2


@pytest.mark.parametrize("how", [{}, {"upsample": "nearest", "padding": "zeros"}])
def test_stacked_members_are_as_precise_as_others(how):
    """In bfloat16, which autocast does not bring into torch.vmap: layers that take members do it themselves."""
    network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4), **how)
    found, gradients = [], []
    for stacked in (True, False):
        settings = {"members": 3, "jitter": 0.03, "dtype": torch.bfloat16}
        members = Members(Prior(lambda: network(8, 3, 32, 32), Noise(8), (32, 32), **settings), stacked)
        x = images(members, [0, 1, 2])
        (x - 0.5).square().sum().backward()
        found.append(x.detach())
        named = members.prior.networks[1].named_parameters()
        gradients.append([p.grad for name, p in named if name.endswith("conv.weight")])
    assert torch.allclose(found[0], found[1], atol=0.02)
    for ours, expected in zip(*gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(ours.flatten(), expected.flatten(), dim=0) > 0.98


def test_layers_of_others_are_stacked_by_torch_func_and_in_float32_alone():
    def decoder() -> torch.nn.Module:
        return DeepDecoder(8, 3, widths=[8, 8])

    for dtype, stacked in ((torch.float32, True), (torch.bfloat16, False)):
        prior = Prior(decoder, Noise(8), (32, 32), members=2, dtype=dtype)
        members = Members(prior)
        assert (members._natively, members.stacked) == (False, stacked)
        together = members.outputs([0, 1], prior.codes)
        alone = torch.cat([members.outputs([i], [prior.codes[i]]) for i in (0, 1)])
        assert torch.allclose(together, alone, atol=1e-5)


def test_stacked_members_share_their_weights_and_not_their_gradients():
    members = stackable(stacked=True)
    networks, codes = members.prior.networks, members.prior.codes
    before = [{name: p.detach().clone() for name, p in network.named_parameters()} for network in networks]
    x = images(members, [0, 1, 2])
    x[1].sum().backward()
    for i, network in enumerate(networks):
        assert all(torch.equal(p, before[i][name]) for name, p in network.named_parameters())
        moved = any(float(p.grad.abs().max()) > 0 for p in network.parameters() if p.grad is not None)
        assert moved == (i == 1)
    networks[2].load_state_dict(networks[0].state_dict())
    with torch.no_grad():
        found = members.outputs([0, 1, 2], [codes[0]] * 3)
    assert torch.allclose(found[0], found[2], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_memory_order_changes_no_value(memory_format):
    for recipe in (THIN, THIN_ADAM, THIN_MASKED):
        plain, laid_out = (recipe.prior(3, (32, 32), members=2, device="cpu") for _ in range(2))
        laid_out.to_memory_format(memory_format)
        for a, b in zip(plain.inputs([0, 1]).codes, laid_out.inputs([0, 1]).codes, strict=True):
            assert torch.equal(a, b)
        for name, value in plain.networks.state_dict().items():
            assert torch.equal(value, laid_out.networks.state_dict()[name])


def test_streams_never_meet():
    draws = {
        tuple(torch.rand(4, generator=generator(seed, source, member)).tolist())
        for seed in (0, 1)
        for source in ("weights", "code", "jitter", "hold-out")
        for member in (0, 1, 2)
    }
    assert len(draws) == 24


def test_users_of_one_source_have_streams_of_their_own():
    draws = {tuple(torch.rand(4, generator=generator(0, "hold-out", 0, stream=stream)).tolist()) for stream in range(5)}
    assert len(draws) == 5


def test_weights_do_not_touch_the_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    THIN.prior(3, (32, 32), members=2, device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def draws() -> list[torch.Tensor]:
    """What modules are built by, and what they might be."""
    attention = torch.nn.MultiheadAttention(8, 2)
    return [
        *torch.nn.Conv2d(3, 5, 3).state_dict().values(),
        *torch.nn.LSTM(3, 4).state_dict().values(),
        torch.randn(5),
        torch.rand(3, dtype=torch.float64),
        torch.randint(3, (9,)),
        torch.randint(2, 9, (4,)),
        torch.randperm(10),
        torch.rand_like(torch.zeros(17)),
        torch.randn_like(torch.zeros(17)),
        torch.bernoulli(torch.full((9,), 0.4)),
        torch.empty(33).normal_(),
        torch.normal(torch.zeros(3), 1.0),
        torch.multinomial(torch.ones(5), 3),
        torch.nn.init.orthogonal_(torch.empty(4, 4)),
        torch.nn.init.trunc_normal_(torch.empty(20)),
        torch.nn.functional.dropout(torch.ones(20), 0.3),
        attention(*[torch.ones(3, 8)] * 3)[0].detach(),
    ]


def test_draws_are_those_of_a_global_generator_in_the_same_state():
    with drawing_from(generator(3, "weights", 1)):
        ours = draws()
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(3, "weights", 1).get_state())
        expected = draws()
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a, b)


def test_what_names_its_generator_draws_from_it():
    own = torch.Generator().manual_seed(9)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(9))
    with drawing_from(torch.Generator().manual_seed(0)):
        assert torch.equal(torch.rand(3, generator=own), expected)


def test_nothing_is_drawn_for_the_meta_device():
    with torch.device("meta"), drawing_from(torch.Generator()):
        assert torch.nn.Linear(3, 4).weight.device.type == "meta"


def test_priors_built_in_threads_have_the_weights_of_their_seeds():
    def built(seed: int) -> torch.Tensor:
        prior = THIN.prior(3, (32, 32), members=2, seed=seed, device="cpu")
        return torch.cat([p.detach().flatten() for p in prior.networks.parameters()])

    seeds = [seed % 4 for seed in range(48)]
    expected = [built(seed) for seed in range(4)]
    with ThreadPoolExecutor(8) as threads:
        for seed, weights in zip(seeds, threads.map(built, seeds), strict=True):
            assert torch.equal(weights, expected[seed])


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, "1", True, None, float("nan")])
def test_a_seed_that_is_none_is_one_line(seed):
    for call in (checked_seed, lambda seed: THIN.prior(3, (32, 32), seed=seed, device="cpu")):
        with pytest.raises(InputError) as caught:
            call(seed)
        assert caught.value.code == "invalid-value"
        assert repr(seed) in str(caught.value)


def test_whole_numbers_of_any_kind_are_seeds():
    assert [checked_seed(seed) for seed in (0, 2**31 - 1, np.int64(7))] == [0, 2**31 - 1, 7]


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
    prior()
    saved = {**prior.state_dict(), "jitter": [g.clone() for g in prior.state_dict()["jitter"]]}
    expected, _ = prior()
    prior()
    prior.load_state_dict(saved)
    assert torch.equal(prior()[0], expected)


# ---------------------------------------------------------------------- a masked code


def masked_prior(weight: torch.Tensor | None = None, members: int = 2, seed: int = 0) -> Prior:
    prior = THIN_MASKED.prior(3, (30, 33), members=members, seed=seed, device="cpu")
    prior.set_image(noisy(40)[..., :30, :33], weight)
    return prior


def test_a_masked_code_is_what_is_visible_and_where():
    prior, image = masked_prior(), noisy(40)[..., :30, :33]
    codes, loss_mask = prior.inputs([0])
    values, visible = codes[0][..., :30, :33].chunk(2, 1)
    assert set(visible.unique().tolist()) == {0.0, 1.0}
    assert float(visible.mean()) == pytest.approx(0.7, abs=0.05)
    assert torch.equal(values, image * visible)
    assert loss_mask is not None
    assert torch.equal(loss_mask, 1 - visible)


def test_a_filled_code_has_the_mean_of_visible_neighbors_and_the_same_masks():
    image, valid = noisy(40)[..., :30, :33], torch.ones(1, 3, 30, 33)
    plain, filled = (
        Masked(0.4, each).draw(image, valid, torch.Generator().manual_seed(0)).chunk(2, 1) for each in (False, True)
    )
    assert torch.equal(plain[1], filled[1])
    seen = plain[1] > 0
    assert torch.equal(filled[0][seen], image[seen])
    kernel = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    total, count = (functional.conv2d(x, kernel, padding=1, groups=3) for x in plain)
    assert torch.allclose(filled[0][~seen], (total / count.clamp(min=1))[~seen], atol=1e-6)
    alone = ~seen & (count == 0)
    assert 0 < int(alone.sum()) < int((~seen).sum())
    assert not filled[0][alone].any()


def test_nothing_that_has_no_weight_is_filled_in():
    """A value that is never visible is in no mean: the code is the same whatever it is."""
    weight = (torch.rand(1, 1, 30, 33, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    drawn: list[torch.Tensor] = []
    for hidden in (0.0, 9.0):
        prior = replace(THIN_MASKED, code=Masked(0.7, filled=True)).prior(3, (30, 33), device="cpu")
        prior.set_image(torch.where(weight > 0, noisy(40)[..., :30, :33], hidden), weight)
        drawn.append(prior.inputs([0]).codes[0])
    assert torch.equal(*drawn)


def test_masks_are_new_at_each_step_and_of_each_member_and_repeat_with_the_seed():
    prior = masked_prior()
    (first, other), (second, _) = prior.inputs([0, 1]).codes, prior.inputs([0, 1]).codes
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(first, masked_prior().inputs([0]).codes[0])
    assert not torch.equal(first, masked_prior(seed=1).inputs([0]).codes[0])


def test_what_has_no_weight_is_neither_visible_nor_in_the_loss():
    weight = (torch.rand(1, 1, 30, 33, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    prior = masked_prior(weight)
    for _ in range(3):
        codes, loss_mask = prior.inputs([0])
        assert loss_mask is not None
        assert torch.equal(codes[0][:, 3:, :30, :33] + loss_mask, weight.expand(1, 3, 30, 33))


def test_only_masked_values_count():
    x, loss_mask = masked_prior(members=1)()
    x = x.detach().requires_grad_()
    assert loss_mask is not None
    dict(Problem(noisy(40)[..., :30, :33]).terms(x, loss_mask))["squared"].sum().backward()
    assert x.grad is not None
    assert torch.equal((x.grad != 0).float(), loss_mask)


def test_a_loss_mask_belongs_to_its_output():
    """That of one call is not changed by the next."""
    prior = masked_prior()
    (_, first), (_, second) = prior.inputs([0]), prior.inputs([0])
    assert first is not None
    assert not torch.equal(first, second)
    assert THIN.prior(3, (32, 32), device="cpu")()[1] is None


@pytest.mark.parametrize("filled", [False, True])
def test_masks_do_not_depend_on_how_members_are_computed(filled):
    inputs: list[torch.Tensor] = []
    for stacked in (True, False):
        network = SkipNet.Config(down=(16, 16), up=(16, 16), skip=(4, 4))
        prior = Prior(lambda n=network: n(6, 3, 32, 32), Masked(0.5, filled), (32, 32), members=2)
        Members(prior, stacked)
        prior.set_image(noisy(32))
        inputs.append(prior.inputs([1]).codes[0])
    assert torch.equal(*inputs)


def test_codes_that_were_taken_over_are_those_that_are_jittered():
    prior = stackable(stacked=True).prior
    prior.inputs([0, 1, 2])
    saved = [
        {"network": network.state_dict(), "code": torch.full_like(prior.codes[0], 5)} for network in prior.networks
    ]
    prior.start_from(saved)
    assert all(float(x.min()) > 4 for x in prior.inputs([0, 1, 2]).codes)


def test_weights_are_copies():
    prior = THIN.prior(3, (32, 32), device="cpu")
    before = prior.weights()[0]
    value = next(iter(before["network"].values())).clone()
    with torch.no_grad():
        for p in prior.networks.parameters():
            p.add_(1)
        prior.codes[0].add_(1)
    assert torch.equal(next(iter(before["network"].values())), value)
    assert not torch.equal(before["code"], prior.codes[0])


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 8)])
def test_a_masked_code_takes_an_image_of_the_prior_s_size_alone(shape):
    prior = THIN_MASKED.prior(3, (32, 32), device="cpu")
    with pytest.raises(InputError, match="32 x 32") as caught:
        prior.set_image(torch.zeros(shape))
    assert caught.value.code == "shape"


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0])
def test_shares_that_cannot_be_kept(keep):
    with pytest.raises(InputError, match=f"got {keep}"):
        Masked(keep)

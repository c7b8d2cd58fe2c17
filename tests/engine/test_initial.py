"""`initial=`: what one fit takes over from another, and what is no such thing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from specimens import THIN, THIN_ADAM, StopApart, clean, fit_of, noisy

from preimage.errors import InputError
from preimage.networks import Pixels, SkipNet
from preimage.restore.deblur import deblur
from preimage.restore.denoise import denoise
from preimage.restore.flash_no_flash import flash_no_flash
from preimage.stopping import after

SHORT = replace(THIN, steps=8)
known_noise = partial(denoise, noise="gaussian", sigma=0.1, recipe=SHORT, device="cpu")
deblurring = partial(deblur, kernel="unknown", kernel_size=5, sigma=0.1, recipe=SHORT, device="cpu")


def kernel(fit_or_result, member: int = 0) -> torch.Tensor:
    theta = getattr(fit_or_result, "theta", fit_or_result)
    return theta.operators[member].kernel.detach()


def test_a_fitted_kernel_is_gone_on_from():
    first = deblurring(noisy()).run()
    assert torch.equal(kernel(deblurring(noisy(), initial=first)), kernel(first))
    assert not torch.equal(kernel(deblurring(noisy())), kernel(first))
    # Two restarts both go on from the one there is.
    assert torch.equal(kernel(deblurring(noisy(), initial=first.weights, restarts=2), 1), kernel(first))
    with pytest.raises(InputError, match=r"\(5, 5\).*\(3, 3\)") as caught:
        deblurring(noisy(), kernel_size=3, initial=first)
    assert caught.value.code == "shape"


def test_a_kernel_that_is_known_is_not_replaced_by_a_fitted_one():
    first = deblurring(noisy()).run()
    known = deblurring(noisy(), kernel=torch.ones(5, 5) / 25, initial=first)
    assert known.run().operators == []
    assert torch.equal(known.problem.operator.kernel, torch.ones(5, 5) / 25)  # pyright: ignore


def test_a_fitted_kernel_is_that_of_the_stop_however_far_a_copy_goes_on():
    plain, watched = (deblurring(noisy(), stop=after(4)) for _ in range(2))
    watched.run()
    longer = watched.extended(after(8))
    longer.run()
    assert torch.equal(kernel(plain.run()), kernel(watched.result()))
    assert not torch.equal(kernel(longer), kernel(watched.result()))


def test_a_flash_picture_is_never_replaced_by_the_one_before():
    make = partial(flash_no_flash, recipe=replace(SHORT, jitter=0.0), device="cpu")
    first = make(noisy(), flash=clean()).run()
    second = make(noisy(), flash=1 - clean(), initial=first)
    assert torch.equal(second.prior.codes[0], 1 - clean())
    for name, value in first.weights[0]["network"].items():
        assert torch.equal(second.prior.networks[0].state_dict()[name], value)


@pytest.mark.parametrize(
    ("image", "settings"),
    [
        (noisy(), {"recipe": replace(SHORT, network=SkipNet.Config((8,) * 3, (8,) * 3, (4,) * 3))}),
        (noisy(), {"recipe": replace(SHORT, network=SkipNet.Config((16,) * 2, (16,) * 2, (4,) * 2))}),
        (noisy(), {"recipe": replace(SHORT, network=Pixels.Config())}),
        (noisy(channels=1), {}),
    ],
    ids=["widths", "depth", "pixels", "channels"],
)
def test_weights_of_another_network_are_one_line(image, settings):
    result = known_noise(noisy()).run()
    with pytest.raises(InputError) as caught:
        known_noise(image, **settings, initial=result)
    assert caught.value.code == "shape"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "wrong", ["first.pt", [], [{}], [torch.zeros(3)], torch.zeros(2, 3), 3, fit_of(noisy(16), SHORT)]
)
def test_what_holds_no_weights_is_one_line(wrong):
    with pytest.raises(InputError) as caught:
        known_noise(noisy(), initial=wrong)
    assert caught.value.code == "type"


def test_weights_of_another_size_serve():
    small = known_noise(noisy(32)).run()
    assert known_noise(noisy(48), initial=small).run().image.shape == (1, 3, 48, 48)


def test_weights_are_those_of_the_stop_however_far_a_copy_goes_on():
    plain, watched = (known_noise(noisy(), stop=StopApart(3, 6), restarts=2) for _ in range(2))
    watched.run()
    longer = watched.extended(after(9), steps=9)
    longer.run()
    expected, result = plain.run().weights, watched.result().weights
    assert (watched.index, longer.index) == (6, 9)
    for member, (one, other) in enumerate(zip(result, expected, strict=True)):
        now = longer.prior.networks[member].state_dict()
        assert all(torch.equal(one["network"][name], value) for name, value in other["network"].items())
        assert not all(torch.equal(now[name], value) for name, value in other["network"].items())


@pytest.mark.long
@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM], ids=["muon", "adam"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_cut_to_another_scene_is_no_divergence(recipe, level):
    """The loss jumps by orders of magnitude; a guard knows the losses of its own fit alone."""
    flat = torch.full((1, 3, 16, 16), level)
    flat[..., 0, 0] = 0.5  # an image of one value is not fitted
    recipe = replace(recipe, steps=60, jitter=0.0)
    first = known_noise(flat, recipe=recipe, stop=after()).run()
    for scene in (1 - flat, noisy(16), flat):
        result = known_noise(scene, recipe=recipe, stop=after(), initial=first).run()
        losses = result.history["loss"]
        assert scene is flat or float(losses[0]) > 10 * float(first.history["loss"][-1])
        assert result.history.events == []
        assert scene is flat or float(losses[-1]) < 0.5 * float(losses[0])

"""Faults of shared state: threads share PyTorch's and NumPy's global generators, and must not see one another through them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from defend.small import pictures, trained
from faults.parts import NETWORK, THIN, THIN_PURIFICATION, alike, fit_of, in_threads, normalized, picture, problem

from preimage import denoise, load_model, purify
from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.labelled import Labelled
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.defend.attacks import attack
from preimage.defend.attribution import saliency_map
from preimage.defend.saliency import SaliencyOptions
from preimage.stopping import held_out

pytestmark = pytest.mark.usefixtures("eager_threads")
GLOBAL = "fault 3: the global generator is set and read, so that threads get one another's random numbers"
TIMES = 12


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    return THIN.prior(3, (32, 32), seed=seed, device="cpu").networks[0].state_dict()


def global_states() -> tuple[torch.Tensor, list]:
    _, *numbers = np.random.get_state()
    return torch.random.get_rng_state(), [np.asarray(number).tolist() for number in numbers]


def untouched(before: tuple[torch.Tensor, list]) -> bool:
    now = global_states()
    return torch.equal(now[0], before[0]) and now[1] == before[1]


# ---------------------------------------------------------------------- priors and fits


def test_priors_that_are_built_in_threads_have_the_weights_of_their_seeds():
    alone = [weights_of(seed) for seed in range(8)]
    found = in_threads(lambda number: [weights_of(number) for _ in range(TIMES)])
    assert all(alike(each, alone[number]) for number in range(8) for each in found[number])


def test_priors_that_are_built_in_threads_leave_the_global_generator_alone():
    before = global_states()
    for _ in range(TIMES):  # each is looked at, for a later one may put back what an earlier one has changed
        in_threads(lambda number: [weights_of(number) for _ in range(4)])
        assert untouched(before)


def test_building_a_prior_never_sets_the_global_generator():
    states = []

    def network(c_in, c_out, height, width):
        states.append(torch.random.get_rng_state())
        return NETWORK(c_in, c_out, height, width)

    before = torch.random.get_rng_state()
    replace(THIN, network=network).prior(3, (32, 32), device="cpu", members=2)
    assert len(states) >= 2
    assert all(torch.equal(state, before) for state in states)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_prior_that_is_built_alone_leaves_the_global_generator_as_it_was():
    before = global_states()
    weights_of(3)
    assert untouched(before)


def test_a_prior_does_not_hang_on_the_global_generator():
    first = weights_of(3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        assert alike(weights_of(3), first)


def test_fits_in_threads_come_to_what_they_come_to_alone():
    def result(seed: int):
        given, recipe = picture(seed=seed, sigma=25), replace(THIN, steps=2)
        return denoise(given, recipe=recipe, seed=seed, restarts=4, stop=held_out(0.1), device="cpu").run()

    alone = [result(seed) for seed in range(8)]
    for _ in range(2):
        found = in_threads(result)
        assert all(torch.equal(one.image, other.image) for one, other in zip(found, alone, strict=True))
        assert all(one.kept_step == other.kept_step for one, other in zip(found, alone, strict=True))


def test_purifications_in_threads_come_to_what_they_come_to_alone():
    def result(seed: int) -> torch.Tensor:
        given = torch.stack([picture(16, seed=seed), picture(16, seed=seed + 8)])
        return purify(given, recipe=THIN_PURIFICATION, seed=seed, device="cpu").run().image

    alone = [result(seed) for seed in range(8)]
    for _ in range(2):
        assert all(map(torch.equal, in_threads(result), alone))


def test_one_rule_serves_fits_in_threads():
    stated = [problem(picture(seed=seed, sigma=25)) for seed in range(4)]
    alone = [fit_of(each, rule=held_out(0.1, patience=4), seed=seed).run() for seed, each in enumerate(stated)]
    rule = held_out(0.1, patience=4)
    fits = [fit_of(each, rule=rule, seed=seed) for seed, each in enumerate(stated)]  # not in threads: that is fault 3
    found = in_threads(lambda number: fits[number].run(), 4)
    assert [each.kept_step for each in found] == [each.kept_step for each in alone]
    assert all(torch.equal(one.image, other.image) for one, other in zip(found, alone, strict=True))


# ---------------------------------------------------------------------- loading, training, attacks, methods


@pytest.fixture
def model_file(tmp_path):
    """A thin classifier as a model file, and its weights."""
    origin = Backbone("thin_resnet10")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Backbone(origin.name).build(3)
    path = write_model(tmp_path / "model.pt", TrainedModel(Classifier(model, 3), origin=origin))
    return path, copy.deepcopy(model.state_dict())


def test_a_model_that_is_loaded_in_threads_has_the_weights_of_its_file(model_file):
    path, weights = model_file
    assert all(alike(each.classifier.model.state_dict(), weights) for each in in_threads(lambda _: load_model(path)))


def test_models_that_are_loaded_in_threads_leave_the_global_generator_alone(model_file):
    before = global_states()
    for _ in range(2):
        in_threads(lambda _: [load_model(model_file[0]) for _ in range(3)])
        assert untouched(before)


def test_priors_have_the_weights_of_their_seeds_while_models_are_loaded(model_file):
    alone = [weights_of(seed) for seed in range(8)]

    def work(number: int):
        if number % 2:
            return [weights_of(number) for _ in range(TIMES)]
        load_model(model_file[0])
        return [alone[number]]

    for _ in range(3):
        found = in_threads(work)
        assert all(alike(each, alone[number]) for number in range(8) for each in found[number])


@pytest.fixture(scope="module")
def colors() -> Labelled:
    """30 pictures of three colors."""
    labels = torch.arange(3).repeat_interleave(10)
    generator = torch.Generator().manual_seed(0)
    base = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[labels][..., None, None]
    x = (base + 25 * torch.randn(30, 3, 16, 16, generator=generator)).clamp(0, 255).byte()
    parts = tuple("test" if i % 5 == 0 else "train" for i in range(30))
    return Labelled(x, labels, tuple(map(str, range(30))), parts, ("red", "green", "blue"), "colors")


def test_trainings_in_threads_come_to_what_they_come_to_alone(colors):
    def learned(seed: int) -> dict[str, torch.Tensor]:
        settings = Settings("thin_resnet10", epochs=1, batch=16, seed=seed, layers=("layer1",))
        return Training(colors, settings, device="cpu").run().classifier.model.state_dict()

    alone = [learned(seed) for seed in range(3)]
    for _ in range(2):
        assert all(map(alike, in_threads(learned, 3), alone))


def test_trainings_in_threads_leave_the_global_generators_alone(colors):
    before = global_states()
    for _ in range(4):
        in_threads(lambda seed: Training(colors, Settings("thin_resnet10", epochs=1, seed=seed), device="cpu"), 4)
        assert untouched(before)


def test_attacks_in_threads_come_to_what_they_come_to_alone():
    images, labels = pictures(6)
    models = [copy.deepcopy(trained()) for _ in range(4)]

    def attacked(seed: int) -> torch.Tensor:
        return attack("pgd", models[seed], images, labels, 8, steps=2, seed=seed)

    alone = [attacked(seed) for seed in range(4)]
    for _ in range(8):
        assert all(map(torch.equal, in_threads(attacked, 4), alone))


def test_attacks_in_threads_leave_the_global_generators_alone():
    images, labels = pictures(6)
    models = [copy.deepcopy(trained()) for _ in range(4)]
    before = global_states()
    for _ in range(10):
        in_threads(lambda seed: attack("pgd", models[seed], images, labels, 8, steps=2, seed=seed), 4)
        assert untouched(before)


@pytest.mark.parametrize("method", ["smoothgrad", "mig-sg"])
def test_saliency_in_threads_comes_to_what_it_comes_to_alone(method):
    models = [normalized() for _ in range(4)]

    def found(seed: int) -> torch.Tensor:
        given = picture(seed=seed)
        return saliency_map(
            given, SaliencyOptions(models[seed], method=method, n_samples=8, n_steps=4, seed=seed, device="cpu")
        ).attribution

    alone = [found(seed) for seed in range(4)]
    for _ in range(8):
        assert all(map(torch.equal, in_threads(found, 4), alone))


def test_saliency_in_threads_leaves_the_global_generator_alone():
    models = [normalized() for _ in range(8)]
    before = global_states()

    def found(seed: int) -> None:
        for _ in range(6):
            saliency_map(
                picture(), SaliencyOptions(models[seed], method="smoothgrad", n_samples=4, seed=seed, device="cpu")
            )

    for _ in range(3):
        in_threads(found)
        assert untouched(before)

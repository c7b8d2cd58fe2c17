"""The calls of the guard rail, and all that it knows of the names of the library: the one file here that follows renames.

`python calls.py TABLE FOLDER [ROW ...]` computes a table ("decisions", "bits" or "stops"), or the rows of it that are named, with
one thread on the CPU. What the functions at the end return is the plain data of the commit that added this file: where a later
library has another name or another sentence for the same thing, they give the first one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from unchanged import classifier as gratings
from unchanged import pictures, tables

from preimage import stopping
from preimage.classifiers import Classifier, LossEstimator
from preimage.classifiers.model_file import TrainedModel
from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.noise.estimation import estimate_noise
from preimage.optimizers import muon
from preimage.problem import name_of
from preimage.recipes import NamedRecipe
from preimage.recipes import recipe as named
from preimage.registry import task_named
from preimage.tasks import TaskSpec

TASKS: dict[str, TaskSpec[..., Any]] = {
    name: task_named(name.replace("_", "-"))
    for name in (
        *("denoise", "deblur", "inpaint", "super_resolve", "remove_jpeg_artifacts", "flash_no_flash"),
        *("invert", "maximize", "recover", "counterfactual", "purify"),
    )
}
# Other options of a task, each after a colon: a task decides by them, too.
OPTIONS: dict[str, dict[str, Any]] = {
    "deblur": {"kernel": "gaussian:1.6"},
    "deblur:unknown": {"kernel": "unknown", "kernel_size": 9},
    "super_resolve:8": {"factor": 8},
    "remove_jpeg_artifacts:quality": {"jpeg_quality": 20},
    "denoise:tv": {"tv": 1e-7},
    "denoise:sigma": {"sigma": pictures.SIGMA},
    "denoise:poisson": {"noise": "poisson"},
    "denoise:speckle": {"noise": "speckle"},
    "invert": {"layers": "layer2"},
    "invert:tv": {"layers": "layer2", "prior": "tv"},
    "maximize": {"target": "rising"},
    "maximize:alpha": {"layer": "layer2", "channel": 5, "window": 2, "prior": "alpha"},
    "recover:entropy": {"uncertainty": "entropy"},
    "counterfactual:alpha": {"prior": "alpha", "count": 2},
}
SIZES = (40, 72)
SMALL = (20, 36)  # where the result is many times as large


def recipes(task: str) -> dict[str, NamedRecipe]:
    """The recipes of a task by name."""
    found = TASKS[task.partition(":")[0]].recipes
    assert found is not None
    return {name: named(name) for name in found()}


def started(
    task: str, recipe: NamedRecipe, *, channels: int = 3, noise: str = "white", side: int = 40, options: Any = None
) -> Any:
    """The Run of a task for a synthetic picture of `side` pixels, before its first step."""
    name, _, variant = task.partition(":")
    chosen = {**OPTIONS.get(task, OPTIONS.get(name, {})), **(options or {}), "recipe": recipe, "device": "cpu"}
    call = TASKS[name]
    x = torch.from_numpy(pictures.picture(side, channels, noise))
    if name == "maximize":
        return call(classifier=model(channels), size=(side, side), **chosen)
    if name in ("invert", "recover", "counterfactual"):
        return call(x, classifier=model(3), **chosen)
    if name == "deblur":
        return call(torch.from_numpy(pictures.blurred_picture(side, channels, noise)), **chosen)
    if name == "inpaint":
        missing = pictures.mask(side, variant or "text")
        return call(x, mask=torch.from_numpy(missing), mask_white="missing", **chosen)
    if name == "flash_no_flash":
        return call(x, flash=torch.from_numpy(pictures.picture(side, channels, "none")), **chosen)
    if name == "remove_jpeg_artifacts" and not variant:
        return call(pictures.as_jpeg(x.numpy()), **chosen)
    return call(x, **chosen)


def model(channels: int) -> TrainedModel:
    """The classifier, of pictures of 32 pixels, with the estimator of its loss; of one channel it has the sum of three."""
    network, held = gratings.Gratings(), gratings.weights("classifier")
    if channels == 1:
        held["layer1.0.weight"] = held["layer1.0.weight"].sum(1, keepdim=True)
        network.layer1[0] = torch.nn.Conv2d(1, 12, 3, 2, 1)
    network.load_state_dict(held)
    classifier = Classifier(network, gratings.CLASSES, (0.5,) * channels, (0.25,) * channels, size=32)
    estimator = LossEstimator(gratings.LAYERS, gratings.UNITS)
    estimator.load_state_dict(gratings.weights("estimator"))
    return TrainedModel(classifier, estimator.eval().requires_grad_(False), {"target_quantile": 0.1})


# ---------------------------------------------------------------------- table (a): what is decided before the first step


def decisions(wanted: Callable[[str], bool]) -> dict[str, Any]:
    """{task/recipe/colors/noise/side: what the task decides}, and {noise/colors/noise/side: what is estimated}."""
    rows: dict[str, Any] = {}
    for key, task, recipe, setting in _decided():
        if wanted(key):
            rows[key] = decision_data(started(task, recipe, **setting))
    for colors, channels in pictures.CHANNELS.items():
        for noise in pictures.NOISES:
            for side in SIZES:
                if wanted(key := f"noise/{colors}/{noise}/{side}"):
                    rows[key] = noise_data(torch.from_numpy(pictures.picture(side, channels, noise)))
    return rows


def _decided() -> Iterator[tuple[str, str, NamedRecipe, dict[str, Any]]]:
    for task in TASKS:
        # A picture that is made from nothing has no noise.
        noises = ("none",) if task == "maximize" else pictures.NOISES
        for name, recipe in recipes(task).items():
            for colors, channels in pictures.CHANNELS.items():
                for noise in noises:
                    for side in SMALL if task == "super_resolve" else SIZES:
                        setting = {"channels": channels, "noise": noise, "side": side}
                        yield f"{task}/{name}/{colors}/{noise}/{side}", task, recipe, setting
    gaps = [f"inpaint:{kind}" for kind in pictures.MISSING]
    for task in [*(task for task in OPTIONS if ":" in task), *gaps]:
        for name, recipe in recipes(task).items():
            side = SMALL[0] if task.startswith("super_resolve") else SIZES[1]
            yield f"{task}/{name}/color/white/{side}", task, recipe, {"side": side}


# ---------------------------------------------------------------------- table (b): twelve steps, bit by bit

# Beside each task x recipe name: what else a fast fit can be.
SHORT_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "denoise:grey/fast": ("denoise", {"channels": 1}),
    "denoise:correlated/fast": ("denoise", {"noise": "correlated", "side": 72}),
    "denoise:impulse/fast": ("denoise", {"noise": "impulse"}),
    "denoise:poisson/fast": ("denoise:poisson", {}),
    # The mean over x, of 48 pixels a side, for what was a sum over x, divided by the number of values of y, of 40.
    "deblur:unknown/fast": ("deblur:unknown", {"options": {"tv": 0.003 * 47**2 / 40**2}}),
    "inpaint:hole/fast": ("inpaint:hole", {}),
    "inpaint:scattered/fast": ("inpaint:scattered", {}),
    "invert:tv/fast": ("invert:tv", {}),
    "maximize:alpha/fast": ("maximize:alpha", {}),
    "counterfactual:alpha/fast": ("counterfactual:alpha", {}),
}


def bits(wanted: Callable[[str], bool]) -> dict[str, Any]:
    """{task/recipe: the hash of the result, the image after one step and the losses of three}, all of color at 40 px."""
    rows: dict[str, Any] = {}
    for task in TASKS:
        # The result has 40 pixels: twice those of the picture.
        setting = {"side": 20, "options": {"factor": 2}} if task == "super_resolve" else {}
        for name, recipe in recipes(task).items():
            if wanted(key := f"{task}/{name}"):
                rows[key] = _short(task, recipe, setting)
    for key, (task, setting) in SHORT_VARIANTS.items():
        if wanted(key):
            rows[key] = _short(task, recipes(task)["fast"], setting)
    return rows


def _short(task: str, recipe: NamedRecipe, setting: dict[str, Any]) -> dict[str, Any]:
    run = started(task, named(recipe.name, steps=12, precision="float32"), **setting)
    steps = list(run)
    assert [step.index for step in steps] == list(range(1, 13))
    return {
        "sha256": tables.digest(run.result().image.numpy()),
        "first": steps[0].mean.numpy(),
        "losses": [step.loss.tolist() for step in steps[:3]],
        "optimizer": name_of(run.current.recipe.optimizer),
    }


# ---------------------------------------------------------------------- table (c): where a thin fit stops, and why

THIN = Recipe(
    network=SkipNet.Config(down=(16,) * 3, up=(16,) * 3, skip=(4,) * 3, upsample="nearest", padding="zeros"),
    code=Noise(8),
    jitter_pool=2,
    optimizer=muon,
    rate=0.02,
    steps=300,
    averaging=0.9,
)
RULES: dict[str, Callable[[], Any]] = {
    "held_out": lambda: stopping.held_out(0.1),
    "risk": lambda: stopping.risk(patience=40),
    "windowed_variance": lambda: stopping.windowed_variance(window=10, patience=20, guard=0.3),
    "moving_variance": lambda: stopping.moving_variance(patience=30, guard=0.3),
    "discrepancy": lambda: stopping.discrepancy(),
    "plateau": lambda: stopping.plateau(patience=8, fraction=0.1),
    "plateau_all_steps": lambda: stopping.plateau(fraction=0.05),
    "after": lambda: stopping.after(120),
    "held_out_or_after": lambda: stopping.held_out(0.1) | stopping.after(20),
}


def stops(wanted: Callable[[str], bool]) -> dict[str, Any]:
    """{rule: the step that a thin fit of at most 300 kept, and the code of its reason}."""
    x = torch.from_numpy(pictures.picture(24, 3))
    rows: dict[str, Any] = {}
    for key, rule in RULES.items():
        if wanted(key):
            result = TASKS["denoise"](x, sigma=pictures.SIGMA, recipe=THIN, stop=rule(), device="cpu").run()
            rows[key] = {"kept_step": result.kept_step, "reason": REASONS.get(result.reason_code, result.reason_code)}
    return rows


# ---------------------------------------------------------------------- today's library as the plain data of the first one

# The configuration of rules, by the names the first library had for it.
CONFIGURATION = {
    first: first
    for first in (
        *(
            "patience",
            "every",
            "by_value",
            "block",
            "steps",
            "sigma",
            "factor",
            "distance",
            "window",
            "values",
            "guard",
        ),
        *("alpha", "target", "confidence"),
    )
} | {
    **{"slack": "patience_ratio", "worth": "min_delta", "share": "fraction"},
    **{"still": "tolerance", "push": "growth", "most": "largest_factor"},
}
# Sentences that were reworded: {what today's library says: what the first one said}.
REWORDED: dict[str, str] = {
    "uncertainty penalty: estimated loss, target quantile 10%": "doubt by the estimated loss (asked for: its 10% quantile)",
    "uncertainty penalty: predictive entropy (no loss estimator)": "doubt by the predictive entropy, for there is no loss "
    "estimator",
    "fitted with the image": "fitted with the picture",
    "it is correlated between pixels; specify its deviation with sigma": "it is not independent between pixels; say how much "
    "with sigma",
    "the noise is correlated between neighboring pixels, so that held-out pixels cannot show when it is being fitted: the loss "
    "is whitened, and the fit stops by the discrepancy principle": "neighboring pixels share the noise, so that held-out "
    "pixels cannot tell when it is being fitted: the fit stops by the size of its error instead, in which all frequencies of "
    "the noise weigh alike",
    "as specified, color": "as said, color",
}


def decision_data(run: Any) -> dict[str, Any]:
    """What a task has decided: recipe, rule, remarks and what the fit is made of."""
    fit = run.current
    return {
        "recipe": recipe_data(fit.recipe),
        "rule": rule_data(fit.rule),
        "remarks": [worded(remark) for remark in fit.remarks],
        "members": len(fit.prior),
        "size": list(fit.size),
        "parameters": sum(p.numel() for p in fit.prior.networks[0].parameters()),
        "terms": fit.problem.term_names(),
        "noise_level": fit.problem.noise_level,
        "weight": None if fit.problem.weight is None else float(fit.problem.weight.float().mean()),
    }


# Networks by the names the first library had for their configurations.
NETWORKS = {"SkipNet": "Hourglass", "UNet": "UShape", "ResNet": "Residual", "DeepDecoder": "Decoder", "Pixels": "Free"}


def recipe_data(recipe: Any) -> dict[str, Any]:
    """A recipe."""
    found = {name: value for name, value in recipe.describe().items() if name != "format"}
    network = found["network"]
    if isinstance(network, dict):
        found["network"] = network | {"kind": NETWORKS.get(network["kind"], network["kind"])}
    if found["code"].get("filled") is False:  # the first library's masked values were 0 always
        del found["code"]["filled"]
    return found


def rule_data(rule: Any) -> dict[str, Any]:
    """A stopping rule: its name and configuration."""
    found = {first: getattr(rule, name) for first, name in CONFIGURATION.items() if hasattr(rule, name)}
    if rule.name == "moving variance":
        found["window"] = None  # which the first library's had from windowed variance, without use
    return {"name": rule.name} | {name: name_of(v) if callable(v) else v for name, v in found.items()}


def noise_data(x: torch.Tensor) -> dict[str, Any]:
    """What is estimated of the noise in a picture."""
    found = estimate_noise(x)
    known = {name: getattr(found, name) for name in ("kind", "sigma", "level", "length")}
    return known | {"explanation": worded(found.explanation)}


def worded(sentence: str) -> str:
    """A sentence as the first library said it."""
    for today, first in REWORDED.items():
        sentence = sentence.replace(today, first)
    return sentence


# The codes of reasons by the names the first tables have for them.
REASONS = {"noise-level": "noise-level-reached"}


def main(table: str, folder: str, *named: str) -> None:
    """Compute a table, or the rows of it that are named, and write it into a folder."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"decisions": decisions, "bits": bits, "stops": stops}[table](tables.selection(named))
    tables.write(Path(folder), table, found, tables.hardware(torch.__version__, torch.get_num_threads()))


if __name__ == "__main__":
    main(*sys.argv[1:])

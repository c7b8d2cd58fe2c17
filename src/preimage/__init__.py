"""preimage: the deep image prior. An untrained network g is the prior; every task finds a pre-image under an operator Phi.

    theta* = argmin_theta  E(Phi(g_theta(z)), y)  +  sum_i lambda_i R_i(g_theta(z)),        x* = g_theta*(z)

Denoising: Phi is the identity and y the noisy picture. Inpainting: Phi is a mask. Super-resolution: Phi is down-sampling.
Explaining a classifier: Phi is one of its layers, and R contains the target class and an uncertainty penalty.

    from preimage import denoise
    denoise("photo.png").run().save("clean.png")
"""

from __future__ import annotations

from importlib import import_module

from preimage.registry import TASKS, task_named
from preimage.version import __version__ as __version__

# The public names beside the tasks, by module; `__init__.pyi` has them, and the tasks, for editors and type checkers.
_NAMES = {
    "classifiers": ("Classifier", "LossEstimator", "load_classifier", "load_model"),
    "codes": ("Mesh", "Noise"),
    "defend.art_defence": ("DIPDefence",),
    "defend.defence": ("DefendedClassifier",),
    "defend.evaluate": ("evaluate_defence",),
    "defend.migsg": ("MIGSG",),
    "engine.fit": ("Fit",),
    "engine.recipe": ("Recipe",),
    "engine.result": ("Result",),
    "engine.step": ("Step",),
    "errors": ("InputError",),
    "images": ("Picture", "read"),
    "jobs.job": ("Job",),
    "jobs.run": ("run_job",),
    "networks": ("DeepDecoder", "Pixels", "ResNet", "SkipNet", "Spectrum", "UNet"),
    "observe": ("OraclePeak", "autosave"),
    "prior": ("Prior",),
    "problem": ("Problem",),
    "recipes": ("recipe",),
    "stopping": ("StoppingRule",),
    "tasks": ("TaskSpec",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
_TASKS = {name.replace("-", "_"): name for name in TASKS}
__all__ = sorted(["__version__", *_PLACES, *_TASKS])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """A public name is imported when it is first used: `import preimage` costs nothing."""
    if name in _TASKS:
        value: object = task_named(_TASKS[name])
    elif name in _PLACES:
        value = getattr(import_module(f"preimage.{_PLACES[name]}"), name)
    else:
        raise AttributeError(f"module 'preimage' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

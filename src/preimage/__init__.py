"""preimage: the deep image prior. An untrained network g is the prior; every task finds a pre-image under an operator Phi.

    theta* = argmin_theta  E(Phi(g_theta(z)), y)  +  sum_i lambda_i R_i(g_theta(z)),        x* = g_theta*(z)

Denoising: Phi is the identity and y the noisy picture. Inpainting: Phi is a mask. Super-resolution: Phi is down-sampling.
Explaining a classifier: Phi is one of its layers, and R contains the target class and an uncertainty penalty.

    from preimage import denoise
    denoise("photo.png").run().save("clean.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from preimage.version import __version__ as __version__

if TYPE_CHECKING:
    from preimage.classifiers import Classifier as Classifier
    from preimage.classifiers import LossEstimator as LossEstimator
    from preimage.classifiers import load_classifier as load_classifier
    from preimage.classifiers import load_model as load_model
    from preimage.codes import Mesh as Mesh
    from preimage.codes import Noise as Noise
    from preimage.defend.art_defence import DIPDefence as DIPDefence
    from preimage.defend.defence import DefendedClassifier as DefendedClassifier
    from preimage.defend.evaluate import evaluate_defence as evaluate_defence
    from preimage.defend.inspect import inspect as inspect
    from preimage.defend.migsg import MIGSG as MIGSG
    from preimage.defend.purify import purify as purify
    from preimage.defend.saliency import saliency as saliency
    from preimage.defend.train import train as train
    from preimage.engine.fit import Fit as Fit
    from preimage.engine.recipe import Recipe as Recipe
    from preimage.engine.result import Result as Result
    from preimage.engine.step import Step as Step
    from preimage.errors import InputError as InputError
    from preimage.explain.counterfactual import counterfactual as counterfactual
    from preimage.explain.invert import invert as invert
    from preimage.explain.maximize import maximize as maximize
    from preimage.explain.recover import recover as recover
    from preimage.images import Picture as Picture
    from preimage.images import read as read
    from preimage.jobs.job import Job as Job
    from preimage.jobs.run import run_job as run_job
    from preimage.networks import DeepDecoder as DeepDecoder
    from preimage.networks import Pixels as Pixels
    from preimage.networks import ResNet as ResNet
    from preimage.networks import SkipNet as SkipNet
    from preimage.networks import UNet as UNet
    from preimage.observe import OraclePeak as OraclePeak
    from preimage.observe import autosave as autosave
    from preimage.prior import Prior as Prior
    from preimage.problem import Problem as Problem
    from preimage.recipes import recipe as recipe
    from preimage.restore.calibrate import calibrate as calibrate
    from preimage.restore.deblur import deblur as deblur
    from preimage.restore.denoise import denoise as denoise
    from preimage.restore.flash_no_flash import flash_no_flash as flash_no_flash
    from preimage.restore.inpaint import inpaint as inpaint
    from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts as remove_jpeg_artifacts
    from preimage.restore.super_resolve import super_resolve as super_resolve
    from preimage.stopping import StoppingRule as StoppingRule
    from preimage.tasks import TaskSpec as TaskSpec

_PLACES = {
    "autosave": "observe",
    "MIGSG": "defend.migsg",
    "DIPDefence": "defend.art_defence",
    "DefendedClassifier": "defend.defence",
    "evaluate_defence": "defend.evaluate",
    "InputError": "errors",
    "Fit": "engine.fit",
    "Picture": "images",
    "read": "images",
    "DeepDecoder": "networks",
    "Pixels": "networks",
    "ResNet": "networks",
    "SkipNet": "networks",
    "UNet": "networks",
    "LossEstimator": "classifiers",
    "Classifier": "classifiers",
    "load_model": "classifiers",
    "load_classifier": "classifiers",
    "Mesh": "codes",
    "Noise": "codes",
    "Prior": "prior",
    "Problem": "problem",
    "Recipe": "engine.recipe",
    "Result": "engine.result",
    "Step": "engine.step",
    "StoppingRule": "stopping",
    "Job": "jobs.job",
    "OraclePeak": "observe",
    "TaskSpec": "tasks",
    "recipe": "recipes",
    "run_job": "jobs.run",
}
__all__ = [
    "MIGSG",
    "Classifier",
    "DIPDefence",
    "DeepDecoder",
    "DefendedClassifier",
    "Fit",
    "InputError",
    "Job",
    "LossEstimator",
    "Mesh",
    "Noise",
    "OraclePeak",
    "Picture",
    "Pixels",
    "Prior",
    "Problem",
    "Recipe",
    "ResNet",
    "Result",
    "SkipNet",
    "Step",
    "StoppingRule",
    "TaskSpec",
    "UNet",
    "__version__",
    "autosave",
    "calibrate",
    "counterfactual",
    "deblur",
    "denoise",
    "evaluate_defence",
    "flash_no_flash",
    "inpaint",
    "inspect",
    "invert",
    "load_classifier",
    "load_model",
    "maximize",
    "purify",
    "read",
    "recipe",
    "recover",
    "remove_jpeg_artifacts",
    "run_job",
    "saliency",
    "super_resolve",
    "train",
]


def __getattr__(name: str) -> Any:
    """Public names, and every task of the registry, are imported when they are first used: `import preimage` costs nothing."""
    if name in _PLACES:
        value = getattr(import_module(f"preimage.{_PLACES[name]}"), name)
    else:
        from preimage.registry import TASKS, task_named

        if (task := name.replace("_", "-")) not in TASKS:
            raise AttributeError(f"module 'preimage' has no attribute {name!r}")
        value = task_named(task)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from preimage.registry import TASKS

    return sorted({*__all__, *(name.replace("-", "_") for name in TASKS)})

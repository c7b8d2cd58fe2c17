"""preimage: the deep image prior. An untrained network g is the prior; every task finds a pre-image under an operator Phi.

    theta* = argmin_theta  E(Phi(g_theta(z)), y)  +  sum_i lambda_i R_i(g_theta(z)),        x* = g_theta*(z)

Denoising: Phi is the identity and y the noisy picture. Inpainting: Phi is a mask. Super-resolution: Phi is down-sampling.
Explaining a classifier: Phi is one of its layers, and R says which class it should see, and how sure it should be.

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
    from preimage.networks import DeepDecoder as DeepDecoder
    from preimage.networks import Pixels as Pixels
    from preimage.networks import ResNet as ResNet
    from preimage.networks import SkipNet as SkipNet
    from preimage.networks import UNet as UNet
    from preimage.observe import autosave as autosave
    from preimage.prior import Prior as Prior
    from preimage.problem import Problem as Problem
    from preimage.restore.deblur import deblur as deblur
    from preimage.restore.denoise import denoise as denoise
    from preimage.restore.flash_no_flash import flash_no_flash as flash_no_flash
    from preimage.restore.inpaint import inpaint as inpaint
    from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts as remove_jpeg_artifacts
    from preimage.restore.super_resolve import super_resolve as super_resolve
    from preimage.series.tiles import Tiles as Tiles
    from preimage.stopping import StoppingRule as StoppingRule

_PLACES = {
    "autosave": "observe",
    "saliency": "defend.saliency",
    "MIGSG": "defend.migsg",
    "DIPDefence": "defend.art_defence",
    "DefendedClassifier": "defend.defence",
    "evaluate_defence": "defend.evaluate",
    "inspect": "defend.inspect",
    "purify": "defend.purify",
    "InputError": "errors",
    "counterfactual": "explain.counterfactual",
    "invert": "explain.invert",
    "maximize": "explain.maximize",
    "recover": "explain.recover",
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
    "denoise": "restore.denoise",
    "deblur": "restore.deblur",
    "flash_no_flash": "restore.flash_no_flash",
    "inpaint": "restore.inpaint",
    "remove_jpeg_artifacts": "restore.remove_jpeg_artifacts",
    "super_resolve": "restore.super_resolve",
    "Result": "engine.result",
    "Step": "engine.step",
    "StoppingRule": "stopping",
    "Tiles": "series.tiles",
}
__all__ = [
    "MIGSG",
    "Classifier",
    "DIPDefence",
    "DeepDecoder",
    "DefendedClassifier",
    "Fit",
    "InputError",
    "LossEstimator",
    "Mesh",
    "Noise",
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
    "Tiles",
    "UNet",
    "__version__",
    "autosave",
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
    "recover",
    "remove_jpeg_artifacts",
    "saliency",
    "super_resolve",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first asked for, so that `import preimage` costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'preimage' has no attribute {name!r}")
    value = getattr(import_module(f"preimage.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

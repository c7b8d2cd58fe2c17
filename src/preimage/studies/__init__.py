"""The studies: one file per table or figure of the papers, which regenerates it beside the published numbers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from preimage.errors import InputError
from preimage.studies.scales import SCALES, Scale, Study

STUDIES = {
    "denoising": "nine pictures, four kinds of noise: this library blind beside NLM, TV and CBM3D (Ulyanov et al. 2018, table 2)",
    "paper_curve": "PSNR against steps of the published setting on F16 at 256 px, in float32",
    "noise_impedance": "how fast a picture, a noisy one, a shuffled one and noise are fitted (Ulyanov et al. 2018, figure 2)",
    "gallery": "one picture per task, of photographs in the public domain: the pictures of README",
    "prior_effect": "one picture enlarged with no prior, total variation and the deep prior (Ulyanov et al. 2018, section 3.2)",
    "architecture": "depth, skips, 1x1 filters, U-Net, ResNet, rates, on denoising and a large hole (both papers' claims)",
    "real_noise": "pictures with real noise and no truth: photographs and microscopy, as figures",
    "blindness": "how far every stopping rule ends from the best picture of its fit, under five kinds of damage",
    "quality": "nine pictures at sigma 25, blind, by --quality fast, balanced and best, beside CBM3D that is told sigma",
    "super_resolution": "enlarging by 4 and 8: this library blind beside bicubic and total variation (Ulyanov et al. 2018)",
    "inpainting": "half the pixels, text, a hole, an object, 98 % missing: this library blind beside biharmonic equations",
    "deblurring": "Gaussian and motion blur: this library blind beside Richardson-Lucy, Wiener and total variation",
    "jpeg": "JPEG of quality 10 and 20: what this library brings back, and one real file as a figure",
    "flash": "the published pair with and without flash, as a figure and by the noise that is left",
    "loss_estimator": "whether the estimated loss orders the true ones and tells strange pictures (Narayanaswamy et al. 2021)",
    "preimage_recovery": "held-out lesions recovered from features, with the estimated loss and without (the same, figure 2)",
    "ood_recovery": "cropped and blurred lesions: does the estimated loss lead back to the lesion? (the same, figure 3)",
    "counterfactuals": "another diagnosis of a lesion by deep prior with and without M, pixels, TV (the same, figure 4)",
    "feature_inversion": "what the layers of a classifier keep of a picture, by deep prior, TV, alpha norm (Ulyanov et al. 2018)",
    "robust_features": "robust and non-robust pictures: a third classifier on early outputs (Kattamis et al. 2019, figure 3)",
    "activation_maximization": "classes and channels excited under deep prior, TV, alpha norm: does another classifier see it?",
    "adversary_curves": "confidence in the true class against steps, FGSM, BI, LLCI (Kattamis et al. 2019, figure 1)",
    "defence_table": "accuracy under attack behind the prior and its rivals, adaptive attacks beside (the same, tables 1 and 2)",
    "architecture_sensitivity": "whether other networks clean attacked pictures, too: depth, width, skips (the same, section 6)",
    "saliency_over_steps": "where a classifier looks in early outputs of an attacked picture (Kattamis et al. 2019, figure 2)",
    "saliency_methods": "MIG-SG beside other ways to tell where a classifier looks, by number (the same, figure 4)",
}

# Those whose rows several processes may share.
SHARED = (
    "preimage_recovery",
    "ood_recovery",
    "counterfactuals",
    "saliency_over_steps",
    "saliency_methods",
    "adversary_curves",
    "defence_table",
    "architecture_sensitivity",
)


def run_study(
    name: str,
    *,
    scale: Scale = "small",
    data: Path | None = None,
    output: Path | None = None,
    worker: tuple[int, int] = (0, 1),
) -> Path:
    """Run a study, or go on with one that was interrupted; the path of the table it wrote.

    Args:
        name: one of STUDIES.
        scale: "smoke" (seconds, generated pictures), "small" (2 cores, at most two hours) or "paper".
        data: the folder of pictures; PREIMAGE_DATA if None.
        output: where results.md, results/*.csv and figures/ are written: docs if there is one here, else out.
        worker: (k, n), k from 0: this process does the k-th of n shares of the rows, where the study can be shared (SHARED), and
            others may do theirs meanwhile; a last call without it does what is left, and writes the section.

    Raises:
        InputError: an unknown study or scale, or pictures that are not there.
    """
    if name not in STUDIES:
        raise InputError(f"there is no study {name!r}: there are {', '.join(STUDIES)}")
    if scale not in SCALES:
        raise InputError(f"scale must be smoke, small or paper, got {scale!r}")
    number, workers = worker
    if not 0 <= number < workers:
        raise InputError(f"worker must be (k, n) with k from 0 to n - 1, got {worker}")
    if workers > 1 and name not in SHARED:
        raise InputError(f"study {name!r} cannot be shared among processes: these can, {', '.join(SHARED)}")
    return import_module(f"preimage.studies.{name}").run(Study(name, scale, data, output, worker))

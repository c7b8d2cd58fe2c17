"""The studies: one file per table or figure of the papers, which regenerates it beside the published numbers.

python -m studies                               lists them
python -m studies denoising --scale smoke       runs one; or: make study NAME=denoising SCALE=smoke
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from studies.harness import SCALES, Run, Scale, StudyError
from studies.harness.study import run_study, section

STUDIES = (  # in the order of docs/results.md
    *(
        "paper_curve",
        "noise_impedance",
        "denoising",
        "white_noise",
        "camera_noise",
        "noise_estimates",
        "real_noise",
        "gallery",
        "prior_effect",
        "architecture",
    ),
    *("super_resolution", "deblurring", "flash", "inpainting", "demosaicing", "jpeg"),
    *("blindness", "quality", "loss_estimator", "feature_inversion", "preimage_recovery"),
    *("activation_maximization", "adversary_curves", "architecture_sensitivity", "robust_features"),
    *("counterfactuals_imagenet", "counterfactuals_gallery", "maximization_imagenet", "inversion_imagenet"),
    *("saliency_over_steps", "saliency_methods", "ood_recovery", "counterfactuals", "defence_table"),
)
AT_IMAGENET = ("adversary_curves", "saliency_over_steps", "defence_table")  # these have the scale imagenet, too
# The sections of docs/results.md, in their order, as (name, scale).
SECTIONS: tuple[tuple[str, Scale], ...] = tuple(
    (name, scale)
    for name in STUDIES
    for scale in SCALES
    if scale == "small" or (scale == "imagenet" and name in AT_IMAGENET)
)


def summary(name: str) -> str:
    return (import_module(f"studies.{name}").__doc__ or "").splitlines()[0]


def study(
    name: str,
    *,
    scale: Scale = "small",
    data: Path | None = None,
    output: Path | None = None,
    worker: tuple[int, int] = (0, 1),
    classifier: str | None = None,
) -> Path:
    """Run a study, or go on with one that was interrupted; the path of what it wrote.

    Args:
        name: one of STUDIES.
        scale: "smoke" (seconds, generated pictures), "small" (2 cores, at most two hours), "paper", or of AT_IMAGENET
            "imagenet" (pictures of 224 pixels under EfficientNet-Lite0; fewer where there is no GPU).
        data: the folder of pictures; PREIMAGE_DATA if None.
        output: where results.md, results/*.csv and figures/ are written: docs if there is one here, else out.
        worker: (k, n), k from 0: this process does the k-th of n shares of the cases, and others may do theirs meanwhile; a last
            call without it does what is left, and writes the section.
        classifier: at scale imagenet another one of ImageNet, as `--classifier` of the command line; the results have its name.

    Raises:
        StudyError: an unknown study or scale, or pictures that are not there.
    """
    run, module = _checked(Run(name, scale, data, output, worker, classifier))
    return run_study(run, module.STUDY, module)


def text(name: str, *, scale: Scale = "small", output: Path | None = None) -> str:
    """The section of results.md of a study, of the rows that are there."""
    run, module = _checked(Run(name, scale, None, output))
    return section(run, module.STUDY, module)


def _checked(run: Run) -> tuple[Run, ModuleType]:
    if run.name not in STUDIES:
        raise StudyError(f"there is no study {run.name!r}: there are {', '.join(STUDIES)}")
    if run.scale not in SCALES:
        raise StudyError(f"scale must be {', '.join(SCALES[:-1])} or {SCALES[-1]}, got {run.scale!r}")
    if run.imagenet and run.name not in AT_IMAGENET:
        raise StudyError(f"study {run.name} has no scale imagenet: {', '.join(AT_IMAGENET)} have")
    if run.classifier and not run.imagenet:
        raise StudyError("a classifier is stated at scale imagenet alone: --scale imagenet")
    if not 0 <= run.worker[0] < run.worker[1]:
        raise StudyError(f"worker must be (k, n) with k from 0 to n - 1, got {run.worker}")
    place = next(place for place in (run.folder, *run.folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise StudyError(f"output {run.output} is a folder of results, and {place} is a file: give another name")
    return run, import_module(f"studies.{run.name}")

"""The task saliency: which pixels a classifier's prediction depends on, by one method or several, with faithfulness scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from preimage.defend.methods import Baseline, Deleted, Method
from preimage.tasks import Output, SeededOptions, TaskSpec, option

if TYPE_CHECKING:
    import torch

    from preimage.defend.saliency_run import SaliencyRun
    from preimage.explain.inputs import AnyClassifier


@dataclass(frozen=True)
class SaliencyOptions(SeededOptions):
    """Options of saliency; those of one method only are without effect on the others."""

    classifier: AnyClassifier = option(
        help="Classifier: FILE.pt of preimage train, torchvision:NAME, timm:NAME or hf:NAME (each with @FILE of weights), or "
        "module.path:function.",
        kind="classifier",
    )
    target: str | int | None = option(
        None, help="Class whose logit is explained, by name or number from 0 (default: the predicted class)."
    )
    method: Method | str | Sequence[Method] = option(
        "mig-sg",
        help="Method, or several with commas between: mig-sg, gradient, input-x-gradient, integrated-gradients, smoothgrad, "
        "guided-backprop, gradcam, occlusion.",
    )
    _: KW_ONLY
    n_steps: int = option(
        50, help="Steps from baseline to image, for mig-sg and integrated-gradients.", minimum=1, flags=("--steps",)
    )
    n_samples: int | None = option(
        None, help="Noisy copies (default: 4 per step for mig-sg, 50 for smoothgrad).", minimum=1, flags=("--samples",)
    )
    sigma: float = option(
        0.15, help="Standard deviation of the noise of mig-sg and smoothgrad, where white is 1.", minimum=0
    )
    baseline: Baseline | float | torch.Tensor = option(
        "blur",
        help="Baseline of mig-sg, integrated-gradients and occlusion: blur, mean, black, gray, white, or a number from 0 to 1.",
    )
    layer: str | None = option(None, help="Layer of gradcam (default: the last one with spatial dimensions).")
    deleted: Deleted = option("black", help="Replacement of deleted pixels: black or blur.")


def start(image: Any, options: SaliencyOptions) -> SaliencyRun:
    """The Run that computes a map of each method and its faithfulness curves.

    Raises:
        InputError: an image, classifier or option that cannot be used.
    """
    from preimage.defend.saliency_run import SaliencyRun

    return SaliencyRun(image, options)


def _one_method(options: SaliencyOptions) -> bool:
    """Of several methods the output is the figure already."""
    method = options.method
    return len({each.strip() for each in method.split(",")} if isinstance(method, str) else set(method)) == 1


def _report(result: Any) -> dict[str, Any]:
    return result.report()


def _summary(result: Any) -> list[str]:
    return result.summary_lines()


saliency = TaskSpec(
    name="saliency",
    summary="Show which pixels a classifier's prediction depends on.",
    example="preimage saliency lesion.jpg --classifier lesions.pt --target mel --method mig-sg,gradcam",
    options=SaliencyOptions,
    start=start,
    inputs="image",
    outputs=(
        Output(
            "output",
            "Map drawn over the image, at its size; for several methods the figure.",
            write="preimage.defend.saliency_run:write_overlay",
            default="{stem}-{task}.png",
        ),
        Output(
            "array",
            "Map at the image's size; several methods are stacked (.npz: stored by name).",
            (".npy", ".npz", ".tif", ".tiff"),
            "preimage.defend.saliency_run:write_array",
        ),
        Output(
            "figure",
            "Image, maps and the curves of both scores (PNG).",
            (".png",),
            "preimage.defend.saliency_run:write_figure",
            when=_one_method,
        ),
    ),
    report=_report,
    summary_lines=_summary,
)

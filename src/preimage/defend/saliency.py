"""The task saliency: which pixels a classifier's prediction depends on, by one method or several, with faithfulness scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from preimage.errors import InputError
from preimage.explain.options import CLASSIFIER, SeenOptions
from preimage.tasks import Output, SeededOptions, TaskSpec, option

if TYPE_CHECKING:
    import torch

    from preimage.defend.saliency_run import SaliencyRun
    from preimage.explain.inputs import AnyClassifier

Method = Literal[
    "mig-sg",
    "gradient",
    "input-x-gradient",
    "integrated-gradients",
    "smoothgrad",
    "guided-backprop",
    "gradcam",
    "occlusion",
]
Baseline = Literal["blur", "mean", "black", "gray", "white"]
Deleted = Literal["black", "blur"]


@dataclass(frozen=True)
class SaliencyOptions(SeededOptions, SeenOptions):
    """Options of saliency; those of one method only are without effect on the others."""

    classifier: AnyClassifier = option(help=CLASSIFIER, kind="classifier")
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

    def __post_init__(self) -> None:
        super().__post_init__()
        methods = methods_of(self.method)
        if self.layer is not None and len(methods) == 1 and methods != ("gradcam",):
            message = (
                f"a layer is for gradcam only, got {self.layer!r} for {methods[0]}: leave layer out, or take gradcam"
            )
            raise InputError(message, code="option")


def methods_of(given: Method | str | Sequence[str]) -> tuple[Method, ...]:
    """Each method once, in order; of a text those with commas between. An unknown method, or none, is an InputError.

    Example:
        >>> methods_of("gradcam, mig-sg,gradcam")
        ('gradcam', 'mig-sg')
    """
    names: Any = dict.fromkeys(each.strip() for each in (given.split(",") if isinstance(given, str) else given))
    for name in names or ("",):
        if name not in get_args(Method):
            raise InputError(f"there is no method {name!r}: give one of {', '.join(get_args(Method))}")
    return tuple(names)


def start(image: Any, options: SaliencyOptions) -> SaliencyRun:
    """The Run that computes a map of each method and its faithfulness curves."""
    from preimage.defend.saliency_run import SaliencyRun

    return SaliencyRun(image, options)


saliency: Final = TaskSpec(
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
            extra="figures",
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
            when=lambda options: len(methods_of(options.method)) == 1,  # of several the output is the figure already
            extra="figures",
        ),
    ),
    report=methodcaller("report"),
    summary_lines=methodcaller("summary_lines"),
)

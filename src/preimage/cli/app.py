"""The commands and their help; what a command needs is imported when it is called, so that --help is quick."""

from __future__ import annotations

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from preimage.cli.explain import TASKS as EXPLAINING
from preimage.cli.tasks import TASKS
from preimage.errors import InputError
from preimage.version import __version__

_EXAMPLES = """Examples:
  preimage denoise photo.png -o clean.png
  preimage denoise scans/*.tif -o restored/ --report report.json
  preimage super-resolve small.png --factor 4
  preimage inpaint photo.png --mask holes.png --mask-white missing
  preimage deblur photo.png --kernel motion:15,30
  preimage train lesions/ -o lesions.pt
  preimage counterfactual lesion.jpg --predictor lesions.pt --html why.html
  preimage saliency lesion.jpg --predictor lesions.pt
  preimage inspect photo.png --predictor model.pt --thresholds thresholds.json
  preimage denoise --help
  preimage demo"""


def build() -> App:
    """The command line, without running it."""
    app = App(
        name="preimage",
        help="Restore a picture with an untrained network as its prior: no training data, and it stops by itself. "
        "Explain what a classifier sees in one, and whether it was led astray.",
        help_epilogue=_EXAMPLES,
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,  # which would end the program without a word; `main` says one
    )
    for task in TASKS:
        app.command(
            f"preimage.cli.tasks:{task.name}",
            name=task.name,
            help=task.summary,
            help_epilogue=f"Example:\n  {task.example}",
            usage=f"Usage: preimage {task.name} INPUT... [OPTIONS]",
        )
    for task in EXPLAINING:
        takes_picture = "" if task.name == "maximize" else " INPUT"
        app.command(
            f"preimage.cli.explain:{task.name}",
            name=task.name,
            help=task.summary,
            help_epilogue=f"Example:\n  {task.example}",
            usage=f"Usage: preimage {task.name}{takes_picture} --predictor PREDICTOR [OPTIONS]",
        )
    app.command(
        "preimage.cli.saliency:saliency",
        name="saliency",
        help="Draw where a classifier looks in a picture.",
        help_epilogue="Example:\n  preimage saliency lesion.jpg --predictor lesions.pt --target mel --method mig-sg,gradcam",
        usage="Usage: preimage saliency INPUT --predictor PREDICTOR [OPTIONS]",
    )
    for name, summary, example in (
        ("demo", "Restore a noisy photograph that comes with scikit-image.", "preimage demo --output out/demo.png"),
        (
            "calibrate",
            "Find the recipe and steps that are best for pictures like those of a folder.",
            "preimage calibrate clean/ --degradation gaussian:25 -o recipe.json\n"
            "  preimage denoise photo.png --recipe recipe.json",
        ),
        (
            "train",
            "Train a classifier and the estimator of its loss on labelled pictures.",
            "preimage train lesions/labels.csv --split-column split --group lesion_id --turned -o lesions.pt",
        ),
        (
            "inspect",
            "Ask a classifier about a picture and its early outputs: is it of one mind?",
            "preimage inspect --calibrate clean/ --predictor model.pt -o thresholds.json\n"
            "  preimage inspect photo.png --predictor model.pt --thresholds thresholds.json",
        ),
        ("info", "Print device, precision, threads, memory, versions and extras.", "preimage info"),
    ):
        app.command(f"preimage.cli.{name}:{name}", name=name, help=summary, help_epilogue=f"Example:\n  {example}")
    return app


def call(tokens: list[str]) -> int:
    """Run one command; its exit code."""
    app = build()
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as error:
        raise InputError(_too_many(tokens[0], error.unused_tokens or [])) from error
    except CycloptsError as error:
        raise InputError(f"{' '.join(str(error).split())} (preimage --help shows the way)") from error
    return code if isinstance(code, int) else 0


def _too_many(command: str, unused: list[str]) -> str:
    """What is said of words of a command line that its command has no place for."""
    what = ", ".join(unused)
    if command == "maximize":
        return f"maximize makes a picture and takes none: leave {what} out"
    if command in ("saliency", *(task.name for task in EXPLAINING)):
        return f"{command} takes one picture at a time: leave {what} out, or call it once for each"
    return f"{command} has no place for {what}: leave it out (preimage --help shows the way)"

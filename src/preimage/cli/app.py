"""The commands: one for each task, drawn from its TaskSpec, and demo and info. Importing this, and --help, import no torch."""

from __future__ import annotations

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from preimage.cli.command import command_of, usage_of
from preimage.errors import InputError
from preimage.registry import TASKS, task_named
from preimage.version import __version__

_EXAMPLES = """Examples:
  preimage denoise photo.png -o clean.png
  preimage denoise scans/*.tif -o restored/ --report report.json
  preimage super-resolve small.png --factor 4
  preimage inpaint photo.png --mask holes.png --mask-white missing
  preimage deblur photo.png --kernel motion:15,30
  preimage train lesions/ -o lesions.pt
  preimage counterfactual lesion.jpg --classifier lesions.pt --html why.html
  preimage saliency lesion.jpg --classifier lesions.pt
  preimage inspect photo.png --classifier model.pt --thresholds thresholds.json
  preimage denoise --help
  preimage demo"""

_OTHERS = {
    "demo": ("Restore a noisy photograph that comes with scikit-image.", "preimage demo --output out/demo.png"),
    "info": ("Print device, precision, threads, memory, versions and extras.", "preimage info"),
}


def build() -> App:
    """The command line, without running it."""
    app = App(
        name="preimage",
        help="Restore an image with an untrained network as its prior: no training data, and it stops by itself. "
        "Explain an image classifier's predictions, and detect adversarial images.",
        help_epilogue=_EXAMPLES,
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,  # which would end the program without a word; `main` says one
    )
    for name in TASKS:
        task = task_named(name)
        app.command(
            command_of(task),
            name=name,
            help=task.summary,
            help_epilogue=f"Example:\n  {task.example}",
            usage=usage_of(task),
        )
    for name, (summary, example) in _OTHERS.items():
        app.command(f"preimage.cli.{name}:{name}", name=name, help=summary, help_epilogue=f"Example:\n  {example}")
    return app


def call(tokens: list[str]) -> int:
    """Run one command; its exit code."""
    app = build()
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as error:
        raise InputError(_too_many(tokens[0], error.unused_tokens or []), code="option") from error
    except CycloptsError as error:
        text = " ".join(str(error).split())
        raise InputError(f"{text} (preimage --help lists commands and options)", code="option") from error
    return code if isinstance(code, int) else 0


def _too_many(command: str, unused: list[str]) -> str:
    """What is said of words of a command line that its command has no place for."""
    what = ", ".join(unused)
    inputs = task_named(command).inputs if command in TASKS else ""
    if inputs == "none":
        return f"{command} makes an image and takes none: leave {what} out"
    if inputs in ("image", "data"):
        return f"{command} takes one input at a time: leave {what} out, or call it once for each"
    return f"{command} has no place for {what}: leave it out (preimage --help lists commands and options)"

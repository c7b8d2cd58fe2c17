"""The tasks by name. Importing this imports no torch, and a task's module only when the task is looked up."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in typing, whose import is half of the time of `import preimage`
if TYPE_CHECKING:
    from typing import Any

    from preimage.tasks import TaskSpec

# A new task is one line here.
TASKS = {
    "denoise": "preimage.restore.denoise:denoise",
    "remove-jpeg-artifacts": "preimage.restore.remove_jpeg_artifacts:remove_jpeg_artifacts",
    "super-resolve": "preimage.restore.super_resolve:super_resolve",
    "inpaint": "preimage.restore.inpaint:inpaint",
    "deblur": "preimage.restore.deblur:deblur",
    "flash-no-flash": "preimage.restore.flash_no_flash:flash_no_flash",
    "demosaic": "preimage.restore.demosaic:demosaic",
    "calibrate": "preimage.restore.calibrate:calibrate",
    "invert": "preimage.explain.invert:invert",
    "maximize": "preimage.explain.maximize:maximize",
    "recover": "preimage.explain.recover:recover",
    "counterfactual": "preimage.explain.counterfactual:counterfactual",
    "saliency": "preimage.defend.saliency:saliency",
    "inspect": "preimage.defend.inspect:inspect",
    "purify": "preimage.defend.purify:purify",
    "train": "preimage.defend.train:train",
}


def task_named(name: str) -> TaskSpec[..., Any]:
    """A task by its name.

    Example:
        >>> task_named("super-resolve").summary
        'Enlarge an image.'

    Raises:
        InputError: an unknown name.
    """
    if name not in TASKS:
        from preimage.errors import InputError

        raise InputError(f"there is no task {name!r}: give one of {', '.join(TASKS)}", code="option")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)

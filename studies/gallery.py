"""One picture per task, of photographs of scikit-image in the public domain (CC0 or NASA): the pictures of README."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

from preimage.operators import Blur, Downsample, lanczos2, motion
from studies.harness import Measured, Run, Study, by_scale, figures, fits, imaging, tables

SIDE = by_scale(64, 192, 256)
# Where the interesting part lies: photograph of skimage.data, top, left.
CROPS: dict[str, tuple[str, int, int]] = dict.fromkeys(("denoise", "super_resolve"), ("chelsea", 30, 130))
CROPS |= dict.fromkeys(("inpaint", "flash_no_flash"), ("coffee", 60, 150))
CROPS |= dict.fromkeys(("deblur", "remove_jpeg_artifacts"), ("astronaut", 20, 130))
WORDS, GAP = "the quick brown fox jumps over the lazy dog", 4
COLUMNS = {"task": "task", "photograph": "photograph", "input, dB": "given_dB:.2f", "restored, dB": "restored_dB:.2f"}
COLUMNS |= {"steps": "steps", "fits averaged": "restarts"}


def measure(run: Run, task: str):
    restore: Any = getattr(import_module(f"preimage.restore.{task}"), task)
    shown, truth, given, options = specimen(task, photograph(run, task))
    result = restore(given, **options, recipe=fits.named(run.smoke, restore, 5)).run()
    gap, folder = torch.ones(1, 3, truth.shape[-2], GAP), run.folder / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figures.keep_picture(torch.cat([shown, gap, result.image, gap, truth], -1), folder / f"{task}.png")
    row = {"photograph": CROPS[task][0], "given_dB": imaging.dB(shown, truth)}
    row["restored_dB"] = imaging.dB(result.image, truth)
    return row | {"steps": result.steps, "restarts": len(result.kept_step)}


def photograph(run: Run, task: str) -> torch.Tensor:
    side = SIDE[run.scale]
    if run.smoke:
        return imaging.generated_picture(side)
    import skimage.data

    name, top, left = CROPS[task]
    whole: Any = getattr(skimage.data, name)()
    return imaging.tensor_of(Image.fromarray(whole[top : top + side, left : left + side, :3]))


def specimen(task: str, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any, dict[str, Any]]:
    """Of a task what is shown as its input, the truth, and what the task is given, with its options."""
    if task == "super_resolve":
        small = imaging.eight_bit(Downsample(lanczos2(4), 4)(clean))
        return functional.interpolate(small, scale_factor=4.0), clean, small, {"factor": 4}
    if task == "inpaint":
        side = clean.shape[-1]
        drawn = Image.new("L", (side, side))
        for line, top in enumerate(range(2, side, 20)):
            ImageDraw.Draw(drawn).text((-7 * line, top), WORDS, fill=255, font=ImageFont.load_default(15))
        mask = torch.from_numpy(np.array(drawn) > 100)[None, None].float()
        shown = torch.where(mask > 0, torch.ones(()), clean)
        return shown, clean, clean * (1 - mask), {"mask": mask, "mask_white": "missing"}
    if task == "deblur":
        blur = Blur(motion(9, 30))
        blurred = imaging.with_gaussian_noise(blur(clean), 0.01)
        return blurred, imaging.center_window(clean, *blurred.shape[-2:]), blurred, {"kernel": motion(9, 30)}
    if task == "remove_jpeg_artifacts":
        coded = imaging.jpeg_of(clean, 10)
        return imaging.tensor_of(coded), clean, coded, {}
    if task == "flash_no_flash":  # made of one photograph: warm and dim with noise, and cold and bright without
        ambient = clean * torch.tensor([0.7, 0.5, 0.3]).reshape(1, 3, 1, 1)
        flash = (1.1 * clean.mean(1, keepdim=True) * torch.tensor([0.9, 0.95, 1.0]).reshape(1, 3, 1, 1)).clamp(0, 1)
        noisy = imaging.with_gaussian_noise(ambient, 0.08)
        return noisy, ambient, noisy, {"flash": flash}
    noisy = imaging.with_gaussian_noise(clean, 25 / 255)
    return noisy, clean, noisy, {}


STUDY = Study(
    Measured(("task",), CROPS, measure), lambda run: {"table": tables.table(COLUMNS, tables.each(run.rows()))}
)

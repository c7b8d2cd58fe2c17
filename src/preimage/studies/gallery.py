"""One picture per task for README and docs: photographs of scikit-image that are in the public domain (CC0 or NASA).

Each strip shows what was given, what came back, and the truth; nothing of the truth is known to the fit.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.engine.fit import Fit
from preimage.engine.run import Run
from preimage.images import write_bytes_atomically
from preimage.metrics import psnr
from preimage.operators import Blur, Downsample, lanczos2, motion
from preimage.restore.deblur import deblur
from preimage.restore.denoise import denoise
from preimage.restore.flash_no_flash import flash_no_flash
from preimage.restore.inpaint import inpaint
from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts
from preimage.restore.super_resolve import super_resolve
from preimage.studies.scales import Study, generated_picture, markdown_table, with_gaussian_noise

SIDE = {"smoke": 64, "small": 192, "paper": 256}
# Where the interesting part lies: photograph of skimage.data, top, left.
CROPS = {
    "denoise": ("chelsea", 30, 130),
    "super_resolve": ("chelsea", 30, 130),
    "inpaint": ("coffee", 60, 150),
    "deblur": ("astronaut", 20, 130),
    "remove_jpeg_artifacts": ("astronaut", 20, 130),
    "flash_no_flash": ("coffee", 60, 150),
}
WORDS = "the quick brown fox jumps over the lazy dog"
GAP = 4

Shown = tuple[torch.Tensor, Run, torch.Tensor]


def run(study: Study) -> Path:
    """Each strip that is not there yet, its row, then the section of results.md."""
    for task, make in TASKS.items():
        if any(row["task"] == task for row in study.rows()):
            continue
        given, fit, truth = make(photograph(study, task))
        if study.scale == "smoke" and isinstance(fit, Fit):
            fit.recipe = replace(fit.recipe, steps=5)
        result = fit.run()
        image = result.image.clamp(0, 1)
        save_strip([given, image, truth], study.folder / "pictures" / f"{task}.png")
        study.keep(
            {
                "task": task,
                "photograph": CROPS[task][0],
                "given_dB": float(psnr(given, truth)),
                "restored_dB": float(psnr(image, truth)),
                "steps": result.steps,
                "restarts": len(result.kept_step),
            }
        )
    return study.write_section("Gallery", section(study))


def photograph(study: Study, task: str) -> torch.Tensor:
    """A crop of a public-domain photograph, (1, 3, side, side)."""
    side = SIDE[study.scale]
    if study.scale == "smoke":
        return generated_picture(side)
    import skimage.data

    name, top, left = CROPS[task]
    whole: Any = getattr(skimage.data, name)()
    cut = np.ascontiguousarray(whole[top : top + side, left : left + side, :3])
    return torch.from_numpy(cut).movedim(-1, 0)[None].float() / 255


def _denoise(clean: torch.Tensor) -> Shown:
    noisy = with_gaussian_noise(clean, 25 / 255)
    return noisy, denoise(noisy), clean


def _super_resolve(clean: torch.Tensor) -> Shown:
    small = (Downsample(lanczos2(4), 4)(clean) * 255).round().clamp(0, 255) / 255
    return functional.interpolate(small, scale_factor=4.0), super_resolve(small, factor=4), clean


def _inpaint(clean: torch.Tensor) -> Shown:
    from PIL import Image, ImageDraw, ImageFont

    side = clean.shape[-1]
    drawn = Image.new("L", (side, side))
    for line, top in enumerate(range(2, side, 20)):
        ImageDraw.Draw(drawn).text((-7 * line, top), WORDS, fill=255, font=ImageFont.load_default(15))
    mask = torch.from_numpy(np.array(drawn) > 100)[None, None].float()
    return (
        torch.where(mask > 0, torch.ones(()), clean),
        inpaint(clean * (1 - mask), mask=mask, mask_white="missing"),
        clean,
    )


def _deblur(clean: torch.Tensor) -> Shown:
    kernel = motion(9, 30)
    blur = Blur(kernel)
    below, beside = blur.margin
    height, width = clean.shape[-2:]
    blurred = with_gaussian_noise(blur(clean), 0.01)
    return blurred, deblur(blurred, kernel=kernel), clean[..., below : height - below, beside : width - beside]


def _remove_jpeg_artifacts(clean: torch.Tensor) -> Shown:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(eight_bit(clean)).save(buffer, "JPEG", quality=10)
    coded = Image.open(buffer)
    given = torch.from_numpy(np.array(coded)).movedim(-1, 0)[None].float() / 255
    return given, remove_jpeg_artifacts(coded), clean


def _flash_no_flash(clean: torch.Tensor) -> Shown:
    """Made from one photograph: warm and dim with noise, and cold and bright without."""
    ambient = clean * torch.tensor([0.7, 0.5, 0.3]).reshape(1, 3, 1, 1)
    flash = (1.1 * clean.mean(1, keepdim=True) * torch.tensor([0.9, 0.95, 1.0]).reshape(1, 3, 1, 1)).clamp(0, 1)
    noisy = with_gaussian_noise(ambient, 0.08)
    return noisy, flash_no_flash(noisy, flash), ambient


TASKS: dict[str, Callable[[torch.Tensor], Shown]] = {
    "denoise": _denoise,
    "super_resolve": _super_resolve,
    "inpaint": _inpaint,
    "deblur": _deblur,
    "remove_jpeg_artifacts": _remove_jpeg_artifacts,
    "flash_no_flash": _flash_no_flash,
}


def eight_bit(image: torch.Tensor) -> np.ndarray[Any, Any]:
    """(1, 3, h, w) in 0..1 -> (h, w, 3) uint8."""
    return (image[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().numpy()


def save_strip(images: list[torch.Tensor], path: Path) -> None:
    """Pictures of one size side by side, white between them."""
    from PIL import Image

    arrays = [eight_bit(image) for image in images]
    gap = np.full((arrays[0].shape[0], GAP, 3), 255, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([arrays[0], gap, arrays[1], gap, arrays[2]], 1)).save(buffer, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, buffer.getvalue(), overwrite=True)


def section(study: Study) -> str:
    """What is seen in docs/pictures."""
    header = ["task", "photograph", "given, dB", "restored, dB", "steps", "fits averaged"]
    lines = [list(row.values()) for row in study.rows()]
    return (
        f"Crops of {SIDE[study.scale]} px of photographs in the public domain, fast recipes, blind; strips in `pictures/`. "
        "Noise of sigma 25; factor 4 (shown enlarged); text; motion of 9 px with noise 0.01; quality 10; and a pair made of one "
        f"photograph, dim with noise 0.08 and bright without.\n\n{markdown_table(header, lines)}"
    )

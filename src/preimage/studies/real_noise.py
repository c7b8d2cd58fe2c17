"""Pictures with real noise and no truth: two photographs and two of microscopy, in their own bit depths, as figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from preimage.figures.restoration import restoration_figure, save_figure
from preimage.images import Picture, as_picture, read
from preimage.restore.denoise import FAST, denoise
from preimage.studies.scales import Study, center_crop, generated_picture, markdown_table, with_gaussian_noise

PICTURES = {
    "Audrey_Hepburn": "restoration/real_noise_2/Audrey_Hepburn.jpg",
    "Window": "restoration/real_noise_2/Window.png",
    "staph_16bit": "microscopy/staph_16bit.tif",
    "coloc_2ch": "microscopy/coloc_2ch_16bit_512.tif",
}
SIDE = {"smoke": 32, "small": 160, "paper": 100_000}


def run(study: Study) -> Path:
    """Each picture denoised with the fast recipe, knowing nothing; its figure, its row, then the section."""
    smoke = study.scale == "smoke"
    for name in ["generated"] if smoke else PICTURES:
        if any(row["picture"] == name for row in study.rows()):
            continue
        picture, dtype = specimen(study, name)
        result = denoise(picture, recipe=replace(FAST, steps=30, restarts=2) if smoke else FAST).run()
        figure = study.figure(f"{study.name}-{name}.png")
        save_figure(restoration_figure(result), figure, overwrite=True)
        before, after = picture.tensor.mean().item(), result.image.mean().item()
        study.keep(
            {
                "picture": name,
                "dtype": dtype,
                "size": "x".join(map(str, picture.tensor.shape[1:])),
                "decided": result.remarks[0].split(",")[0] if result.remarks else "",
                "kept_steps": " ".join(map(str, result.kept_step)),
                "mean_change_percent": 100 * (after - before) / before,
                "seconds": result.seconds,
            }
        )
    return study.write_section("Real noise", section(study))


def specimen(study: Study, name: str) -> tuple[Picture, str]:
    """A central crop in the range of the whole file, and the file's dtype."""
    side = SIDE[study.scale]
    if study.scale == "smoke":
        return as_picture(with_gaussian_noise(generated_picture(side), 0.1)), "float32"
    whole = read(study.path(PICTURES[name]))
    crop: torch.Tensor = center_crop(whole.tensor, side)
    return as_picture(crop), str(whole.dtype)


def section(study: Study) -> str:
    """What was decided and done; the pictures themselves are figures."""
    header = ["picture", "dtype", "size (c x h x w)", "decided", "kept steps", "change of the mean, %", "seconds"]
    lines = [list(row.values()) for row in study.rows()]
    return (
        f"Central crops of {SIDE[study.scale]} px, fast recipe, nothing told; no truth is known, so that figures "
        f"(`{study.name}-NAME.png`) are the result.\n\n{markdown_table(header, lines)}"
    )

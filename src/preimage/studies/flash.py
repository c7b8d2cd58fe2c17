"""Flash and no flash: the published pair of a cave, as a figure and by the noise in its flattest part.

[U] shows a figure only. There is no truth, so no dB: what can be told is how much of the noise is gone where the flash
picture says that nothing else is to be seen, and whether the light is still that of the picture without flash.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from preimage.restore.flash_no_flash import FAST, flash_no_flash
from preimage.studies.crops import reduced
from preimage.studies.panels import save_panels
from preimage.studies.peaks import blind_beside_peak, size_of
from preimage.studies.scales import Study, generated_picture, markdown_table, with_gaussian_noise

PAIR = ("dip_paper/flash_no_flash/cave01_01_noflash.jpg", "dip_paper/flash_no_flash/cave01_00_flash.jpg")
SHORT_SIDE = 256
BLOCK = 32
DARK, BRIGHT = 0.2, 0.95
WINDOW = 7


def run(study: Study) -> Path:
    """The pair restored, unless its row is there; its figure; then the section of results.md."""
    if not study.rows():
        measure(study)
    return study.write_section("Flash and no flash", section(study))


def measure(study: Study) -> None:
    """The row and the figure."""
    dark, flash = specimen(study)
    recipe = replace(FAST, steps=20) if study.scale == "smoke" else FAST
    result, fitted = blind_beside_peak(lambda: flash_no_flash(dark, flash, recipe=recipe))
    side = min(BLOCK, min(flash.shape[-2:]) // 4)
    top, left = flattest_block(flash, side)
    stages = {"no_flash": dark, "result": result.image.clamp(0, 1), "flash": flash}
    parts = {name: image[..., top : top + side, left : left + side] for name, image in stages.items()}
    save_panels(
        [("no flash", dark), ("flash", flash), (f"ours, step {fitted['kept_steps']}", result.image)],
        study.figure(f"{study.name}-cave.png"),
    )
    study.keep(
        {
            "picture": "cave",
            "size": size_of(dark),
            "block": f"{side} px at row {top} and column {left}",
            **{f"noise_{name}": 255 * noise_of(part) for name, part in parts.items()},
            **{f"mean_{name}": 255 * float(part.mean()) for name, part in parts.items()},
            **{key: fitted[key] for key in ("kept_steps", "steps", "seconds", "threads")},
        }
    )


def specimen(study: Study) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture without flash and the one with it, reduced by a whole factor."""
    if study.scale == "smoke":
        flash = generated_picture(64)
        return with_gaussian_noise(0.4 * flash, 0.08), flash
    dark, flash = (study.picture(name) for name in PAIR)
    factor = factor_of(study, flash)
    return reduced(dark, factor), reduced(flash, factor)


def factor_of(study: Study, flash: torch.Tensor) -> int:
    """The whole factor that brings the short side nearest to 256 px; 1 at full scale."""
    return max(1, round(min(flash.shape[-2:]) / SHORT_SIDE)) if study.scale == "small" else 1


def flattest_block(flash: torch.Tensor, side: int) -> tuple[int, int]:
    """(top, left) of the block whose deviation is least among those with no value near black or white: (1, c, h, w)."""
    best, place = float("inf"), (0, 0)
    step = max(1, side // 4)
    for top in range(0, flash.shape[-2] - side + 1, step):
        for left in range(0, flash.shape[-1] - side + 1, step):
            block = flash[..., top : top + side, left : left + side]
            grey = block.mean(1)
            if float(grey.min()) >= DARK and float(block.max()) <= BRIGHT and float(grey.std()) < best:
                best, place = float(grey.std()), (top, left)
    return place


def noise_of(part: torch.Tensor) -> float:
    """Standard deviation of what differs from the mean of the 7 x 7 pixels around, all channels: (1, c, h, w)."""
    local = functional.avg_pool2d(part, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
    return float((part - local).std())


def section(study: Study) -> str:
    """Noise and mean of the flat block, before and after."""
    cut = {
        "smoke": "A generated pair of 64 x 64.",
        "small": f"The pair reduced by the whole factor that brings its short side nearest to {SHORT_SIDE} px, blocks averaged.",
        "paper": "The pair, whole.",
    }[study.scale]
    lines = []
    for row in study.rows():
        for name, title in (("no_flash", "no flash (given)"), ("result", "**ours**"), ("flash", "flash (given)")):
            values = (float(row[f"noise_{name}"]), float(row[f"mean_{name}"]))
            lines.append([title, *values])
    row = study.rows()[0]
    share = 100 * (1 - float(row["noise_result"]) / float(row["noise_no_flash"]))
    return (
        f"{cut} Fast recipe, seed 0; size {row['size']}, kept step {row['kept_steps']}, {float(row['seconds']):.0f} s on "
        f"{row['threads']} threads. No truth is known. Noise: the standard deviation (of 255) of what differs from the mean of "
        f"the {WINDOW} x {WINDOW} pixels around, in the flattest block of the flash picture (the least standard deviation of its "
        f"grey values, none of them below {DARK} and no value above {BRIGHT}): {row['block']}.\n\n"
        f"{markdown_table(['picture', 'noise', 'mean'], lines)}\n\n"
        f"Of the noise {share:.0f} % is gone. Figure: `{study.name}-cave.png`; row: `{study.table.name}`."
    )

"""The published pair with and without flash, as a figure and by the noise that is left in its flattest part."""

import torch
from torch.nn import functional

from preimage.restore.flash_no_flash import flash_no_flash
from studies.harness import Measured, Run, Study, figures, fits, imaging, tables

PAIR = ("dip_paper/flash_no_flash/cave01_01_noflash.jpg", "dip_paper/flash_no_flash/cave01_00_flash.jpg")
SHORT_SIDE, BLOCK, WINDOW, DARK, BRIGHT = 256, 32, 7, 0.2, 0.95
TITLES = {"no_flash": "no flash (input)", "result": "**ours**", "flash": "flash (input)"}


def measure(run: Run, picture: str):
    dark, flash = specimen(run)
    recipe = fits.named(run.smoke, flash_no_flash, 20)
    result, fitted = fits.blind_beside_peak(lambda: flash_no_flash(dark, flash=flash, recipe=recipe))
    side = min(BLOCK, min(flash.shape[-2:]) // 4)
    top, left = flattest_block(flash, side)
    images = {"no_flash": dark, "result": result.image.clamp(0, 1), "flash": flash}
    figures.save_panels([(TITLES[name], image) for name, image in images.items()], run.figure(picture))
    row = {"size": imaging.size_of(dark), "block": f"{side} px at row {top} and column {left}"}
    for name, image in images.items():
        part = image[..., top : top + side, left : left + side]
        row |= {f"noise_{name}": 255 * noise_of(part), f"mean_{name}": 255 * float(part.mean())}
    return row | {key: fitted[key] for key in ("kept_steps", "steps", "seconds", "threads")}


def specimen(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture without flash and with it, reduced by the whole factor that brings the short side nearest to 256 px."""
    if run.smoke:
        flash = imaging.generated_picture(64)
        return imaging.with_gaussian_noise(0.4 * flash, 0.08), flash
    dark, flash = (run.picture(name) for name in PAIR)
    factor = max(1, round(min(flash.shape[-2:]) / SHORT_SIDE)) if run.scale == "small" else 1
    return imaging.block_means(dark, factor), imaging.block_means(flash, factor)


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
    return float((part - functional.avg_pool2d(part, WINDOW, 1, WINDOW // 2, count_include_pad=False)).std())


def values(run: Run):
    row = run.rows()[0]
    lines = [[title, float(row[f"noise_{name}"]), float(row[f"mean_{name}"])] for name, title in TITLES.items()]
    gone = 100 * (1 - row["noise_result"] / row["noise_no_flash"])
    return {"row": row, "table": tables.markdown(["picture", "noise", "mean"], lines), "gone": gone}


STUDY = Study(Measured(("picture",), ["cave"], measure), values)

"""Pictures with real noise and no truth: two photographs and two of microscopy, in their own bit depths, as figures."""

from preimage.figures.restoration import restoration_figure, save_figure
from preimage.images import as_picture, read
from preimage.restore.denoise import denoise
from studies.harness import Measured, Run, Study, by_scale, fits, imaging, tables

PICTURES = {
    "Audrey_Hepburn": "restoration/real_noise_2/Audrey_Hepburn.jpg",
    "Window": "restoration/real_noise_2/Window.png",
    "staph_16bit": "microscopy/staph_16bit.tif",
    "coloc_2ch": "microscopy/coloc_2ch_16bit_512.tif",
}
SIDE = by_scale(32, 160, 100_000)
COLUMNS = {"picture": "picture", "dtype": "dtype", "size (c x h x w)": "size", "decided": "decided"}
COLUMNS |= {"kept steps": "kept_steps", "change of the mean, %": "mean_change_percent:.2f", "seconds": "seconds:.2f"}


def measure(run: Run, name: str):
    """A central crop in the range of the whole file, denoised with the fast recipe, knowing nothing."""
    picture, dtype = as_picture(imaging.with_gaussian_noise(imaging.generated_picture(32), 0.1)), "float32"
    if not run.smoke:
        whole = read(run.path(PICTURES[name]))
        picture, dtype = as_picture(imaging.center_crop(whole.tensor, SIDE[run.scale])), str(whole.dtype)
    result = denoise(picture, recipe=fits.named(run.smoke, denoise, 30)).run()
    save_figure(restoration_figure(result), run.figure(name), overwrite=True)
    before, after = picture.tensor.mean().item(), result.image.mean().item()
    row = {"dtype": dtype, "size": "x".join(map(str, picture.tensor.shape[1:]))}
    row["decided"] = result.remarks[0].split(",")[0] if result.remarks else ""
    row["kept_steps"] = " ".join(map(str, result.kept_step))
    return row | {"mean_change_percent": 100 * (after - before) / before, "seconds": result.seconds}


STUDY = Study(
    Measured(("picture",), lambda run: ["generated"] if run.smoke else PICTURES, measure),
    lambda run: {"table": tables.table(COLUMNS, tables.each(run.rows()))},
)

"""PSNR against steps of the published setting on F16 reduced to 256 pixels, in float32: is it the paper's?"""

from dataclasses import replace

from PIL import Image

from preimage.engine.checkpoint import load
from preimage.observe import autosave
from preimage.restore.denoise import denoise, recipes
from studies.harness import Measured, Run, Study, by_scale, fits, imaging, tables

# The authors' code run as it is, same noisy picture, average 0.99 (float32; the peak at 1500).
PUBLISHED = {250: 22.38, 500: 26.05, 750: 28.10, 950: 29.47, 1200: 30.29, 1350: 30.49, 1450: 30.54, 1500: 30.55}
EVERY, SEED, SIDE = 50, 1234, 256
STEPS = by_scale(100, 1600, 1600)


def measure(run: Run):
    """The curve at every 50th step, resumable; Pillow's Lanczos filter in 8 bits, as the published code does."""
    whole = None if run.smoke else imaging.pillow_of(run.picture("dip_paper/denoising/F16_GT.png"))
    small = None if whole is None else imaging.tensor_of(whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    clean, steps = run.picture("", 32) if small is None else small, STEPS[run.scale]
    recipe = fits.quick(run.smoke, replace(recipes()["paper"], steps=steps), steps, 8)
    noisy = imaging.with_gaussian_noise(clean, 25 / 255, SEED)
    fit = denoise(noisy, noise="gaussian", sigma=25 / 255, recipe=recipe)
    checkpoint = run.figure("fit", ending=".checkpoint")
    if checkpoint.exists():
        load(fit, checkpoint)
    for step in autosave(fit, checkpoint, every=EVERY):
        if step.index % EVERY == 0:
            row = {"step": step.index, "average": imaging.dB(step.average.cpu(), clean), "loss": float(step.loss)}
            yield row | {"output": imaging.dB(step.image.cpu(), clean), "seconds": step.seconds}
    checkpoint.unlink(missing_ok=True)


def values(run: Run):
    curve = {row["step"]: float(row["average"]) for row in run.rows()}
    step = max(curve, key=lambda step: curve[step])
    lines = [[at, known, curve[at], curve[at] - known] for at, known in PUBLISHED.items() if at in curve]
    gap = max((abs(line[3]) for line in lines), default=fits.NAN)
    table = tables.markdown(["step", "published code, dB", "this library, dB", "difference"], lines)
    return {"table": table, "peak": curve[step], "step": step, "gap": gap}


STUDY = Study(Measured(("step",), [()], measure, lambda run, rows: len(rows) == STEPS[run.scale] // EVERY), values)

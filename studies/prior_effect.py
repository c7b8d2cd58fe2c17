"""One picture enlarged with no prior, total variation and the deep prior (Ulyanov et al. 2018, figure 4 and section 3.2)."""

from preimage.engine.recipe import Recipe
from preimage.networks import Pixels
from preimage.observe import OraclePeak, observe
from preimage.operators import Downsample, lanczos2
from preimage.optimizers import adam
from preimage.restore.super_resolve import super_resolve
from studies.harness import Measured, Run, Study, figures, fits, imaging, tables

FACTOR = 4
# The picture itself is the parameter; the weight of TV, a sum over pixels, is that of the study `super_resolution`.
ALONE = Recipe(network=Pixels.Config(), jitter=0.0, optimizer=adam, rate=0.01, averaging=0.0, steps=1000, stop="steps")
TV_WEIGHT = 1e-7
LABELS = {"none": "no prior", "tv": "total variation", "deep": "deep image prior"}
SHOWN = [*LABELS, "truth"]
COLUMNS = {"prior": lambda rows: LABELS[rows[0]["prior"]], "PSNR, dB": "psnr:.2f", "its peak": "peak:.2f"}
COLUMNS |= {"mean square error of the small picture": "error_of_small:.1e", "steps": "steps", "seconds": "seconds:.0f"}


def measure(run: Run, prior: str):
    clean = run.picture("dip_paper/sr/zebra_crop.png", 64)
    reduce, deep = Downsample(lanczos2(FACTOR), FACTOR), prior == "deep"
    recipe = fits.named(run.smoke, super_resolve, 10) if deep else fits.quick(run.smoke, ALONE, 10)
    small, weight = imaging.eight_bit(reduce(clean)), TV_WEIGHT if prior == "tv" else 0.0
    fit = super_resolve(small, factor=FACTOR, tv=fits.mean_variation(weight, *clean.shape[1:]), recipe=recipe)
    oracle = OraclePeak(clean, lookahead=fits.LOOKAHEAD if deep else 1.0)
    for _ in observe(fit, oracle):
        pass
    result = fit.run()
    for name, picture in {prior: result.image, "truth": clean}.items():
        figures.keep_picture(picture, run.figure(name))
    error = float((reduce(result.image) - small).square().mean())
    row = {"psnr": imaging.dB(result.image, clean), "peak": oracle.peak[0] if oracle.peak else fits.NAN}
    row |= {"error_of_small": error, "steps": result.steps}
    return row | {"seconds": result.seconds, "size": "x".join(map(str, clean.shape[-2:]))}


STUDY = Study(
    Measured(("prior",), LABELS, measure),
    lambda run: {"table": tables.table(COLUMNS, tables.each(run.rows()))},
    lambda run: figures.save_sheet([""], SHOWN, [[run.figure(name) for name in SHOWN]], run.figure("sheet")),
)

"""Nine pictures, four kinds of noise: this library blind beside NLM, TV and CBM3D (Ulyanov et al. 2018, table 2).

[U] reports, on nine color pictures at sigma 25: 29.22 dB after 1800 steps, 30.43 with averaging, 31.00 as the mean of two
runs, CBM3D 31.42, non-local means 30.26 (512 px and more; here central crops).
"""

import torch

from preimage.restore.denoise import denoise
from studies.harness import Measured, Run, Study, by_scale, fits, imaging, rivals, tables
from studies.harness.tables import Claim, mean

PICTURES = ("Baboon", "F16", "House", "Lena", "Peppers", "kodim01", "kodim02", "kodim03", "kodim12")
SIGMA_25 = "sigma 25"
KINDS = (SIGMA_25, "gaussian_2", "speckle_3", "impulse_3")
SIDE, SEED = by_scale(32, 256, 512), 1234
COLUMNS = {"picture": "picture", "noisy": "noisy:.2f", "NLM": "nlm:.2f", "TV": "tv:.2f"}
COLUMNS |= {"BM3D, oracle sigma": "bm3d:.2f"}
COLUMNS |= {name: cell for name, cell in tables.FITTED.items() if name != "peak step"}


def names(run: Run):
    return PICTURES[:1] if run.smoke else PICTURES


def specimen(run: Run, kind: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A clean picture and its noisy version, central crops; in smoke runs with noise like that of the stored files."""
    side = SIDE[run.scale]
    clean = imaging.center_crop(run.picture(f"early_stopping/clean/{name}.png", side), side)
    if kind == SIGMA_25:
        return clean, imaging.with_gaussian_noise(clean, 25 / 255, SEED)
    if not run.smoke:
        return clean, imaging.center_crop(run.picture(f"early_stopping/{kind}/{name}.png"), side)
    generator = torch.Generator().manual_seed(SEED)
    if kind == "speckle_3":
        return clean, (clean * (1 + 0.35 * torch.randn(clean.shape, generator=generator))).clamp(0, 1)
    draw = torch.rand(clean.shape, generator=generator)
    impulses = torch.where(draw < 0.25, torch.zeros(()), torch.where(draw < 0.5, torch.ones(()), clean))
    return clean, impulses if kind == "impulse_3" else imaging.with_gaussian_noise(clean, 0.12, SEED)


def instead(run: Run, clean: torch.Tensor, noisy: torch.Tensor):
    sigma = float((noisy - clean).square().mean().sqrt())
    made = {"noisy": noisy, "nlm": lambda: rivals.non_local_means(noisy), "tv": lambda: rivals.tv_denoising(noisy)}
    return made if run.smoke else made | {"bm3d": lambda: rivals.bm3d_oracle_sigma(noisy, sigma)}


def measure(run: Run, kind: str, name: str):
    clean, noisy = specimen(run, kind, name)
    recipe = fits.named(run.smoke, denoise, 40)
    row, _, result = fits.beside_rivals(
        lambda: denoise(noisy, recipe=recipe), lambda image: imaging.dB(image, clean), instead(run, clean, noisy)
    )
    decided = result.remarks[0].split(" of ")[0].split(":")[0] if result.remarks else ""
    return {"bm3d": fits.NAN} | row | {"decided": decided}


def values(run: Run):
    parts = [tables.restorations(run.rows(), "noise", {kind: kind}, COLUMNS) for kind in KINDS]
    aims = "" if run.smoke else targets(run.rows(noise=SIGMA_25))
    return {"first": parts[0], "aims": aims, "others": "\n\n".join(parts[1:])}


def targets(rows) -> str:
    blind, (below, name) = mean(rows, "blind"), max((row["peak"] - row["blind"], row["picture"]) for row in rows)
    claims = (
        Claim("above NLM by 0.5 dB", blind - mean(rows, "nlm"), 0.5),
        Claim("below CBM3D by at most 0.8 dB", mean(rows, "bm3d") - blind, most=0.8),
        Claim("below the peak by at most 0.3 dB, mean", mean(rows, "peak") - blind, most=0.3),
        Claim(f"below its peak by at most 0.8 dB, worst ({name})", below, most=0.8),
    )
    return tables.held("target", claims, "measured, dB", "met")


STUDY = Study(Measured(("noise", "picture"), lambda run: [(k, n) for k in KINDS for n in names(run)], measure), values)

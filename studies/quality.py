"""Nine pictures at sigma 25, blind, by --quality fast, balanced and best, beside CBM3D with oracle sigma."""

from typing import Any, get_args

import torch

from preimage.recipes import Quality
from preimage.restore.denoise import denoise
from studies import denoising
from studies.harness import Measured, Run, Study, fits, imaging, tables
from studies.harness.tables import mean

SIDE, SEED = denoising.SIDE, denoising.SEED
RIVALS = ("noisy", "nlm", "bm3d")


def measure(run: Run, quality: Any, name: str):
    clean, noisy = denoising.specimen(run, denoising.SIGMA_25, name)
    blank = dict.fromkeys((*RIVALS, "blind", "kept_step", "steps", "seconds", "threads"), "")
    if quality == "rivals":
        made: dict[str, Any] = denoising.instead(run, clean, noisy)
        pictures = {name: x if isinstance(x, torch.Tensor) else x() for name, x in made.items() if name in RIVALS}
        return blank | {name: imaging.dB(picture, clean) for name, picture in pictures.items()}
    result = denoise(noisy, recipe=fits.named(run.smoke, denoise, 10, quality)).run()
    fitted = {"steps": result.steps, "seconds": result.seconds, "threads": result.threads}
    return blank | {"blind": imaging.dB(result.image, clean), "kept_step": result.kept_step[0]} | fitted


def values(run: Run):
    of = tables.grouped(run.rows(), "quality")
    qualities, count = [quality for quality in get_args(Quality) if quality in of], len(of["rivals"])
    whole, by_picture = [q for q in qualities if len(of[q]) == count], tables.grouped(run.rows(), "picture")

    def blind(quality: str):
        return lambda rows: next((float(row["blind"]) for row in rows if row["quality"] == quality), "")

    def seconds(rows):
        found = {row["quality"]: f"{row['seconds']:.0f}" for row in rows if row["quality"] != "rivals"}
        return " / ".join(found.get(quality, "") for quality in qualities)

    names = dict(zip(RIVALS, ("noisy", "NLM", "CBM3D, oracle sigma"), strict=True))
    columns = {"picture": "picture"} | {title: f"{rival}:.2f" for rival, title in names.items()}
    columns |= {f"**{quality}**": blind(quality) for quality in qualities} | {"seconds": seconds}
    of_rivals = [mean(of["rivals"], rival) for rival in RIVALS]
    means = [*of_rivals, *(mean(of[q], "blind") if q in whole else "" for q in qualities)]
    last = tables.markdown(columns, [[f"**mean of {count}**", *means, ""]]).splitlines()[-1]
    best = mean(of["best"], "blind") - mean(of["rivals"], "bm3d") if "best" in whole else fits.NAN
    aim = tables.Claim(f"best above CBM3D with oracle sigma, mean of {count}", best)
    shown = tables.table(columns, (by_picture[name] for name in denoising.PICTURES if name in by_picture))
    return {"table": f"{shown}\n{last}", "aims": "" if run.smoke else tables.targets([aim])}


def cases(run: Run):
    return [(quality, name) for quality in ("rivals", "fast", "best", "balanced") for name in denoising.names(run)]


STUDY = Study(Measured(("quality", "picture"), cases, measure), values)

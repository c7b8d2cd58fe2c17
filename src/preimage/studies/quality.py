"""What `--quality` buys: nine pictures at sigma 25, blind, by each quality, beside CBM3D that is told sigma."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from preimage.errors import MissingExtra
from preimage.recipes import Quality
from preimage.restore.denoise import QUALITIES, denoise
from preimage.studies.denoising import KINDS, PICTURES, SEED, SIDE, specimen
from preimage.studies.peaks import dB
from preimage.studies.rivals import bm3d_told_sigma, non_local_means
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import Target, mean, verdict

RIVALS = ("noisy", "nlm", "bm3d")


def run(study: Study) -> Path:
    """Every picture by the rivals and each quality, those already in the CSV left out; then the section of results.md."""
    names = PICTURES[:1] if study.scale == "smoke" else PICTURES
    order: tuple[Quality | None, ...] = (None, "fast", "best", "balanced")
    for quality in order:
        for name in names:
            known = {(row["quality"], row["picture"]) for row in study.rows()}
            if (quality or "rivals", name) not in known:
                study.keep(measured(study, quality, name))
    return study.write_section("Quality", section(study))


def measured(study: Study, quality: Quality | None, name: str) -> Row:
    """One row: dB of this library by one quality, or of the rivals."""
    smoke = study.scale == "smoke"
    clean, noisy = specimen(study, KINDS[0], name)
    row: Row = {"quality": quality or "rivals", "picture": name}
    blank = dict.fromkeys((*RIVALS, "blind", "kept_step", "steps", "seconds", "threads"), "")
    if quality is None:
        sigma = float((noisy - clean).square().mean().sqrt())
        try:
            best_rival = float("nan") if smoke else dB(bm3d_told_sigma(noisy, sigma), clean)
        except MissingExtra:
            best_rival = float("nan")
        return (
            row
            | blank
            | dict(zip(RIVALS, (dB(noisy, clean), dB(non_local_means(noisy), clean), best_rival), strict=True))
        )
    recipe = QUALITIES[quality]
    result = denoise(noisy, recipe=replace(recipe, steps=10) if smoke else recipe).run()
    return (
        row
        | blank
        | {
            "blind": dB(result.image, clean),
            "kept_step": result.kept_step[0],
            "steps": result.steps,
            "seconds": result.seconds,
            "threads": result.threads,
        }
    )


def section(study: Study) -> str:
    """A line a picture, and the target of the best quality."""
    rows = study.rows()
    of = {(str(row["quality"]), str(row["picture"])): row for row in rows}
    qualities = [quality for quality in QUALITIES if any(row["quality"] == quality for row in rows)]
    names = [name for name in PICTURES if ("rivals", name) in of]
    lines = []
    for name in names:
        fits = [of.get((quality, name)) for quality in qualities]
        rival = of["rivals", name]
        shown = [float(fit["blind"]) if fit else "" for fit in fits]
        costs = " / ".join(f"{float(fit['seconds']):.0f}" if fit else "" for fit in fits)
        lines.append([name, *(float(rival[r]) for r in RIVALS), *shown, costs])
    parts = [
        f"Central crops of {SIDE[study.scale]} x {SIDE[study.scale]} of early_stopping, sigma 25 by torch seed {SEED}, not told "
        "to this library; NLM (scikit-image) estimates it, CBM3D is told. Seconds of one thread beside other work. "
        f"Rows: `{study.table.name}`."
    ]
    header = ["picture", "noisy", "NLM", "CBM3D told sigma", *(f"**{quality}**" for quality in qualities), "seconds"]
    whole = [q for q in qualities if all((q, name) in of for name in names)]
    means: list[object] = [f"**mean of {len(names)}**", *(mean([of["rivals", n] for n in names], r) for r in RIVALS)]
    means += [mean([of[q, n] for n in names], "blind") if q in whole else "" for q in qualities]
    parts.append(markdown_table(header, [*lines, [*means, ""]]))
    if "best" in whole and study.scale != "smoke":
        above = mean([of["best", n] for n in names], "blind") - mean([of["rivals", n] for n in names], "bm3d")
        parts.append(verdict([Target(f"best above CBM3D told sigma, mean of {len(names)}", above, 0.0)]))
    return "\n\n".join(parts)

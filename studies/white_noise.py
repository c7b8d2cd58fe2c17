"""White noise on whole sets of 256 px, nothing given: Kodak24 as others print it, McMaster and Set12, beside BM3D, NLM, TV.

What others print of Kodak24 at 256 px, sigma 25 and 50, is in PRINTED, named as theirs: noise and seeds are their own.
"""

import torch

from preimage.restore.denoise import denoise
from studies.harness import Measured, Run, Study, by_scale, fits, imaging, rivals, tables
from studies.harness.rows import Row
from studies.harness.tables import Claim, mean

SIDE, SEED = by_scale(32, 256, 256), 1234
KODAK, MCMASTER, SET12 = "Kodak24", "McMaster", "Set12"
FOLDERS = {KODAK: "kodak24_256/kodim{}.png", MCMASTER: "mcmaster14/{}.png", SET12: "restoration/set12/{}.png"}
NAMES = {
    KODAK: [f"{n:02d}" for n in range(1, 25)],
    MCMASTER: [f"{n:02d}" for n in (2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18)],
    SET12: [f"{n:02d}" for n in range(1, 13)],
}
UNSEEN = {"04", "08", "15", "19", "21", "23"}  # Kodak24 without the 18 scenes of restoration/kodak24
COUNTS = 30  # Poisson: the mean count of white
POISSON = f"Poisson {COUNTS}"
KINDS = ("sigma 25", "sigma 50", "sigma 15", POISSON)
PRINTED = {"ZS-HPD": (29.88, 26.36), "Pixel2Pixel": (29.31, 26.26), "NLR": (29.12, 26.58), "ZS-N2N": (29.07, 24.81)}
PRINTED |= {"Self2Self": (28.39, 26.22), "DIP": (27.38, 23.95)}
AIMS = {"sigma 25": 30.9, "sigma 50": 27.9}
BEST, OF_BEST = "-best", NAMES[KODAK][::3]  # eight scenes, by --quality best as well
AIMS_OF_BEST = {"sigma 25": 31.4, "sigma 50": 28.4}
MEASURED = {"**blind**": "blind:.2f", "BM3D, oracle sigma": "bm3d:.2f", "NLM, oracle sigma": "nlm:.2f"}
MEASURED |= {"TV, oracle weight": "tv:.2f"}
COLUMNS = {"picture": "picture", "noisy": "noisy:.2f"} | MEASURED
COLUMNS |= {"kept steps": "kept_steps", "seconds": "seconds:.0f"}


def cases(run: Run) -> list[tuple[str, str, str]]:
    if run.smoke:
        return [(KODAK, "sigma 25", "01"), (SET12, "sigma 25", "01"), (KODAK, POISSON, "01")]
    order = [(kind, of) for of in (KODAK, MCMASTER, SET12) for kind in KINDS[:2]]
    order += [("sigma 15", of) for of in NAMES] + [(POISSON, KODAK), (POISSON, MCMASTER)]
    return [(of, kind, name) for kind, of in order for name in NAMES[of]]


def specimen(run: Run, of: str, kind: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A clean central crop and its noisy version, clipped and in 8 bits; the seed is SEED and the number of the picture."""
    side, seed = SIDE[run.scale], SEED + int(name)
    picture = run.picture(FOLDERS[of].format(name), side, 1 if of == SET12 else 3)
    clean = imaging.center_crop(picture, side)
    if kind == POISSON:
        noisy = torch.poisson(COUNTS * clean, generator=torch.Generator().manual_seed(seed)) / COUNTS
    else:
        noisy = imaging.with_gaussian_noise(clean, float(kind.removeprefix("sigma ")) / 255, seed)
    return clean, imaging.eight_bit(noisy)


def instead(run: Run, kind: str, clean: torch.Tensor, noisy: torch.Tensor):
    sigma = float((noisy - clean).square().mean().sqrt())
    made = {"noisy": noisy, "nlm": lambda: rivals.non_local_means(noisy, sigma)}
    made |= {"tv": lambda: rivals.tv_oracle_weight(noisy, clean, sigma)}
    if run.smoke:
        return made
    counts = kind == POISSON
    return made | {
        "bm3d": lambda: rivals.bm3d_of_counts(noisy, COUNTS) if counts else rivals.bm3d_oracle_sigma(noisy, sigma)
    }


def measure(run: Run, of: str, kind: str, name: str):
    clean, noisy = specimen(run, of, kind, name)
    row, _ = fits.of_rivals(lambda image: imaging.dB(image, clean), instead(run, kind, clean, noisy))
    result = denoise(noisy, recipe=fits.named(run.smoke, denoise, 40)).run()
    row = {"bm3d": fits.NAN} | row | {"blind": imaging.dB(result.image, clean)}
    row |= {"kept_steps": " ".join(map(str, result.kept_step)), "steps": result.steps, "seconds": result.seconds}
    decided = result.remarks[0].split(" of ")[0].split(":")[0] if result.remarks else ""
    return row | {"threads": result.threads, "decided": decided}


def measure_best(run: Run, of: str, kind: str, name: str):
    clean, noisy = specimen(run, of, kind, name)
    result = denoise(noisy, recipe=fits.named(run.smoke, denoise, 10, "best")).run()
    return {"blind": imaging.dB(result.image, clean), "steps": result.steps, "seconds": result.seconds}


def best(run: Run) -> str:
    """Fast and best on the same scenes."""
    fast, lines = run.rows(), []
    for kind, own in tables.grouped(run.rows(BEST), "noise").items():
        names = {row["picture"] for row in own}
        beside = [row for row in fast if (row["set"], row["noise"]) == (KODAK, kind) and row["picture"] in names]
        numbers = (mean(beside, "bm3d"), mean(beside, "blind"), mean(own, "blind"), AIMS_OF_BEST[kind])
        lines.append([kind, f"{len(own)} of {len(OF_BEST)}", *numbers, f"{mean(own, 'seconds'):.0f}"])
    header = [
        "Kodak24, every third scene",
        "scenes",
        "BM3D, oracle sigma",
        "fast",
        "**best**",
        "target of all 24",
        "seconds",
    ]
    return tables.markdown(header, lines) if lines else ""


def values(run: Run):
    rows = run.rows()
    parts = {kind: [row for row in rows if row["noise"] == kind] for kind in KINDS}
    each = [
        tables.restorations(own, "set", {of: f"{of}, {kind}" for of in NAMES}, COLUMNS) for kind, own in parts.items()
    ]
    return {
        "means": means(rows) or "Nothing is measured yet: `make study NAME=white_noise`.",
        "printed": "" if run.smoke else printed(rows),
        "aims": "" if run.smoke else aims(rows),
        "best": "" if run.smoke else best(run),
        "each": "\n\n".join(filter(None, each)),
    }


def means(rows: list[Row]) -> str:
    """A line for each noise and set, the six unseen scenes apart, of the pictures whose rows are there."""
    lines = {}
    for (kind, of), own in sorted(
        tables.grouped(rows, "noise", "set").items(), key=lambda item: KINDS.index(item[0][0])
    ):
        lines[f"{of}, {kind}"] = own
        if of == KODAK:
            lines[f"{KODAK}, {kind}, the scenes not seen"] = unseen(own)
    columns = {"pictures": len, "noisy": "noisy:.2f"} | MEASURED | {"seconds": "seconds:.0f"}
    groups = {title: [row | {"title": title} for row in own] for title, own in lines.items() if own}
    return tables.table({"mean of": "title"} | columns, groups.values()) if groups else ""


def whole(rows: list[Row], kind: str, column: str) -> float:
    """The mean of all of Kodak24; NaN as long as one picture has no row."""
    own = [row for row in rows if (row["set"], row["noise"]) == (KODAK, kind)]
    return mean(own, column) if len(own) == len(NAMES[KODAK]) else fits.NAN


def printed(rows: list[Row]) -> str:
    ours = {"**this library, blind**": "blind", "CBM3D, oracle sigma": "bm3d", "NLM, oracle sigma": "nlm"}
    lines = [[title, *(whole(rows, kind, column) for kind in AIMS), "measured here"] for title, column in ours.items()]
    lines += [[name, *dB, "theirs"] for name, dB in PRINTED.items()]
    table = tables.markdown(["Kodak24, 256 px, mean of 24", *AIMS, "figure"], lines)
    return (
        f"{table}\n\nWhat is theirs is what their papers print, with noise of their own, clipped or not."
        if rows
        else ""
    )


def aims(rows: list[Row]) -> str:
    """The targets, beside them the means of what was not seen."""
    lines = []
    for kind, bound in AIMS.items():
        own = [row for row in rows if row["noise"] == kind]
        claim = Claim(f"{kind}: mean of all 24", whole(rows, kind, "blind"), bound)
        apart = (mean(part, "blind") for part in (unseen(own), [row for row in own if row["set"] == MCMASTER]))
        lines.append([claim.text, f"at least {bound:g}", claim.measured, claim.verdict, *apart])
    header = ["target, Kodak24 (18 of its scenes and Set12 were seen)", "bound, dB", "measured, dB", "met"]
    header += ["the 6 scenes not seen, dB", "McMaster, not seen, dB"]
    return tables.markdown(header, lines) if rows else ""


def unseen(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["set"] == KODAK and f"{row['picture']:>02}" in UNSEEN]


def cases_of_best(run: Run) -> list[tuple[str, str, str]]:
    return [] if run.smoke else [(KODAK, kind, name) for name in OF_BEST for kind in AIMS_OF_BEST]


KEY = ("set", "noise", "picture")
STUDY = Study((Measured(KEY, cases, measure), Measured(KEY, cases_of_best, measure_best, suffix=BEST)), values)

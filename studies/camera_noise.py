"""Photographs with a camera's own noise, and clean ones: what the default makes of them, nothing given."""

import math
from pathlib import Path

from preimage.images import as_picture
from preimage.noise.camera import estimate_camera_noise
from preimage.restore.denoise import denoise
from studies.harness import Measured, Run, Study, by_scale, figures, fits, imaging, tables

SIDE = by_scale(64, 512, 512)
CLEAN = [f"restoration/kodak24/kodim{n:02d}.png" for n in (5, 6, 7, 9, 10, 11, 13, 14, 16, 17, 18, 20, 22, 24)]
CLEAN += [f"restoration/set12/{n}.png" for n in ("04", "05", "07", "11", "12")]
WHOLE = ("Baboon", "F16", "House", "Lena", "Peppers", "kodim01", "kodim02", "kodim03", "kodim12")
SETS = {
    "cc-reported": "CC, reported on (one shot against the mean of 500)",
    "cc-tuned": "CC, tuned on",
    "polyu-reported": "PolyU, reported on",
    "polyu-tuned": "PolyU, tuned on",
    "clean": "Clean pictures, central crops of 256 x 256",
    "clean-512": "Clean pictures of 512 x 512",
}
COLUMNS = tables.PICTURE | {"noisy": "noisy:.2f", "**blind**": "blind:.2f", "gain": "gain:.2f"}
COLUMNS |= {"true deviation": "deviation:.2f", "measured in the residual": "measured:.2f"}
COLUMNS |= {"kept steps": "kept_steps", "seconds": "seconds:.0f"}
MCWNNM = 36.33  # mean PSNR of the files that its authors give of the five `_2`
GIVEN = tables.PICTURE | {"**PSNR of what is returned against what was given**": "blind:.2f"}
GIVEN |= {"kept steps": "kept_steps", "seconds": "seconds:.0f"}


def cases(run: Run) -> list[tuple[str, str]]:
    if run.smoke:
        return [("cc-tuned", "generated")]
    root = run.path("real_noise")
    cc = [path.stem.removesuffix("_real") for path in sorted((root / "cc").glob("*_real.png"))]
    polyu = [path.stem for path in sorted((root / "polyu/noisy").iterdir())]
    found = [("cc-reported", name) for name in cc if name.endswith("_2")]
    found += [("polyu-reported", name) for name in polyu[12:]]
    found += [("clean", name) for name in CLEAN]
    found += [("clean-512", f"early_stopping/clean/{name}.png") for name in WHOLE]
    found += [("cc-tuned", name) for name in tuned(run)["cc"]]
    return found + [("polyu-tuned", name) for name in tuned(run)["polyu"]]


def tuned(run: Run) -> dict[str, list[str]]:
    """The photographs that settings were tuned on, by their set."""
    root = run.path("real_noise")
    cc = [path.stem.removesuffix("_real") for path in sorted((root / "cc").glob("*_1_real.png"))]
    return {"cc": cc, "polyu": [path.stem for path in sorted((root / "polyu/noisy").iterdir())[:12]]}


def pair(run: Run, kind: str, name: str):
    """What is given, and the picture that it is held against."""
    if run.smoke:
        clean = imaging.generated_picture(SIDE["smoke"])
        return imaging.with_gaussian_noise(clean, 0.02), clean
    if kind.startswith("clean"):
        clean = run.picture(name)
        clean = imaging.center_crop(clean, 256) if kind == "clean" else clean
        return clean, clean
    of, end = ("cc", ".png") if kind.startswith("cc") else ("polyu", ".JPG")
    noisy, mean = (f"{name}_real", f"{name}_mean") if of == "cc" else (f"noisy/{name}", f"mean/{name}")
    return tuple(run.picture(f"real_noise/{of}/{each}{end}") for each in (noisy, mean))


def measure(run: Run, kind: str, name: str):
    given, reference = pair(run, kind, name)
    result = denoise(as_picture(given), recipe=fits.named(run.smoke, denoise, 20)).run()
    returned = imaging.eight_bit(result.image)
    found = estimate_camera_noise(given, result.image)
    row = {"size": imaging.size_of(given), "noisy": min(imaging.dB(given, reference), 99.0)}
    row["blind"] = min(imaging.dB(returned, reference), 99.0)
    row["gain"] = row["blind"] - row["noisy"]
    row["deviation"] = 255 * float((given - reference).square().mean().sqrt())
    row["measured"] = math.nan if found is None else 255 * found.sigma(given)
    row["kept_steps"] = " ".join(map(str, result.kept_step))
    panels = [("given", given), ("returned", result.image), ("reference", reference)]
    figures.save_panels(
        [(title, imaging.center_crop(each, 256)) for title, each in panels], run.figure(kind, Path(name).stem)
    )
    return row | {"seconds": result.seconds, "reason": result.reason}


def values(run: Run):
    rows = run.rows()
    noisy = {kind: title for kind, title in SETS.items() if not kind.startswith("clean")}
    clean = {kind: title for kind, title in SETS.items() if kind.startswith("clean")}
    claims = []
    if of := [row for row in rows if row["set"] == "cc-reported"]:
        claims.append(
            tables.Claim(
                "CC: above the files that MCWNNM's authors give (36.33)", tables.mean(of, "blind") - 36.33, 0.5
            )
        )
    if of := [row for row in rows if row["set"] == "polyu-reported"]:
        claims.append(tables.Claim("PolyU: gain, mean", tables.mean(of, "gain"), 0.8))
        claims.append(tables.Claim("PolyU: gain, least", min(tables.numbers(of, "gain")), -0.2))
    if of := [row for row in rows if row["set"].startswith("clean")]:
        claims.append(
            tables.Claim("clean: what is returned against what was given, mean", tables.mean(of, "blind"), 42)
        )
        claims.append(tables.Claim("clean: the same, least", min(tables.numbers(of, "blind")), 38))
    return {
        "table": tables.restorations(rows, "set", noisy, COLUMNS),
        "clean": tables.restorations(rows, "set", clean, GIVEN),
        "aims": "" if run.smoke else tables.targets(claims),
    }


STUDY = Study(Measured(("set", "picture"), cases, measure), values)

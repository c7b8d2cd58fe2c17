"""Half the pixels, text, a hole, an object, 98 % missing: this library blind beside biharmonic equations."""

import torch

from preimage.restore.inpaint import inpaint
from preimage.restore.missing import kind_of_gap
from studies.harness import Measured, Run, Study, chosen, figures, fits, imaging, published, rivals, tables

HALF, TEXT, HOLE, REGION, SPARSE = "50 %", "text", "hole", "region", "98 %"
CASES = [(HALF, name) for name in ("barbara", "boats", "house", "cameraman")]
CASES += [(TEXT, "kate"), (HOLE, "library"), (REGION, "vase"), (SPARSE, "kate")]
SHARE = {HALF: 0.5, SPARSE: 0.98}
SEED, LARGEST_SHORT_SIDE = 1234, 300
TITLES = {TEXT: "Text over kate (dB inside the letters)", HOLE: "Holes in library (dB inside the holes)"}
TITLES |= {REGION: "The vase removed (no truth)", SPARSE: "98 % of the pixels missing"}
RIVAL = {"missing, %": "percent", "settings": "settings", "biharmonic": "biharmonic:.2f"}
COLUMNS = tables.PICTURE | RIVAL | tables.FITTED


def measure(run: Run, missing: str, name: str):
    """Neither the library nor the biharmonic rival is given the missing pixels."""
    whole, known = specimen(run, missing, name)
    given, recipe = torch.where(known, whole, torch.zeros(())), fits.named(run.smoke, inpaint, 20)
    row, panels, _ = fits.beside_rivals(
        lambda: inpaint(given, mask=known.float(), mask_white="valid", recipe=recipe),
        None if missing == REGION else lambda x: imaging.dB(x, whole, None if missing in SHARE else ~known),
        {"biharmonic": rivals.biharmonic(given, known)},
    )
    if missing != HALF:
        last = ("before the mask" if missing == REGION else "truth", whole)
        figures.save_panels([("input", given), *panels, last], run.figure(name, missing))
    kind = {"percent": 100 * float((~known).float().mean()), "settings": kind_of_gap(~known)}
    return {"size": imaging.size_of(whole)} | kind | row


def specimen(run: Run, missing: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole picture, and (1, 1, h, w) True where a pixel is known."""
    if run.smoke:
        whole = imaging.generated_picture(32, channels=1 if missing == HALF else 3)
        return whole, random_mask(whole, SHARE[missing]) if missing in SHARE else drawn_mask(whole, missing)
    folder, small = "restoration/set11" if missing == HALF else "dip_paper/inpainting", run.scale == "small"
    whole = run.picture(f"{folder}/{name}.png")
    whole = imaging.center_crop(whole, 256) if small and missing == HALF else whole
    factor = 2 if small and min(whole.shape[-2:]) > LARGEST_SHORT_SIDE else 1
    whole = imaging.block_means(whole, factor)
    if missing in SHARE:
        return whole, random_mask(whole, SHARE[missing])
    known = run.picture(f"{folder}/{name}_mask.png")[:, :1] > 0.5  # 255 is known
    return whole, block_known(known, factor)


def block_known(known: torch.Tensor, factor: int) -> torch.Tensor:
    return imaging.block_means(known.float(), factor) == 1


def random_mask(picture: torch.Tensor, missing: float) -> torch.Tensor:
    return torch.rand(1, 1, *picture.shape[-2:], generator=torch.Generator().manual_seed(SEED)) >= missing


def drawn_mask(picture: torch.Tensor, missing: str) -> torch.Tensor:
    """What stands for the stored masks in a smoke run: thin strokes, or a block in the middle."""
    known = torch.ones(1, 1, *picture.shape[-2:], dtype=torch.bool)
    size, side = 3 if missing == HOLE else 4, picture.shape[-1]
    rows = slice(side // 4, None, side // 4) if missing == TEXT else slice(side // size, -side // size)
    known[..., rows, side // size : -side // size] = False
    return known


def aims(missing: str, rows):
    """What was aimed at, for each case that has a truth; 98 % missing had no aim."""
    found = tables.above(rows, {"biharmonic, mean of {}": "biharmonic"}, least=2.0 if missing == HALF else 0.0)
    claims = found if missing == HALF else found[:1]
    return [tables.Claim(f"{missing}: {claim.text}", claim.measured, claim.least, claim.most) for claim in claims]


def values(run: Run):
    rows = [published.beside(row | {"percent": f"{row['percent']:.1f}"}, "half missing") for row in run.rows()]
    half = tables.restorations(rows, "missing", {HALF: "50 % of the pixels missing"}, COLUMNS | published.PUBLISHED)
    claims = [claim for kind in (HALF, TEXT, HOLE) if (own := chosen(rows, missing=kind)) for claim in aims(kind, own)]
    others = tables.restorations(rows, "missing", TITLES, COLUMNS)
    return {"half": half, "others": others, "aims": "" if run.smoke else tables.targets(claims)}


STUDY = Study(
    Measured(("missing", "picture"), lambda run: CASES[:1] + CASES[4:] if run.smoke else CASES, measure), values
)

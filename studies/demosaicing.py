"""Bayer mosaics made color images again: this library blind beside OpenCV's bilinear and edge-aware demosaicing."""

import torch

from preimage.restore.demosaic import Pattern, bayer_mask, demosaic
from studies.harness import Measured, Run, Study, by_scale, figures, fits, imaging, tables

CASES = [("mcmaster", name) for name in ("02", "05", "09", "15")]
PATTERN: Pattern = "RGGB"
SIDE = by_scale(32, 192, 512)
COLUMNS = tables.PICTURE | {"bilinear": "bilinear:.2f", "edge-aware": "edge_aware:.2f"} | tables.FITTED


def measure(run: Run, source: str, name: str):
    del source
    whole = imaging.center_crop(run.picture(f"mcmaster14/{name}.png", SIDE["smoke"]), SIDE[run.scale])
    mosaic = imaging.eight_bit((whole * bayer_mask(PATTERN, *whole.shape[-2:])).sum(1, keepdim=True))
    row, panels, _ = fits.beside_rivals(
        lambda: demosaic(mosaic, pattern=PATTERN, steps=20 if run.smoke else None),
        lambda x: imaging.dB(x, whole),
        {"bilinear": opencv(mosaic), "edge_aware": opencv(mosaic, edge_aware=True)},
    )
    figures.save_panels([("mosaic", mosaic), *panels, ("ground truth", whole)], run.figure(name))
    return {"size": imaging.size_of(whole)} | row | {"better": max(row["bilinear"], row["edge_aware"])}


def opencv(mosaic: torch.Tensor, *, edge_aware: bool = False) -> torch.Tensor:
    """OpenCV's demosaicing of an RGGB mosaic (1, 1, h, w), a pattern that it calls BG: (1, 3, h, w)."""
    import cv2

    code = cv2.COLOR_BayerBG2RGB_EA if edge_aware else cv2.COLOR_BayerBG2RGB
    found = cv2.demosaicing((mosaic[0, 0] * 255).round().byte().numpy(), code)
    return torch.from_numpy(found).movedim(-1, 0)[None].float() / 255


def values(run: Run):
    rows = run.rows()
    claims = tables.above(rows, {"the better of OpenCV's two, mean of {}": "better"}, least=0.5)
    return {
        "table": tables.restorations(rows, "source", {"mcmaster": "Bayer mosaics, RGGB"}, COLUMNS),
        "aims": "" if run.smoke else tables.targets(claims),
    }


STUDY = Study(Measured(("source", "picture"), lambda run: CASES[:1] if run.smoke else CASES, measure), values)

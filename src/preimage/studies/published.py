"""What [U] prints for single pictures: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, IJCV 2020, PSNR in dB of whole pictures.

The means of these columns are those that [U] prints beside them: Set14 27.00 (all 14 pictures), 50 % missing 33.48 (all 11).
"""

from __future__ import annotations

from preimage.studies.scales import Row

SET5 = {"baby": 31.49, "bird": 31.80, "butterfly": 26.23, "head": 31.04, "woman": 28.93}
SET14 = {
    **{"baboon": 22.29, "barbara": 25.53, "bridge": 24.38, "coastguard": 25.81, "comic": 22.18, "face": 31.02},
    **{"flowers": 26.14, "foreman": 31.66, "lenna": 30.83, "man": 26.09, "monarch": 29.98, "pepper": 32.08},
    **{"ppt3": 24.38, "zebra": 25.71},
}
ENLARGED = {
    4: SET5 | SET14,
    8: {"baby": 28.28, "bird": 27.09, "butterfly": 20.02, "head": 29.55, "woman": 24.50},
}
HALF_MISSING = {
    **{"barbara": 32.22, "boats": 33.06, "house": 39.16, "lena": 36.16, "peppers": 33.05, "cameraman": 29.80},
    **{"couple": 32.52, "fingerprint": 32.84, "hill": 32.77, "man": 32.20, "montage": 34.54},
}
COLUMN = "[U], whole picture"


def beside(row: Row, published: dict[str, float]) -> Row:
    """The row with what [U] has for its picture; NaN, a dash in the table, where that is nothing."""
    return row | {COLUMN: published.get(str(row["picture"]), float("nan"))}

"""What papers print. [U]: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, IJCV 2020, PSNR in dB of single whole pictures.

The means of the columns are those that [U] prints beside them: Set14 27.00 (all 14 pictures), 50 % missing 33.48 (all 11).
"""

from pathlib import Path

from studies.harness.rows import Row, read_rows

TABLE = Path(__file__).parents[1] / "published.csv"
COLUMN = "[U], whole picture"
PUBLISHED = {COLUMN: f"{COLUMN}:.2f"}


def published(case: str) -> dict[str, float]:
    rows = read_rows(TABLE)
    return {row["picture"]: float(row["dB"]) for row in rows if row["case"] == case}


def beside(row: Row, case: str) -> Row:
    """The row with what [U] has for its picture; NaN, a dash in the table, where that is nothing."""
    return row | {COLUMN: published(case).get(str(row["picture"]), float("nan"))}

"""The figures of docs/speed.md and docs/stopping.md, drawn from the committed rows of docs/results.

python -m benchmarks.figures
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.pyplot as plt

RESULTS, PICTURES = Path("docs/results"), Path("docs/pictures")
SPREAD = 0.12


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table, none where it does not exist yet."""
    path = RESULTS / name
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stopping() -> None:
    """Every fit of the study of blindness: dB below its peak, a column a rule, a color a kind of damage."""
    known = rows("blindness-small.csv")
    rules = sorted({row["rule"] for row in known}, key=lambda rule: (not rule.startswith("default"), rule))
    damages = list(dict.fromkeys(row["damage"] for row in known))
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for number, damage in enumerate(damages):
        chosen = [row for row in known if row["damage"] == damage]
        places = [rules.index(row["rule"]) + SPREAD * (number - (len(damages) - 1) / 2) for row in chosen]
        axes.plot(places, [float(row["below"]) for row in chosen], "o", markersize=4, alpha=0.7, label=damage)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(rules)), rules, rotation=20, ha="right")
    axes.set_ylabel("dB below the peak of the same fit")
    axes.legend(frameon=False, fontsize="small", ncols=len(damages))
    figure.savefig(PICTURES / "stopping.png", dpi=120)
    plt.close(figure)


def race() -> None:
    """PSNR against seconds, a panel a picture; a line ends in the dot that the method hands out, blind."""
    known = rows("psnr_seconds.csv")
    pictures = list(dict.fromkeys(row["picture"] for row in known))
    if not pictures:
        return
    figure, every = plt.subplots(
        1, len(pictures), figsize=(4 * len(pictures), 3.6), squeeze=False, layout="constrained"
    )
    for axes, picture in zip(every[0], pictures, strict=True):
        of_picture = [row for row in known if row["picture"] == picture]
        for number, method in enumerate(dict.fromkeys(row["method"] for row in known)):
            chosen = [row for row in of_picture if row["method"] == method]
            if not chosen:
                continue
            seconds, psnr = ([float(row[name]) for row in chosen] for name in ("seconds", "psnr"))
            color = f"C{number}"
            label = "published, no stop" if method == "published" else method
            axes.plot(seconds, psnr, color=color, linewidth=1.4, label=label if len(chosen) > 1 else None)
            if method != "published":
                axes.plot(seconds[-1], psnr[-1], "o", color=color, label=None if len(chosen) > 1 else label)
        axes.set_xscale("log")
        axes.set_xlim(left=0.1)
        best = max(float(row["psnr"]) for row in of_picture)
        axes.set_ylim(best - 8, best + 0.5)
        axes.set_title(picture, fontsize="medium")
        axes.set_xlabel("seconds")
    every[0][0].set_ylabel("PSNR, dB")
    every[0][0].legend(frameon=False, fontsize="x-small", loc="lower right")
    figure.savefig(PICTURES / "speed.png", dpi=120)
    plt.close(figure)


def main() -> None:
    stopping()
    race()


if __name__ == "__main__":
    main()

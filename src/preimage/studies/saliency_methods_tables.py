"""The section of results.md of the ways to tell where a classifier looks: means, MIG-SG less each other one, its settings."""

from __future__ import annotations

from preimage.classifiers.model_file import TrainedModel
from preimage.studies.counterfactual_tables import differences
from preimage.studies.intervals import Interval
from preimage.studies.lesions import with_words
from preimage.studies.objects import described
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean, shown

MIG_SG = "mig-sg"
CHANCE, FACTOR = "chance", "factor"
CONTROLS = (CHANCE, FACTOR)
BETTER = {"insertion": 1, "deletion": -1, "deletion_to_blur": -1, "inside": 1, "own_place": 1}
"""Whether more of a number is better, or less."""
SHUFFLED = ("rank_of_shuffled", "ssim_of_shuffled")
TOLD = {
    "insertion": "insertion",
    "deletion": "deletion",
    "deletion_to_blur": "deletion to blur",
    "inside": "inside share",
    "inside_of_others": "under other masks",
    "own_place": "inside share less that",
    "rank_of_shuffled": "shuffled: rank",
    "ssim_of_shuffled": "shuffled: SSIM",
}


def section(study: Study, model: TrainedModel, settings: list[str]) -> str:
    """Everything that the rows tell."""
    rows = [row | {"own_place": above_others(row)} for row in study.rows()]
    parts = [
        f"{described(study, model)} Lesions: held out, told right, masks of 5 to 60 % of the area, asked of their own "
        "classifier. The class: the true one. All methods as `preimage saliency` has them: baseline blur where there is one, "
        "which favors them in insertion, for that begins with the same blur; MIG-SG with m = 50, N = 4, sigma 0.15, of which "
        "none is published. Controls: pixels by chance, and the factor |x - x0| alone. *Inside share*: of the saliency inside "
        "the lesion over its share of the area, 1 by chance; lesions are central, so the same stands beside it under masks "
        "of other lesions. *Shuffled*: likeness (size of the rank correlation, SSIM) to the map of the classifier with shuffled "
        "weights (Adebayo et al. 2018) on the first pictures, the lower the better. No published number stands beside these. "
        f"Sheets: `{study.name}-{study.scale}-objects-methods.png` and others. Rows: `{study.table.name}`."
    ]
    for name in dict.fromkeys(str(row["pictures"]) for row in rows):
        own = with_words(rows, pictures=name)
        ways = {way: with_words(own, way=way) for way in dict.fromkeys(str(row["way"]) for row in own)}
        parts += [f"### {name}, {len(ways.get(MIG_SG, []))} pictures", *of_pictures(ways, settings)]
    return "\n\n".join(parts)


def of_pictures(ways: dict[str, list[Row]], settings: list[str]) -> list[str]:
    """The tables of one collection."""
    methods = [way for way in ways if way not in settings]
    asked = [column for column in TOLD if any(row[column] != "" for own in ways.values() for row in own)]
    numbers = [column for column in asked if column in BETTER]
    varied = [way for way in settings if way in ways]
    few = {str(row["picture"]) for way in varied for row in ways[way]}
    same = {way: [row for row in ways.get(way, []) if str(row["picture"]) in few] for way in (MIG_SG, *varied) if few}
    return [
        means({way: ways[way] for way in methods}, asked),
        "MIG-SG less each other one, picture by picture, with 95 % bootstrap intervals, each for itself; and whether it is shown "
        "that MIG-SG is the better one.",
        compared(ways, MIG_SG, [way for way in methods if way != MIG_SG], numbers),
        f"MIG-SG with one setting changed, {len(few)} pictures; then each less the default, and whether it is better.",
        means(same, [column for column in asked if column not in SHUFFLED]),
        markdown_table(
            ["difference", *(TOLD[column] for column in numbers)],
            [[way, *(judged(same, way, MIG_SG, column) for column in numbers)] for way in varied],
        ),
    ]


def means(ways: dict[str, list[Row]], columns: list[str]) -> str:
    """A line for each way."""
    lines = [[way, *(shown(mean(own, column)) for column in columns)] for way, own in ways.items()]
    return markdown_table(["mean", *(TOLD[column] for column in columns)], lines)


def compared(ways: dict[str, list[Row]], first: str, others: list[str], columns: list[str]) -> str:
    """One way less each of some others."""
    lines = [[other, *(judged(ways, first, other, column) for column in columns)] for other in others]
    return markdown_table([f"{first} less", *(TOLD[column] for column in columns)], lines)


def judged(ways: dict[str, list[Row]], first: str, second: str, column: str) -> str:
    """The difference with its interval, and whether the first is better."""
    found = differences(ways, first, second, column)
    toward = found if BETTER[column] > 0 else Interval(-found.mean, -found.high, -found.low, found.count)
    return f"{found}: {toward.verdict()}"


def above_others(row: Row) -> float | str:
    """The inside share less that under other pictures' masks, empty where there is no mask."""
    own, others = row["inside"], row["inside_of_others"]
    return "" if "" in (own, others) else float(own) - float(others)

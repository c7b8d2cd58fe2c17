"""The section of results.md of the counterfactuals: means, paired differences, claims, class pairs, ABCD signs, stability."""

from __future__ import annotations

from preimage.classifiers.model_file import TrainedModel
from preimage.explain.abcd import Signs
from preimage.studies.intervals import Interval, interval_of, paired
from preimage.studies.lesions import described, with_words
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean, shown

NUMBERS = {
    "valid": "share valid",
    "confidence_after": "probability of the target",
    "inside_share": "**inside share**, 1 is chance",
    "inside_share_of_others": "the same under other pictures' masks",
    "own_place": "own over other masks",
    "transfer_reached": "share the second classifier follows",
    "transfer_gain": "**transfer**: its gain in the target's probability",
    "loss_before": "estimated loss before",
    "loss_after": "estimated loss after",
    "high_frequency_share": "high-frequency share",
    "l1": "L1",
    "l2": "L2",
    "ms_ssim": "MS-SSIM",
    "feature_distance": "feature distance, second classifier",
}
PAIRS = (("m", "plain"), ("m", "pixels"), ("m", "tv"))
SIGNS = tuple(Signs.__dataclass_fields__)
FEW = {
    "stability": "correlation of two seeds' changes",
    "stability_of_heat_maps": "of their heat maps",
    "randomized_rank_correlation": "rank correlation with the map of a randomized classifier",
    "randomized_similarity": "SSIM with it",
}


def section(study: Study, model: TrainedModel, titles: dict[str, str]) -> str:
    """Everything that the rows tell."""
    rows = [row | derived(row) for row in study.rows()]
    methods = {name: with_words(rows, method=name) for name in titles}
    methods = {name: own for name, own in methods.items() if own}
    parts = [
        f"{len(methods.get('m', []))} held-out lesions told right, masks of 5 to 60 % of the area, fast recipe; pixels start as "
        "the picture (rate 0.002, the same loss without M). The change is taken against the reconstruction without the class, of "
        f"pixels against the picture. {described(study, model)} Rows: `{study.table.name}`.",
        _means(methods, titles),
        "Paired differences, lesion by lesion, with 95 % bootstrap intervals.",
        _differences(methods, titles),
        _claims(methods),
        "### Class pairs",
        _class_pairs(methods, titles),
        "### ABCD signs",
        "Change of each sign by thresholding, counterfactual less reconstruction; melanoma should have more of each.",
        _signs(methods, titles),
        f"### Stability and sanity, {len(_few(methods.get('m', [])))} lesions",
        _few_table(methods, titles),
    ]
    return "\n\n".join(part for part in parts if part)


def differences(methods: dict[str, list[Row]], first: str, second: str, column: str) -> Interval:
    """Of a number, first less second, on the lesions that both have."""
    one, other = ({str(r["picture"]): _number(r[column]) for r in methods.get(name, [])} for name in (first, second))
    names = [name for name in one if name in other]
    return paired([one[name] for name in names], [other[name] for name in names])


def _means(methods: dict[str, list[Row]], titles: dict[str, str]) -> str:
    lines = [[told, *(shown(mean(own, column)) for own in methods.values())] for column, told in NUMBERS.items()]
    return markdown_table(["mean", *(titles[name] for name in methods)], lines)


def _differences(methods: dict[str, list[Row]], titles: dict[str, str]) -> str:
    lines = [
        [told, *(str(differences(methods, *pair, column)) for pair in PAIRS)]
        for column, told in NUMBERS.items()
        if column != "loss_before"
    ]
    return markdown_table(["difference", *(f"{titles[a]} less {titles[b]}" for a, b in PAIRS)], lines)


def _claims(methods: dict[str, list[Row]]) -> str:
    """Each claim of figure 4 as a number, and whether it is shown here."""
    lines = []
    for told, (first, second, column), sign in (
        ("with M the change is more inside the lesion than by plain DIP", ("m", "plain", "inside_share"), 1),
        ("and so against other pictures' masks", ("m", "plain", "own_place"), 1),
        ("with M a second classifier follows more", ("m", "plain", "transfer_gain"), 1),
        ("with M the estimated loss is lower", ("m", "plain", "loss_after"), -1),
        ("with M the change is smoother", ("m", "plain", "high_frequency_share"), -1),
        ("with M the change is more inside than an adversarial one", ("m", "pixels", "inside_share"), 1),
        ("with M a second classifier follows more than an adversarial change", ("m", "pixels", "transfer_gain"), 1),
    ):
        found = differences(methods, first, second, column)
        toward = found if sign > 0 else Interval(-found.mean, -found.high, -found.low, found.count)
        lines.append([told, str(found), toward.verdict()])
    alone = interval_of([_number(row["inside_share"]) - 1 for row in methods.get("plain", [])])
    lines.append(
        ["plain DIP changes irrelevant pixels: its inside share is no more than chance", str(alone), alone.at_most()]
    )
    return markdown_table(
        ["what Narayanaswamy et al. 2021 (figure 4) claim, as numbers", "measured difference", "holds here"], lines
    )


def _class_pairs(methods: dict[str, list[Row]], titles: dict[str, str]) -> str:
    kinds = sorted({(str(row["diagnosis"]), str(row["target"])) for own in methods.values() for row in own})
    header = ["from, to", "lesions"]
    for name in ("plain", "m"):
        header += [f"{titles[name]}: valid", "inside share", "transfer"]
    lines = []
    for diagnosis, target in kinds:
        line: list[object] = [f"{diagnosis} to {target}"]
        for name in ("plain", "m"):
            own = with_words(methods.get(name, []), diagnosis=diagnosis, target=target)
            line += [len(own)] if len(line) == 1 else []
            line += [shown(mean(own, column)) for column in ("valid", "inside_share", "transfer_gain")]
        lines.append(line)
    return markdown_table(header, lines)


def _signs(methods: dict[str, list[Row]], titles: dict[str, str]) -> str:
    """Toward melanoma and away from it, for each method."""
    lines = []
    for name, own in methods.items():
        for told, some in (
            ("to mel", [row for row in own if row["target"] == "mel"]),
            ("from mel", [row for row in own if row["diagnosis"] == "mel"]),
        ):
            changes = [
                interval_of([_number(r[f"{s}_after"]) - _number(r[f"{s}_reconstruction"]) for r in some]) for s in SIGNS
            ]
            if some:
                lines.append([titles[name], f"{told}, {len(some)}", *map(str, changes)])
    header = ["", "lesions", *(sign.replace("_", " ") for sign in SIGNS)]
    return markdown_table(header, lines) if lines else "No lesion was asked to be a melanoma or was one."


def _few(own: list[Row]) -> list[Row]:
    return [row for row in own if row["stability"] != ""]


def _few_table(methods: dict[str, list[Row]], titles: dict[str, str]) -> str:
    measured = {name: few for name, own in methods.items() if (few := _few(own))}
    lines = [[told, *(shown(mean(few, column)) for few in measured.values())] for column, told in FEW.items()]
    return markdown_table(["mean", *(titles[name] for name in measured)], lines)


def derived(row: Row) -> dict[str, float]:
    """What follows from a row: the place against other masks, and the gain of the second classifier."""
    own, others, before, after = (
        _number(row[column])
        for column in ("inside_share", "inside_share_of_others", "transfer_before", "transfer_after")
    )
    return {"own_place": own / others if others else float("nan"), "transfer_gain": after - before}


def _number(value: object) -> float:
    return float("nan") if value == "" else float(value)  # pyright: ignore[reportArgumentType]

"""MIG-SG beside other saliency methods, by number (Kattamis et al. 2019, figure 4)."""

import time
from dataclasses import dataclass
from typing import Any, get_args

import torch

from preimage.classifiers import Classifier
from preimage.defend.attribution import saliency_map
from preimage.defend.faithfulness import deletion, insertion
from preimage.defend.saliency import Method, SaliencyOptions
from preimage.explain.quality import randomized, sanity
from preimage.explain.similarity import inside_share, inside_share_of_others
from preimage.figures.saliency import overlay
from studies.harness import Measured, Run, Study, by_scale, classifiers, figures, lesions, tables
from studies.saliency_over_steps import factor

COUNT = by_scale(2, 24, 200)
FEW = by_scale(1, 8, 40)  # of these the settings are varied, and the weights shuffled
SHOWN = by_scale(1, 6, 6)  # of these a figure is drawn
CURVE = by_scale(5, 25, 50)  # steps of insertion and deletion
MIG_SG, CHANCE, FACTOR = "mig-sg", "chance", "factor"
METHODS, CONTROLS = get_args(Method), (CHANCE, FACTOR)
# Each differs from the defaults of MIG-SG (blur, N = 4, sigma 0.15) in one thing.
SETTINGS: dict[str, dict[str, Any]] = {f"baseline {name}": {"baseline": name} for name in ("black", "mean")}
SETTINGS |= {f"N {count}": {"n_samples": count} for count in (1, 8)}
SETTINGS |= {f"sigma {sigma:g}": {"sigma": sigma} for sigma in (0.0, 0.05, 0.3)}
# Whether more of a number is better, or less.
BETTER = {"insertion": 1, "deletion": -1, "deletion_to_blur": -1, "inside": 1, "own_place": 1}
SHUFFLED = {"rank_of_shuffled": "shuffled: rank", "ssim_of_shuffled": "shuffled: SSIM"}
TITLES = {"insertion": "insertion", "deletion": "deletion", "deletion_to_blur": "deletion to blur"}
TITLES |= {"inside": "inside share", "inside_of_others": "under other masks", "own_place": "inside share less that"}
TITLES |= SHUFFLED | {"seconds": "seconds"}


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture (1, 3, h, w), its place among the others, its class, and the mask (h, w) of a lesion."""

    picture: torch.Tensor
    place: int
    label: int
    mask: torch.Tensor | None = None


def classifier_of(run: Run, collection: str) -> Classifier:
    if collection == "lesions":
        return classifiers.classifier(run, "lesions").classifier
    return run.once(classifiers.subject, "tiny_imagenet10", COUNT[run.scale])[0]


def subjects(run: Run, collection: str) -> dict[str, Subject]:
    if collection == "lesions":
        index = classifier_of(run, collection).class_index
        some = lesions.numbered(run, COUNT[run.scale], judged=True)
        return {name: Subject(x.picture, k, index(x.diagnosis), x.mask) for name, (k, x) in some.items()}
    pictures = run.once(classifiers.subject, "tiny_imagenet10", COUNT[run.scale])[1]
    each = zip(pictures.numbers, pictures.images.split(1), pictures.labels.tolist(), strict=True)
    return {str(number): Subject(x, k, label) for k, (number, x, label) in enumerate(each)}


def unlearned(run: Run, collection: str) -> Classifier:
    some = list(run.once(subjects, collection).values())[: FEW[run.scale]]
    classifier = classifier_of(run, collection)
    return randomized(classifier, torch.cat([each.picture for each in some]).to(classifier.mean.device))


def measure(run: Run, collection: str, name: str, way: str):
    every, classifier, steps = run.once(subjects, collection), classifier_of(run, collection), CURVE[run.scale]
    subject, begin = every[name], time.perf_counter()
    found = map_of(subject, way, classifier)
    seconds = time.perf_counter() - begin
    judged = (classifier, subject.picture, found, subject.label)
    row: dict[str, Any] = {f.__name__: float(f(*judged, steps=steps).area) for f in (insertion, deletion)}
    row["deletion_to_blur"] = float(deletion(*judged, to="blur", steps=steps).area)
    row |= place_of(found, subject, every) | dict.fromkeys(SHUFFLED, "") | {"seconds": seconds}
    if way in METHODS and subject.place < FEW[run.scale]:
        checked = sanity(found, map_of(subject, way, run.once(unlearned, collection)))
        row |= dict(zip(SHUFFLED, (float(checked.rank_correlation), float(checked.similarity)), strict=True))
    if subject.place < SHOWN[run.scale]:
        figures.keep_picture(subject.picture, run.figure(collection, name, "input"))
        figures.keep_picture(overlay(subject.picture[0], found[0])[None], run.figure(collection, name, way))
    return row


def map_of(subject: Subject, way: str, classifier: Classifier) -> torch.Tensor:
    """The map of a picture in one way, (1, 1, h, w), at least 0."""
    if way == FACTOR:
        return factor(subject.picture)
    if way == CHANCE:
        generator = torch.Generator().manual_seed(subject.place)
        return torch.rand(1, 1, *subject.picture.shape[-2:], generator=generator)
    method: Any = MIG_SG if way in SETTINGS else way
    options = SaliencyOptions(classifier, subject.label, method, **SETTINGS.get(way, {}))
    return saliency_map(subject.picture, options).map


def place_of(found: torch.Tensor, subject: Subject, every: dict[str, Subject]) -> dict[str, float | str]:
    """Share of the saliency inside the mask over its share of the area, 1 by chance; the same under other pictures' masks."""
    if subject.mask is None:
        return {"inside": "", "inside_of_others": ""}
    others = [each.mask for each in every.values() if each is not subject and each.mask is not None]
    size = found.sqrt()  # these count squares, and a map is a sum of sizes already
    inside = float(inside_share(size, subject.mask))
    return {"inside": inside, "inside_of_others": float(inside_share_of_others(size, others))}


def values(run: Run):
    parts = {}
    for name, rows in tables.grouped(run.rows(), "pictures").items():
        places = ["" if row["inside"] == "" else row["inside"] - row["inside_of_others"] for row in rows]
        rows = [row | {"own_place": place} for row, place in zip(rows, places, strict=True)]
        ways = tables.grouped(rows, "way")
        parts[f"{name}, {len(ways[MIG_SG])} pictures"] = "\n\n".join(of_pictures(ways))
    return {"classifier": classifiers.described(run, "tiny_imagenet10"), "tables": tables.titled(parts)}


def of_pictures(ways) -> list[str]:
    methods = [way for way in (*METHODS, *CONTROLS) if way in ways]
    varied = [way for way in SETTINGS if way in ways]
    known = [column for column in TITLES if any(row[column] != "" for own in ways.values() for row in own)]
    judged = [column for column in known if column in BETTER]
    few = {row["picture"] for way in varied for row in ways[way]}
    same = {way: [row for row in ways[way] if row["picture"] in few] for way in (MIG_SG, *varied)}

    def means(groups, columns) -> str:
        return tables.table({"mean": "way"} | {TITLES[c]: f"{c}:.3g" for c in columns}, groups)

    def differences(heading: str, pairs) -> str:
        lines = [[way, *(better(first, second, column) for column in judged)] for way, first, second in pairs]
        return tables.markdown([heading, *(TITLES[column] for column in judged)], lines)

    return [
        means([ways[way] for way in methods], known),
        "MIG-SG less each other one, picture by picture, with 95 % bootstrap intervals, each for itself; and whether it is shown "
        "that MIG-SG is the better one.",
        differences(f"{MIG_SG} less", [(way, ways[MIG_SG], ways[way]) for way in methods if way != MIG_SG]),
        f"MIG-SG with one setting changed, {len(few)} pictures; then each less the default, and whether it is better.",
        means(same.values(), [column for column in known if column not in SHUFFLED]),
        differences("difference", [(way, same[way], same[MIG_SG]) for way in varied]),
    ]


def better(first, second, column: str) -> str:
    found = tables.difference(first, second, column)
    return f"{found}: {(found if BETTER[column] > 0 else -found).verdict()}"


def draw(run: Run):
    """As figure 4: a row for each picture, the picture and then its map by each method."""
    for collection, rows in tables.grouped(run.rows(), "pictures").items():
        names = list(map(str, tables.grouped(rows, "picture")))[: SHOWN[run.scale]]
        for title, ways in (("methods", ["input", *METHODS, *CONTROLS]), ("settings", ["input", MIG_SG, *SETTINGS])):
            files = [[run.figure(collection, name, way) for way in ways] for name in names]
            figures.save_sheet(names, ways, files, run.figure(collection, title))


def cases(run: Run):
    for collection in ("objects", "lesions"):
        for name, subject in run.once(subjects, collection).items():
            ways = (*METHODS, *CONTROLS, *(SETTINGS if subject.place < FEW[run.scale] else ()))
            yield from ((collection, name, way) for way in ways)


STUDY = Study(Measured(("pictures", "picture", "way"), cases, measure), values, draw)

"""Defence: seconds of purifying a picture of 32 x 32, fast recipe and published one, members at once and one by one.

python -m benchmarks.defence             # noise for pictures: time does not hang on what is seen
python -m benchmarks.defence --tune      # accuracy of the fast recipe after 10 to 200 steps, on training pictures of CIFAR-10
python -m benchmarks.defence --tune 64   # the same of objects of 64 x 64; or 160: of lesions of 160 x 120

It runs where fits run. Of each recipe the first steps and then some more (STEPS) are timed, the median of REPEATS, and all its
steps projected; rows are appended to docs/results/defence_seconds.csv. Tuning asks for pictures that the classifier has not
learned from and that no study shows: those of the training part by which its training was stopped. It goes on from
docs/results/defence_tuning-small.csv, or defence_tuning_64-small.csv and so on: remove that file where a recipe or the
classifier is another.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from preimage.classifiers.labelled import TRAIN, VALIDATION_SHARE
from preimage.defend.purification import FAST, PAPER
from preimage.defend.threat import NONE
from preimage.engine.devices import choose_device
from preimage.engine.recipe import Recipe
from studies.defence.several_steps import early_outputs
from studies.harness.attacked import CLEAN, THIN, Condition, classified, classified_early
from studies.harness.classifiers import classifier, correctly_classified, labelled
from studies.harness.rows import Row, append_rows
from studies.harness.stats import interval_of, paired
from studies.harness.study import Run

SECONDS = Path("docs/results/defence_seconds.csv")
SIDE, REPEATS = 32, 3
# The first steps and those after which time is taken again; on a GPU the first ones are slow, until a step is recorded.
STEPS = {"cpu": (1, 11), "cuda": (10, 60)}
MEMBERS = (1, 8, 32, 64)
RECIPES = {"fast": FAST, "16 channels": THIN, "128 channels": PAPER}
CONDITIONS = (CLEAN, Condition("fgsm", 10), Condition("bi", 10), Condition("llci", 10))
LOOKS: dict[str, Sequence[int]] = {
    NONE: (0,),
    "fast": (10, 15, 20, 25, 30, 35, 40, 50, *range(60, 201, 20)),
    "16 channels": (100, 200, 300, 500, 750, 1000),
}


# ---------------------------------------------------------------------- seconds


def seconds(recipe: Recipe, members: int) -> float:
    """Of all steps of the recipe for one picture, of so many that are fitted at once."""
    device = choose_device("auto")
    pictures = torch.rand(members, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    few, many = STEPS.get(device.type, STEPS["cuda"])

    def of_steps(steps: int) -> float:
        begin = time.perf_counter()
        early_outputs(pictures, [steps], recipe=recipe)[0].cpu()  # which waits for a GPU
        return time.perf_counter() - begin

    of_steps(few + 1)
    first, more = (statistics.median(of_steps(steps) for _ in range(REPEATS)) for steps in (few, many))
    return (first + (more - first) / (many - few) * (recipe.steps - few)) / members


def timed() -> list[Row]:
    """A row for each recipe and number of members; of the widest one a few members are enough, which are done in turn."""
    rows = []
    for name, recipe in RECIPES.items():
        for members in MEMBERS if name != "128 channels" else MEMBERS[:2]:
            took = seconds(recipe, members)
            alone = (
                took if members == 1 else next(r["seconds"] for r in rows if (r["recipe"], r["members"]) == (name, 1))
            )
            row = {"recipe": name, "steps": recipe.steps, "members": members, "seconds": took}
            row |= {"pictures_per_minute": 60 / took, "gain_over_one_by_one": alone / took}
            rows.append(row | {"device": choose_device("auto").type, "threads": torch.get_num_threads()})
    return rows


def show_seconds(console: Console, rows: list[Row]) -> None:
    table = Table("recipe", "steps", "members", "seconds a picture", "pictures a minute", "one by one / at once")
    for row in rows:
        numbers = (f"{row['seconds']:.3f}", f"{row['pictures_per_minute']:.1f}", f"{row['gain_over_one_by_one']:.2f}")
        table.add_row(row["recipe"], str(row["steps"]), str(row["members"]), *numbers)
    console.print(table)
    quickest = {name: min(row["seconds"] for row in rows if row["recipe"] == name) for name in RECIPES}
    for name in ("16 channels", "128 channels"):
        console.print(f"fast takes {quickest['fast'] / quickest[name]:.3f} of the time of {name}")


# ---------------------------------------------------------------------- the number of steps


@dataclass(frozen=True)
class Subject:
    """What steps are tuned on: a classifier and its pictures, how many, when they are classified."""

    classifier: str
    count: int
    looks: dict[str, Sequence[int]]


SPLIT_SEED = 0  # of the part of the training pictures by which those trainings were stopped
OTHER_LOOKS: dict[str, Sequence[int]] = {NONE: (0,), "fast": (*range(10, 61, 10), *range(80, 201, 20))}
SUBJECTS = {
    "": Subject("cifar10", 48, LOOKS),
    "_64": Subject("tiny_imagenet10", 32, OTHER_LOOKS),
    "_160": Subject("lesions", 16, OTHER_LOOKS),
}


def tuned(run: Run, subject: Subject) -> list[Row]:
    """The rows of the table, those that are not there worked out first: a recipe, number of steps, attack and picture each."""
    validation = labelled(run, subject.classifier).part(TRAIN).split(VALIDATION_SHARE, SPLIT_SEED)[1]
    model = classifier(run, subject.classifier).classifier
    pictures = correctly_classified(validation.pictures.float() / 255, validation.labels, model, subject.count)
    done = {(row["recipe"], row["steps"], row["attack"], row["picture"]) for row in run.rows()}
    for condition in CONDITIONS:
        given = condition.of(model, pictures)
        for name, looks in subject.looks.items():
            if {(name, at, condition.attack, number) for at in looks for number in pictures.numbers} <= done:
                continue
            if name == NONE:
                confidence, right = (values[None] for values in classified(model, given, pictures.labels))
            else:
                confidence, right = classified_early(model, given, pictures.labels, RECIPES[name], looks)
            for i, at in enumerate(looks):
                for k, number in enumerate(pictures.numbers):
                    if (name, at, condition.attack, number) not in done:
                        row = {"recipe": name, "steps": at, "attack": condition.attack, "eps": condition.eps}
                        row |= {"picture": number, "right": int(right[i, k]), "confidence": float(confidence[i, k])}
                        append_rows(run.table(), [row])
    return run.rows()


def show_tuning(console: Console, rows: list[Row]) -> None:
    """Accuracy in points for each recipe and look, and what the fast recipe loses against the published one at 750 steps."""
    attacks = [condition.attack for condition in CONDITIONS[1:]]
    against = points(rows, "16 channels", 750, attacks)
    table = Table("recipe", "steps", *map(str, CONDITIONS), "mean under attack", "less than 16 channels, 750 steps")
    for name, at in dict.fromkeys((row["recipe"], row["steps"]) for row in rows):
        each = [interval_of(points(rows, name, at, [condition.attack])).mean for condition in CONDITIONS]
        attacked = points(rows, name, at, attacks)
        shown = [f"{value:.0f}" for value in (*each, interval_of(attacked).mean)]
        table.add_row(name, str(at), *shown, str(paired(against, attacked)) if against else "")
    console.print(table)


def points(rows: list[Row], name: str, at: int, attacks: list[str]) -> list[float]:
    """Of each picture the points, 0 to 100, over some attacks."""
    some = [row for row in rows if (row["recipe"], row["steps"]) == (name, at) and row["attack"] in attacks]
    pictures = dict.fromkeys(row["picture"] for row in some)
    return [100 * sum(row["right"] for row in some if row["picture"] == number) / len(attacks) for number in pictures]


def main() -> None:
    console = Console()
    if "--tune" in sys.argv:
        name = "".join(f"_{side}" for side in sys.argv[sys.argv.index("--tune") + 1 :])
        if name not in SUBJECTS:
            raise SystemExit(
                f"--tune takes {' or '.join(key.strip('_') for key in SUBJECTS if key)}, or nothing; got {name[1:]}"
            )
        show_tuning(console, tuned(Run(f"defence_tuning{name}", "small"), SUBJECTS[name]))
    else:
        rows = timed()
        append_rows(SECONDS, rows)
        show_seconds(console, rows)


if __name__ == "__main__":
    main()

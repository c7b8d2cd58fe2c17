"""What the defence table says at scale imagenet: tables 1 and 2 of Kattamis et al. 2019 beside ours, and which claims hold."""

import math
from collections.abc import Sequence

import numpy as np

from preimage.defend.table import wilson
from preimage.defend.threat import NONE, UNATTACKED, Threat
from studies.defence.accuracies import PUBLISHED, Accuracies, titled
from studies.harness import Run, classifiers, stats, tables
from studies.harness.classifiers import SEED
from studies.harness.defences import FASTEST, RESIZING, UNAWARE, WIDE, Plan, ended
from studies.harness.rows import Row, read_rows

# Adversarial training, accuracy in %: name, pictures, eps in 1/255, of the pictures as they are, attacked, and by what.
NEIGHBORS = (
    ("Wong, Rice, Kolter 2020, ResNet-18 (as RobustBench lists it)", "CIFAR-10", 8, 83.34, 43.21, "AutoAttack"),
    ("Salman et al. 2020, ResNet-18 (as RobustBench lists it)", "ImageNet", 4, 52.92, 25.32, "AutoAttack"),
)
OURS = "cifar10-robust"  # of the table of classifiers at scale small


def values(run: Run, plan: Plan):
    rows, names = run.rows(), list(plan.defences(few=True))
    found = {"classifier": classifiers.described(run, ""), "fast_steps": plan.fast.steps, "plan": plan}
    found |= {"steps": ", ".join(map(str, plan.steps)), "neighbors": neighbors(run)}
    nothing = tables.unmeasured(run)
    if not rows:
        return found | dict.fromkeys(("accuracies", "adaptive", "draws", "claims"), nothing)
    measured = Accuracies(rows)
    return found | {
        "accuracies": accuracies(measured, plan, names),
        "adaptive": adaptive(measured, plan, names) or nothing,
        "draws": draws(rows, plan) or nothing,
        "claims": claims(measured, plan),
    }


def proportion(points: Sequence[float]) -> str:
    """The mean of points that are 0 or 100, with Wilson's interval; "" of none."""
    if not points:
        return ""
    low, high = wilson(sum(point > 50 for point in points), len(points))
    return f"{sum(points) / len(points):.0f} ({100 * low:.0f} to {100 * high:.0f})"


def printed(plan: Plan, name: str, threats: Sequence[Threat]) -> str:
    """The mean of what is published for a column; "" where something of it is not."""
    columns = (NONE, RESIZING, *(ended(WIDE, steps) for steps in plan.steps))
    own = [PUBLISHED[threat][columns.index(name)] if name in columns else math.nan for threat in threats]
    return "" if any(map(math.isnan, own)) else f"{sum(own) / len(own):.1f}"


def beside(ours: str, published: str) -> str:
    return f"{ours or '-'} / {published}" if published else ours


def accuracies(measured: Accuracies, plan: Plan, names: Sequence[str]) -> str:
    """Tables 1 and 2: a line for each attack, a column for each defence, ours / published, and averages."""
    lines = [["pictures", *(str(measured.reach(name, [UNATTACKED])) for name in names)]]
    for threat in (UNATTACKED, *UNAWARE):
        own = [proportion(measured.right(name, [threat], measured.reach(name, [threat]))) for name in names]
        lines.append(
            [titled(threat), *(beside(o, printed(plan, name, [threat])) for o, name in zip(own, names, strict=True))]
        )
    for title, threats in (("average, FGSM", UNAWARE[:3]), ("average, all five", UNAWARE)):
        own = [measured.accuracy(name, threats, measured.reach(name, threats)) for name in names]
        shown = ["" if math.isnan(each.mean) else each.shown(".0f") for each in own]
        lines.append([title, *(beside(o, printed(plan, name, threats)) for o, name in zip(shown, names, strict=True))])
    return tables.markdown(["", *names], lines)


def adaptive(measured: Accuracies, plan: Plan, names: Sequence[str]) -> str:
    """On the pictures that an attacker of the defence was measured on, with the unaware attackers of the same strength."""
    aware = [threat for threat in plan.adaptive if measured.reach(FASTEST, [threat])]
    count = min((measured.reach(FASTEST, [threat]) for threat in aware), default=0)
    threats = (UNATTACKED, *plan.under, *aware) if count else ()
    lines = [[titled(t), *(proportion(measured.right(name, [t], count)) for name in names)] for t in threats]
    return tables.markdown([f"{count} pictures", *names], lines) if lines else ""


def draws(rows: Sequence[Row], plan: Plan) -> str:
    """Of random defences: the accuracy of a single draw, and that left when an attacker asks until one draw is wrong."""
    seeds, lines = sorted({row["seed"] for row in rows}), []
    by_seed = [Accuracies(rows, seed=seed) for seed in seeds if seed >= SEED]
    for name in plan.drawn():
        for threat in (UNATTACKED, *plan.under):
            known = [(each, reach) for each in by_seed if (reach := each.reach(name, [threat]))]
            count = min((reach for _, reach in known), default=0)
            if len(known) < 2:
                continue
            right = np.array([each.right(name, [threat], count) for each, _ in known])
            one = stats.interval_of(right.mean(0)).shown(".0f")
            several = [proportion(list(of(0))) for of in (right.min, right.max)]
            lines.append([name, titled(threat), count, len(known), one, *several])
    header = ["", "attack", "pictures", "draws", "one draw", "right in every draw", "right in some draw"]
    return tables.markdown(header, lines) if lines else ""


def claims(measured: Accuracies, plan: Plan) -> str:
    """Each claim of the tables as a difference in points on the same pictures, and whether it holds here."""
    lines = []

    def add(claim: str, name: str, over: str, threats: Sequence[Threat], least: float = 0.0, most: float | None = None):
        count = min(measured.reach(each, threats) for each in (name, over))
        found = tables.Claim(claim, measured.gain(name, over, threats, count), least, most)
        lines.append([claim, count, found.measured, found.verdict])

    for steps in plan.steps:
        for threat in plan.under:
            add(f"published, {steps} steps: above no defence, {titled(threat)}", ended(WIDE, steps), NONE, [threat])
        add(f"published, {steps} steps: above random resizing, FGSM 10", ended(WIDE, steps), RESIZING, [plan.under[0]])
    first, _, last = (ended(WIDE, steps) for steps in plan.steps)
    add("published: more steps keep more of unattacked pictures", last, first, [UNATTACKED])
    for threat in UNAWARE[2:]:
        add(f"fast: at least 15 above no defence, {titled(threat)}", FASTEST, NONE, [threat], 15.0)
    add("fast: at least 30 above no defence, mean at eps 10", FASTEST, NONE, UNAWARE[2:], 30.0)
    add("fast: above random resizing, mean of all five", FASTEST, RESIZING, UNAWARE)
    add(
        "fast: loses at most 5 to the published network, mean",
        ended(WIDE, plan.steps[1]),
        FASTEST,
        plan.under,
        most=5.0,
    )
    for threat in plan.adaptive:
        add(f"fast: above no defence, {titled(threat)}", FASTEST, NONE, [threat])
    return tables.markdown(["claim", "pictures", "points", "holds here"], lines)


def neighbors(run: Run) -> str:
    """Adversarially trained classifiers, ours and published ones."""
    ours = read_rows(run.folder / "results" / "classifiers-small.csv", classifier=OURS)
    lines = [
        ["ours, a thin ResNet-18", "CIFAR-10", row["eps"], 100 * row["accuracy"], 100 * row["robust"], row["attack"]]
        for row in ours
    ]
    header = ["adversarially trained", "pictures", "eps", "as they are", "attacked", "by"]
    return tables.markdown(header, [*lines, *NEIGHBORS])

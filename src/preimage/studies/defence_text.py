"""The section of results.md of `defence_table`: accuracies, the published ones, the claims as paired differences, detection."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from preimage.defend.inspection import false_alarm_threshold
from preimage.defend.table import Row as TableRow
from preimage.defend.threat import NONE, Threat
from preimage.defend.threat import UNATTACKED as CLEAN
from preimage.defend.thresholds import FALSE_ALARMS
from preimage.studies.cifar import SEED
from preimage.studies.defence_plan import FASTEST, RESIZING, STRONGEST, UNAWARE, Plan, ended
from preimage.studies.intervals import Interval, auroc_gain, interval_of, paired, wins
from preimage.studies.scales import Row, Study, markdown_table

GAIN, LEAST_GAIN = 30.0, 15.0  # points above no defence at eps 10: of the mean, and of each attack
LOSS = 5.0  # points that the fast recipe may lose
AT_STRONGEST = tuple(threat for threat in UNAWARE if threat.eps == STRONGEST)
# Kattamis, Adel, Weller 2019, tables 1 and 2, top-1 in %; NaN where nothing is printed.
PUBLISHED_COLUMNS = ("none", "random resizing and padding", "500 steps", "750 steps", "1000 steps")
PUBLISHED: dict[Threat, tuple[float, ...]] = {
    CLEAN: (math.nan, math.nan, 67.5, 75.3, 79.6),
    Threat("fgsm", 2): (21.7, 65.1, 66.2, 73.1, 75.1),
    Threat("fgsm", 5): (3.5, 54.5, 61.2, 69.0, 70.1),
    Threat("fgsm", 10): (2.6, 52.4, 58.4, 62.9, 59.9),
    Threat("bi", 10): (0.2, math.nan, 61.8, 66.2, 69.2),
    Threat("llci", 10): (1.1, math.nan, 64.2, 73.5, 78.5),
}


class Measured:
    """What the rows of `evaluate_defence` say of this classifier and these defences.

    Args:
        rows: of the table, also of other classifiers and settings.
        classifier: the fingerprint of this one.
        settings: of each defence that is meant, by its name.
        count: pictures.
    """

    def __init__(self, rows: Sequence[TableRow], classifier: str, settings: dict[str, str], count: int) -> None:
        self.count = count
        self._found: dict[tuple[str, ...], dict[int, TableRow]] = {}
        for row in rows:
            own = row["classifier"] == classifier and row["seed"] == str(SEED) and row["averaged"] == "1"
            if own and settings.get(row["defence"]) == row["settings"] and int(row["number"]) < count:
                key = row["defence"], row["attack"], row["eps"], row["steps"], row["samples"], row["knows_seed"]
                self._found.setdefault(key, {})[int(row["number"])] = row

    def of(self, defence: str, threat: Threat) -> dict[int, TableRow]:
        """The rows of a defence under an attack, by the number of the picture."""
        adaptive = threat.name == "bpda-eot"
        steps = "" if threat.steps is None else str(threat.steps)
        samples, known = (str(threat.samples), "yes" if threat.knows_seed else "no") if adaptive else ("", "")
        return self._found.get((defence, threat.name, f"{threat.eps:g}", steps, samples, known), {})

    def right(self, defence: str, threats: Sequence[Threat], count: int) -> list[float]:
        """Of each of the first pictures the points (0 to 100) that a defence scores, over attacks; none where one is missing."""
        rows = [self.of(defence, threat) for threat in threats]
        if any(k not in some for some in rows for k in range(count)):
            return []
        return [100 * statistics.fmean(int(some[k]["correct"]) for some in rows) for k in range(count)]

    def accuracy(self, defence: str, threats: Sequence[Threat], count: int) -> Interval:
        """In points, with its interval over pictures."""
        return interval_of(self.right(defence, threats, count))

    def gain(self, defence: str, over: str, threats: Sequence[Threat], count: int) -> Interval:
        """In points, picture by picture, the mean over attacks."""
        first, second = (self.right(name, threats, count) for name in (defence, over))
        return paired(first, second) if len(first) == len(second) else interval_of([])


class Detection:
    """How well the disagreement of an inspection tells attacked pictures from the same ones as they are."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def auroc(self, threat: Threat) -> Interval:
        """With its interval over pictures; 0.5 is chance."""
        strange, usual = self._scores(threat), self._scores(CLEAN)
        common = [picture for picture in strange if picture in usual]
        if not common:
            return interval_of([])
        won = wins([strange[k] for k in common], [usual[k] for k in common])
        found = auroc_gain(won, np.zeros_like(won), same_pictures=True)
        return Interval(found.mean, found.low, found.high, len(common))

    def told(self, threat: Threat) -> float:
        """The share above the threshold that a few false alarms stand for; NaN of none."""
        strange, usual = self._scores(threat), self._scores(CLEAN)
        if not strange or not usual:
            return math.nan
        bound = false_alarm_threshold(list(usual.values()), FALSE_ALARMS)
        return float(np.mean([score > bound for score in strange.values()]))

    def _scores(self, threat: Threat) -> dict[int, float]:
        eps, some = threat.eps, [row for row in self.rows if row["attack"] == threat.name]
        return {int(row["picture"]): float(row["score"]) for row in some if float(row["eps"]) == eps}


# ---------------------------------------------------------------------- the section


def section(study: Study, plan: Plan, measured: Measured, detection: dict[int, Detection], scores: str) -> str:
    """Everything that the rows tell."""
    few = min(plan.few, measured.count)
    parts = [
        f"{measured.count} {described(study)}, which the classifier tells right; eps in 1/255, top-1 accuracy in %. *fast* is "
        f"the library's own recipe ({plan.fast.steps} steps); the others are published ones after "
        f"{', '.join(map(str, plan.steps))} steps, out of one fit. Unaware attackers attack the bare classifier. Averages are "
        "those of the five attacks, the same rows for every column, with 95 % bootstrap intervals over pictures. Rows: "
        f"`{study.table.name}`, `{scores}`.",
        _accuracies(plan, measured, few=False),
        f"### Attackers who know of the defence, the first {few} pictures",
        f"BPDA and EOT: {plan.attacker_steps} steps, {plan.samples} cleanings a step; who knows the seed sees the very cleaning "
        "that will judge. Against *none* both are PGD. *prior*: a perturbation that is itself the output of a deep image prior, "
        "made without a look at the defence. Where nothing stands it was not measured, for its cost.",
        _accuracies(plan, measured, few=True),
        "### As published",
        "Kattamis, Adel, Weller 2019, tables 1 and 2: 500 pictures of ImageNet, ResNet-18. The average that is printed for "
        "random resizing, 57.3, is of the three FGSM rows alone; here each average names its rows, and is worked out anew.",
        _published(),
        "### What is claimed, and holds here",
        f"Points above no defence at eps {STRONGEST:g} (at least {GAIN:g} on the mean, {LEAST_GAIN:g} for each attack), and "
        "above random resizing and padding over all five attacks; it holds where the whole interval does. All against unaware "
        "attackers: what one who knows leaves of it stands above.",
        _claims(plan, measured, few),
        "### The fast recipe against the published one",
        f"At {plan.middle} published steps: points that fast loses over the five attacks, at most {LOSS:g} at the upper "
        "end of the interval (negative: it gains). What it takes of the time stands in `defence_seconds.csv`, by `python -m "
        "benchmarks.defence` on an idle machine.",
        _fast(plan, measured, few),
        "### Detection",
        "AUROC of the disagreement between a picture and its early outputs under the fast recipe, attacked pictures against the "
        "same ones as they are, with 95 % intervals, by its steps; who knows of the purification (of as many steps) did "
        f"not know of this score. *Told*: the share above the threshold that {FALSE_ALARMS:.0%} of the clean ones exceed.",
        _detection(plan, detection),
    ]
    return "\n\n".join(parts)


def described(study: Study) -> str:
    """Which pictures, in words."""
    return {
        "smoke": "generated pictures under a classifier that has learned nothing",
        "small": "test pictures of CIFAR-10 (32 x 32; the published ones are of ImageNet, 224 x 224)",
        "paper": "pictures of ImageNet (ResNet-18)",
    }[study.scale]


def titled(threat: Threat) -> str:
    """How a row is called."""
    if threat.name == NONE:
        return "as they are"
    known = " seed known" if threat.knows_seed else ""
    return f"{threat.name.upper().replace('-', '+').replace('PRIOR', 'prior')} {threat.eps:g}{known}"


def _accuracies(plan: Plan, measured: Measured, *, few: bool) -> str:
    names = list(plan.defences(few=few))
    count = min(plan.few, measured.count) if few else measured.count
    threats = plan.threats if few else (CLEAN, *UNAWARE)
    lines = [
        [titled(threat), *(_points(measured.accuracy(name, [threat], count).mean) for name in names)]
        for threat in threats
    ]
    averages = [measured.accuracy(name, UNAWARE, count) for name in names]
    lines.insert(1 + len(UNAWARE), ["**average**", *(_with_ends(found) for found in averages)])
    return markdown_table(["", *names], lines)


def _points(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _with_ends(found: Interval) -> str:
    return _points(found.mean) + ("" if math.isnan(found.low) else f" ({found.low:.0f} to {found.high:.0f})")


def _published() -> str:
    lines = [[titled(threat), *map(_points, values)] for threat, values in PUBLISHED.items()]
    for name, threats in (("average, FGSM", UNAWARE[:3]), ("average, all five", UNAWARE)):
        columns = zip(*(PUBLISHED[threat] for threat in threats), strict=True)
        lines.append([name, *(_points(statistics.fmean(column)) for column in columns)])
    return markdown_table(["", *PUBLISHED_COLUMNS], lines)


def _claims(plan: Plan, measured: Measured, few: int) -> str:
    each = " / ".join(titled(threat) for threat in AT_STRONGEST)
    header = ["", "pictures", "mean gain", f"at least {GAIN:g}", f"gain: {each}", f"each at least {LEAST_GAIN:g}"]
    lines = []
    for name in plan.purifications(few=True):
        count = measured.count if name in plan.purifications(few=False) else few
        gain = measured.gain(name, NONE, AT_STRONGEST, count)
        gains = [measured.gain(name, NONE, [threat], count) for threat in AT_STRONGEST]
        over = measured.gain(name, RESIZING, UNAWARE, count)
        verdicts = [found.verdict(LEAST_GAIN) for found in gains]
        line = [name, count, str(gain), gain.verdict(GAIN), " / ".join(f"{found.mean:+.0f}" for found in gains)]
        lines.append([*line, _all(verdicts), str(over), over.verdict()])
    return markdown_table([*header, "less random resizing", "ahead"], lines)


def _all(verdicts: Sequence[str]) -> str:
    """Whether all of several things hold: the worst of their verdicts."""
    return min(verdicts, key=("no", "not measured", "not shown", "yes").index)


def _fast(plan: Plan, measured: Measured, few: int) -> str:
    lines = []
    for name in plan.published:
        count = measured.count if name in plan.on_all else few
        loss = measured.gain(ended(name, plan.middle), FASTEST, UNAWARE, count)
        lines.append([name, count, str(loss), _at_most(loss, LOSS)])
    return markdown_table(["published recipe", "pictures", "points lost by fast", f"at most {LOSS:g}"], lines)


def _at_most(found: Interval, bound: float) -> str:
    if math.isnan(found.low):
        return "not measured"
    return "yes" if found.high <= bound else "no" if found.low > bound else "not shown"


def _detection(plan: Plan, detection: dict[int, Detection]) -> str:
    lines = []
    for threat in (*UNAWARE, plan.prior, plan.bpda):
        each = [found.auroc(threat) for found in detection.values()]
        told = [f"{found.told(threat):.0%}" for found in detection.values()]
        lines.append([titled(threat), each[0].count, *(_auroc(found) for found in each), *told])
    columns = [f"{what}, {steps} steps" for what in ("AUROC", "told") for steps in detection]
    return markdown_table(["attack", "pictures", *columns], lines)


def _auroc(found: Interval) -> str:
    ends = "" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.mean:.2f}{ends}"

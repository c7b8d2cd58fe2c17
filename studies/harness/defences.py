"""What `defence_table` measures at each scale: pictures, defences, attackers (Kattamis, Adel, Weller 2019, tables 1 and 2)."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from preimage.defend.adaptive import PRIOR_STEPS
from preimage.defend.defence import Defence, Purification
from preimage.defend.purification import PAPER, SIDE, adapted
from preimage.defend.threat import NONE, Threat
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from studies.defence.rivals import JPEG, MedianSmoothing, RandomResizing, TotalVariance
from studies.defence.several_steps import SeveralSteps
from studies.harness import Run, by_scale
from studies.harness.attacked import THIN, TINY, TINY_FAST, published
from studies.harness.classifiers import on_gpu

Defences = dict[str, Defence | None]
STRONGEST = 10.0  # eps of the claims, in 1/255
UNAWARE = (Threat("fgsm", 2), Threat("fgsm", 5), Threat("fgsm", 10), Threat("bi", 10), Threat("llci", 10))
FASTEST, RESIZING, WIDE = "fast", "random resizing", "128 channels"


@dataclass(frozen=True)
class Plan:
    """What is measured at a scale.

    Args:
        count: pictures; few: how many of them, the first, adaptive attacks and the recipes of `on_few` are made for.
        batch: so many are fitted at once; 0: the few.
        on_all, on_few: published recipes by name, on all pictures or on the few; under: unaware attacks that those of `on_few`
            are measured under.
        draws: how often the random defences judge the pictures under these attacks, each time with other random numbers.
        steps: after which the published recipes are classified; the middle one is the published setting.
        fast: the recipe that shall be as good in a tenth of the time; resizing: the rival of the paper.
        attacker_steps, samples: of the attackers who know of the defence; drawing_steps: of the prior's perturbation.
        longer: times the steps of the fast recipe, after which pictures are inspected, too, being nearer to the input.
    """

    count: int
    few: int
    on_all: dict[str, Recipe]
    on_few: dict[str, Recipe] = field(default_factory=dict)
    steps: tuple[int, int, int] = (500, 750, 1000)
    fast: Recipe = adapted("fast", (SIDE, SIDE))
    resizing: RandomResizing = RandomResizing(0.9, 1.0)
    attacker_steps: int = 10
    samples: int = 4
    drawing_steps: int = PRIOR_STEPS
    longer: float = 2.4
    under: tuple[Threat, ...] = UNAWARE
    batch: int = 0
    draws: int = 1

    @property
    def inspected(self) -> tuple[Recipe, ...]:
        return self.fast, replace(self.fast, steps=round(self.longer * self.fast.steps))

    @property
    def adaptive(self) -> tuple[Threat, Threat, Threat]:
        """The prior; BPDA and EOT; the same by one who sees the very purification that will judge, once a step."""
        bpda = Threat("bpda-eot", STRONGEST, steps=self.attacker_steps, samples=self.samples)
        return Threat("prior", STRONGEST, steps=self.drawing_steps), bpda, replace(bpda, knows_seed=True)

    def cheap(self) -> Defences:
        """Those that can be run at every step of an attack."""
        return {
            NONE: None,
            **self.drawn(),
            "JPEG": JPEG(),
            "median": MedianSmoothing(),
            "total variance": TotalVariance(),
        }

    def drawn(self) -> Defences:
        """Those that are random and cheap enough to be asked again."""
        return {FASTEST: Purification(self.fast), RESIZING: self.resizing}

    def defences(self, *, few: bool, folder: Path | None = None) -> Defences:
        """All that are measured on all pictures, or on the few; folder: where published fits are kept for other studies."""
        found = self.cheap()
        for name, recipe in (self.on_all | (self.on_few if few else {})).items():
            fits = SeveralSteps(recipe, self.steps, folder=folder)
            found |= {ended(name, steps): fits.after(steps) for steps in self.steps}
        return found

    def against(self, threat: Threat) -> Defences:
        """Of the few pictures the defences that an adaptive attack is made for.

        Where no published recipe is measured on all pictures, those of the few are too slow for it.
        """
        if not threat.per_defence:
            return self.defences(few=bool(self.on_all))
        middle = {ended(name, self.steps[1]): Purification(r, self.steps[1]) for name, r in self.on_all.items()}
        return self.cheap() | (middle if threat.knows_seed else {})

    def purifications(self, *, few: bool) -> list[str]:
        """The names of the columns that are ours."""
        return [name for name in self.defences(few=few) if name == FASTEST or name.endswith(" steps")]


def ended(name: str, steps: int) -> str:
    return f"{name}, {steps} steps"


_WIDER = {"2 levels of 12": replace(TINY, network=SkipNet.Config((12,) * 2, (12,) * 2, (2, 2), padding="zeros"))}
_SHORT = {"fast": TINY_FAST, "attacker_steps": 2, "samples": 2, "drawing_steps": 3}
_LONG = {"resizing": RandomResizing(), "attacker_steps": 20, "samples": 8}
PLANS = by_scale(
    Plan(3, 2, {"2 levels of 8": TINY}, _WIDER, (3, 5, 7), **_SHORT),
    Plan(100, 20, {"16 channels": THIN}, {WIDE: PAPER}),
    Plan(500, 20, {WIDE: PAPER}, fast=adapted("fast", (224, 224)), **_LONG),
    Plan(20, 3, {}, under=UNAWARE[2:4], batch=1, draws=10, fast=adapted("fast", (224, 224))),
)


def plan_of(run: Run) -> Plan:
    """What is measured here: at scale imagenet more where there is a GPU, and the fits that all studies share."""
    plan = PLANS[run.scale]
    if not run.imagenet:
        return plan
    wide = {WIDE: published()}
    return replace(plan, count=100, on_all=wide) if on_gpu() else replace(plan, on_few=wide)

"""Where the outputs vary least: windowed and moving variance (Wang et al., Early Stopping for Deep Image Prior, TMLR 2023)."""

from __future__ import annotations

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.rng import seeded
from preimage.stopping.rule import StoppingRule, wide


class WindowedVariance(StoppingRule):
    """Keeps the average where the outputs of the last `window` steps vary least (Wang et al., TMLR 2023, ES-WMV).

    The variance is the mean over the window of the squared distance to the window's mean, per value; kept as running
    sums in float64 over a fixed random subset of `values` values (None: all), never as a stack of pictures.
    """

    name = "windowed variance"
    meaning = "the least variance of the outputs"
    remembers = ("ring", "total", "squares", "losses", "known_from")

    def __init__(
        self, window: int | None = None, patience: int | None = None, *, values: int | None = 4096, guard: float = 0.7
    ) -> None:
        super().__init__(patience=patience)
        if window is not None and window < 2:
            raise InputError(f"window must be at least 2 steps, got {window}")
        self.window = window
        self.values = values
        self.guard = guard

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.span = self.window or max(5, total // 30)
        self.seed = seed
        self.ring: torch.Tensor | None = None
        self.chosen: torch.Tensor | None = None
        self.total = self.squares = self.known_from = torch.zeros(())
        self.losses = [float("inf")] * members
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        x = self.subset(step.image)
        if self.ring is None:
            self.ring = x.new_zeros(self.span, *x.shape)
            self.total = wide(x.new_zeros(x.shape))
            self.squares = wide(x.new_zeros(x.shape[0]))
            self.known_from = torch.full((x.shape[0],), self.span, device=x.device)
        sound = step.image.flatten(1).isfinite().all(1)
        self.known_from = torch.where(sound, self.known_from, step.index + self.span)
        slot = step.index % self.span
        old, new = wide(self.ring[slot]), wide(x)
        self.total = self.total + new - old
        self.squares = self.squares + new.square().sum(1) - old.square().sum(1)
        self.ring[slot] = x
        mean = self.total / self.span
        variance = (self.squares / self.span - mean.square().sum(1)) / x.shape[1]
        return torch.where(step.index < self.known_from, float("nan"), variance)

    def subset(self, image: torch.Tensor) -> torch.Tensor:
        """The same values of every picture at every step, (b, n); those of a fit that diverged (and will go back) are 0."""
        x = image.flatten(1).nan_to_num(0, 0, 0)
        if self.values is None or self.values >= x.shape[1]:
            return x
        if self.chosen is None:
            generator = seeded(self.seed, "hold-out", 0)
            self.chosen = torch.randint(x.shape[1], (self.values,), generator=generator).to(x.device)
        return x[:, self.chosen]

    def keep(self, step: Step, better: list[bool]) -> None:
        super().keep(step, better)
        for i, is_better in enumerate(better):
            if is_better:
                self.losses[i] = self.last_loss[i]

    def patience_ends(self, step: Step, member: int) -> bool:
        """A minimum after which the loss fell on as only the learning of the picture makes it fall was premature."""
        if not super().patience_ends(step, member):
            return False
        if self.last_loss[member] < self.guard * self.losses[member]:
            self.best_score[member] = float("inf")  # the first flat phase: look for the next minimum
            self.renewed[member] = (step.index, float("inf"))
            return False
        return True


class MovingVariance(WindowedVariance):
    """The same with exponential moving mean and variance: less memory, a little noisier (Wang et al., ES-EMV)."""

    name = "moving variance"
    remembers = ("mean", "variance", "losses")

    def __init__(
        self, alpha: float = 0.1, patience: int | None = None, *, values: int | None = 4096, guard: float = 0.7
    ) -> None:
        super().__init__(None, patience, values=values, guard=guard)
        if not 0 < alpha < 1:
            raise InputError(f"alpha must be between 0 and 1, got {alpha}")
        self.alpha = alpha

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.mean = self.variance = None
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        x = wide(self.subset(step.image))
        if self.mean is None or self.variance is None:
            self.mean, self.variance = x, x.new_zeros(len(x))
            return torch.full((len(x),), float("nan"))
        difference = (x - self.mean).square().mean(1)
        self.variance = (1 - self.alpha) * (self.variance + self.alpha * difference)
        self.mean = torch.lerp(self.mean, x, self.alpha)
        return self.variance if step.index > 3 / self.alpha else torch.full((len(x),), float("nan"))

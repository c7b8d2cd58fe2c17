"""Fit: theta* = argmin E(Phi(g_theta(z)), y) + sum lambda_i R_i(g_theta(z)), as an iterator of Steps."""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from preimage.engine.averages import Averages
from preimage.engine.cuda_graphs import CudaGraphs
from preimage.engine.descent import Descent
from preimage.engine.divergence import DivergenceGuard, with_tensors
from preimage.engine.judge import Judge
from preimage.engine.members import Members
from preimage.engine.memory import check_memory
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.engine.theta import Theta
from preimage.errors import InputError
from preimage.history import History
from preimage.images import Picture
from preimage.memory import give_back_memory, keep_freed_memory
from preimage.modes import in_own_modes
from preimage.prior import Prior
from preimage.problem import Problem
from preimage.rng import checked_seed
from preimage.stopping import After, StoppingRule, Tracker

# A number read from an accelerator waits for it, so what must be read is read together, every so many steps.
READ_EVERY = 10
PARTS = ("theta", "outputs", "guard", "judge", "history")  # what has a state


class Fit(Run):
    """The fit of b members, each with its own weights, code, jitter, loss and stop.

    Example:
        >>> from preimage.stopping import after
        >>> fast = Recipe(steps=200)
        >>> problem = Problem(torch.rand(1, 3, 32, 32))
        >>> fit = Fit(problem, fast.prior(3, (32, 32), device="cpu"), recipe=fast, rule=after(2))
        >>> [step.index for step in fit]
        [1, 2]
        >>> fit.result().image.shape
        torch.Size([1, 3, 32, 32])

    Args:
        problem: its target has one entry per image, or one that serves all members.
        prior: the members; those of one image lie side by side.
        recipe: optimizer, learning rate, steps and averaging.
        rule: when to stop and what to keep; all steps of the recipe if None.
        restarts: members per image; the result is their mean. None: the recipe's.
        seed: random seed of what the rule draws, 0 to 2147483647.
        initial: a Result, or the weights of one, to start from.
        picture: what the target was read from, so that the result can be written in its format.
        task, fingerprint: the name and the plain options by which a checkpoint of this fit is known.
        remarks: what the task decided, in plain sentences for the user.

    Raises InputError: members that are no multiple of the restarts, a seed out of range, weights of another network.
    """

    def __init__(
        self,
        problem: Problem,
        prior: Prior,
        *,
        recipe: Recipe | None = None,
        rule: StoppingRule | None = None,
        restarts: int | None = None,
        seed: int = 0,
        initial: Result | Sequence[dict[str, Any]] | None = None,
        picture: Picture | None = None,
        task: str = "fit",
        fingerprint: dict[str, Any] | None = None,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.recipe: Recipe = recipe or Recipe()
        self.restarts: int = self.recipe.restarts if restarts is None else restarts
        if self.restarts < 1 or len(prior) % self.restarts:
            raise InputError(f"restarts must divide the number of members, {len(prior)}, got {self.restarts}")
        self.seed: int = checked_seed(seed)
        self.task = task
        self.picture = picture
        self.remarks = remarks
        self.fingerprint: dict[str, Any] = fingerprint or {}
        self._begin(prior, problem.to(prior.device).for_members(len(prior)), rule or After(), initial)

    def _begin(self, prior: Prior, problem: Problem, rule: StoppingRule, initial: Any = None) -> None:
        steps = self.recipe.steps
        self.prior = prior
        self.members: Members = Members(prior)
        self.rule = rule
        problem, tracker = rule.start(problem, members=prior.streams, total=steps, seed=self.seed, streams=count())
        self.problem = problem
        self.tracker: Tracker = tracker
        prior.set_image(problem.target, problem.weight)
        self.theta: Theta = Theta(prior, problem, self.recipe)
        if initial is not None:
            self.theta.start_from(initial)
        self.descent: Descent = Descent(prior, self.members, problem, self.theta)
        self.outputs: Averages = Averages(self.recipe, len(prior))
        self.history: History = History(problem.term_names())
        self.guard: DivergenceGuard = DivergenceGuard(self.theta, self.outputs, problem.steady_terms())
        self.judge: Judge = Judge(tracker, self.guard, len(prior))
        self.stopped: list[int] = self.judge.stopped  # the step at which each member stopped; 0: it is still active
        self.index: int = 0
        self.seconds: float = 0.0
        self.graphs: CudaGraphs | None = CudaGraphs(self.descent) if prior.device.type == "cuda" else None
        self.read_every: int = 1 if prior.device.type == "cpu" else READ_EVERY
        self.give_back: weakref.finalize[Any, Any] | None = None  # of the memory that is kept while it is iterated

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of x, in pixels; what is returned of it may be less by a margin."""
        return self.prior.size

    @property
    def current(self) -> Fit:
        """Itself: a Fit is made of no others."""
        return self

    @property
    def finished(self) -> bool:
        """Whether every member has stopped."""
        return all(self.stopped)

    @in_own_modes
    def __next__(self) -> Step:
        if self.finished:
            raise StopIteration
        if not self.index:
            check_memory(self.prior, self.recipe)
        if self.give_back is None and self.prior.device.type == "cpu":
            keep_freed_memory()
            self.give_back = weakref.finalize(self, give_back_memory)
        begin = time.perf_counter()
        self.index += 1
        active = [i for i, stop in enumerate(self.stopped) if not stop]
        table = self.history.row(self._descend(active), len(self.prior), self.prior.device)
        reading = self.index % self.read_every == 0 or self.index >= self.recipe.steps
        events = self.guard.watch(self.index, active, table) if reading else []
        self.history.append(table, events)
        step = self._step(table, tuple(events), self.seconds + time.perf_counter() - begin)
        self.judge.measure(step)
        if reading:
            self.judge.decide()
        self.seconds += time.perf_counter() - begin
        if self.finished and self.give_back:
            self.give_back()
        if (self.finished or events) and self.graphs:
            self.graphs.forget()  # what was recorded has memory of its own, or weights at other addresses
        return step

    def _descend(self, members: list[int]) -> dict[int, torch.Tensor]:
        """One step of gradient descent of some members: the terms of each, (terms,), before the step."""
        losses, groups = {}, self.members.groups(members)
        for group, (terms, x) in zip(groups, (self.graphs or self.descent)(groups), strict=True):
            losses.update(zip(group, terms.unbind(1), strict=True))
            self.outputs.gather(group, x.split(1))
        return losses

    def _step(self, table: torch.Tensor, events: tuple[str, ...], seconds: float) -> Step:
        return Step(
            index=self.index,
            total=self.recipe.steps,
            seconds=seconds,
            image=torch.cat(self.outputs.images),
            average=self.outputs.shown(self.stopped, self.tracker.best),
            terms=dict(zip(self.history.names, table, strict=True)),
            active=tuple(not stop for stop in self.stopped),
            restarts=self.restarts,
            status=self.tracker.status() if self.index > 1 else "",
            events=events,
            finish=self.problem.finish,
        )

    @in_own_modes
    def result(self) -> Result:
        """The best so far, at any time after the first step: the mean over restarts of what the rule keeps. Changes nothing."""
        if not self.index:
            raise InputError("there is no result before the first step: iterate the fit, or call run()")
        judge = self.judge.decided()
        best = torch.cat(self.outputs.averages) if judge.tracker.best is None else judge.tracker.best
        kept, finish = best.unflatten(0, (-1, self.restarts)), self.problem.finish or (lambda x: x)
        each = torch.stack([finish(one) for one in kept.unbind(1)], 1)
        code, reason = judge.reason(self.index)
        return Result(
            image=finish(kept.mean(1)).to("cpu", copy=True),
            uncertainty=each.std(1).cpu() if self.restarts > 1 else None,
            reason=reason,
            reason_code=code,
            kept_step=list(judge.tracker.kept_step),
            steps=max(judge.stopped) or self.index,
            seconds=self.seconds,
            history=self.history.copied(),
            recipe=self.recipe,
            seed=self.seed,
            device=str(self.prior.device),
            precision=str(self.prior.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            task=self.task,
            remarks=self.remarks,
            picture=self.picture,
            weights=self.theta.weights(),
            operators=self.theta.fitted_operators(),
        )

    def extended(self, rule: StoppingRule, *, steps: int | None = None) -> Fit:
        """A copy that goes on with all members active to `rule`'s end, or to so many steps in all (None: the recipe's)."""
        other = copy.copy(self)
        other.recipe = self.recipe if steps is None else replace(self.recipe, steps=steps)
        fitted = self.problem.trainable()  # what is known is shared
        problem = replace(self.problem, operator=copy.deepcopy(self.problem.operator)) if fitted else self.problem
        other._begin(copy.deepcopy(self.prior), problem, rule)
        other.load_state_dict(self.state_dict() | {"judge": other.judge.state_dict()})
        return other

    def state_dict(self) -> dict[str, Any]:
        """All that a fit is besides what it was made from: plain containers and tensors."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        return {**parts, "index": self.index, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        state = copy.deepcopy(state)
        self.theta.load_state_dict(state["theta"])  # into tensors that are on the device
        for name in PARTS[1:]:  # a checkpoint is read on the CPU
            getattr(self, name).load_state_dict(with_tensors(state[name], lambda tensor: tensor.to(self.prior.device)))
        self.index, self.seconds = state["index"], state["seconds"]
        if self.graphs:
            self.graphs.forget()

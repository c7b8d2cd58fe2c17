"""Fit: theta* = argmin E(Phi(g_theta(z)), y) + sum lambda_i R_i(g_theta(z)), as an iterator of Steps that its caller loops over.

for step in fit: ...        # a progress bar, a preview, autosave, cancelling are bodies of this loop
result = fit.result()       # or, in one go: fit.run()
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch import nn

from preimage.engine.cuda_graphs import CudaGraphs, Outputs
from preimage.engine.devices import give_back_memory, keep_freed_memory
from preimage.engine.divergence import DivergenceGuard, with_tensors
from preimage.engine.members import Members
from preimage.engine.memory import check_memory
from preimage.engine.optimizers import Optimizer, Together, adam
from preimage.engine.recipe import Recipe
from preimage.engine.result import History, Result, combined_reason
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.images import Picture
from preimage.networks.loading import copied, load_alike
from preimage.prior import Prior
from preimage.problem import PerMember, Problem
from preimage.rng import checked_seed
from preimage.stopping import After, StoppingRule, Tracker

# A number read from an accelerator waits for it, so what must be read is read together, every so many steps.
READ_EVERY = 10


class Fit:
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

    Raises:
        InputError: members that are no multiple of the restarts, another seed, or weights of another network.
    """

    number = 0

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
        self.recipe = recipe or Recipe()
        self.restarts = self.recipe.restarts if restarts is None else restarts
        if self.restarts < 1 or len(prior) % self.restarts:
            raise InputError(f"restarts must divide the number of members, {len(prior)}, got {self.restarts}")
        self.seed, self.picture, self.task, self.remarks = checked_seed(seed), picture, task, remarks
        self.fingerprint = fingerprint or {}
        self._begin(prior, problem.to(prior.device).for_members(len(prior)), rule or After(), initial)

    def _begin(self, prior: Prior, problem: Problem, rule: StoppingRule, initial: Any = None) -> None:
        b = len(prior)
        self.prior, self.members, self.rule = prior, Members(prior), rule
        self.problem, self.tracker = rule.start(
            problem, members=b, total=self.recipe.steps, seed=self.seed, streams=count()
        )
        prior.set_image(self.problem.target, self.problem.weight)
        own = self.problem.operator
        # A trainable operator is fitted by each member for itself; any other is shared and has nothing to save.
        fitted = own.operators if isinstance(own, PerMember) else (nn.Identity() for _ in range(b))
        self.operators: list[nn.Module] = list(fitted)
        if initial is not None:
            self._start_from(initial)
        self.optimizers = [self._optimizers(i) for i in range(b)]
        self.together: dict[tuple[int, ...], Together] = {}
        self.index, self.seconds = 0, 0.0
        self.stopped = [0] * b  # the step at which each member stopped; 0: still active
        self.counts = [0] * b  # how many outputs each average has gathered
        self.images: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []
        self.history = History(self.problem.term_names())
        self.guard = DivergenceGuard(self)
        self.graphs = CudaGraphs(self._move, self._expected) if prior.device.type == "cuda" else None
        self.read_every = 1 if prior.device.type == "cpu" else READ_EVERY
        self.unread: list[tuple[Step, torch.Tensor]] = []  # steps on which the tracker has not decided yet
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

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The whole: a Fit is made of no others."""
        return whole

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[Step]:
        return self

    def run(self) -> Result:
        """Iterate to the end and return the Result."""
        for _ in self:
            pass
        return self.result()

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
        table = self._table(self._descend(active))
        reading = self.index % self.read_every == 0 or self.index >= self.recipe.steps
        events = self.guard.watch(self, active, table) if reading else []
        if events and self.graphs:
            self.graphs.forget()
        self.history.append(table, events)
        step = self._step(table, tuple(events), self.seconds + time.perf_counter() - begin)
        self.unread.append((step, self.tracker.measure(step)))
        if reading:
            self._decide(self.tracker, self.stopped)
            self.unread = []
        self.seconds += time.perf_counter() - begin
        if self.finished:
            self._end()
        return step

    def _end(self) -> None:
        if self.give_back is not None:
            self.give_back()
        if self.graphs:
            self.graphs.forget()  # what was recorded has memory of its own

    def _descend(self, members: list[int]) -> dict[int, torch.Tensor]:
        """One step of gradient descent of some members: the terms of each, (terms,), before the step."""
        losses: dict[int, torch.Tensor] = {}
        move = self.graphs or self._move
        for group in self.members.groups(members):
            terms, x = move(group, *self.prior.inputs(group))
            losses.update(zip(group, terms.unbind(1), strict=True))
            self._gather(group, x.split(1))
        return losses

    def _move(self, group: Sequence[int], codes: Sequence[torch.Tensor], loss_mask: torch.Tensor | None) -> Outputs:
        """Forward, backward and the optimizers of some members: (terms, b) and (b, c, h, w) before the step."""
        terms, x = self._terms(group, codes, loss_mask)
        terms.sum().backward()
        if (key := tuple(group)) not in self.together:
            self.together[key] = Together([optimizer for i in group for optimizer in self.optimizers[i]])
        self.together[key].step()
        for i in group:
            self.prior.networks[i].zero_grad(set_to_none=True)
            self.operators[i].zero_grad(set_to_none=True)
        return terms.detach(), x.detach()

    def _terms(self, group: Sequence[int], codes: Sequence[torch.Tensor], loss_mask: torch.Tensor | None) -> Outputs:
        x = self.members.outputs(group, codes)
        return torch.stack([values for _, values in self.problem.members(group).terms(x, loss_mask)]), x

    @torch.no_grad()
    def _expected(
        self, group: Sequence[int], codes: Sequence[torch.Tensor], loss_mask: torch.Tensor | None
    ) -> torch.Tensor:
        return self._terms(group, codes, loss_mask)[0]

    def _gather(self, members: Sequence[int], images: Sequence[torch.Tensor]) -> None:
        """The exponential average of outputs, as a running mean whose weights fall off by the recipe's factor."""
        if not self.images:
            self.images, self.averages = ([torch.zeros_like(images[0])] * len(self.prior) for _ in range(2))
        alike: dict[float, list[tuple[int, torch.Tensor]]] = {}
        for i, image in zip(members, images, strict=True):
            self.images[i] = image
            self.counts[i] += 1
            alike.setdefault(self.recipe.ema_weight(self.counts[i]), []).append((i, image))
        for weight, some in alike.items():
            own, new = zip(*((self.averages[i], image) for i, image in some), strict=True)
            mean = new if weight == 1 else torch._foreach_lerp(own, new, weight)  # pyright: ignore[reportPrivateImportUsage]
            for (i, _), average in zip(some, mean, strict=True):
                self.averages[i] = average

    def _table(self, losses: dict[int, torch.Tensor]) -> torch.Tensor:
        """(terms, b), NaN for members that were not computed."""
        nothing = torch.full((len(self.history.names),), float("nan"), device=self.prior.device)
        return torch.stack([losses.get(i, nothing) for i in range(len(self.prior))], 1)

    def _step(self, table: torch.Tensor, events: tuple[str, ...], seconds: float) -> Step:
        best = self.tracker.best
        shown = [
            best[i : i + 1] if stop and best is not None else average
            for i, (stop, average) in enumerate(zip(self.stopped, self.averages, strict=True))
        ]
        return Step(
            index=self.index,
            total=self.recipe.steps,
            seconds=seconds,
            image=torch.cat(self.images),
            average=torch.cat(shown),
            terms=dict(zip(self.history.names, table, strict=True)),
            active=tuple(not stop for stop in self.stopped),
            restarts=self.restarts,
            status=self.tracker.status() if self.index > 1 else "",
            events=events,
            finish=self.problem.finish,
        )

    def _decide(self, tracker: Tracker, stopped: list[int]) -> None:
        """Let a tracker decide by what it measured at the latest steps; note the members that it stops at one of them."""
        numbers = torch.stack([measured for _, measured in self.unread]).tolist() if self.unread else []
        for (step, _), of_step in zip(self.unread, numbers, strict=True):
            active = tuple(not stop for stop in stopped)
            for i, stop in enumerate(tracker.decide(replace(step, active=active), of_step)):
                if not stopped[i] and (stop or step.index >= self.recipe.steps or self.guard.gave_up(i)):
                    stopped[i] = step.index

    def _decided(self) -> tuple[Tracker, list[int]]:
        """Tracker and stopping steps as they are once all steps are decided on; the fit's own go on as if never asked."""
        if not self.unread:
            return self.tracker, list(self.stopped)
        tracker, stopped = self.tracker.copied(), list(self.stopped)
        self._decide(tracker, stopped)
        return tracker, stopped

    # ------------------------------------------------------------------ the result

    def result(self) -> Result:
        """The best so far, at any time after the first step: the mean over restarts of what the rule keeps. Changes nothing."""
        if not self.index:
            raise InputError("there is no result before the first step: iterate the fit, or call run()")
        tracker, stopped = self._decided()
        best = torch.cat(self.averages) if tracker.best is None else tracker.best
        kept = best.unflatten(0, (-1, self.restarts))
        finish = self.problem.finish or (lambda x: x)
        each = torch.stack([finish(one) for one in kept.unbind(1)], 1)
        code, reason = combined_reason(self.index, tracker, self.guard, stopped)
        return Result(
            image=finish(kept.mean(1)).to("cpu", copy=True),
            uncertainty=each.std(1).cpu() if self.restarts > 1 else None,
            reason=reason,
            reason_code=code,
            kept_step=list(tracker.kept_step),
            steps=max(stopped) or self.index,
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
            weights=self.weights(),
            operators=[copy.deepcopy(o).cpu() for o in self.operators] if self.problem.trainable() else [],
        )

    def weights(self) -> list[dict[str, Any]]:
        """Of each member what another fit can start from, as it is now: copies on the CPU."""
        own = [{"operator": copied(state)} if (state := o.state_dict()) else {} for o in self.operators]
        return [network | operator for network, operator in zip(self.prior.weights(), own, strict=True)]

    # ------------------------------------------------------------------ state

    def extended(self, rule: StoppingRule, *, steps: int | None = None) -> Fit:
        """A copy that goes on from here with all members active, until `rule` stops them; this fit stays as it is.

        Args:
            rule: for the copy, which begins at the next step.
            steps: maximum number of iterations, those of this fit included; None: the recipe's.
        """
        other = copy.copy(self)
        other.recipe = self.recipe if steps is None else replace(self.recipe, steps=steps)
        operator = self.problem.operator
        own = copy.deepcopy(operator) if self.problem.trainable() else operator
        other._begin(copy.deepcopy(self.prior), replace(self.problem, operator=own), rule)
        other.load_state_dict({k: v for k, v in self.state_dict().items() if k not in ("tracker", "stopped")})
        return other

    def state_dict(self) -> dict[str, Any]:
        """All that a fit is besides what it was made from: plain containers and tensors."""
        tracker, stopped = self._decided()
        return {
            "prior": self.prior.state_dict(),
            "operators": [operator.state_dict() for operator in self.operators],
            "optimizers": [[o.state_dict() for o in each] for each in self.optimizers],
            "tracker": tracker.state_dict(),
            "guard": self.guard.state_dict(),
            "history": self.history.state_dict(),
            "images": list(self.images),
            "averages": list(self.averages),
            "stopped": stopped,
            **{name: getattr(self, name) for name in ("index", "seconds", "counts")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        state = copy.deepcopy(state)
        self.prior.load_state_dict(state["prior"])
        for operator, saved in zip(self.operators, state["operators"], strict=True):
            operator.load_state_dict(saved)
        for each, saved in zip(self.optimizers, state["optimizers"], strict=True):
            for optimizer, values in zip(each, saved, strict=True):
                optimizer.load_state_dict(values)
        self.guard.load_state_dict(state["guard"], self.prior.device)
        seen = {name: state[name] for name in ("tracker", "history", "images", "averages") if name in state}
        here = with_tensors(seen, lambda tensor: tensor.to(self.prior.device))  # a checkpoint is read on the CPU
        if "tracker" in here:
            self.tracker.load_state_dict(here["tracker"])
        self.history.load_state_dict(here["history"])
        self.images, self.averages = here["images"], here["averages"]
        for name in ("index", "seconds", "stopped", "counts"):
            setattr(self, name, state.get(name, getattr(self, name)))
        if self.graphs:
            self.graphs.forget()

    # ------------------------------------------------------------------ parts

    def _start_from(self, initial: Result | Sequence[dict[str, Any]]) -> None:
        weights = initial.weights if isinstance(initial, Result) else initial
        known = isinstance(weights, Sequence) and len(weights) > 0
        if not known or not all(isinstance(each, dict) and {"network", "code"} <= each.keys() for each in weights):
            raise InputError(
                f"initial must be a Result or its weights, got {type(initial).__name__} without weights", code="type"
            )
        self.prior.start_from(weights)
        for i, operator in enumerate(self.operators):
            saved = weights[i % len(weights)].get("operator")
            if saved and operator.state_dict():  # a known operator has nothing to take over
                load_alike(operator, saved, "operator")

    def _optimizers(self, i: int) -> list[Optimizer]:
        optimizers = self.recipe.optimizer(self.prior.networks[i].parameters(), float(self.recipe.rate))
        own = [p for p in self.operators[i].parameters() if p.requires_grad]
        return optimizers + (adam(own, float(self.recipe.operator_rate)) if own else [])

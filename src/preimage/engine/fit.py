"""Fit: theta* = argmin E(Phi(g_theta(z)), y) + sum lambda_i R_i(g_theta(z)), as an iterator of Steps that its caller loops over.

for step in fit: ...        # a progress bar, a preview, autosave, cancelling are bodies of this loop
result = fit.result()       # or, in one go: fit.run()
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn

from preimage.engine.cuda_graphs import CudaGraphs, Move, Outputs
from preimage.engine.devices import free_memory, give_back_memory, keep_freed_memory
from preimage.engine.divergence import DivergenceGuard, with_tensors
from preimage.engine.memory import estimated_bytes
from preimage.engine.optimizers import Optimizer, Together, adam
from preimage.engine.recipe import Recipe
from preimage.engine.result import History, Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.images import Picture
from preimage.prior import Prior, take_over
from preimage.problem import PerMember, Problem
from preimage.stopping import After, StoppingRule

# A number read from an accelerator waits for it, so what must be read is read together, every so many steps.
READ_EVERY = 10


class Run(Protocol):
    """Anything that can be iterated for Steps and ends in a Result: a Fit, or a composition of Runs."""

    task: str
    identity: dict[str, Any]
    remarks: tuple[str, ...]
    overrun: float

    @property
    def rule(self) -> Any: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def __iter__(self) -> Iterator[Step]: ...
    def run(self) -> Result: ...
    def result(self) -> Result: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Fit:
    """The fit of b members, each with its own weights, code, jitter, loss and stop.

    Example:
        >>> problem = Problem(torch.rand(1, 3, 64, 64))
        >>> fit = Fit(problem, FAST.prior(3, (64, 64)), recipe=FAST, rule=held_out() | after(200))
        >>> for step in fit:
        ...     print(step.index, step.loss)
        >>> fit.result().image.shape
        torch.Size([1, 3, 64, 64])

    Args:
        problem: what was given; its target has one entry per picture, or one that serves all members.
        prior: the members; those of one picture lie side by side.
        recipe: optimizer, rate, steps and averaging.
        rule: when to stop and what to keep; all steps of the recipe if None.
        restarts: members per picture; the result is their mean.
        initial: weights of an earlier Result to start from.
        picture: what the target was read from, so that the result can be written back in kind.
        task, identity: the name and the plain options under which a checkpoint of this fit is known.
        remarks: what the task decided by itself, in plain sentences for the user.
        overrun: for reports only: after they have stopped members go on to this many times the last stopping step, which
            changes nothing of what is returned and is not counted in `seconds`.
    """

    def __init__(
        self,
        problem: Problem,
        prior: Prior,
        *,
        recipe: Recipe | None = None,
        rule: StoppingRule | None = None,
        restarts: int = 1,
        seed: int = 0,
        initial: Result | Sequence[dict[str, Any]] | None = None,
        picture: Picture | None = None,
        task: str = "fit",
        identity: dict[str, Any] | None = None,
        remarks: tuple[str, ...] = (),
        overrun: float = 1.0,
    ) -> None:
        members = len(prior)
        self.recipe = recipe or Recipe()
        self.prior, self.restarts, self.seed, self.picture = prior, restarts, seed, picture
        self.task, self.identity = task, identity or {}
        self.remarks = remarks
        self.overrun = overrun
        self.rule = rule or After()
        problem = problem.to(prior.device).for_members(members)
        self.problem = self.rule.prepare(problem, members=members, size=prior.size, total=self.recipe.steps, seed=seed)
        prior.show(self.problem.target, self.problem.weight)
        own = self.problem.operator
        # A trainable operator is fitted by each member for itself; any other is shared and has nothing to save.
        fitted = own.operators if isinstance(own, PerMember) else (nn.Identity() for _ in range(members))
        self.operators: list[nn.Module] = list(fitted)
        if initial is not None:
            self._start_from(initial)
        self.optimizers = [self._optimizers(i) for i in range(members)]
        self.together: dict[tuple[int, ...], Together] = {}
        self.index = 0
        self.seconds = 0.0
        self.stopped = [0] * members  # the step at which each member stopped; 0: still active
        self.counts = [0] * members  # how many outputs each average has gathered
        self.ends: dict[int, dict[str, Any]] = {}  # the weights with which members stopped that went on for a report
        self.images: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []
        self.history = History(self.problem.term_names())
        self.guard = DivergenceGuard(self)
        on_cuda = prior.device.type == "cuda"
        self.move: Move = CudaGraphs(self._move, self._terms_alone) if on_cuda else self._move
        self.read_every = 1 if prior.device.type == "cpu" else READ_EVERY
        self.unread: list[tuple[Step, torch.Tensor]] = []  # steps at which the rule has not decided yet

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of x, in pixels; what is handed out of it may be less by a margin."""
        return self.prior.size

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[Step]:
        if not self.index:
            self._check_memory()
        on_cpu = self.prior.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        try:
            while not self.finished:
                yield self._advance()
        finally:
            if on_cpu:
                give_back_memory()
            if isinstance(self.move, CudaGraphs) and self.finished:
                self.move.forget()  # what was recorded has memory of its own

    def run(self) -> Result:
        """Iterate to the end and return the Result."""
        for _ in self:
            pass
        return self.result()

    @property
    def blind_finished(self) -> bool:
        """Whether every member has stopped, so that the result stands."""
        return all(self.stopped)

    @property
    def finished(self) -> bool:
        return self.blind_finished and self.index >= math.floor(self.overrun * max(self.stopped))

    def _advance(self) -> Step:
        begin = time.perf_counter()
        self.index += 1
        blind = not self.blind_finished
        active = [i for i, stop in enumerate(self.stopped) if not stop]
        trailing = [i for i, stop in enumerate(self.stopped) if stop] if self.overrun > 1 else []
        losses = self._descend(active)
        self.seconds += time.perf_counter() - begin
        if not self.ends.keys() >= set(trailing):
            now = self.weights()
            self.ends |= {i: now[i] for i in trailing if i not in self.ends}
        losses.update(self._descend(trailing))
        begin = time.perf_counter()
        table = self._table(losses)
        reading = self.index % self.read_every == 0 or self.index >= self.recipe.steps
        events = self.guard.watch(active + trailing, table) if reading else []
        if events and isinstance(self.move, CudaGraphs):
            self.move.forget()
        self.history.append(table, events)
        step = self._step(table, tuple(events), blind)
        if blind:
            self.unread.append((step, self.rule.measured(step)))
            if reading:
                self._decide()
            self.seconds += time.perf_counter() - begin
        return step

    def _descend(self, members: list[int]) -> dict[int, torch.Tensor]:
        """One step of gradient descent of some members: the terms of each, (terms,), before the step."""
        losses: dict[int, torch.Tensor] = {}
        for group in [members] if self.prior.stacks and members else [[i] for i in members]:
            terms, x = self.move(group, self.prior.inputs(group), self.prior.asked(group))
            losses.update(zip(group, terms.unbind(1), strict=True))
            self._gather(group, x.split(1))
        return losses

    def _move(self, group: Sequence[int], inputs: Sequence[torch.Tensor], asked: torch.Tensor | None) -> Outputs:
        """Forward, backward and the optimizers of some members: (terms, b) and (b, c, h, w) before the step."""
        terms, x = self._terms(group, inputs, asked)
        terms.sum().backward()
        if (key := tuple(group)) not in self.together:
            self.together[key] = Together([optimizer for i in group for optimizer in self.optimizers[i]])
        self.together[key].step()
        for i in group:
            self.prior.networks[i].zero_grad(set_to_none=True)
            self.operators[i].zero_grad(set_to_none=True)
        return terms.detach(), x.detach()

    def _terms(self, group: Sequence[int], inputs: Sequence[torch.Tensor], asked: torch.Tensor | None) -> Outputs:
        x = self.prior.outputs(group, inputs)
        return torch.stack(list(self.problem.members(list(group)).terms(x, asked).values())), x

    @torch.no_grad()
    def _terms_alone(
        self, group: Sequence[int], inputs: Sequence[torch.Tensor], asked: torch.Tensor | None
    ) -> torch.Tensor:
        return self._terms(group, inputs, asked)[0]

    def _gather(self, members: Sequence[int], images: Sequence[torch.Tensor]) -> None:
        """The exponential average of outputs, as a running mean whose weights fall off by the recipe's factor."""
        if not self.images:
            self.images, self.averages = ([torch.zeros_like(images[0])] * len(self.prior) for _ in range(2))
        alike: dict[float, list[tuple[int, torch.Tensor]]] = {}
        for i, image in zip(members, images, strict=True):
            self.images[i] = image
            self.counts[i] += 1
            alike.setdefault(self.recipe.share_of_latest(self.counts[i]), []).append((i, image))
        for weight, some in alike.items():
            own, new = zip(*((self.averages[i], image) for i, image in some), strict=True)
            mean = new if weight == 1 else torch._foreach_lerp(own, new, weight)  # pyright: ignore[reportPrivateImportUsage]
            for (i, _), average in zip(some, mean, strict=True):
                self.averages[i] = average

    def _table(self, losses: dict[int, torch.Tensor]) -> torch.Tensor:
        """(terms, b), NaN for members that were not computed."""
        nothing = torch.full((len(self.history.names),), float("nan"), device=self.prior.device)
        return torch.stack([losses.get(i, nothing) for i in range(len(self.prior))], 1)

    def _step(self, table: torch.Tensor, events: tuple[str, ...], blind: bool) -> Step:
        return Step(
            index=self.index,
            total=self.recipe.steps,
            seconds=self.seconds,
            image=torch.cat(self.images),
            average=torch.cat(self.averages),
            terms=dict(zip(self.history.names, table, strict=True)),
            active=tuple(not stop for stop in self.stopped),
            restarts=self.restarts,
            state=self.rule.state() if self.index > 1 and blind else "",
            blind=blind,
            events=events,
            finish=self.problem.finish,
        )

    def _decide(self) -> None:
        """Tell the rule what it measured at the latest steps; stop the members that it stops at one of them."""
        unread, self.unread = self.unread, []
        numbers = torch.stack([measured for _, measured in unread]).tolist() if unread else []
        for (step, _), of_step in zip(unread, numbers, strict=True):
            active = tuple(not stopped for stopped in self.stopped)
            for i, stop in enumerate(self.rule.decide(replace(step, active=active), of_step)):
                last = step.index >= self.recipe.steps
                if not self.stopped[i] and (stop or last or self.guard.gave_up(i)):
                    self.stopped[i] = step.index
                    if self.overrun <= 1 and self.rule.best is not None:
                        self.averages[i] = self.rule.best[i : i + 1]

    # ------------------------------------------------------------------ the result

    def result(self) -> Result:
        """The best so far, at any time after the first step: the mean over restarts of what the rule kept."""
        if not self.index:
            raise InputError("there is no result before the first step: iterate the fit, or call run()")
        self._decide()
        best = torch.cat(self.averages) if self.rule.best is None else self.rule.best
        kept = best.unflatten(0, (-1, self.restarts))
        finish = self.problem.finish or (lambda x: x)
        each = torch.stack([finish(one) for one in kept.unbind(1)], 1)
        return Result(
            image=finish(kept.mean(1)).cpu(),
            uncertainty=each.std(1).cpu() if self.restarts > 1 else None,
            reason=self._reason(),
            kept_step=list(self.rule.kept_step),
            steps=max(self.stopped) or self.index,
            seconds=self.seconds,
            history=self.history,
            recipe=self.recipe,
            seed=self.seed,
            device=str(self.prior.device),
            precision=str(self.prior.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            task=self.task,
            remarks=self.remarks,
            picture=self.picture,
            weights=self.weights(),
            operators=self._fitted_operators(),
        )

    def weights(self) -> list[dict[str, Any]]:
        """Of each member what another fit can start from: as they are now, or as they were when it stopped (copies)."""
        own = [{"operator": copy.deepcopy(o.state_dict())} if o.state_dict() else {} for o in self.operators]
        now = [of_network | of_operator for of_network, of_operator in zip(self.prior.weights(), own, strict=True)]
        return [self.ends.get(i, weights) for i, weights in enumerate(now)]

    def _reason(self) -> str:
        reasons = [self.guard.reason(i) or self.rule.reason(i) for i in range(len(self.prior))]
        if not self.blind_finished:
            kept_step = self.rule.kept_step[0] or self.index
            return f"interrupted at step {self.index}; kept the best so far, of step {kept_step}"
        if len(reasons) == 1 or len(set(reasons)) == 1:
            return reasons[0]
        return f"{len(reasons)} fits, kept steps {', '.join(map(str, self.rule.kept_step))}; the first: {reasons[0]}"

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """All that a fit is besides what it was made from: plain containers and tensors."""
        self._decide()
        return {
            "prior": self.prior.state_dict(),
            "operators": [operator.state_dict() for operator in self.operators],
            "optimizers": [[o.state_dict() for o in each] for each in self.optimizers],
            "rule": self.rule.state_dict(),
            "guard": self.guard.state_dict(),
            "history": self.history.state_dict(),
            "images": list(self.images),
            "averages": list(self.averages),
            **{name: getattr(self, name) for name in ("index", "seconds", "stopped", "counts", "ends")},
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
        self.guard.load_state_dict(state["guard"])
        seen = {name: state[name] for name in ("rule", "history", "images", "averages")}
        here = with_tensors(seen, lambda tensor: tensor.to(self.prior.device))  # a checkpoint is read on the CPU
        self.rule.load_state_dict(here["rule"])
        self.history.load_state_dict(here["history"])
        self.images, self.averages = here["images"], here["averages"]
        for name in ("index", "seconds", "stopped", "counts"):
            setattr(self, name, state[name])
        self.ends = state.get("ends", {})
        if isinstance(self.move, CudaGraphs):
            self.move.forget()

    # ------------------------------------------------------------------ parts

    def _fitted_operators(self) -> list[nn.Module]:
        if not self.problem.trainable():
            return []
        fitted = [copy.deepcopy(operator).cpu() for operator in self.operators]
        for operator, weights in zip(fitted, self.weights(), strict=True):
            operator.load_state_dict(weights["operator"])
        return fitted

    def _start_from(self, initial: Result | Sequence[dict[str, Any]]) -> None:
        weights = initial.weights if isinstance(initial, Result) else initial
        known = isinstance(weights, Sequence) and len(weights) > 0
        if not known or not all(isinstance(each, dict) and {"network", "code"} <= each.keys() for each in weights):
            raise InputError(f"initial must be a Result or its weights, got {type(initial).__name__} without weights")
        self.prior.start_from(weights)
        for i, operator in enumerate(self.operators):
            saved = weights[i % len(weights)].get("operator")
            if saved and operator.state_dict():  # a known operator has nothing to take over
                take_over(operator, saved, "operator")

    def _optimizers(self, i: int) -> list[Optimizer]:
        optimizers = self.recipe.optimizer(self.prior.networks[i].parameters(), float(self.recipe.rate))
        own = [p for p in self.operators[i].parameters() if p.requires_grad]
        return optimizers + (adam(own, float(self.recipe.operator_rate)) if own else [])

    def _check_memory(self) -> None:
        needed = estimated_bytes(self.prior, self.recipe)
        free = free_memory(self.prior.device)
        if needed is None or free is None or needed <= free:
            return
        height, width = self.prior.size
        raise InputError(
            f"fitting {width} x {height} pixels needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB is free: "
            "take tiles (tile=512, --tile 512), a smaller picture, a thinner network, fewer restarts, or precision bfloat16"
        )

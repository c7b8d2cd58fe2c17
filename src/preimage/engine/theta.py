"""theta: what is fitted of each member, its network and its operator if that is trainable, and the optimizers that move it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn

from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks.loading import copied, load_alike
from preimage.optimizers import Optimizer, Together, adam
from preimage.prior import Prior
from preimage.problem import PerMember, Problem


class Theta:
    """The weights of all members and their optimizers.

    Args:
        prior: its networks are fitted in place.
        problem: for these members; a PerMember operator is fitted, too, any other is shared and has nothing to save.
        recipe: optimizer and learning rates.
    """

    def __init__(self, prior: Prior, problem: Problem, recipe: Recipe) -> None:
        own = problem.operator
        self.prior = prior
        self._recipe, self._trainable = recipe, isinstance(own, PerMember)
        fitted = own.operators if isinstance(own, PerMember) else [nn.Identity() for _ in prior.networks]
        self.operators: list[nn.Module] = list(fitted)
        self.optimizers: list[list[Optimizer]] = [self._optimizers(i) for i in range(len(prior))]
        self.together: dict[tuple[int, ...], Together] = {}

    def _optimizers(self, i: int) -> list[Optimizer]:
        optimizers = self._recipe.optimizer(self.prior.networks[i].parameters(), float(self._recipe.rate))
        own = [p for p in self.operators[i].parameters() if p.requires_grad]
        return optimizers + (adam(own, float(self._recipe.operator_rate)) if own else [])

    def step(self, members: Sequence[int]) -> None:
        """Move the weights of some members by their gradients, which are gone after it."""
        if (key := tuple(members)) not in self.together:
            self.together[key] = Together([optimizer for i in members for optimizer in self.optimizers[i]])
        self.together[key].step()
        for i in members:
            self.prior.networks[i].zero_grad(set_to_none=True)
            self.operators[i].zero_grad(set_to_none=True)

    def slow_down(self, i: int, factor: float) -> float:
        """Set the learning rates of a member to the recipe's times a factor; that of its network."""
        of_operator = set(self.operators[i].parameters())
        for optimizer in self.optimizers[i]:
            for group in optimizer.param_groups:
                own = of_operator.issuperset(group["params"])
                group["lr"] = float(self._recipe.operator_rate if own else self._recipe.rate) * factor
        return float(self._recipe.rate) * factor

    def fitted_operators(self) -> list[nn.Module]:
        """Copies on the CPU of the operators that are fitted; none where the operator is known."""
        return [copy.deepcopy(operator).cpu() for operator in self.operators] if self._trainable else []

    def start_from(self, initial: Any) -> None:
        """Load a Result's weights, or the list of them, as `weights` gives them."""
        weights = getattr(initial, "weights", initial)
        known = isinstance(weights, Sequence) and len(weights) > 0
        if not known or not all(isinstance(each, dict) and {"network", "code"} <= each.keys() for each in weights):
            raise InputError(
                f"initial must be a Result or its weights, got {type(initial).__name__} without weights", code="type"
            )
        self.prior.start_from(weights)
        for i, operator in enumerate(self.operators):
            saved = weights[i % len(weights)].get("operator")
            if saved and operator.state_dict():  # a known operator has nothing to load
                load_alike(operator, saved, "operator")

    def weights(self) -> list[dict[str, Any]]:
        """Of each member what another fit can start from, as it is now: copies on the CPU."""
        own = [{"operator": copied(state)} if (state := o.state_dict()) else {} for o in self.operators]
        return [network | operator for network, operator in zip(self.prior.weights(), own, strict=True)]

    # ------------------------------------------------------------------ state

    def of(self, i: int) -> dict[str, Any]:
        """What moves of one member, itself and no copy of it."""
        return {
            "network": dict(self.prior.networks[i].state_dict()),
            "operator": dict(self.operators[i].state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers[i]],
        }

    def put_back(self, i: int, state: dict[str, Any]) -> None:
        """Set one member to an earlier state."""
        self.prior.networks[i].load_state_dict(state["network"])
        self._load_rest(i, state)

    def state_dict(self) -> dict[str, Any]:
        """Of the prior, and of each member's operator and optimizers."""
        rest = [{k: v for k, v in self.of(i).items() if k != "network"} for i in range(len(self.prior))]
        return {"prior": self.prior.state_dict(), "members": rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.prior.load_state_dict(state["prior"])
        for i, saved in enumerate(state["members"]):
            self._load_rest(i, saved)

    def _load_rest(self, i: int, state: dict[str, Any]) -> None:
        self.operators[i].load_state_dict(state["operator"])
        for optimizer, saved in zip(self.optimizers[i], state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(saved))

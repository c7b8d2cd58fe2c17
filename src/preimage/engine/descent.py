"""Descent: one step of gradient descent of some members, taken apart, so that it can be recorded and replayed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from preimage.engine.members import Members
from preimage.engine.theta import Theta
from preimage.prior import Inputs, Prior
from preimage.problem import Problem

Groups = Sequence[Sequence[int]]
Outputs = tuple[torch.Tensor, torch.Tensor]


class Descent:
    """A step of some members, group by group: `descent([[0], [1]])`.

    Args:
        prior: whose members are moved.
        members: how they are computed.
        problem: what they are fitted to.
        theta: their weights and optimizers.
    """

    def __init__(self, prior: Prior, members: Members, problem: Problem, theta: Theta) -> None:
        self.prior: Prior = prior
        self.members: Members = members
        self.problem: Problem = problem
        self.theta: Theta = theta

    def __call__(self, groups: Groups) -> list[Outputs]:
        """Of each group its terms, (terms, b), and its outputs, (b, c, h, w), before the step."""
        return [self.move(group, self.draw(group)) for group in groups]

    def draw(self, group: Sequence[int]) -> Inputs:
        """The next inputs of a group, (1, channels, h, w) for each member, and where their outputs count."""
        return self.prior.inputs(group)

    def generators(self, group: Sequence[int]) -> list[torch.Generator]:
        """From which these are drawn."""
        return [self.prior.jitter.generators[i] for i in group]

    def move(self, group: Sequence[int], inputs: Inputs) -> Outputs:
        """Forward, backward and the optimizers of a group: its terms and outputs before the step."""
        terms, x = self.expected(group, inputs)
        terms.sum().backward()
        self.theta.step(group)
        return terms.detach(), x.detach()

    def expected(self, group: Sequence[int], inputs: Inputs) -> Outputs:
        """The terms and outputs of a group; nothing is moved."""
        x = self.members.outputs(group, inputs.codes)
        return torch.stack([values for _, values in self.problem.members(group).terms(x, inputs.loss_mask)]), x

    def held(self, groups: Groups) -> dict[int, Any]:
        """Copies of all that a step moves."""
        return {i: copy.deepcopy(self.theta.of(i)) for group in groups for i in group}

    def put_back(self, held: dict[int, Any]) -> None:
        """Undo a step: set members to what was held of them."""
        for i, state in held.items():
            self.theta.put_back(i, state)

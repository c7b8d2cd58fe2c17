"""History: the losses of a fit, step by step and member by member, and what happened on the way."""

from __future__ import annotations

from typing import Any

import torch


class History:
    """The losses of every step and member, and what happened on the way.

    Example:
        >>> history = History(["squared"])
        >>> history.append(torch.zeros(1, 3), [])  # a term, three members
        >>> history["squared"].shape  # one row a step, one column a member; NaN after it stopped
        torch.Size([1, 3])
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.events: list[str] = []
        self._tables: list[torch.Tensor] = []

    def row(self, losses: dict[int, torch.Tensor], members: int, device: torch.device) -> torch.Tensor:
        """(terms, b) from the terms of some members, NaN for those that were not computed."""
        nothing = torch.full((len(self.names),), float("nan"), device=device)
        return torch.stack([losses.get(i, nothing) for i in range(members)], 1)

    def append(self, table: torch.Tensor, events: list[str]) -> None:
        """Add one step: (terms, b), left where it was computed, since reading it would wait for the device."""
        self._tables.append(table)
        self.events.extend(events)

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The values of one term, or of their sum as "loss": (steps, b)."""
        table = self._stacked()
        return table.sum(1) if name == "loss" else table[:, self.names.index(name)]

    def copied(self) -> History:
        """On the CPU, and as it is now whatever is added later."""
        copied = History(self.names)
        copied.load_state_dict(self.state_dict())
        return copied

    def _stacked(self) -> torch.Tensor:
        return torch.stack(self._tables).cpu() if self._tables else torch.zeros(0, len(self.names), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists: {"step": [1, 2, ...], term: [[each member] each step], "events": [...]}."""
        columns = {name: self[name].tolist() for name in self.names}
        return {"step": list(range(1, len(self) + 1)), **columns, "events": list(self.events)}

    def state_dict(self) -> dict[str, Any]:
        """Plain containers; the names are those of the problem."""
        return {"tables": self._stacked(), "events": list(self.events)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._tables, self.events = list(state["tables"]), list(state["events"])

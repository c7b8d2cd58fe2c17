"""Result: the picture, why the fit stopped there, and everything needed to say so or to go on from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preimage.engine.recipe import Recipe
from preimage.images import Picture, as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """The losses of every step and member, and what happened on the way.

    Example:
        >>> history = History(["squared"])
        >>> history.append(torch.rand(1, 3), ["step 1, fit 2: the loss jumped to 0.31"])
        >>> history["squared"].shape  # one row a step, one column a member; NaN after it stopped
        torch.Size([1, 3])
        >>> history.events
        ['step 1, fit 2: the loss jumped to 0.31']
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
        return {"tables": self._stacked(), "events": list(self.events)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._tables, self.events = list(state["tables"]), list(state["events"])


@dataclass(frozen=True, eq=False)
class Result:
    """What a Run returns.

    Args:
        image: (b, c, h, w) float32, in the range of the input's 0 to 1; one for each picture.
        uncertainty: standard deviation over the restarts, (b, c, h, w); None with one restart.
        reason: why it stopped, as advice.
        reason_code: the same in one word: patience, steps-done, all-steps, noise-level, diverged, interrupted, or one that a
            rule defines; of several fits that of the first.
        kept_step: the step that was kept, of each member.
        steps: the last step of the fit.
        seconds: time spent on it.
        history: the losses.
        recipe, seed, device, precision, threads, task: what to repeat it with.
        remarks: what the task decided by itself (the kind of noise, say).
        picture: what was read, so that the result can be written back in kind.
        weights: of each member, for `initial=`.
        operators: of each member the operator that was fitted with the picture (an unknown blur kernel); else none.
    """

    image: torch.Tensor
    uncertainty: torch.Tensor | None
    reason: str
    kept_step: list[int]
    steps: int
    seconds: float
    history: History
    recipe: Recipe
    seed: int
    device: str
    precision: str
    threads: int
    reason_code: str = ""
    task: str = "fit"
    remarks: tuple[str, ...] = ()
    picture: Picture | None = None
    weights: list[dict[str, Any]] = field(default_factory=list, repr=False)
    operators: list[torch.nn.Module] = field(default_factory=list, repr=False)

    def blended(self, strength: float) -> torch.Tensor:
        """strength * result + (1 - strength) * input, where both have one shape: 1 is the result alone."""
        if strength == 1 or self.picture is None:
            return self.image
        return torch.lerp(self.picture.tensor, self.image, strength)

    def to_array(self) -> Any:
        """The picture as a numpy array in the input's own dtype, range and layout."""
        return self._picture().to_array(self.image)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the picture with the input's bit depth, alpha, profile, orientation and metadata.

        The end of the name chooses the format; one that cannot hold the input is an InputError, and so is an existing file
        unless `overwrite`.
        """
        return self._picture().write(self.image, path, overwrite=overwrite)

    def plot(self) -> Figure:
        """Before, after, difference and the loss, as a matplotlib Figure."""
        from preimage.figures.restoration import restoration_figure

        return restoration_figure(self)

    def _picture(self) -> Picture:
        return self.picture or as_picture(self.image.clamp(0, 1))

    def _repr_html_(self) -> str:
        """A notebook shows the picture beside the reason."""
        import base64
        import html
        import io

        from PIL import Image

        eight_bit = (self.image[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
        shown = eight_bit[..., :3] if eight_bit.shape[-1] >= 3 else eight_bit[..., 0]
        buffer = io.BytesIO()
        Image.fromarray(shown).save(buffer, "PNG")
        encoded = base64.b64encode(buffer.getvalue()).decode()
        return f'<img src="data:image/png;base64,{encoded}"><p>{html.escape(f"{self.task}: {self.reason}")}</p>'

"""Result: the restored image, the reason why the fit stopped, and all that a report or a further fit needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preimage.engine.recipe import Recipe
from preimage.history import History
from preimage.images import Picture, as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        """The image as a numpy array with the input's dtype, value range and layout."""
        return self._picture().to_array(self.image)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the picture with the input's bit depth, alpha, profile, orientation and metadata.

        The file name extension chooses the format. A format that cannot hold the input is an InputError, and so is an existing
        file unless `overwrite`.
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

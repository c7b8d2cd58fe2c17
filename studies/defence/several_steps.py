"""Several defences out of one fit: the same recipe ended after different numbers of steps, as a table of them asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preimage.defend.defence import BATCH, Defence, Purification
from preimage.defend.evaluate import settings_of
from preimage.defend.purification import FAST, fitting, purifying
from preimage.engine.checkpoint import fingerprint
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.images import write_bytes_atomically


@dataclass(eq=False)
class SeveralSteps:
    """Purifications of one recipe that differ in the number of steps alone, which share a fit of the most steps.

    Each does what `Purification(recipe, steps)` does and describes itself alike, so that their rows of a table are the same. The
    outputs of the latest pictures, seed and streams are kept: who asks about these again, with another number of steps, has
    the answer at once. Where no seed is said there is nothing to share.

    Args:
        folder: where the outputs are kept on the disk as well, for other studies and processes (`kept_outputs`).
    """

    recipe: Recipe
    steps: Sequence[int]
    batch: int = BATCH
    folder: Path | None = None
    _kept: tuple[torch.Tensor, int, list[int], list[torch.Tensor]] | None = field(default=None, init=False)

    def after(self, steps: int) -> Defence:
        return _EndedAfter(self, self.steps.index(steps), Purification(self.recipe, steps, self.batch))

    def outputs(self, images: torch.Tensor, seed: int, streams: list[int]) -> list[torch.Tensor]:
        if self._kept is not None:
            same = images.dtype == self._kept[0].dtype and torch.equal(images, self._kept[0].to(images.device))
            if same and self._kept[1:3] == (seed, streams):
                return self._kept[3]
        parts, batch = [], self.batch if self.folder is None else 1
        for k in range(0, len(images), batch):
            given, own = images[k : k + batch], streams[k : k + batch]
            if self.folder is None:
                parts.append(early_outputs(given, self.steps, recipe=self.recipe, seed=seed, streams=own))
            else:
                found = kept_outputs(self.folder, given, self.steps, recipe=self.recipe, seed=seed, stream=own[0])
                parts.append([each.to(images) for each in found])
        outputs = [torch.cat(each) for each in zip(*parts, strict=True)]
        self._kept = images.detach().clone(), seed, streams, outputs
        return outputs


@dataclass(frozen=True, eq=False)
class _EndedAfter:
    fits: SeveralSteps
    place: int
    alone: Purification

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        if seed is None:
            return self.alone(images)
        own = [0] * len(images) if streams is None else list(streams)
        return self.fits.outputs(images, seed, own)[self.place]

    def describe(self) -> dict[str, Any]:
        return self.alone.describe()


def kept_outputs(
    folder: Path, image: torch.Tensor, at: Sequence[int], *, recipe: Recipe, seed: int, stream: int
) -> list[torch.Tensor]:
    """The early outputs of one image (1, c, h, w), on the CPU, of a file of the folder; first fitted if none goes as far."""
    path = folder / f"{fingerprint(image.cpu())[:16]}-{settings_of(Purification(recipe, 1))}-{seed}-{stream}.pt"
    found: dict[int, torch.Tensor] = torch.load(path, weights_only=True) if path.exists() else {}
    if not found.keys() >= set(at):
        outputs = early_outputs(image, at, recipe=recipe, seed=seed, streams=[stream])
        found |= {step: output.cpu() for step, output in zip(at, outputs, strict=True)}
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, partial(torch.save, found), overwrite=True)
    return [found[step] for step in at]


def early_outputs(
    images: torch.Tensor,
    at: Sequence[int],
    *,
    recipe: Recipe = FAST,
    seed: int = 0,
    streams: Sequence[int] | None = None,
) -> list[torch.Tensor]:
    """What one fit of each image (b, c, h, w) would return after several numbers of steps, each at least 1, in any order.

    The fit has the largest of them, whatever the recipe says; each image has the stream of the seed that is named, 0, 1, 2, ...
    if None is.
    """
    if not at or min(at) < 1:
        raise InputError(f"at must hold numbers of steps, each at least 1, got {list(at)}")
    recipe = replace(recipe, steps=max(at))
    with fitting(images.device):
        fit = purifying(images, recipe, seed, streams)
        found = {step.index: step.picture for step in fit if step.index in at and step.index < recipe.steps}
        last = fit.result().image
    return [found.get(steps, last).to(images) for steps in at]

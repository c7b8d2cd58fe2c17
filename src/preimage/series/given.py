"""What is returned as given, and what is left out of E: missing values, outliers, bright sources, constant images.

E counts the values that are fitted, and x* is the measurement at those that are kept
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from preimage.distances import filtered
from preimage.images import Picture
from preimage.images.nearest import nearest_outside
from preimage.noise.stripes import remove_stripes
from preimage.operators import Mask, compose
from preimage.problem import Problem, name_of
from preimage.rng import generator
from preimage.series.parts import resized
from preimage.stopping import After
from preimage.stopping.thresholds import AfterTracker

# ---------------------------------------------------------------------- constant images


def levels(picture: Picture) -> torch.Tensor:
    """(b, c, 1, 1): the value of each channel that has one value, as far as it is known; NaN for the others."""
    known = torch.ones_like(picture.tensor, dtype=torch.bool) if picture.missing is None else ~picture.missing
    low = picture.tensor.masked_fill(~known, torch.inf).amin((2, 3), keepdim=True)
    high = picture.tensor.masked_fill(~known, -torch.inf).amax((2, 3), keepdim=True)
    level = torch.where(
        low > high, picture.tensor[..., :1, :1], low
    )  # nothing is known: what the tensor was filled with
    return torch.where(low < high, torch.nan, level)


def is_constant(picture: Picture) -> bool:
    """Whether nothing can be restored: each channel has one value, or none is known."""
    return not bool(levels(picture).isnan().any())


@dataclass(frozen=True)
class AsGiven(After):
    """Ends after the one step that a fit takes, for an image that is returned as given."""

    name = "as given"

    def tracker(self, problem: Problem, *, members: int, total: int) -> AsGivenTracker:
        return AsGivenTracker(self, members=members, total=total)


class AsGivenTracker(AfterTracker):
    """Says why nothing was fitted."""

    def reason(self, member: int) -> str:
        return "one value everywhere: returned as given"


# ---------------------------------------------------------------------- what a task gets, and what becomes of its problem


def kept_of(picture: Picture, *, fills_missing: bool) -> torch.Tensor | None:
    """Where the file's own value is written, (b, c, h, w): where it is missing, and in constant channels; for a task that fills
    what is missing, where it is an outlier, for valid values are not changed. None: nowhere."""
    if picture.given is None:
        return None
    if fills_missing:
        return picture.outliers
    flat = ~levels(picture).isnan().expand_as(picture.tensor)
    kept = flat if picture.missing is None else flat | picture.missing
    return kept if bool(kept.any()) else None


def to_fit(
    page: Picture, missing: torch.Tensor | None, offsets: torch.Tensor | None, *, fills_missing: bool
) -> Picture:
    """The page without these offsets, and with what its task takes for missing, too; what it fills is nothing that is kept or
    bright."""
    if offsets is not None:
        page = replace(page, tensor=remove_stripes(page.tensor, offsets))
    if missing is None:
        return page
    missing = missing.expand_as(page.tensor)
    missing = missing if page.missing is None else missing | page.missing
    if not fills_missing:
        return replace(page, missing=missing)
    kept, bright = (None if mask is None else mask & ~missing for mask in (page.kept, page.bright))
    return replace(page, missing=missing, kept=kept, bright=bright)


def restated(problem: Problem, part: Picture) -> Problem:
    """The problem without the values that are not fitted, and with those put back that are kept or bright."""
    unfitted, level = part.unfitted, levels(part)
    if unfitted is not None and problem.target.ndim == 4 and problem.target.shape[-2:] == part.tensor.shape[-2:]:
        problem = _without(problem, unfitted)
    masks = [mask for mask in (part.kept, part.bright) if mask is not None]
    if not masks and bool(level.isnan().all()):
        return problem
    first, whole = problem.finish, not bool(level.isnan().any())
    values = torch.where(level.isnan(), part.tensor, level)
    back = torch.stack([mask.expand_as(part.tensor) for mask in masks]).any(0) if masks else ~level.isnan()

    def finish(x: torch.Tensor) -> torch.Tensor:
        x = x if first is None else first(x)
        size = (x.shape[-2], x.shape[-1])
        own = _enlarged(values, size).to(x.device)
        if whole:
            return own.expand_as(x).clone()
        there = functional.interpolate(back.float(), size=size, mode="nearest") > 0
        return torch.where((there | ~level.isnan()).to(x.device), own, x)

    return replace(problem, finish=finish)


def _enlarged(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Values at the size of a result, smooth, each pixel's own value the mean of those that it becomes."""
    smooth = resized(values, size)
    if smooth is values:
        return values
    lost = values - functional.adaptive_avg_pool2d(smooth, (values.shape[-2], values.shape[-1]))
    return smooth + functional.interpolate(lost, size=size, mode="nearest")


def _without(problem: Problem, unfitted: torch.Tensor) -> Problem:
    """A distance that mixes pixels must not see the difference at all, the others need only not count it."""
    valid = (~unfitted).float()
    weight = valid.expand_as(problem.target) if problem.weight is None else problem.weight * valid
    problem = replace(problem, weight=weight)
    if name_of(problem.distance) != filtered.__name__:
        return problem
    return replace(problem, target=problem.target * valid, operator=compose(problem.operator, Mask(~unfitted)))


def planned_on(picture: Picture) -> Picture:
    """The page on which a task plans (estimates noise, say): within 0 to 1, and with others of its values in place of those that
    are not fitted, mirrored at the nearest that is, so that noise there is noise."""
    unfitted = picture.unfitted
    tensor = picture.tensor
    if unfitted is not None and not bool(unfitted.all()):
        planes = zip(tensor.flatten(0, 1), unfitted.flatten(0, 1), strict=True)
        tensor = torch.stack([_stood_in(values, holes) for values, holes in planes]).view_as(tensor)
    inside = bool(((tensor >= 0) & (tensor <= 1)).all())
    return picture if tensor is picture.tensor and inside else replace(picture, tensor=tensor.clamp(0, 1))


def _stood_in(values: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
    """(h, w): values with others in place of the holes."""
    if not bool(holes.any()) or bool(holes.all()):
        return values
    rows, columns = (each.numpy() for each in holes.nonzero(as_tuple=True))
    nearest = nearest_outside(holes.numpy())
    mirrored = [2 * nearest[axis][rows, columns] - at for axis, at in enumerate((rows, columns))]
    inside = [at.clip(0, side - 1) for at, side in zip(mirrored, holes.shape, strict=True)]
    source = values[inside[0], inside[1]]
    known = values[~holes]
    drawn = known[torch.randint(len(known), (len(rows),), generator=generator(0, "stand-in", 0))]
    filled = values.clone()
    filled[holes] = torch.where(holes[inside[0], inside[1]], drawn, source)
    return filled


# ---------------------------------------------------------------------- in words


def in_words(picture: Picture, *, fills_missing: bool) -> tuple[str, ...]:
    """What was screened, and what becomes of it, of all pages."""
    said, (low, high) = list(picture.remarks), picture.units()
    missing, outliers, bright = (_count(mask) for mask in (picture.missing, picture.outliers, picture.bright))
    if missing and not fills_missing:
        said.append(f"{missing} missing: not fitted, and written as they were in the file; inpaint fills them")
    if outliers:
        fate = "written as they were" if fills_missing else "replaced by what the fit says there"
        what = f"single and far beyond {low:g} to {high:g}, as of hot or dead pixels ({_extremes(picture)})"
        said.append(f"{outliers} {what}: not fitted, and {fate}; a --range that holds them keeps them")
    if bright:
        what = f"beyond {low:g} to {high:g}, where nearly all others are, as of bright sources"
        said.append(f"{bright} {what}: not fitted, and returned with their own values")
    return tuple(said)


def constant_in_words(picture: Picture) -> tuple[str, ...]:
    """That a page is returned as given, or some of its channels."""
    level = levels(picture)[0].flatten()
    if bool(level.isnan().all()):
        return ()
    if picture.missing is not None and bool(picture.missing.all()):
        return ("no value is known: returned as given",)
    low, high = picture.units()
    shown = ", ".join(
        "varied"
        if bool(each.isnan())
        else f"{round(low + float(each) * (high - low), 6 - math.ceil(math.log10(high - low))):g}"
        for each in level
    )
    what = "the channels that have one value are" if bool(level.isnan().any()) else "one value everywhere, it is"
    return (f"constant ({shown}): {what} returned as given",)


def _count(mask: torch.Tensor | None) -> str:
    count = 0 if mask is None else int(mask.sum())
    return "" if mask is None else f"{count} of {mask.numel()} values {'is' if count == 1 else 'are'}"


def _extremes(picture: Picture) -> str:
    assert picture.given is not None
    assert picture.outliers is not None
    found = picture.given[np.moveaxis(picture.outliers.numpy(), 1, 3)]
    low, high = found.min(), found.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"

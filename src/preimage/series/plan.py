"""Plan: what a task decides on one image; and `begin`, which makes a Run of it: a fit, pages in turn, or tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.engine.checkpoint import fingerprint
from preimage.engine.devices import choose_device, free_memory
from preimage.engine.fit import Fit
from preimage.engine.memory import expected_bytes
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.problem import Problem, join
from preimage.recipes import RecipeChoice, choose
from preimage.rng import checked_seed
from preimage.series.frames import Frames
from preimage.series.layout import SMALLEST_SIDE, check_companions, checked
from preimage.series.parts import merged, pages_of, remarks_of_all, together
from preimage.series.priors import PRIORS
from preimage.series.tiles import Tiles
from preimage.stopping import StoppingRule, after, by_name, plateau
from preimage.tasks import FitOptions, described

SIDES = (1024, 768, 512, 384, 256)  # of a tile's result, from which auto takes the largest that fits


def all_steps(problem: Problem) -> StoppingRule:
    """The rule that does all steps of the recipe."""
    del problem
    return after()


@dataclass(frozen=True, eq=False)
class Plan:
    """What a task decides on one image, (1, c, h, w).

    Args:
        problem: states what is sought, `problem(part)` for the image or a tile of it; with `shares_kernel` also
            `problem(part, kernel)`, with the kernel that was fitted in the first tile.
        recipe: adapted to the image.
        rule: the rule for a problem.
        channels: of x; None: those of the image.
        scale, margin: x is so many times as large as the image, and then larger by (rows, columns) on every side.
        code: an image to start from instead of the recipe's code, (1, c, h, w).
        missing: (1, 1 or c, h, w), True where a value is not valid; a part has it as `part.missing`.
        picture: the image as its result is written, if not as it is.
        shares_kernel: whether the kernel of the operator is fitted, and tiles share it.
        grid, from_end: where tiles may begin, as in Tiles.
        fingerprint: plain data by which a checkpoint knows what was decided, beside the options.
        remarks: what was decided, in plain sentences.
    """

    problem: Callable[..., Problem]
    recipe: Recipe
    rule: Callable[[Problem], StoppingRule] = all_steps
    channels: int | None = None
    scale: int = 1
    margin: tuple[int, int] = (0, 0)
    code: torch.Tensor | None = None
    missing: torch.Tensor | None = None
    picture: Picture | None = None
    shares_kernel: bool = False
    grid: int = 1
    from_end: tuple[bool, bool] = (False, False)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def size_of_x(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of x for a part of this height and width."""
        return self.scale * height + 2 * self.margin[0], self.scale * width + 2 * self.margin[1]


def begin(
    task: str,
    plan: Callable[[Picture, Any, RecipeChoice], Plan],
    recipes: Mapping[str, Recipe],
    image: Any,
    options: FitOptions,
    *,
    fills_missing: bool = False,
) -> Run:
    """The Run of a restoration: each page is planned by itself; pages that were planned alike are members of one fit.

    Args:
        task: its name.
        plan: the task's own decisions on one page.
        recipes: the task's, by name.
        image: a path, array, tensor, PIL image or Picture.
        options: the task's.
        fills_missing: whether NaNs of the input are what it fills in.

    Raises:
        InputError: an image, option or device that cannot be used.
    """
    picture = as_picture(image, missing=fills_missing)
    options = replace(options, stop=_rule_of(options), seed=checked_seed(options.seed), **_companions(options, picture))
    choice = choose(recipes, options.recipe, _changes(options))
    pages = pages_of(picture)
    plans = []
    for number, page in enumerate(pages):
        try:
            plans.append(plan(page, _of_page(options, number), choice))
        except InputError as error:
            if len(pages) == 1:
                raise
            raise InputError(f"page {number + 1}: {error}", code=error.code) from error
    return _Beginning(task, picture, pages, plans, options).run()


class _Beginning:
    """The plans of all pages, and the Run that they come to."""

    def __init__(
        self, task: str, picture: Picture, pages: Sequence[Picture], plans: Sequence[Plan], options: FitOptions
    ) -> None:
        self.task, self.picture, self.plans, self.options = task, picture, plans, options
        self.pages = [
            page if own.missing is None else replace(page, missing=own.missing.expand_as(page.tensor))
            for page, own in zip(pages, plans, strict=True)
        ]
        self.written = [own.picture or page for page, own in zip(pages, plans, strict=True)]
        self.first = plans[0]
        self.restarts = self.first.recipe.restarts
        self.settings = own_settings(options)

    def run(self) -> Run:
        side, overlap, remarks = self._tiling()
        if side is not None and max(self.picture.tensor.shape[-2:]) > side:
            return self._tiles(side, overlap, remarks)
        if len(self.pages) == 1:
            return self.fit(0, self.options.initial)
        stated = [own.problem(page) for own, page in zip(self.plans, self.pages, strict=True)]
        rules = [self._rule(own, problem) for own, problem in zip(self.plans, stated, strict=True)]
        if self.options.warm_start or not self._alike(rules):
            return self._frames(rules)
        return self._joined(stated, rules[0])

    def _rule(self, plan: Plan, problem: Problem) -> StoppingRule:
        stop = self.options.stop
        return stop if isinstance(stop, StoppingRule) else plan.rule(problem)

    def _alike(self, rules: Sequence[StoppingRule]) -> bool:
        """Whether all pages can be members of one fit: one recipe, one rule, and nothing of the operator is fitted."""
        try:
            one_rule = all(rule == rules[0] for rule in rules)
        except RuntimeError:  # rules that hold tensors are not compared
            one_rule = False
        return one_rule and all(own.recipe == self.first.recipe and not own.shares_kernel for own in self.plans)

    # ------------------------------------------------------------------ fits

    def fit(
        self,
        page: int,
        initial: Any,
        part: Picture | None = None,
        *,
        seed: int | None = None,
        code: Picture | None = None,
        shared: torch.Tensor | None = None,
    ) -> Fit:
        """The fit of a page, or of a part of it."""
        plan, whole = self.plans[page], part is None
        given = self.pages[page] if part is None else part
        problem = plan.problem(given) if shared is None else plan.problem(given, shared)
        if not whole and problem.regularizers:  # E is a mean over valid values, R one over all
            ratio = _valid(self.pages[page]) / _valid(given)
            problem = replace(
                problem, regularizers=tuple((ratio * weight, each) for weight, each in problem.regularizers)
            )
        rule = self._rule(plan, problem)
        channels = plan.channels or given.tensor.shape[1]
        return Fit(
            problem,
            self._prior(plan, channels, given, 1, seed, plan.code if code is None else code.tensor),
            recipe=plan.recipe,
            rule=rule,
            seed=self.options.seed if seed is None else seed,
            initial=initial,
            picture=self.written[page] if whole else given,
            task=self.task,
            fingerprint=self._fingerprint(plan, rule, given, seed),
            remarks=plan.remarks,
        )

    def _prior(
        self, plan: Plan, channels: int, part: Picture, pages: int, seed: int | None, code: torch.Tensor | None
    ) -> Any:
        height, width = part.tensor.shape[-2:]
        return plan.recipe.prior(
            channels,
            plan.size_of_x(height, width),
            members=pages * plan.recipe.restarts,
            seed=self.options.seed if seed is None else seed,
            device=self.options.device,
            code=code,
            # Each page draws what it draws alone.
            streams=list(range(plan.recipe.restarts)) * pages,
        )

    def _fingerprint(self, plan: Plan, rule: StoppingRule, part: Picture, seed: int | None = None) -> dict[str, Any]:
        return {
            **self.settings,
            **plan.fingerprint,
            "recipe": plan.recipe.describe(),
            "rule": rule.name,
            "seed": self.options.seed if seed is None else seed,
            "input": fingerprint(part.tensor),
        }

    def _joined(self, stated: Sequence[Problem], rule: StoppingRule) -> Fit:
        """All pages as members of one fit, each with a problem of its own."""
        plan = self.first
        codes = [own.code for own in self.plans if own.code is not None]
        fingerprints = [self._fingerprint(o, rule, page) for o, page in zip(self.plans, self.pages, strict=True)]
        return Fit(
            join(stated),
            self._prior(
                plan,
                plan.channels or self.picture.tensor.shape[1],
                self.pages[0],
                len(self.pages),
                None,
                torch.cat(codes) if codes else None,
            ),
            recipe=plan.recipe,
            rule=rule,
            seed=self.options.seed,
            initial=self.options.initial,
            picture=together(self.picture, self.written),
            task=self.task,
            fingerprint=merged(fingerprints),
            remarks=remarks_of_all([own.remarks for own in self.plans]),
        )

    def _frames(self, rules: Sequence[StoppingRule]) -> Frames:
        return Frames(
            self.fit,
            self.picture,
            fingerprints=[
                self._fingerprint(own, rule, page)
                for own, rule, page in zip(self.plans, rules, self.pages, strict=True)
            ],
            remarks=[own.remarks for own in self.plans],
            task=self.task,
            warm=self.options.warm_start,
            initial=self.options.initial,
        )

    # ------------------------------------------------------------------ tiles

    def _tiles(self, side: int, overlap: int | None, remarks: tuple[str, ...]) -> Tiles:
        plan = self.first
        missing = [page.missing for page in self.pages]
        known = [
            torch.zeros_like(p.tensor, dtype=torch.bool) if m is None else m
            for p, m in zip(self.pages, missing, strict=True)
        ]
        whole = replace(self.picture, missing=None if all(m is None for m in missing) else torch.cat(known))
        codes = [own.code for own in self.plans if own.code is not None]
        code = {"code": replace(self.picture, tensor=torch.cat(codes), alpha=None, missing=None)} if codes else {}

        def make(part: Picture, *, page: int, seed: int, code: Any = None, shared: torch.Tensor | None = None) -> Fit:
            return self.fit(page, self.options.initial, part, seed=seed, code=code, shared=shared)

        return Tiles(
            make,
            whole,
            side=side,
            overlap=_reaching(side, max(plan.margin)) if overlap is None else overlap,
            grid=plan.grid,
            from_end=plan.from_end,
            seed=self.options.seed,
            beside=code,
            share=_mean_kernel if plan.shares_kernel else None,
            channels=plan.channels,
            written=replace(together(self.picture, self.written), missing=None),
            remarks=remarks,
        )

    def _needed(self, height: int, width: int) -> int | None:
        """Bytes that a fit of a part takes."""
        plan = self.first
        whole = (height, width) == tuple(self.picture.tensor.shape[-2:])
        return expected_bytes(
            plan.recipe,
            plan.channels or self.picture.tensor.shape[1],
            plan.size_of_x(height, width),
            members=self.restarts * (len(self.pages) if whole else 1),
            device=self.options.device,
            code=plan.code is not None,
        )

    def _tiling(self) -> tuple[int | None, int | None, tuple[str, ...]]:
        """Side and overlap of the tiles, None for the image as a whole, and what is to be said of it."""
        tile, overlap = self.options.tile, self.options.tile_overlap
        if overlap is not None and isinstance(tile, str | None):
            raise InputError(
                f"tile_overlap needs the side of tiles, got tile {tile!r}: specify tile, too", code="option"
            )
        if self.options.warm_start and tile not in ("auto", "none", None):
            raise InputError(
                f"warm_start passes on the weights of whole images, got tile {tile!r}: leave one of them out",
                code="option",
            )
        if tile in (None, "none") or self.options.warm_start:
            return None, None, ()
        if tile != "auto":
            side, own = tile if isinstance(tile, tuple | list) and len(tile) == 2 else (tile, overlap)
            return checked(side, own)[0], own, ()
        height, width = self.picture.tensor.shape[-2:]
        scale = self.first.scale
        sides = [max(SMALLEST_SIDE, side // scale) for side in SIDES]
        if max(height, width) <= sides[-1]:
            return None, None, ()
        device = choose_device(self.options.device)
        free = free_memory(device)
        whole = self._needed(height, width)
        if free is None or whole is None or whole <= free:
            return None, None, ()
        # Beside the fit: the mean so far and its weights, a copy of them, and the spread over the restarts.
        canvas = 0 if device.type != "cpu" else 5 * self.picture.tensor.numel() * scale**2 * 4
        side = next((side for side in sides if (self._needed(side, side) or 0) + canvas <= free), sides[-1])
        remark = (
            f"cut into tiles of {side} pixels, for the image as a whole needs about {whole / 1e9:.1f} GB of memory "
            f"and {free / 1e9:.1f} GB is free"
        )
        return side, None, (remark,)


def _reaching(side: int, margin: int) -> int:
    """The default overlap of tiles: an eighth of the side, and far enough that a blur's edge is left out."""
    return min(max(side // 8, 8, 4 * margin), (side - 1) // 2)


def _valid(picture: Picture) -> float:
    """The share of the values of a page that are valid."""
    return 1.0 if picture.missing is None else 1 - float(picture.missing.float().mean())


def _mean_kernel(result: Result) -> torch.Tensor:
    """The kernel that the restarts of one tile agreed on."""
    kernels: list[Any] = [operator.kernel for operator in result.operators]  # pyright: ignore[reportAttributeAccessIssue]
    return torch.stack(kernels).detach().mean(0).cpu()


# ---------------------------------------------------------------------- options


def own_settings(options: FitOptions) -> dict[str, Any]:
    """A task's own options as plain data, images and kernels left out (a plan's fingerprint has them)."""
    shared = {each.name for each in fields(FitOptions)}
    found = {}
    for name, stated in described(options).items():
        value = getattr(options, name)
        if name not in shared and stated.kind in ("", "classifier"):
            found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def _rule_of(options: FitOptions) -> StoppingRule | None:
    """The rule that was specified; None if the task chooses."""
    stop = options.stop
    if stop in (None, "auto"):
        return plateau() if options.prior != "skip" else None
    if isinstance(stop, str):
        return by_name(stop)
    if not isinstance(stop, StoppingRule):
        raise InputError(f"stop must be a stopping rule or the name of one, got {stop!r}", code="type")
    return stop


def _changes(options: FitOptions) -> dict[str, Any]:
    """What explicit options change in the recipe."""
    if options.prior not in PRIORS:
        raise InputError(f"prior must be {', '.join(PRIORS)}, got {options.prior!r}", code="option")
    if options.prior != "skip" and options.recipe != "fast":
        raise InputError(
            f"prior {options.prior} has settings of its own, got recipe {options.recipe!r}: leave one of them out",
            code="option",
        )
    explicit = {"steps": options.steps, "restarts": options.restarts}
    return PRIORS[options.prior] | {name: value for name, value in explicit.items() if value is not None}


def _companions(options: FitOptions, picture: Picture) -> dict[str, Picture]:
    """The images among the options (a mask, a flash image), read: a folder stands for the file of the input's name."""
    found: dict[str, Picture] = {}
    for name, stated in described(options).items():
        value = getattr(options, name)
        if stated.kind != "image" or value is None:
            continue
        if isinstance(value, str | Path) and Path(value).is_dir() and picture.path is not None:
            value = Path(value) / picture.path.name
        found[name] = as_picture(value)
    check_companions(picture, found)
    return found


def _of_page(options: FitOptions, number: int) -> FitOptions:
    """The options with the images among them as they belong to one page."""
    images = {name: getattr(options, name) for name, stated in described(options).items() if stated.kind == "image"}
    own = {name: pages_of(image) for name, image in images.items() if image is not None}
    return replace(options, **{name: pages[number % len(pages)] for name, pages in own.items()})

"""`begin`, which makes a Run of what a task plans for each page of an image: a fit, pages in turn, or tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from preimage.engine.checkpoint import fingerprint
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.problem import Problem, join
from preimage.recipes import RecipeChoice, choose
from preimage.rng import checked_seed
from preimage.series.alpha import AlphaFit, seen
from preimage.series.frames import Frames
from preimage.series.given import (
    constant_in_words,
    in_words,
    is_constant,
    kept_of,
    planned_on,
    restated,
    to_fit,
)
from preimage.series.layout import pages_of, reaching, valid_share
from preimage.series.options import companions, of_page, own_settings, recipe_changes, rule_of
from preimage.series.parts import merged, remarks_of_all, together
from preimage.series.plans import Plan
from preimage.series.tiles import Tiles
from preimage.series.tiling import hands_on, mean_kernel, tiling
from preimage.stopping import StoppingRule
from preimage.tasks import FitOptions


def begin(
    task: str,
    plan: Callable[[Picture, Any, RecipeChoice], Plan],
    recipes: Mapping[str, Recipe],
    image: Any,
    options: FitOptions,
    *,
    fills_missing: bool = False,
    takes_mosaic: bool = False,
) -> Run:
    """The Run of a restoration: each page is planned by itself; pages that were planned alike are members of one fit.

    Args:
        task, recipes, options: name of the task, its recipes by name, and its options.
        plan: the task's own decisions on one page.
        image: a path, array, tensor, PIL image or Picture.
        fills_missing: whether missing values of the input are what it fills in; else they are left out of the fit.
        takes_mosaic: whether of a raw file it takes the mosaic.

    Raises InputError for an image, option or device that cannot be used.
    """
    picture = as_picture(image, missing=True, mosaic=takes_mosaic)
    picture, hidden = seen(picture, fills_missing=fills_missing)
    picture = replace(picture, kept=kept_of(picture, fills_missing=fills_missing))
    options = replace(options, stop=rule_of(options), seed=checked_seed(options.seed), **companions(options, picture))
    choice = choose(recipes, options.recipe, recipe_changes(options))
    pages = pages_of(picture)
    plans = []
    for number, page in enumerate(pages):
        try:
            own = plan(page if fills_missing else planned_on(page), of_page(options, number), choice)
            plans.append(replace(own, remarks=(*own.remarks, *hidden)))
        except InputError as error:
            if len(pages) == 1:
                raise
            raise InputError(f"page {number + 1}: {error}", code=error.code) from error
    beginning = _Beginning(task, picture, pages, plans, options, fills_missing=fills_missing)
    return beginning.run(warm=hands_on(plans, options, named=choice.name is not None))


class _Beginning:
    """The plans of all pages, and the Run that they come to."""

    def __init__(
        self,
        task: str,
        picture: Picture,
        pages: Sequence[Picture],
        plans: Sequence[Plan],
        options: FitOptions,
        *,
        fills_missing: bool,
    ) -> None:
        self.task, self.picture, self.options, self.fills_missing = task, picture, options, fills_missing
        self.settings = own_settings(options)
        each = zip(pages, plans, strict=True)
        self.pages = [to_fit(page, own.missing, own.offsets, fills_missing=fills_missing) for page, own in each]
        self.written = [
            replace(own.picture or replace(fitted, tensor=page.tensor), kept=fitted.kept)
            for page, fitted, own in zip(pages, self.pages, plans, strict=True)
        ]
        self.constant = [is_constant(page) for page in (self.pages if fills_missing else pages)]
        given: dict[str, Any] = {} if options.stop is None else {"rule": lambda _: options.stop, "usual_steps": None}
        self.plans = [replace(own, picture=page, **given) for page, own in zip(self.written, plans, strict=True)]
        said = in_words(picture, fills_missing=fills_missing)
        for number, page in enumerate(self.pages if fills_missing else pages):
            own, constant = self.plans[number], self.constant[number]
            decided = () if constant and not fills_missing else own.remarks
            own = replace(own, remarks=(*decided, *said, *constant_in_words(page)))
            self.plans[number] = own.as_given() if constant else own
        self.first = self.plans[0]
        codes = [own.code for own in plans if own.code is not None]
        self.codes = torch.cat(codes) if codes else None

    def run(self, *, warm: bool) -> Run:
        """`warm`: whether tiles begin from the weights of the tile before."""
        side, overlap, remarks = tiling(self.first, self.picture, self.options, warm=warm)
        if side is not None and max(self.picture.tensor.shape[-2:]) > side:
            return self._tiles(side, overlap, remarks, warm=warm)
        if len(self.pages) == 1:
            return self.fit(0, self.options.initial)
        stated = [restated(own.problem(page), page) for own, page in zip(self.plans, self.pages, strict=True)]
        rules = [own.rule(problem) for own, problem in zip(self.plans, stated, strict=True)]
        each = zip(self.plans, rules, self.pages, strict=True)
        fingerprints = [self._fingerprint(own, rule, page, self.options.seed) for own, rule, page in each]
        all_remarks = [own.remarks for own in self.plans]
        if self.options.warm_start or not self._alike(rules):
            return Frames(
                self.fit,
                self.picture,
                fingerprints=fingerprints,
                remarks=all_remarks,
                task=self.task,
                warm=self.options.warm_start,
                initial=self.options.initial,
                constant=self.constant,
            )
        written = together(self.picture, self.written)
        plan = replace(self.first, code=self.codes, picture=written, remarks=remarks_of_all(all_remarks))
        return self._fit(
            plan,
            join(stated),
            rules[0],
            self.pages[0],
            merged(fingerprints),
            seed=self.options.seed,
            initial=self.options.initial,
            pages=len(self.pages),
        )

    def _alike(self, rules: Sequence[StoppingRule]) -> bool:
        """Whether all pages can be members of one fit: one recipe, one rule, and nothing of the operator is fitted."""
        try:
            one_rule = all(rule == rules[0] for rule in rules)
        except RuntimeError:  # rules that hold tensors are not compared
            one_rule = False
        alike = (self.first.recipe, self.first.has_alpha, False)
        return one_rule and all((own.recipe, own.has_alpha, own.shares_kernel) == alike for own in self.plans)

    def fit(
        self,
        page: int,
        initial: Any,
        part: Picture | None = None,
        *,
        seed: int | None = None,
        code: Picture | None = None,
        shared: torch.Tensor | None = None,
        warm: bool = False,
    ) -> Fit:
        """The fit of a page, or of a part of it; `warm`: `initial` are the weights of the tile before."""
        plan = self.plans[page].warmed() if warm else self.plans[page]
        seed = self.options.seed if seed is None else seed
        if part is not None:
            plan = replace(plan, picture=part, code=plan.code if code is None else code.tensor)
            plan = plan.as_given() if is_constant(part) else plan
        given = self.pages[page] if part is None else part
        problem = restated(plan.problem(given) if shared is None else plan.problem(given, shared), given)
        if (
            part is not None and problem.regularizers and not is_constant(part)
        ):  # E is a mean over valid values, R one over all
            ratio = valid_share(self.pages[page]) / valid_share(part)
            regularizers = tuple((ratio * weight, each) for weight, each in problem.regularizers)
            problem = replace(problem, regularizers=regularizers)
        rule = plan.rule(problem)
        identity = self._fingerprint(plan, rule, given, seed)
        return self._fit(plan, problem, rule, given, identity, seed=seed, initial=initial)

    def _fit(
        self,
        plan: Plan,
        problem: Problem,
        rule: StoppingRule,
        part: Picture,
        fingerprint: dict[str, Any],
        *,
        seed: int,
        initial: Any,
        pages: int = 1,
    ) -> Fit:
        restarts = plan.recipe.restarts
        prior = plan.recipe.prior(
            plan.channels or part.tensor.shape[1],
            plan.size_of_x(*part.tensor.shape[-2:]),
            members=pages * restarts,
            seed=seed,
            device=self.options.device,
            code=plan.code,
            streams=list(range(restarts)) * pages,  # each page draws what it draws alone
        )
        fit = (AlphaFit if plan.has_alpha else Fit)(
            problem,
            prior,
            recipe=plan.recipe,
            rule=rule,
            seed=seed,
            initial=initial,
            picture=plan.picture,
            task=self.task,
            fingerprint=fingerprint,
            remarks=plan.remarks,
        )
        fit.usual_steps = plan.steps_expected(rule)
        return fit

    def _fingerprint(self, plan: Plan, rule: StoppingRule, part: Picture, seed: int) -> dict[str, Any]:
        return {
            **self.settings,
            **plan.fingerprint,
            "recipe": plan.recipe.describe(),
            "rule": rule.name,
            "seed": seed,
            "input": fingerprint(part.tensor),
        }

    # ------------------------------------------------------------------ tiles

    def _tiles(self, side: int, overlap: int | None, remarks: tuple[str, ...], *, warm: bool) -> Tiles:
        plan, missing = self.first, None
        if any(page.missing is not None for page in self.pages):
            none = torch.zeros_like(self.pages[0].tensor, dtype=torch.bool)
            missing = torch.cat([none if page.missing is None else page.missing for page in self.pages])
        code = (
            {} if self.codes is None else {"code": replace(self.picture, tensor=self.codes, alpha=None, missing=None)}
        )

        def make(
            part: Picture,
            *,
            page: int,
            seed: int,
            code: Any = None,
            shared: torch.Tensor | None = None,
            initial: Any = None,
        ) -> Fit:
            begun = self.options.initial if initial is None else initial
            return self.fit(page, begun, part, seed=seed, code=code, shared=shared, warm=initial is not None)

        of_others = [
            f"page {number}: {line}"
            for number, own in enumerate(self.plans[1:], 2)
            for line in (own.remarks if self.constant[number - 1] else ())
            if line not in plan.remarks
        ]
        return Tiles(
            make,
            replace(together(self.picture, self.pages), missing=missing),
            side=side,
            overlap=reaching(side, max(plan.margin)) if overlap is None else overlap,
            grid=plan.grid,
            from_end=plan.from_end,
            seed=self.options.seed,
            beside=code,
            share=mean_kernel if plan.shares_kernel else None,
            warm_steps=plan.warm.recipe.steps if warm and plan.warm else None,
            channels=None if plan.has_alpha else plan.channels,  # alpha is interpolated
            written=replace(together(self.picture, self.written), missing=None),
            remarks=(*remarks, *of_others),
            only_missing=any(own.missing is not None for own in self.plans),
        )

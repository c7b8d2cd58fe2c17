"""Recipes by name or by value: a name may be adapted by a task to the image, a value is used exactly as it is.

`recipe("fast", steps=100)` is a name with changes: adapted first, then changed. `Recipe(...)`, and `dataclasses.replace` on one,
are values. A recipe is also a file of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from preimage.codes import Masked, Mesh, Noise, channels_of
from preimage.engine.recipe import FORMAT, Recipe, kind_of
from preimage.errors import InputError
from preimage.images.files import read_text
from preimage.networks import DeepDecoder, Pixels, ResNet, SkipNet, UNet
from preimage.optimizers import adam, muon

_MOST_CHANNELS = 65_536  # of a code
Quality = Literal["fast", "balanced", "best"]


@dataclass(frozen=True)
class NamedRecipe:
    """The name of a task's recipe, and what is changed in it."""

    name: str = "fast"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_settings(self.changes)


RecipeLike = str | NamedRecipe | Recipe


def recipe(name: str = "fast", **changes: Any) -> NamedRecipe:
    """A task's recipe by name (fast, balanced, best or paper) with changed settings: `denoise(image, recipe=recipe("best"))`.

    Example:
        >>> dict(recipe("fast", steps=100).changes)
        {'steps': 100}

    Raises:
        InputError: a setting that a recipe does not have.
    """
    return NamedRecipe(name, changes)


def named_with(given: RecipeLike, **changes: Any) -> RecipeLike:
    """What was specified as a recipe, with changed settings; one that has a name keeps it, and is still adapted to the image.

    Example:
        >>> named_with("best", steps=100)
        NamedRecipe(name='best', changes={'steps': 100})
    """
    if isinstance(given, Recipe):
        return replace(given, **changes)
    named = NamedRecipe(given) if isinstance(given, str) else given
    return NamedRecipe(named.name, {**named.changes, **changes})


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe that was specified for a task, before it is adapted to the image; a value has no name."""

    base: Recipe
    name: str | None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def adapted(self, adapt: Callable[[str, Recipe], Recipe] = lambda name, base: base) -> Recipe:
        """The recipe to be used: that of a name after `adapt(name, base)`, a value as it is; then changed.

        Example:
            >>> choice = choose({"fast": Recipe()}, recipe("fast", steps=100), {})
            >>> choice.adapted(lambda name, base: replace(base, rate=0.5, steps=7)).steps
            100
        """
        base = self.base if self.name is None else adapt(self.name, self.base)
        return replace(base, **self.changes) if self.changes else base


def choose(recipes: Mapping[str, Recipe], given: RecipeLike, changes: Mapping[str, Any] | None = None) -> RecipeChoice:
    """What was specified as a recipe, looked up among a task's.

    Example:
        >>> choose({"fast": Recipe()}, "fast", {"steps": 9}).changes
        {'steps': 9}

    Args:
        recipes: the task's, by name.
        given: a name, a NamedRecipe, a Recipe, or the path of a file of settings, FILE.json.
        changes: what other options change in it (--steps); those that are None are none.

    Raises:
        InputError: a name that the task does not have, or something else.
    """
    own = {name: value for name, value in (changes or {}).items() if value is not None}
    check_settings(own)
    if isinstance(given, str) and given.endswith(".json"):
        given = read_recipe_file(given, recipes)
    if isinstance(given, Recipe):
        return RecipeChoice(given, None, own)
    named = NamedRecipe(given) if isinstance(given, str) else given
    if not isinstance(named, NamedRecipe):
        kind = type(given).__name__
        raise InputError(f"recipe must be a name, recipe(name, ...) or a Recipe, got {kind}", code="type")
    if named.name not in recipes:
        raise InputError(f"recipe must be one of {', '.join(recipes)}, or a Recipe, got {named.name!r}")
    return RecipeChoice(recipes[named.name], named.name, {**named.changes, **own})


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise InputError for a setting that a recipe does not have."""
    known = {each.name for each in fields(Recipe)}
    for name in settings:
        if name not in known:
            raise InputError(f"a recipe has no setting {name!r}: it has {', '.join(sorted(known))}", code="option")


def qualities(fast: Recipe, *, balanced: int = 2, best: int = 4, **changes: Any) -> dict[Quality, Recipe]:
    """The recipes behind `--quality`: a task's fast one, and the same with more restarts, whose mean is closer; time grows
    with them. `changes`: what is different in the best one besides.

    Example:
        >>> {name: recipe.restarts for name, recipe in qualities(Recipe()).items()}
        {'fast': 1, 'balanced': 2, 'best': 4}
    """
    return {
        "fast": fast,
        "balanced": replace(fast, restarts=max(fast.restarts, balanced)),
        "best": replace(fast, restarts=max(fast.restarts, best), **changes),
    }


def read_recipe(settings: dict[str, Any], base: Recipe) -> Recipe:
    """A recipe from plain data, settings that it lacks taken from `base`: the inverse of `describe`.

    Example:
        >>> read_recipe({"format": 2, "steps": 200, "network": {"kind": "SkipNet", "down": [32] * 5}}, Recipe()).steps
        200

    Raises:
        InputError: another format, an unknown setting or kind, or a value out of range.
    """
    networks = (SkipNet.Config, UNet.Config, ResNet.Config, DeepDecoder.Config, Pixels.Config)
    kinds: dict[str, dict[str, Any]] = {
        "network": {kind_of(kind): kind for kind in networks},
        "code": {kind.__name__: kind for kind in (Noise, Mesh, Masked)},
    }
    settings = dict(settings)
    if settings.pop("format", None) != FORMAT:
        raise InputError(f'a recipe must have "format": {FORMAT}: make it anew from Recipe.describe()', code="format")
    check_settings(settings)
    values = {each.name: getattr(base, each.name) for each in fields(Recipe)}
    for name, value in settings.items():
        try:
            if name in kinds:
                options = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k != "kind"}
                values[name] = kinds[name][value["kind"]](**options)
            else:
                values[name] = {"adam": adam, "muon": muon}[value] if name == "optimizer" else value
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"recipe setting {name!r} cannot be {value!r}: {error}") from error
    try:
        recipe = Recipe(**values)
    except TypeError as error:
        raise InputError(f"a recipe value has the wrong type: {error}") from error
    _try(recipe)
    return recipe


def read_recipe_file(path: str | Path, recipes: Mapping[str, Recipe]) -> NamedRecipe | Recipe:
    """A recipe from a JSON file as `Recipe.describe()` gives it: all settings make a value, some change the fast recipe.

    Raises:
        InputError: a file that cannot be read, is no JSON, has no or another format number, or an unknown setting.
    """
    try:
        settings = json.loads(read_text(path, "recipe", most=2**20))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"recipe {path} is no JSON ({error}): correct it there", code="unreadable") from error
    if not isinstance(settings, dict):
        example = f'{{"format": {FORMAT}, "steps": 300}}'
        raise InputError(f"recipe {path} must hold settings by name, as {example}", code="unreadable")
    try:
        whole = read_recipe(settings, recipes["fast"])
    except InputError as error:
        raise InputError(f"recipe {path}: {error}", code=error.code) from error
    if {each.name for each in fields(Recipe)} <= settings.keys():
        return whole
    return recipe("fast", **{name: getattr(whole, name) for name in settings if name != "format"})


def _try(recipe: Recipe) -> None:
    """Build the code and the network once, small or without memory, so that what cannot be is said before any work."""
    try:
        if not isinstance(recipe.code, Masked):
            if recipe.code.channels > _MOST_CHANNELS:
                raise InputError(f"a code must have at most {_MOST_CHANNELS} channels, got {recipe.code.channels}")
            if recipe.code.channels < 1:
                raise InputError(f"a code must have at least 1 channel, got {recipe.code.channels}")
            recipe.code.draw(1, 1, torch.Generator())
        with torch.device("meta"):
            recipe.network(channels_of(recipe.code, 3), 3, 256, 256)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"no network can be built from this recipe: {' '.join(str(error).split())}") from error

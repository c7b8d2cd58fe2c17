"""Recipes by name or by value: a name may be adapted by the task to the image, a value is used exactly as it is.

denoise("photo.png", recipe="best")
denoise("photo.png", recipe=recipe("fast", steps=100))      # adapted first, then changed
denoise("photo.png", recipe=Recipe(steps=100))              # as it is
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from preimage.engine.recipe import FORMAT, Recipe, read_recipe
from preimage.errors import InputError


@dataclass(frozen=True)
class NamedRecipe:
    """A task's recipe by its name, and what is changed in it once the task has adapted it to the image."""

    name: str
    changes: tuple[tuple[str, Any], ...] = ()


RecipeLike = str | NamedRecipe | Recipe


def recipe(name: str = "fast", **changes: Any) -> NamedRecipe:
    """A task's recipe by its name (fast, balanced, best, paper), with some settings changed.

    Example:
        >>> recipe("fast", steps=100)
        NamedRecipe(name='fast', changes=(('steps', 100),))

    Raises:
        InputError: a setting that no recipe has.
    """
    known = {each.name for each in fields(Recipe)}
    for setting in changes:
        if setting not in known:
            raise InputError(f"a recipe has no setting {setting!r}: it has {', '.join(sorted(known))}", code="option")
    return NamedRecipe(name, tuple(sorted(changes.items())))


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe that was chosen for a task: `base` as the task has it by `name`, or a value, whose name is ""."""

    base: Recipe
    name: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    def adapted(self, adapt: Callable[[str, Recipe], Recipe] = lambda name, base: base) -> Recipe:
        """The recipe of one image: adapt(name, base) if it was chosen by name; then the explicit changes.

        Example:
            >>> choice = choose({"fast": Recipe(steps=300)}, "fast", {"restarts": 2})
            >>> choice.adapted(lambda name, base: replace(base, steps=800)).steps
            800
        """
        base = adapt(self.name, self.base) if self.name else self.base
        return replace(base, **self.changes) if self.changes else base


def choose(recipes: Mapping[str, Recipe], given: RecipeLike, changes: Mapping[str, Any] | None = None) -> RecipeChoice:
    """The choice among a task's recipes.

    Args:
        recipes: by name, of the task.
        given: a name, a path of a .json file of settings, a NamedRecipe, or a Recipe.
        changes: explicit options (steps, restarts) that go before anything else.

    Raises:
        InputError: an unknown name, or a file that is no recipe.
    """
    changes = dict(changes or {})
    if isinstance(given, Recipe):
        return RecipeChoice(given, "", changes)
    if isinstance(given, str | Path) and Path(given).suffix.lower() == ".json":
        given = read_recipe_file(given, recipes)
        if isinstance(given, Recipe):
            return RecipeChoice(given, "", changes)
    named = given if isinstance(given, NamedRecipe) else NamedRecipe(str(given))
    if named.name not in recipes:
        raise InputError(
            f"recipe must be {', '.join(recipes)}, or a FILE.json of settings, got {named.name!r}", code="option"
        )
    return RecipeChoice(recipes[named.name], named.name, {**dict(named.changes), **changes})


def read_recipe_file(path: str | Path, recipes: Mapping[str, Recipe]) -> NamedRecipe | Recipe:
    """A recipe from a JSON file: all settings make a value; some, the changes of the recipe that "name" says, or of fast.

    Raises:
        InputError: a file that cannot be read, is no JSON, has no or another format number, or an unknown setting.
    """
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"recipe {path} cannot be read ({error.strerror}): check the name", code="not-found"
        ) from error
    except ValueError as error:
        raise InputError(f"recipe {path} is no JSON ({error}): correct it there", code="unreadable") from error
    if not isinstance(settings, dict):
        raise InputError(
            f'recipe {path} must hold settings by name, as {{"format": {FORMAT}, "steps": 300}}', code="unreadable"
        )
    if settings.get("format") != FORMAT:
        raise InputError(
            f"recipe {path} has format {settings.get('format')!r}, this version reads {FORMAT}: make it anew "
            f'(preimage calibrate), or write "format": {FORMAT} if its settings are of this version',
            code="format",
        )
    settings = {name: value for name, value in settings.items() if name not in ("format", "name")}
    name = "fast"
    whole = read_recipe(settings, recipes[name])
    if {each.name for each in fields(Recipe)} <= settings.keys():
        return whole
    return NamedRecipe(name, tuple((setting, getattr(whole, setting)) for setting in sorted(settings)))

"""Settings from the command line, for exploring: ``dan.weight=4 recipe.steps=1200``.

They are part of a cell's configuration or recipe like any other value, and appear in the column ``setting`` of the
local tables as ``set.dan.weight=4``.  Rows with such a setting are never exported.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_type_hints

from benchmarks.machine.errors import UserError
from methods import contract
from methods.contract import Experiment, Recipe

RECIPE = "recipe"
MARK = "set."
"""Prefix of such settings in the tables."""


def is_explored(setting: str) -> bool:
    """Whether the setting of a row comes from the command line."""
    return any(part.startswith(MARK) for part in setting.split(";"))


def shown(texts: Sequence[str]) -> dict[str, str]:
    """Names of some settings in the tables."""
    return {f"{MARK}{owner}.{name}": value for owner, name, value in map(_parts, texts)}


def check(texts: Sequence[str], methods: Iterable[str]) -> None:
    """Checks that every setting belongs to the recipe or to one of the planned methods.

    Raises:
        UserError: one does not.
    """
    known = list(dict.fromkeys([RECIPE, *methods]))
    for text in texts:
        owner, name, value = _parts(text)
        if owner not in known:
            raise UserError(
                f"SET names {owner!r}, which is not planned; there are: {', '.join(known)}{_near(owner, known)}."
            )
        if owner == RECIPE:
            _changed(Recipe(1, 1, 0.1), owner, name, value)
        else:
            _changed(contract.load(owner).config(), owner, name, value)


def fields(name: str, texts: Sequence[str]) -> list[str]:
    """The fields of a method, or of the recipe, that are set."""
    return [field for owner, field, _ in map(_parts, texts) if owner == name]


def check_swept(texts: Sequence[str], experiment: Experiment) -> None:
    """Checks that no setting is one of those whose values an experiment compares.

    Raises:
        UserError: one is.
    """
    methods = {row.method for row in experiment.rows if row not in experiment.unswept}
    for owner, name, _ in map(_parts, texts):
        if name in (experiment.recipe_sweep if owner == RECIPE else experiment.sweep if owner in methods else ()):
            raise UserError(
                f"SET names {owner}.{name}, of which the experiment {experiment.name!r} compares several values: leave "
                "it out."
            )


def of_recipe(recipe: Recipe, texts: Sequence[str]) -> Recipe:
    """A recipe with its settings applied."""
    changed: Recipe = _with(recipe, RECIPE, texts)
    return changed


def of_method(name: str, config: Any, texts: Sequence[str]) -> Any:
    """A method's configuration with its settings applied."""
    return _with(config, name, texts)


def _with(value: Any, owner: str, texts: Sequence[str]) -> Any:
    for text in texts:
        whose, name, wanted = _parts(text)
        if whose == owner:
            value = _changed(value, owner, name, wanted)
    return value


def _parts(text: str) -> tuple[str, str, str]:
    place, sign, value = text.partition("=")
    owner, dot, name = place.partition(".")
    if not (owner and dot and name and sign and value) or ";" in text:
        raise UserError(f"SET takes METHOD.FIELD=VALUE or recipe.FIELD=VALUE, not {text!r}.")
    return owner, name, value


def _changed(whole: Any, owner: str, name: str, text: str) -> Any:
    names = [one.name for one in dataclasses.fields(whole)]
    if name not in names:
        raise UserError(f"{owner} has no setting {name!r}; it has: {', '.join(names) or 'none'}{_near(name, names)}.")
    old = _example(whole, name)
    try:
        value = _like(old, text)
    except ValueError:
        raise UserError(f"{owner}.{name} takes a value of type {type(old).__name__}, not {text!r}.") from None
    try:
        return dataclasses.replace(whole, **{name: value})
    except (ValueError, TypeError) as error:
        raise UserError(f"{owner}.{name} cannot be {text}: {error}.") from error


def _example(whole: Any, name: str) -> Any:
    """A value of a field's type: its own, or zero of its type where that is None or an empty tuple."""
    old = getattr(whole, name)
    if old is not None and old != ():
        return old
    kind = next(one for one in get_args(get_type_hints(type(whole))[name]) if one is not type(None))
    return kind() if old is None else (kind(),)


def _like(old: Any, text: str) -> Any:
    """A text as a value of the same type as another one."""
    if isinstance(old, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text.lower() in ("true", "1")
    if isinstance(old, tuple):
        return tuple(_like(old[0], part) if old else part for part in text.split(","))
    if isinstance(old, int):
        return int(text)
    if isinstance(old, float):
        if not math.isfinite(float(text)):
            raise ValueError(text)
        return float(text)
    return text


def _near(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, 1)
    return f"; did you mean {near[0]}" if near else ""

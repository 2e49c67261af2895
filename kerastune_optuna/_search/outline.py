"""The space of a builder as a table, before anything is trained."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution

from kerastune_optuna import _check
from kerastune_optuna._search import space
from kerastune_optuna._search.mismatch import defaults_of
from kerastune_optuna._search.space import Walker
from kerastune_optuna._search.together import Together

# A name, and the conditions of KerasTuner under which it is asked for.
_Key: TypeAlias = tuple[str, tuple[str, ...]]
_Values: TypeAlias = dict[str, Any]

_FEW = 12  # values of a parameter that are all tried, to see what is asked for with each
_SECONDS = 10.0  # after which no further condition is looked for
_CUT = f"Conditions were looked for during {_SECONDS:.0f} seconds: there may be more."
_OF_FIT = "What the builder's fit asks for is known once a trial trains, and is not shown."


def outlined(build_model: space.Builder, functions: Sequence[Any]) -> str:
    """Return a line for each parameter that a builder asks for: its values, default and conditions.

    Conditions in plain Python are seen by calls with one other value at a time.

    Args:
        build_model: The builder. Nothing that it returns is trained.
        functions: The functions that search() is to get as data, which may ask for parameters too.

    Returns:
        The lines, each with its end.
    """
    space.learn_ranges(build_model)
    found = _Found(Together(build_model, functions))
    is_whole = found.explore()
    cells = [("parameter", "values", "default", "only with"), *map(found.row, found.notes)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    title = f"Search space: {_check.count(len(found.notes), 'parameter')}"
    rows = [f"  {'  '.join(map(str.ljust, row, widths))}".rstrip() for row in cells]
    lines = [title, *rows] if found.notes else [title]
    more = [_CUT] * (not is_whole) + [_OF_FIT] * hasattr(build_model, "fit")
    return "".join(f"{line}\n" for line in [*lines, *more])


class _Found:
    """Hold what a builder asks for, and with which values of what else."""

    def __init__(self, build_model: space.Builder) -> None:
        from kerastune_optuna._backend import Memory  # which imports Keras, as the builder has

        self.notes: dict[_Key, space.Note] = {}
        self._where: dict[_Key, dict[str, list[Any]]] = {}
        self._build_model, self._memory = build_model, Memory()
        self._ends = time.monotonic() + _SECONDS

    @cached_property
    def _own(self) -> _Values:
        """The defaults that a builder for Optuna trials may name itself."""
        return defaults_of(self._build_model)

    def explore(self) -> bool:
        """Call the builder with its defaults, then with other values; False where time is over."""
        if (first := self._call({})) is None:  # call it once more, to raise its error
            self._build_model(self._walker({}))
            return False
        waiting, seen = deque([(dict[str, Any](), first)]), set[str]()
        while waiting:
            given, walker = waiting.popleft()
            for name, distribution in walker.distributions.items():
                if name in seen:
                    continue
                if time.monotonic() > self._ends:
                    return False
                seen.add(name)
                waiting.extend(self._vary(given, name, _some(distribution)))
        return True

    def _vary(self, given: _Values, name: str, values: list[Any]) -> list[tuple[_Values, Walker]]:
        """Call the builder with each value of a parameter; return what it got and asked for."""
        contexts = [{**given, name: value} for value in values]
        called = [(one, walker) for one in contexts if (walker := self._call(one)) is not None]
        asked = [(one[name], set(map(_key, walker.notes))) for one, walker in called]
        for key in set[_Key]().union(*(keys for _, keys in asked)):
            among = [value for value, keys in asked if key in keys]
            if len(among) < len(asked):
                self._where.setdefault(key, {}).setdefault(name, among)
        return called

    def _call(self, given: _Values) -> Walker | None:
        """Return the walker that the builder asked, with a note for each parameter.

        It is None where the builder raises an error.
        """
        walker = self._walker(given)
        with self._memory.released():
            if not space.walk(self._build_model, walker):
                return None
        said = {note.name for note in walker.notes}
        for name, one in walker.distributions.items():
            if name not in said:
                walker.note(name, one, walker.params[name], ())
        for note in walker.notes:
            self.notes.setdefault(_key(note), note)
        return walker

    def _walker(self, given: _Values) -> Walker:
        """Return one that gives what is given, else what the builder says, else the middle."""

        def choose(name: str, distribution: BaseDistribution) -> Any:
            if name in given:
                return given[name]
            said = walker.notes[-1].default if walker.notes else self._own.get(name)
            return said if _check.allows(distribution, said) else space.middle(distribution)

        walker = Walker(choose)
        return walker

    def row(self, key: _Key) -> tuple[str, ...]:
        """Return the cells of a parameter: name, values, default, and conditions."""
        note = self.notes[key]
        seen = self._where.get(key, {}).items()
        said = {one.partition("=")[0] for one in note.conditions}
        where = [f"{name}={','.join(map(str, few))}" for name, few in seen if name not in said]
        values = space.with_scale(note.distribution)
        return note.name, values, str(note.default), " and ".join([*note.conditions, *where])


def _key(note: space.Note) -> _Key:
    return note.name, note.conditions


def _some(distribution: BaseDistribution) -> list[Any]:
    """Return all values of a parameter that has few, else the ends of its range."""
    count = space.size(distribution)
    if count <= _FEW or hasattr(distribution, "choices"):
        return [space.value_at(distribution, place) for place in range(int(count))]
    return [getattr(distribution, "low", None), getattr(distribution, "high", None)]

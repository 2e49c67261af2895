"""The entries of a space: what a builder for KerasTuner has asked for, as KerasTuner writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._keras_tuner import ranges
from kerastune_optuna._keras_tuner.conditions import Condition, as_tuple

Key: TypeAlias = tuple[str, tuple[Condition, ...]]


@dataclass(frozen=True)
class Entry:
    """Hold what was asked under a name, and the conditions under which it is active.

    Args:
        kind: "Int", "Float", "Choice", "Boolean" or "Fixed".
        name: Its whole name.
        conditions: All of them must be met for it to have a value.
        config: Its other arguments, as KerasTuner writes them.
        distribution: What Optuna draws it from.
    """

    kind: str
    name: str
    conditions: tuple[Condition, ...]
    config: Mapping[str, Any]
    distribution: BaseDistribution

    @property
    def key(self) -> Key:
        """The key that tells it from entries that have its name under other conditions."""
        return self.name, self.conditions

    @property
    def default(self) -> Any:
        """Its value where no trial gives one."""
        if self.kind == "Fixed":
            return self.config["value"]
        default = self.config["default"]
        return self.config["min_value"] if default is None else default

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether its conditions are met."""
        return all(condition.is_met(values) for condition in self.conditions)

    def get_config(self) -> dict[str, Any]:
        """Return its arguments, as KerasTuner's own entry does."""
        conditions = [condition.written() for condition in self.conditions]
        return {"name": self.name, "conditions": conditions, **self.config}


class FirstRanges:
    """Hold the first entry of each name and conditions, which all trials of a builder keep."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._fixed: frozenset[Key] | None = None

    @property
    def are_known(self) -> bool:
        """Whether the model of the defaults was built, whose ranges do not depend on chance."""
        return self._fixed is not None

    def fix(self) -> None:
        """Note that what was asked so far was asked by the model of the defaults."""
        self._fixed = frozenset(self._entries)

    def of(self, entry: Entry) -> Entry:
        """Return the first entry with the name and the conditions of another."""
        return self._entries.setdefault(entry.key, entry)

    def may_differ(self, entry: Entry) -> bool:
        """Whether another process may have met another branch of the builder first."""
        return self._fixed is not None and entry.key not in self._fixed


def made(kind: str, name: str, conditions: Sequence[Condition], config: Mapping[str, Any]) -> Entry:
    """Return the entry of what was asked.

    Raises:
        ArgumentError: KerasTuner would refuse it, or Optuna could not draw it.
    """
    distribution = ranges.from_config(kind, name, config)
    if kind in ("Int", "Float"):
        config = _of_range(int if kind == "Int" else float, config)
    elif kind == "Boolean":
        config = _of_boolean(name, config)
    elif kind == "Choice" and isinstance(distribution, CategoricalDistribution):
        config = _of_choice(name, list(distribution.choices), config)
    return Entry(kind, name, tuple(conditions), config, distribution)


def read(kind: str, written: Mapping[str, Any]) -> Entry:
    """Return the entry that get_config() wrote, ours or KerasTuner's."""
    config = {name: one for name, one in written.items() if name not in ("name", "conditions")}
    parents = [one["config"] for one in written.get("conditions") or ()]
    conditions = [Condition(one["name"], as_tuple(one["values"])) for one in parents]
    return made(kind, written["name"], conditions, config)


def taken(one: Any) -> Entry:
    """Return an entry of ours; one of KerasTuner's is read into an entry of ours."""
    return one if isinstance(one, Entry) else read(type(one).__name__, one.get_config())


def recorded(name: str, distribution: BaseDistribution) -> Entry:
    """Return the entry for what a trial has recorded, whose conditions are not known any more."""
    if not isinstance(distribution, CategoricalDistribution):
        config = _of_numbers(distribution)
        kind = "Int" if isinstance(config["min_value"], int) else "Float"
    elif len(choices := list(distribution.choices)) == 1:
        kind, config = "Fixed", {"value": choices[0]}
    elif choices == [True, False] and isinstance(choices[0], bool):
        kind, config = "Boolean", {"default": False}
    else:
        kind, config = "Choice", {"default": choices[0], "values": choices, "ordered": False}
    return Entry(kind, name, (), config, distribution)


def _of_numbers(distribution: Any) -> dict[str, Any]:
    ends = {"min_value": distribution.low, "max_value": distribution.high}
    step = None if distribution.log else distribution.step
    sampling = "log" if distribution.log else "linear"
    return {"default": distribution.low, **ends, "step": step, "sampling": sampling}


def _of_range(number: type[int] | type[float], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of hp.Int or hp.Float, with those that were left out."""
    low, step, default = number(config["min_value"]), config.get("step"), config.get("default")
    sampling = str(config.get("sampling") or "linear").lower()
    if number is int and step is None and sampling == "linear":
        step = 1
    return {
        "default": low if number is float and default is None else default,
        "min_value": low,
        "max_value": number(config["max_value"]),
        "step": None if step is None else number(step),
        "sampling": sampling,
    }


def _of_choice(name: str, values: list[Any], config: Mapping[str, Any]) -> dict[str, Any]:
    default, ordered = config.get("default"), config.get("ordered")
    is_numeric = isinstance(values[0], int | float)
    if ordered and not is_numeric:
        raise ArgumentError(
            f"hp.Choice({name!r}) has ordered=True, and {values[0]!r} is no number. Leave "
            "ordered= out, or pass False."
        )
    return {
        "default": values[0] if default is None else _as_choice(name, default, values),
        "values": values,
        "ordered": is_numeric if ordered is None else ordered,
    }


def _as_choice(name: str, default: Any, values: Sequence[Any]) -> Any:
    """Return a default as the choices are written; refuse one that is none of them."""
    if isinstance(values[0], str | int):
        default = type(values[0])(default)
    if default not in values:
        raise ArgumentError(
            f"hp.Choice({name!r}) has default={default!r}, which is none of its values {values}. "
            "Pass one of them, or leave default= out."
        )
    return default


def _of_boolean(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    default = config.get("default", False)
    if default not in (True, False):
        raise ArgumentError(
            f"hp.Boolean({name!r}) has default={default!r}. Pass True or False, or leave it out."
        )
    return {"default": default}

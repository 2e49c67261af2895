"""HyperParameters: what a builder for KerasTuner calls, answered from an Optuna trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, Trial

from kerastune_optuna._choice import suggest
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._keras_tuner import conditions, entries, ranges
from kerastune_optuna._keras_tuner.conditions import Condition
from kerastune_optuna._keras_tuner.entries import Entry, FirstRanges, Key


class HyperParameters:
    """Answer the calls of a builder that was written for KerasTuner.

    The trial suggests each hyperparameter that the builder asks for and whose conditions are met,
    under the name that KerasTuner gives it. The values are just those that KerasTuner could give;
    the guide coming-from-kerastuner.md says how ranges that Optuna does not know are drawn.

    Args:
        trial: An Optuna trial: a running one, a finished one like `tuner.best_trial`, or a
            FixedTrial. Default None: each hyperparameter has its default.

    Example:
        >>> import optuna
        >>> from kerastune_optuna import HyperParameters
        >>> hp = HyperParameters(optuna.trial.FixedTrial({"model": "deep", "layers": 3}))
        >>> hp.Choice("model", ["flat", "deep"])
        'deep'
        >>> with hp.conditional_scope("model", ["deep"]):
        ...     layers = hp.Int("layers", 2, 5)
        >>> hp.values
        {'model': 'deep', 'layers': 3}
        >>> HyperParameters().Int("layers", 2, 5)
        2
    """

    def __init__(self, trial: BaseTrial | None = None, _first: FirstRanges | None = None) -> None:
        self._first = FirstRanges() if _first is None else _first
        self.values, self._recorded = ({}, {}) if trial is None else _recorded(trial)
        self._trial = trial
        self._scopes: list[str] = []
        self._conditions: list[Condition] = []
        self._entries: dict[Key, Entry] = {}

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str | None = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return a whole number from a range with both its ends.

        Args:
            name: The name of the hyperparameter.
            min_value: The least value.
            max_value: The greatest value, where a step leads to it.
            step: The distance of two values; with "log" and "reverse_log" a factor. Default 1.
            sampling: "linear" (default), "log" or "reverse_log".
            default: The value without a trial. Default `min_value`.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        ends = {"min_value": min_value, "max_value": max_value}
        config = {**ends, "step": step, "sampling": sampling, "default": default}
        return self._ask("Int", name, config, parent_name, parent_values)

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str | None = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return a number from a range with both its ends.

        Args:
            name: The name of the hyperparameter.
            min_value: The least value.
            max_value: The greatest value, where a step leads to it.
            step: The distance of two values; with "log" and "reverse_log" a factor. Default None.
            sampling: "linear" (default), "log" or "reverse_log".
            default: The value without a trial. Default `min_value`.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        ends = {"min_value": min_value, "max_value": max_value}
        config = {**ends, "step": step, "sampling": sampling, "default": default}
        return self._ask("Float", name, config, parent_name, parent_values)

    def Choice(
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return one of several values.

        Args:
            name: The name of the hyperparameter.
            values: The values to choose from, all of one type: int, float, bool or str.
            ordered: Whether they have an order, which Optuna's choices do not use.
            default: The value without a trial. Default the first one.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        config = {"values": values, "ordered": ordered, "default": default}
        return self._ask("Choice", name, config, parent_name, parent_values)

    def Boolean(
        self,
        name: str,
        default: bool = False,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return True or False.

        Args:
            name: The name of the hyperparameter.
            default: The value without a trial. Default False.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        return self._ask("Boolean", name, {"default": default}, parent_name, parent_values)

    def Fixed(
        self, name: str, value: Any, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """Return a value that is not tuned, and record it.

        Args:
            name: The name of the hyperparameter.
            value: The value.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        return self._ask("Fixed", name, {"value": value}, parent_name, parent_values)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put a name and a slash before all names within.

        Args:
            name: The name.
        """
        self._scopes.append(str(name))
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Let what is asked within be active only where another hyperparameter has a given value.

        Args:
            parent_name: The name of that other hyperparameter, the parent.
            parent_values: The values of the parent with which the hyperparameters within are
                active.

        Raises:
            ArgumentError: The parent was not asked before.
        """
        parent = self._named(parent_name)
        if parent not in self.values and not self._was_asked(parent):
            known = ", ".join(map(repr, self.values)) or "none"
            raise ArgumentError(
                f"conditional_scope({parent!r}, ...) comes before that hyperparameter. Ask for it "
                f"first. These were asked: {known}."
            )
        values = conditions.as_tuple(parent_values)
        if not values:
            raise ArgumentError(
                f"conditional_scope({parent!r}, ...) has no values, so that nothing within could "
                "ever be active. Pass the values with which it is."
            )
        self._conditions.append(Condition(parent, values))
        try:
            yield
        finally:
            self._conditions.pop()

    def is_active(self, hyperparameter: Any) -> bool:
        """Return whether a hyperparameter was asked under conditions that are met.

        Args:
            hyperparameter: Its whole name, or what `space` holds, KerasTuner's too.

        Returns:
            Whether the conditions are met by the values that there are now.
        """
        name, one = str(hyperparameter), hyperparameter
        is_entry = hasattr(one, "conditions")
        asked = [entries.taken(one)] if is_entry else [of for of in self.space if of.name == name]
        return any(entry.is_active(self.values) for entry in asked)

    def get(self, name: str) -> Any:
        """Return the value of a hyperparameter that was asked before.

        Args:
            name: Its name.

        Returns:
            The value.

        Raises:
            ValueError: It is not active.
            KeyError: It was not asked.
        """
        name = self._named(name)
        if name in self.values:
            return self.values[name]
        if self._was_asked(name):
            raise ValueError(f"{name!r} is not active: the conditions of its scope are not met.")
        raise KeyError(f"{name!r} was not asked. These were: {', '.join(self.values) or 'none'}.")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        return self._named(name) in self.values

    @property
    def space(self) -> list[Entry]:
        """What was asked so far, and what the trial has recorded, in the order of asking."""
        asked = list(self._entries.values())
        others = self._recorded.keys() - {one.name for one in asked}
        recorded = self._recorded.items()
        return asked + [entries.recorded(name, one) for name, one in recorded if name in others]

    def get_config(self) -> dict[str, Any]:
        """Return the space and the values, as KerasTuner writes them.

        Returns:
            A dict that json can write, and that `from_config` takes, KerasTuner's too.
        """
        space = [{"class_name": one.kind, "config": one.get_config()} for one in self.space]
        return {"space": space, "values": dict(self.values)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameters:
        """Return what `get_config` wrote, ours or KerasTuner's.

        Args:
            config: The dict.

        Returns:
            An object without a trial.
        """
        made = cls()
        for one in config["space"]:
            entry = entries.read(one["class_name"], one["config"])
            made._entries[entry.key] = entry
        made.values = dict(config["values"])
        return made

    def copy(self) -> HyperParameters:
        """Return the same values without the trial: any other hyperparameter has its default.

        Returns:
            Another object, as KerasTuner's HyperModel(tunable=False) gives it to its builder.
        """
        made = HyperParameters()
        made.values, made._entries = dict(self.values), {one.key: one for one in self.space}
        return made

    def merge(self, hps: Any, overwrite: bool = True) -> None:
        """Ask for all that another object was asked for, under its conditions.

        Args:
            hps: HyperParameters, ours or KerasTuner's, or a list of what their `space` holds.
            overwrite: Whether, without a trial, a hyperparameter that has a value gets its default
                from `hps`. Default True.
        """
        for one in map(entries.taken, getattr(hps, "space", hps)):
            if overwrite and self._trial is None and one.is_active(self.values):
                self.values[one.name] = one.default
            self._value_of(one)

    def _was_asked(self, name: str) -> bool:
        return any(one.name == name for one in self._entries.values())

    def _ask(self, kind: str, name: str, config: Mapping[str, Any], *parent: Any) -> Any:
        """Return the value of a hyperparameter in the scopes around it and under its own parent.

        Args:
            kind: The kind of its entry.
            name: Its name.
            config: Its other arguments.
            *parent: The name of its parent, if it has one of its own, and the parent's values.
        """
        with self.conditional_scope(*parent) if parent[0] else nullcontext():
            return self._value_of(entries.made(kind, self._named(name), self._conditions, config))

    def _value_of(self, entry: Entry) -> Any:
        """Return the value of an entry; None where it is not active."""
        name = entry.name
        if any(condition.parent == name for condition in entry.conditions):
            raise ArgumentError(
                f"{name!r} has itself as its parent, so that it could never be active. Give the "
                "hyperparameter another name than its parent."
            )
        entry = self._entries.setdefault(entry.key, self._first.of(entry))
        if (note := getattr(self._trial, "note", None)) is not None:  # of a Walker
            note(name, entry.distribution, entry.default, tuple(map(str, entry.conditions)))
        if not entry.is_active(self.values):
            return None
        if name not in self.values:
            trial = self._trial
            self.values[name] = entry.default if trial is None else self._suggest(trial, entry)
        else:
            self._record(entry, self.values[name])
        return self.values[name]

    def _record(self, entry: Entry, value: Any) -> None:
        """Let a running trial record a value that was put into `values` by hand.

        It is the only one of its range: no sampler has a choice. Where the study has other choices
        by that name, or the value is of another type, it counts and is not recorded.
        """
        trial, names = self._trial, conditions.names(entry.name, entry.conditions)
        if isinstance(trial, Trial) and not trial.params.keys() & set(names):
            with suppress(TypeError, ValueError):
                only = ranges.only(value, entry.distribution)
                _suggest(trial, replace(entry, distribution=only))

    def _suggest(self, trial: BaseTrial, entry: Entry) -> Any:
        """Ask a trial, where need be with the range that another process has asked for first."""
        try:
            return _suggest(trial, entry)
        except ArgumentError:
            known = _known(trial, entry.name) if self._first.may_differ(entry) else None
            if known is None:
                raise
            return _suggest(trial, replace(entry, distribution=known))

    def _named(self, name: str) -> str:
        """Return a name with the scopes around it."""
        return "/".join([*self._scopes, str(name)])


def _suggest(trial: BaseTrial, entry: Entry) -> Any:
    """Ask a trial; add the conditions to the name where the study has other values for the name."""
    name, distribution = entry.name, entry.distribution
    for one in conditions.names(name, entry.conditions):
        try:
            return ranges.to_keras_tuner(suggest(trial, one, distribution), distribution)
        except ValueError as error:
            cause = error
    raise ArgumentError(
        f"hp cannot ask for {name!r} as {distribution}: {cause} Where its values have changed, "
        "pass another study_name, or overwrite=True to start anew; where two branches ask for it, "
        "give it two names, or ask in conditional_scope()."
    ) from cause


def _known(trial: BaseTrial, name: str) -> BaseDistribution | None:
    """Return what a parameter is drawn from in the study of a running trial."""
    if not isinstance(trial, Trial):
        return None
    trials = trial.study.get_trials(deepcopy=False)
    spaces = (one.distributions[name] for one in trials if name in one.distributions)
    return next(spaces, None)


def _recorded(trial: BaseTrial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return what a trial was asked before: by build() where fit() asks now, or by a search."""
    values: dict[str, Any] = {}
    spaces: dict[str, BaseDistribution] = {}
    for name, value in trial.params.items():
        space = trial.distributions[name]
        name = conditions.plain(name, values)
        values[name], spaces[name] = ranges.to_keras_tuner(value, space), space
    return values, spaces

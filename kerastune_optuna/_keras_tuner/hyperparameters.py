"""HyperParameters: KerasTuner's `hp`, with values from an Optuna trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FrozenTrial, Trial

from kerastune_optuna._choice import suggest
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._keras_tuner import ranges
from kerastune_optuna._keras_tuner.entries import (
    Condition,
    Entry,
    FirstRanges,
    Key,
    plain_name,
)


class HyperParameters:
    """Provide the `hp` methods that a builder written for KerasTuner calls.

    When the builder asks for a hyperparameter whose conditions are met, the trial suggests its
    value, under the name that KerasTuner uses. Only values that KerasTuner could give are
    suggested; the guide coming-from-kerastuner.md explains how ranges that Optuna does not support
    are sampled.

    Args:
        trial: An Optuna trial: a running one, a finished one like `tuner.best_trial`, or a
            FixedTrial. Default None, which gives each hyperparameter its default.

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
        self.values: dict[str, Any] = {}
        self._recorded: dict[str, BaseDistribution] = {}
        if trial is not None:  # it may have parameters already, from build() or a search
            for recorded, value in trial.params.items():
                space = trial.distributions[recorded]
                name = plain_name(recorded, self.values)
                self.values[name] = ranges.to_keras_tuner(value, space)
                self._recorded[name] = space
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
        """Return a whole number from a range that includes both ends.

        Args:
            name: The name of the hyperparameter.
            min_value: The least value.
            max_value: The greatest value, if the steps reach it.
            step: The distance between values; a factor for "log" and "reverse_log". Default 1.
            sampling: "linear" (default), "log" or "reverse_log".
            default: The value without a trial. Default `min_value`.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other for which this one is active.

        Returns:
            The value, or None if the hyperparameter is not active.
        """
        space = ranges.int_range(name, min_value, max_value, step, sampling)
        default = int(min_value) if default is None else default
        return self._ask(name, space, default, parent_name, parent_values)

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
        """Return a number from a range that includes both ends.

        Args:
            name: The name of the hyperparameter.
            min_value: The least value.
            max_value: The greatest value, if the steps reach it as KerasTuner counts them, by the
                floor division of floats: from 0 to 0.3 in steps of 0.1, the last value is 0.2.
            step: The distance between values; a factor for "log" and "reverse_log". Default None.
            sampling: "linear" (default), "log" or "reverse_log".
            default: The value without a trial. Default `min_value`.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other for which this one is active.

        Returns:
            The value, or None if the hyperparameter is not active.
        """
        space = ranges.float_range(name, min_value, max_value, step, sampling)
        default = float(min_value) if default is None else default
        return self._ask(name, space, default, parent_name, parent_values)

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
            ordered: Whether they have an order; Optuna does not use it.
            default: The value without a trial. Default the first one.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other for which this one is active.

        Returns:
            The value, or None if the hyperparameter is not active.
        """
        space = ranges.choice(name, values)
        default = ranges.default_choice(name, values, default, ordered=ordered)
        return self._ask(name, space, default, parent_name, parent_values)

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
            parent_values: The values of the other for which this one is active.

        Returns:
            The value, or None if the hyperparameter is not active.
        """
        space = ranges.boolean(name, default)
        return self._ask(name, space, default, parent_name, parent_values)

    def Fixed(
        self, name: str, value: Any, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """Return a value that is recorded but not tuned.

        Args:
            name: The name of the hyperparameter.
            value: The value.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other for which this one is active.

        Returns:
            The value, or None if the hyperparameter is not active.
        """
        return self._ask(name, ranges.fixed(name, value), value, parent_name, parent_values)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Prefix all names in the scope with a name and a slash.

        Args:
            name: The prefix.
        """
        self._scopes.append(str(name))
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Make hyperparameters in the scope active only for given values of a parent.

        Args:
            parent_name: The name of the hyperparameter that is the parent.
            parent_values: The values of the parent for which the hyperparameters in the scope are
                active.

        Raises:
            ArgumentError: The builder has not asked for the parent before.
        """
        parent = self._named(parent_name)
        if parent not in self.values and not self._was_asked(parent):
            known = ", ".join(map(repr, self.values)) or "none"
            raise ArgumentError(
                f"conditional_scope({parent!r}, ...) comes before that hyperparameter. Ask for it "
                f"first. So far, the builder has asked for: {known}."
            )
        is_list = isinstance(parent_values, list | tuple)
        values = tuple(parent_values) if is_list else (parent_values,)
        if not values:
            raise ArgumentError(
                f"conditional_scope({parent!r}, ...) has no values, so nothing in it could ever be "
                "active. Pass the values of the parent for which it is active."
            )
        self._conditions.append(Condition(parent, values))
        try:
            yield
        finally:
            self._conditions.pop()

    def is_active(self, hyperparameter: Any) -> bool:
        """Return whether a hyperparameter is active.

        Args:
            hyperparameter: Its whole name, or an entry of `space`.

        Returns:
            Whether its conditions are met by the current values.
        """
        if isinstance(hyperparameter, Entry):
            return hyperparameter.is_active(self.values)
        return any(one.is_active(self.values) for one in self.space if one.name == hyperparameter)

    def get(self, name: str) -> Any:
        """Return the value of a hyperparameter that the builder asked for before.

        Args:
            name: Its name.

        Returns:
            The value.

        Raises:
            ValueError: The hyperparameter is not active.
            KeyError: The builder did not ask for it.
        """
        name = self._named(name)
        if name in self.values:
            return self.values[name]
        if self._was_asked(name):
            raise ValueError(f"{name!r} is not active: the conditions of its scope are not met.")
        raise KeyError(
            f"The builder has not asked for {name!r}. So far, it has asked for: "
            f"{', '.join(self.values) or 'none'}."
        )

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        return self._named(name) in self.values

    @property
    def space(self) -> list[Entry]:
        """The entries that the builder asked for so far, then others that the trial recorded."""
        asked = list(self._entries.values())
        names = {one.name for one in asked}
        others = ((name, space) for name, space in self._recorded.items() if name not in names)
        return asked + [Entry(name, (), self.values.get(name), space) for name, space in others]

    def copy(self) -> HyperParameters:
        """Return a copy with the same values but without the trial.

        Returns:
            The copy, in which all other hyperparameters have their defaults. KerasTuner's
            HyperModel(tunable=False) passes such a copy to its builder.
        """
        made = HyperParameters()
        made.values, made._entries = dict(self.values), {one.key: one for one in self.space}
        return made

    def _was_asked(self, name: str) -> bool:
        """Whether the builder asked for a hyperparameter, though it may not be active."""
        return any(one.name == name for one in self._entries.values())

    def _ask(
        self, name: str, space: BaseDistribution, default: Any, parent: str | None, values: Any
    ) -> Any:
        """Return the value of a hyperparameter in the current scopes and under its own parent.

        Args:
            name: Its name.
            space: The distribution from which Optuna draws it.
            default: Its value without a trial.
            parent: The name of its own parent, if any.
            values: The values of the parent for which it is active.
        """
        trial = self._trial
        with self.conditional_scope(parent, values) if parent else nullcontext():
            name, scope = self._named(name), tuple(self._conditions)
        if any(condition.parent == name for condition in scope):
            raise ArgumentError(
                f"{name!r} is its own parent, so it could never be active. Give the "
                "hyperparameter and its parent different names."
            )
        entry = self._first.entries.setdefault((name, scope), Entry(name, scope, default, space))
        entry = self._entries.setdefault(entry.key, entry)
        if (notes := getattr(trial, "notes", None)) is not None:  # the trial is a Walker
            notes.append(entry)
        if not entry.is_active(self.values):
            return None
        if name in self.values:
            self._record(entry, self.values[name])
        else:
            self.values[name] = entry.default if trial is None else self._suggest(trial, entry)
        return self.values[name]

    def _record(self, entry: Entry, value: Any) -> None:
        """Let a running trial record a value that the user put into `values`.

        The value is the only one of its distribution, so the sampler has no choice. If the study
        has other choices for the name, or the value has another type, it is used but not recorded.
        A finished trial records that the builder has asked, as if it had suggested the value.
        """
        trial, names = self._trial, entry.names
        if isinstance(trial, FrozenTrial):
            asked = trial.distributions.keys() & set(names)
            trial.distributions |= dict.fromkeys(asked, entry.distribution)
        if isinstance(trial, Trial) and not trial.params.keys() & set(names):
            with suppress(TypeError, ValueError):
                only = ranges.only(value, entry.distribution)
                _ask_trial(trial, replace(entry, distribution=only))

    def _suggest(self, trial: BaseTrial, entry: Entry) -> Any:
        """Ask a trial; if that fails, use the distribution that another process asked for first."""
        try:
            return _ask_trial(trial, entry)
        except ArgumentError:
            fixed = self._first.fixed
            if fixed is None or entry.key in fixed or not isinstance(trial, Trial):
                raise
            trials = trial.study.get_trials(deepcopy=False)
            known = [one.distributions.get(entry.name) for one in trials]
            first = next(filter(None, known), None)
            if first is None:
                raise
            return _ask_trial(trial, replace(entry, distribution=first))

    def _named(self, name: str) -> str:
        """Return a name prefixed with the current scopes."""
        return "/".join([*self._scopes, str(name)])


def _ask_trial(trial: BaseTrial, entry: Entry) -> Any:
    """Ask a trial; if the study has other values for the name, append the conditions to it."""
    name, distribution = entry.name, entry.distribution
    for recorded in entry.names:
        try:
            return ranges.to_keras_tuner(suggest(trial, recorded, distribution), distribution)
        except ValueError as error:
            cause = error
    raise ArgumentError(
        f"hp cannot ask for {name!r} as {distribution}: {cause} If its values have changed, pass "
        "another study_name, or overwrite=True to start over. If two branches ask for it, use two "
        "names, or ask for it in conditional_scope()."
    ) from cause

"""HyperParameters: what a builder for KerasTuner calls, answered from an Optuna trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._keras_tuner import conditions, ranges
from kerastune_optuna._keras_tuner.conditions import Condition


class HyperParameters:
    """Answer the calls of a builder that was written for KerasTuner.

    What is asked is suggested by the trial, under the name that KerasTuner gives it, and only what
    is asked under conditions that are met. The values are just those that KerasTuner could give;
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

    def __init__(self, trial: BaseTrial | None = None) -> None:
        self.values: dict[str, Any] = {} if trial is None else _values_so_far(trial)
        self._trial = trial
        self._scopes: list[str] = []
        self._conditions: list[Condition] = []
        self._inactive: set[str] = set()

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
        space = ranges.int_range(name, min_value, max_value, step, sampling)
        default = min_value if default is None else default
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
        space = ranges.float_range(name, min_value, max_value, step, sampling)
        default = float(min_value) if default is None else default
        few = () if step else ranges.ten_values(min_value, max_value, sampling, default)
        return self._ask(name, space, default, parent_name, parent_values, few)

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
            values: The values to choose from.
            ordered: Whether they have an order, which Optuna's choices do not use.
            default: The value without a trial. Default the first one.
            parent_name: Another hyperparameter on which this one depends.
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        space = ranges.choice(name, values)
        default = space.choices[0] if default is None else default
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
            parent_values: The values of the other with which this one is active.

        Returns:
            The value; None where it is not active.
        """
        return self._ask(name, ranges.boolean(), default, parent_name, parent_values)

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
        return self._ask(name, ranges.fixed(value), value, parent_name, parent_values)

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
            parent_name: The name of the other.
            parent_values: Its values with which those within are active.

        Raises:
            ArgumentError: The other was not asked before.
        """
        parent = self._named(parent_name)
        if parent not in self.values and parent not in self._inactive:
            known = ", ".join(map(repr, self.values)) or "none"
            raise ArgumentError(
                f"conditional_scope({parent!r}, ...) comes before that hyperparameter. Ask for it "
                f"first. These were asked: {known}."
            )
        self._conditions.append(Condition(parent, conditions.as_tuple(parent_values)))
        try:
            yield
        finally:
            self._conditions.pop()

    def is_active(self, hyperparameter: Any) -> bool:
        """Return whether a hyperparameter was asked under conditions that are met.

        Args:
            hyperparameter: Its whole name, or an object that has it as `name`.

        Returns:
            Whether it has a value.
        """
        return str(getattr(hyperparameter, "name", hyperparameter)) in self.values

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
        if name in self._inactive:
            raise ValueError(f"{name!r} is not active: the conditions of its scope are not met.")
        raise KeyError(f"{name!r} was not asked. These were: {', '.join(self.values) or 'none'}.")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        return self._named(name) in self.values

    def copy(self) -> HyperParameters:
        """Return the same values without the trial: what else is asked has its default.

        Returns:
            Another object, as KerasTuner's HyperModel(tunable=False) gives it to its builder.
        """
        made = HyperParameters()
        made.values, made._inactive = dict(self.values), set(self._inactive)
        return made

    def _ask(
        self,
        name: str,
        space: BaseDistribution,
        default: Any,
        parent_name: str | None,
        parent_values: Any,
        few: tuple[float, ...] = (),
    ) -> Any:
        if parent_name:
            with self.conditional_scope(parent_name, parent_values):
                return self._ask(name, space, default, None, None, few)
        name = self._named(name)
        if (note := getattr(self._trial, "note", None)) is not None:  # of what reads the space
            note(name, space, default, tuple(map(str, self._conditions)), few)
        if not all(condition.is_met(self.values) for condition in self._conditions):
            self._inactive.add(name)
            return None
        if name not in self.values:
            trial = self._trial
            self.values[name] = default if trial is None else self._suggest(trial, name, space)
        return self.values[name]

    def _suggest(self, trial: BaseTrial, name: str, space: BaseDistribution) -> Any:
        """Ask the trial, by a name with conditions where the study has other values for it."""
        for one in conditions.names(name, self._conditions):
            try:
                return ranges.to_keras_tuner(ranges.suggest(trial, one, space), space)
            except ValueError as error:
                cause = error
        raise ArgumentError(
            f"hp cannot ask for {name!r} as {space}: {cause} Where its values have changed, pass "
            "another study_name, or overwrite=True to start anew; where two branches ask for it, "
            "give it two names, or ask in conditional_scope()."
        ) from cause

    def _named(self, name: str) -> str:
        """Return a name with the scopes around it."""
        return "/".join([*self._scopes, str(name)])


def _values_so_far(trial: BaseTrial) -> dict[str, Any]:
    """Return what a trial was asked before: by build() where fit() asks now, or by a search."""
    spaces = trial.distributions
    return {
        conditions.plain(name): ranges.to_keras_tuner(value, spaces[name])
        for name, value in trial.params.items()
    }

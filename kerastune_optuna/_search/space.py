"""The search space of a builder: its parameters, their order, and how it is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, TunerError
from kerastune_optuna._keras_tuner import Entry, is_fatal, learn_ranges

_MORE = "What build_model asks for only with other values than the defaults is not shown."

Builder: TypeAlias = Callable[[BaseTrial], Any]


class Walker(FixedTrial):
    """Stand in for a trial, without a study, and record the parameters that a builder asks for.

    Args:
        choose: Takes the name and the distribution of a parameter, and returns a value for it.
    """

    def __init__(self, choose: Callable[[str, BaseDistribution], Any]) -> None:
        self._chosen: dict[str, Any] = {}
        super().__init__(self._chosen)  # FixedTrial reads the values from this dict
        self._choose = choose
        self.notes: list[Any] = []  # what a builder tells of parameters before it asks for them
        self.came_to_the_end = True  # whether the builder did; it may raise for some values

    def walk(
        self, build_model: Builder, functions: Sequence[Any] = (), *, may_fail: bool = True
    ) -> Walker:
        """Call functions, and then a builder, with this in place of a trial; return this.

        Args:
            build_model: The builder.
            functions: The functions that will be passed to search() as data. Default none.
            may_fail: Whether a builder may raise anything, since a trial with the same values will
                raise it too, and FAIL with the reason. Default True.

        Raises:
            ArgumentError: One of the functions is not a function.
            TunerError: `choose` raised it.
        """
        for function in functions:
            if not callable(function):
                raise ArgumentError(
                    f"{type(function).__name__} is not a function. Besides the parameters, pass "
                    "only the functions of the trial that will be passed to search() as data."
                )
        try:
            for function in [*functions, build_model]:
                function(self)
        except Exception as error:
            if not may_fail or isinstance(error, TunerError) or is_fatal(error):
                raise
            self.came_to_the_end = False
        return self

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self._take(name, FloatDistribution(low, high, log=log, step=step))
        return super().suggest_float(name, low, high, step=step, log=log)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        self._take(name, IntDistribution(low, high, log=log, step=step))
        return super().suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self._take(name, CategoricalDistribution(choices))
        return super().suggest_categorical(name, choices)

    def _take(self, name: str, distribution: BaseDistribution) -> None:
        """Choose a value if the parameter is new."""
        if name not in self._chosen:
            self._chosen[name] = self._choose(name, distribution)


def defaults_of(build_model: Builder) -> dict[str, Any]:
    """Return the builder's `default_params()`; an empty dict if it has no such function."""
    own = getattr(build_model, "default_params", None)
    return {} if own is None else dict(own())


def size(distribution: BaseDistribution) -> float:
    """Return how many values a parameter may take; infinity for a float without steps."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    low, high, step = _range(distribution)
    if step is None:
        return 1 if low == high else math.inf
    return int((high - low) // step) + 1


def check_choices(distributions: Mapping[str, BaseDistribution], *, once: bool = False) -> None:
    """Refuse choices that a study cannot store, or cannot tell from each other.

    Args:
        distributions: The distributions of some parameters, by their names.
        once: Whether to refuse a choice that is listed twice, too. Default False.

    Raises:
        ArgumentError: Names two choices that are equal: a study stores the place of a choice, and
            would find the place of the first one.
        ArgumentTypeError: Names a choice that a study cannot store.
    """
    for name, distribution in distributions.items():
        choices = getattr(distribution, "choices", ())
        for place, choice in enumerate(choices):
            try:
                json.dumps(choice)  # as Optuna's databases write choices
            except TypeError:
                raise ArgumentTypeError(
                    f"{name!r} may be {choice!r} of type {type(choice).__name__}, which a study "
                    f"cannot store. Pass the choices to kerastune_optuna.choice(trial, {name!r}, "
                    "[...]), which suggests a name and returns the object of that name."
                ) from None
            held = int(distribution.to_internal_repr(choice))
            first = choices[held]
            if held != place and (once or repr(first) != repr(choice)):
                raise ArgumentError(
                    f"build_model lets {name!r} be {first!r} or {choice!r}, which are equal: a "
                    f"study would store {first!r} for both. Leave one of them out, or suggest "
                    'names, such as "none", and look the values up.'
                )


def value_at(distribution: BaseDistribution, place: int) -> Any:
    """Return a value of a parameter by its place among all values, from 0."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[place]
    low, _, step = _range(distribution)
    return distribution.to_external_repr(float(low + place * (step or 0)))


def place_of(distribution: BaseDistribution, value: Any) -> float:
    """Return the place of a value among all values; the value itself if there are no steps."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.to_internal_repr(value)
    low, _, step = _range(distribution)
    # Samplers compute steps in floats, and give 0.30000000000000004 for 0.3.
    return float(value) if step is None else round((float(value) - float(low)) / float(step))


def places(
    distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]
) -> dict[str, float]:
    """Return the places of the values of a configuration, to compare it with others."""
    return {name: place_of(distributions[name], value) for name, value in params.items()}


def in_order(spaces: Iterable[Mapping[str, BaseDistribution]]) -> dict[str, BaseDistribution]:
    """Return all parameters of some trials in the order in which they ask for them.

    A parameter comes right after the one that was asked for before it, so that what depends on
    another one comes after it. A parameter with two ranges gets the last one.
    """
    order: list[str] = []
    ranges: dict[str, BaseDistribution] = {}
    for space in spaces:
        names = list(space)
        for place, name in enumerate(names):
            if name not in ranges:
                order.insert(order.index(names[place - 1]) + 1 if place else 0, name)
        ranges.update(space)
    return {name: ranges[name] for name in order if not ranges[name].single()}


def middle(distribution: BaseDistribution) -> Any:
    """Return the first choice, or the middle of a range (of its logarithm with log=True)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    low, high, step = _range(distribution)
    if getattr(distribution, "log", False):
        mean = math.sqrt(low * high)
        return round(mean) if isinstance(distribution, IntDistribution) else mean
    if step is None:
        return float((low + high) / 2)
    return value_at(distribution, int((high - low) // step) // 2)


def described(distribution: BaseDistribution) -> str:
    """Return which values a parameter may take, and whether on a log scale, in words."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(map(repr, distribution.choices))
    low, high, step = _range(distribution)
    is_whole = isinstance(distribution, IntDistribution) and step == 1
    steps = "" if step is None or is_whole else f" in steps of {step}"
    scale = " on a log scale" if getattr(distribution, "log", False) else ""
    return f"{low} to {high}{steps}{scale}"


def listed(distributions: Mapping[str, BaseDistribution]) -> str:
    """Return a list of parameters and the values that they may take, in words."""
    found = (f"{name} ({described(one)})" for name, one in distributions.items())
    return ", ".join(found) or "nothing"


def _range(distribution: BaseDistribution) -> tuple[Any, Any, Any]:
    """Return the bounds and the step of a numeric parameter, exactly as they were written."""
    assert isinstance(distribution, IntDistribution | FloatDistribution)  # Optuna has no others
    if isinstance(distribution, IntDistribution):
        return distribution.low, distribution.high, distribution.step
    step = None if distribution.step is None else Decimal(str(distribution.step))
    return Decimal(str(distribution.low)), Decimal(str(distribution.high)), step


def is_finite(trial: FrozenTrial) -> bool:
    """Whether each parameter of a trial has steps or choices, so that its values can come again."""
    return not any(math.isinf(size(one)) for one in trial.distributions.values())


def outlined(build_model: Builder, functions: Sequence[Any]) -> str:
    """Return a line for each parameter that a builder asks for when it gets its defaults.

    Args:
        build_model: The builder. The model that it returns is not trained.
        functions: The functions that will be passed to search() as data, which may ask for
            parameters too.

    Returns:
        The lines, each with a line end.
    """
    learn_ranges(build_model)
    notes = _asked(build_model, functions)
    cells = [("parameter", "values", "default", "only with")]
    for note in notes:
        conditions = " and ".join(map(str, note.conditions))
        values = described(note.distribution)
        cells.append((note.name, values, str(note.default), conditions))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    title = f"Search space: {_check.count(len(notes), 'parameter')}"
    rows = [f"  {'  '.join(map(str.ljust, row, widths))}".rstrip() for row in cells if notes]
    return "".join(f"{line}\n" for line in [title, *rows, _MORE])


def _asked(build_model: Builder, functions: Sequence[Any]) -> list[Entry]:
    """Return the parameters that a builder asks for; for KerasTuner's, inactive ones too."""
    own = defaults_of(build_model)

    def choose(name: str, distribution: BaseDistribution) -> Any:
        said = walker.notes[-1].default if walker.notes else own.get(name)
        return said if _check.allows(distribution, said) else middle(distribution)

    walker = Walker(choose)
    walker.walk(build_model, functions, may_fail=False)
    notes: list[Entry] = list({note.key: note for note in walker.notes}.values())
    noted = {note.name for note in notes}
    ranges, values = walker.distributions, walker.params
    others = [name for name in values if name not in noted]
    return notes + [Entry(name, (), values[name], ranges[name]) for name in others]

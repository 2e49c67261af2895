"""Configurations of the user and of other studies, as far as build_model asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from kerastune_optuna import _check
from kerastune_optuna._choice import STORABLE
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._keras_tuner import learn_ranges
from kerastune_optuna._search import space
from kerastune_optuna._study import TrialRecord, lay_out


def chosen(build_model: space.Builder, params: object, functions: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters that the user wants to try, as Optuna stores them.

    Args:
        build_model: The builder.
        params: The parameters; None for the builder's `default_params()`, or, if it has none, the
            middle of each range.
        functions: The functions that will be passed to search() as data, which may ask for some of
            the parameters.

    Raises:
        ArgumentError: The builder does not ask for a name, does not allow a value, or asks for no
            parameters.
    """
    if params is not None and not (isinstance(params, Mapping) and params):
        raise ArgumentTypeError(
            f"enqueue() got {params!r}. Pass one configuration as a dict, like {{'units': 32}}."
        )
    learn_ranges(build_model)
    wanted = params or space.defaults_of(build_model)

    def choose(name: str, distribution: BaseDistribution) -> Any:
        if name not in wanted:
            return space.middle(distribution)
        value = wanted[name]
        if not _check.allows(distribution, value):
            raise ArgumentError(
                f"enqueue() got {name}={value!r}, which build_model does not allow. Pass "
                f"{space.described(distribution)}."
            )
        return distribution.to_external_repr(distribution.to_internal_repr(value))

    walker = space.Walker(choose).walk(build_model, functions, may_fail=bool(wanted))
    if not (wanted or walker.params):
        raise ArgumentError("build_model asks for no parameters: it has no defaults to try.")
    # The builder's own fit may ask for more parameters, which only a training shows.
    if walker.came_to_the_end and not callable(getattr(build_model, "fit", None)):
        _check_known(wanted, walker)
    return {name: walker.params.get(name, one) for name, one in (wanted or walker.params).items()}


def _check_known(wanted: Mapping[str, Any], walker: space.Walker) -> None:
    """Refuse a name that a builder did not ask for."""
    for name in wanted:
        if name not in walker.params:
            raise ArgumentError(
                f"enqueue() got {name!r}, which build_model does not ask for with these values."
                f"{_check.nearest(str(name), walker.params)} It asks for "
                f"{space.listed(walker.distributions)}. If it asks for this one only with certain "
                "values of another parameter, pass that one too. If a function of the data asks "
                "for it, pass that function too: enqueue(params, function)."
            )


def enqueue(study: optuna.Study, params: Mapping[str, Any]) -> None:
    """Lay out a trial with these parameters, unless the study has such a trial that is not FAIL."""
    for name, value in params.items():
        if not isinstance(value, STORABLE):
            raise ArgumentError(
                f"{name}={value!r} is of type {type(value).__name__}, which a study cannot store. "
                "Let suggest_categorical choose among names, and look the object up by its name."
            )
    others = (one for one in study.get_trials(deepcopy=False) if one.state is not TrialState.FAIL)
    records = map(TrialRecord, others)
    if not any(params in (record.fixed_params, record.params) for record in records):
        lay_out(study, params)


@dataclass
class Fitting:
    """Fit configurations to a builder, which is called once for each set of parameter names.

    Args:
        build_model: The builder.
        functions: The functions that search() gets as data, which may ask for parameters too.

    Attributes:
        asked: All parameters that the builder asked for.
    """

    _build_model: space.Builder
    _functions: Sequence[Any]
    asked: dict[str, BaseDistribution] = field(init=False, default_factory=dict)
    _ranges: dict[frozenset[str], dict[str, BaseDistribution]] = field(
        init=False, default_factory=dict
    )

    def fit(self, params: Mapping[str, Any], value: float) -> tuple[FrozenTrial, bool]:
        """Return the part of a configuration that the builder can use.

        Args:
            params: The configuration.
            value: What it came to.

        Returns:
            A COMPLETE trial of that part, and whether the builder asks for exactly the parameters
            of the configuration.
        """

        def choose(name: str, distribution: BaseDistribution) -> Any:
            own = params.get(name)
            return own if _check.allows(distribution, own) else space.middle(distribution)

        names = frozenset(params)
        if names not in self._ranges:
            walker = space.Walker(choose).walk(self._build_model, self._functions)
            self._ranges[names] = walker.distributions
            self.asked |= walker.distributions
        ranges = self._ranges[names]
        taken = {  # a missing value may stand for the choice None
            name: range_.to_external_repr(range_.to_internal_repr(params.get(name)))
            for name, range_ in ranges.items()
            if _check.allows(range_, params.get(name))
        }
        kept = {name: ranges[name] for name in taken}
        trial = create_trial(params=taken, distributions=kept, value=value)
        return trial, taken.keys() == ranges.keys() >= params.keys()

"""Configurations that the user wants tried first, checked against what build_model asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import GridSampler
from optuna.trial import TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._results import Results
from kerastune_optuna._search import points, space
from kerastune_optuna._study import opening
from kerastune_optuna._trial import overwrite as _overwrite
from kerastune_optuna._trial import settle
from kerastune_optuna._workers import bundle

if TYPE_CHECKING:
    import optuna


class Queue(Results):
    """Take configurations that are to be tried before the sampler's own."""

    overwrite: bool
    _was_opened = False

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Let the next trial have these parameters, before the sampler chooses for itself.

        It waits in the study, counts towards `n_trials`, and is taken by whichever worker is first.
        A configuration that the study already has is not added again, so that a script that is run
        once more adds nothing. build_model is called once with the parameters, and nothing is
        trained.

        Args:
            params: Values by the names that build_model suggests. What it suggests besides is left
                to the sampler.

        Raises:
            ArgumentError: build_model does not ask for a name, or does not allow a value.
        """
        _check_params(params)
        self._enqueue(_allowed(self.build_model, params))

    def enqueue_defaults(self) -> None:
        """Let the next trial have the builder's defaults, as `enqueue` does.

        A builder that has a function `default_params` says itself what they are. Of any other, the
        defaults are the first of the choices and the middle of each range (of its logarithm with
        log=True), with which build_model is called once.

        Raises:
            ArgumentError: build_model asks for no parameters.
        """
        own = getattr(self.build_model, "default_params", None)
        if own is not None:
            self._enqueue(_allowed(self.build_model, own()))
            return
        walker = space.Walker(lambda name, distribution: space.middle(distribution))
        self.build_model(walker)
        if not walker.params:
            raise ArgumentError("build_model asks for no parameters: it has no defaults to try.")
        self._enqueue(walker.params)

    def _enqueue(self, params: Mapping[str, Any]) -> None:
        if isinstance(self.sampler, GridSampler):
            raise ArgumentError(
                "Optuna's GridSampler takes no enqueued configurations. Pass sampler='grid'."
            )
        text = points.text(params)
        study = self._opened()
        trials = study.get_trials(deepcopy=False)
        known = [one for one in trials if text in (points.text_of(one), points.laid_out(one))]
        failures = sum(one.state is TrialState.FAIL for one in known)
        if len(known) == failures:
            key = f"{text} after {failures}" if failures else text
            points.lay_out_point(study, params, points.ENQUEUED, key)
        self._settle()

    def _opened(self) -> optuna.Study:
        """Return the study: a new one, where overwrite= asks for it and it was not opened yet."""
        if self.overwrite and not self._was_opened:
            self.__dict__.pop("study", None)  # the old study, where results were read from it
            with opening.quiet_optuna():
                given = self._connected, self._name, self._objectives, self._store
                if _overwrite.clear(*given):
                    bundle.discard(self._folder)
            _overwrite.mark(self.study)
        self._was_opened = True
        return self.study

    def _settle(self) -> None:
        """Remove what overwrite= left beside the study, once the study has trials."""
        if self.overwrite:
            settle(self.study)


def _check_params(params: object) -> None:
    """Refuse what can be no parameters.

    Raises:
        ArgumentError: Says what to pass instead.
    """
    if not isinstance(params, Mapping) or not params:
        raise ArgumentTypeError(
            f"enqueue() got {params!r}. Pass one configuration as a dict, like {{'units': 32}}."
        )


def _allowed(build_model: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as Optuna stores them, after the builder was asked for them.

    Raises:
        ArgumentError: The builder does not ask for a name, or does not allow a value.
    """

    def choose(name: str, distribution: BaseDistribution) -> Any:
        if name not in params:
            return space.middle(distribution)
        return _checked(name, params[name], distribution)

    walker = space.Walker(choose)
    is_whole = space.walk(build_model, walker)
    unknown = [name for name in params if name not in walker.params]
    if unknown and is_whole:
        raise ArgumentError(_unknown(unknown[0], walker))
    return {**params, **{name: walker.params[name] for name in params if name not in unknown}}


def _checked(name: str, value: Any, distribution: BaseDistribution) -> Any:
    try:
        internal = distribution.to_internal_repr(value)
        fits = distribution._contains(internal)
    except ValueError:
        fits = False
    if not fits:
        raise ArgumentError(
            f"enqueue() got {name}={value!r}, which build_model does not allow. Pass "
            f"{space.described(distribution)}."
        )
    return distribution.to_external_repr(internal)


def _unknown(name: str, walker: space.Walker) -> str:
    """Return the sentences that say what the builder asks for instead."""
    asked = ", ".join(
        f"{known} ({space.described(one)})" for known, one in walker.distributions.items()
    )
    return (
        f"enqueue() got {name!r}, which build_model does not ask for with these values."
        f"{_check.nearest(str(name), walker.params)} It asks for {asked or 'nothing'}. Where "
        "another parameter decides over it, pass that one too."
    )

"""The grid of a builder: all of its configurations, read from the builder and laid out once."""

from __future__ import annotations

import math
import random
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GridSampler, RandomSampler
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _optuna, _signals
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import points as _points
from kerastune_optuna._search import space
from kerastune_optuna._study import TrialRecord

if TYPE_CHECKING:
    from kerastune_optuna._backend import Memory

_LARGEST = 10_000  # configurations: to read so many takes minutes
_FIRST = 20  # calls of the builder after which the size of its space can be estimated
_UNSTEADY = (
    "build_model asks for other parameters when it is called with the same values again, and a "
    "grid of them has no end. Pass another sampler than 'grid'."
)


class Grid(RandomSampler):
    """Leave parameters to the trials of `lay_out_grid`, and try all values of further parameters.

    Which parameters a builder's own fit and functions of the data ask for is not known before a
    trial calls them. The first trial that asks takes one value, and lays out a trial for each other
    value, as long as there is room.
    """

    size: int | None = None  # of the study, beyond which nothing is laid out
    _noted: space.Note | None = None

    def note(self, *said: Any) -> None:
        """Take the fields of a Note from HyperParameters, before it asks for the parameter."""
        self._noted = space.Note(*said)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        so_far, chance = TrialRecord(trial).params, random.Random(trial.number)
        noted, self._noted = self._noted, None  # which is of the next parameter alone
        if few := _few(noted, param_name, param_distribution):
            storage, key = _optuna.storage_of(study), f"{TrialRecord.FEW}{param_name}"
            storage.set_trial_system_attr(_optuna.id_of(trial), key, few)
        values = _values(param_name, param_distribution, few)
        left = _untried(study, trial.number, so_far, param_name, param_distribution, values)
        if not left and values:  # other trials have tried all
            return chance.choice(values)
        if not left:  # they are too many to try
            by_chance = RandomSampler(seed=trial.number)  # copies of a script draw others
            return by_chance.sample_independent(study, trial, param_name, param_distribution)
        drawn = left.pop(chance.randrange(len(left)))
        self.lay_out(study, [{**so_far, param_name: value} for value in left])
        return drawn

    def lay_out(self, study: optuna.Study, points: list[dict[str, Any]]) -> None:
        """Add a WAITING trial for each point, as long as the study has room."""
        there = len(study.get_trials(deepcopy=False))
        room = len(points) if self.size is None else max(0, self.size - there)
        for params in points[:room]:
            _points.lay_out_point(study, params, _points.OF_GRID, _points.text(params))

    def go_on(self, study: optuna.Study) -> None:
        """Lay out what the trials of an earlier search had no room for."""
        trials = study.get_trials(deepcopy=False)
        for trial in (one for one in trials if _points.order(one) == _points.OF_GRID):
            laid_out = TrialRecord(trial).fixed_params or {}
            so_far: dict[str, Any] = dict(laid_out)
            for name, value in trial.params.items():
                if name not in laid_out:
                    space_of_it = trial.distributions[name]
                    few = trial.system_attrs.get(f"{TrialRecord.FEW}{name}", ())
                    values = _values(name, space_of_it, few)
                    left = _untried(study, None, so_far, name, space_of_it, values)
                    self.lay_out(study, [{**so_far, name: one} for one in left])
                so_far[name] = value


def _few(note: space.Note | None, name: str, distribution: BaseDistribution) -> tuple[Any, ...]:
    """Return those values of a parameter that a grid tries; none where it tries all."""
    if note is None or (note.name, note.distribution) != (name, distribution):
        return ()
    return note.few


def _values(name: str, distribution: BaseDistribution, few: Sequence[Any]) -> Sequence[Any]:
    """Return the values that a grid tries; none where they are too many.

    Raises:
        ArgumentError: They have no end.
    """
    count = len(few) or _finite_size(name, distribution)
    places = range(count) if count <= _LARGEST else ()
    return few or [space.value_at(distribution, place) for place in places]


def _untried(
    study: optuna.Study,
    but: int | None,
    so_far: Mapping[str, Any],
    name: str,
    distribution: BaseDistribution,
    values: Sequence[Any],
) -> list[Any]:
    """Return the values that no trial has together with `so_far`, leaving trial `but` aside."""
    others = [one for one in study.get_trials(deepcopy=False) if one.number != but]
    known = [one.params for one in map(TrialRecord, others) if not one.was_cut_off]
    alike = [one for one in known if so_far.items() <= one.items() and name in one]
    tried = {space.place_of(distribution, one[name]) for one in alike}
    return [value for value in values if space.place_of(distribution, value) not in tried]


def is_grid(sampler: BaseSampler) -> bool:
    """Whether a search with this sampler visits points, each once, and then is done."""
    return isinstance(sampler, Grid | GridSampler)


def lay_out_grid(
    study: optuna.Study,
    build_model: space.Builder,
    room: int | None,
    seed: int | None,
    memory: Memory,
    *,
    is_of_data: bool = False,
) -> str | None:
    """Add a WAITING trial for each configuration that the study lacks, if its sampler is a Grid.

    Args:
        study: The study.
        build_model: Is called once for each configuration.
        room: How many trials may be added; None for no limit.
        seed: Fixes the order.
        memory: Releases what each call of the builder leaves.
        is_of_data: Whether functions make the data of a trial, and may ask for more.

    Returns:
        A line that tells how large the grid is; None where there is none to lay out.

    Raises:
        ArgumentError: The grid has no end, or is too large to run as a whole.
    """
    if not isinstance(study.sampler, Grid) or room == 0:
        return None
    trials = study.get_trials(deepcopy=False)
    study.sampler.size = None if room is None else len(trials) + room
    tried = (trial for trial in trials if not TrialRecord(trial).was_cut_off)
    known = {text for trial in tried for text in _points.texts_of(trial)}
    spread: dict[str, int] = {}
    points, estimates = _read(build_model, known, room, seed or 0, memory, spread)
    for text, params in list(points.items())[:room]:
        _points.lay_out_point(study, params, _points.OF_GRID, text)
    study.sampler.go_on(study)
    if room is None or len(points) <= room:
        more = ", and what its fit asks for" * callable(getattr(build_model, "fit", None))
        more += ", and what the data's functions ask for" * is_of_data
        return f"Grid: {_check.count(len(estimates), 'configuration')}{_told(spread)}{more}"
    about = f"about {_about(estimates)} configurations{_told(spread)}"
    return f"Grid: {about}, of which n_trials= leaves some out"


def _told(spread: Mapping[str, int]) -> str:
    """Return which parameters have some of their values alone, in words."""
    some = ", ".join(f"{count} values of {name!r}" for name, count in spread.items())
    return f" with {some} (no step: ten values and the default, as in KerasTuner)" if some else ""


def _read(
    build_model: space.Builder,
    known: Container[str],
    room: int | None,
    seed: int,
    memory: Memory,
    spread: dict[str, int],
) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Return points that the study lacks, at most one more than it has room for, and estimates."""
    points: dict[str, dict[str, Any]] = {}
    estimates = []
    for params, estimate in configurations(build_model, seed, memory, spread):
        if _signals.requested():
            raise KeyboardInterrupt
        estimates.append(estimate)
        if (text := _points.text(params)) not in known:
            points[text] = params
        if room is None:
            _check_size(estimates)
        elif len(points) > room:
            break
    return points, estimates


def _about(estimates: list[int]) -> int:
    return max(len(estimates), sum(estimates) // len(estimates))


def _check_size(estimates: list[int]) -> None:
    """Refuse to read a grid of which the end is not in sight.

    Raises:
        ArgumentError: Says how large it is.
    """
    is_certain = len(estimates) > _LARGEST
    if is_certain or (len(estimates) == _FIRST and _about(estimates) > _LARGEST):
        raise ArgumentError(
            f"sampler='grid' has about {_about(estimates)} configurations, and n_trials=None would "
            f"run them all. Pass n_trials= for so many of them, wider steps to have at most "
            f"{_LARGEST}, or sampler='qmc'."
        )


def configurations(
    build_model: space.Builder, seed: int, memory: Memory, spread: dict[str, int] | None = None
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each configuration of a builder once, in random order, by one call of it for each.

    Args:
        build_model: The builder. Nothing that it returns is trained.
        seed: Fixes the order.
        memory: Releases what each call leaves.
        spread: Gets the names of parameters without steps, each with how many of its values count.

    Yields:
        The parameters, and an estimate of how many configurations there are: the product of how
        many values each parameter may take, whose expected value is the true number (Knuth,
        Mathematics of Computation 29, 1975).

    Raises:
        ArgumentError: A parameter has no end of values, or the builder asks by chance.
    """
    root, chance = space.Node(), random.Random(seed)
    spread = {} if spread is None else spread
    with memory.apart():
        while not root.is_closed:
            with memory.released():
                params, estimate = _follow(build_model, root, chance, spread)
            yield params, estimate


def _follow(
    build_model: space.Builder, root: space.Node, chance: random.Random, spread: dict[str, int]
) -> tuple[dict[str, Any], int]:
    """Call a builder once for a configuration that is still open; return that and the estimate."""
    path, estimate = [root], 1

    def choose(name: str, distribution: BaseDistribution) -> Any:
        nonlocal estimate
        few = _few(walker.notes[-1] if walker.notes else None, name, distribution)
        count = len(few) or _finite_size(name, distribution)
        if few:
            spread[name] = count
        estimate *= count
        if not path[-1].asks(name, count):
            raise ArgumentError(_UNSTEADY)
        place = chance.randrange(count)
        while (child := path[-1].children.get(place)) is not None and child.is_closed:
            place = chance.randrange(count)
        path.append(path[-1].child(place))
        return few[place] if few else space.value_at(distribution, place)

    walker = space.Walker(choose)
    space.walk(build_model, walker)
    if not space.close(path):
        raise ArgumentError(_UNSTEADY)
    return walker.params, estimate


def _finite_size(name: str, distribution: BaseDistribution) -> int:
    space.check_choices(name, distribution, once=True)
    count = space.size(distribution)
    if math.isinf(count):
        raise ArgumentError(
            f"sampler='grid' needs an end of values, and {name!r} "
            f"({space.described(distribution)}) has none. Pass step= to suggest_float, "
            "or sampler='qmc', which spreads n_trials evenly."
        )
    return int(count)

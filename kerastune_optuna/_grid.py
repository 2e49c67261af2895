"""The grid of a builder: all of its configurations, read from the builder and laid out once."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, TypeAlias

from optuna.samplers import GridSampler, RandomSampler
from optuna.trial import BaseTrial

from kerastune_optuna import _check, _interrupt, _points, _space
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._retry import was_cut_off

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

Builder: TypeAlias = Callable[[BaseTrial], Any]

_LARGEST = 10_000  # configurations: to read so many takes minutes
_FIRST = 20  # after so many calls of the builder the size of its space can be told


class Grid(RandomSampler):
    """Leave the parameters to the points that are laid out, and draw what they do not name."""


def is_grid(sampler: BaseSampler) -> bool:
    """Whether a search with this sampler visits points, each once, and then is done."""
    return isinstance(sampler, Grid | GridSampler)


def lay_out_grid(
    study: optuna.Study, build_model: Builder, room: int | None, seed: int | None
) -> str | None:
    """Add a WAITING trial for each configuration that the study has not, if its sampler is a Grid.

    Args:
        study: The study.
        build_model: Is called once for each configuration.
        room: How many trials may be added; None for no limit.
        seed: Fixes the order.

    Returns:
        A line that tells how large the grid is; None where there is none to lay out.

    Raises:
        ArgumentError: The grid has no end, or is too large to run as a whole.
    """
    if not isinstance(study.sampler, Grid) or room == 0:
        return None
    trials = study.get_trials(deepcopy=False)
    known = {_points.text_of(trial) for trial in trials if not was_cut_off(trial)}
    points, estimates = _read(build_model, known, room, seed or 0)
    for text, params in list(points.items())[:room]:
        _points.lay_out_point(study, params, _points.OF_GRID, text)
    if room is None or len(points) <= room:
        return f"Grid: {_check.count(len(estimates), 'configuration')}"
    return f"Grid: about {_about(estimates)} configurations, of which n_trials= leaves some out"


def _read(
    build_model: Builder, known: Container[str], room: int | None, seed: int
) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Return the points that are not known, one more than there is room for, and estimates."""
    points: dict[str, dict[str, Any]] = {}
    estimates = []
    for params, estimate in _space.configurations(build_model, seed):
        if _interrupt.requested():
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

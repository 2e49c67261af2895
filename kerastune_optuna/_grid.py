"""The grid of a builder: all of its configurations, read from the builder and laid out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.samplers import GridSampler, RandomSampler

from kerastune_optuna import _points, _space
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._retry import was_cut_off

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.trial import BaseTrial

_LARGEST = 10_000  # configurations: to read so many takes minutes
_FIRST = 20  # after so many calls of the builder the size of its space can be told


class Grid(RandomSampler):
    """Leave the parameters to the points that are laid out, and draw what they do not name."""


def is_grid(sampler: BaseSampler) -> bool:
    """Whether a search with this sampler visits points, each once, and then is done."""
    return isinstance(sampler, Grid | GridSampler)


def lay_out_grid(
    study: optuna.Study,
    build_model: Callable[[BaseTrial], Any],
    room: int | None,
    seed: int | None,
) -> str:
    """Add a WAITING trial for each configuration that the study has not.

    Args:
        study: The study.
        build_model: Is called once for each configuration.
        room: How many trials may be added; None for no limit.
        seed: Fixes the order.

    Returns:
        A line that tells how large the grid is.

    Raises:
        ArgumentError: The grid has no end, or is too large to run as a whole.
    """
    known = {
        _points.text_of(one) for one in study.get_trials(deepcopy=False) if not was_cut_off(one)
    }
    points, estimates, is_whole = {}, [], True
    for params, estimate in _space.configurations(build_model, seed or 0):
        estimates.append(estimate)
        text = _points.text(params)
        if text not in known and len(points) == room:
            is_whole = False
            break
        if text not in known:
            points[text] = params
        if room is None:
            _check_size(estimates)
    for text, params in points.items():
        _points.lay_out_point(study, params, _points.OF_GRID, text)
    if is_whole:
        return f"Grid: {len(estimates)} configurations"
    return f"Grid: about {_about(estimates)} configurations, of which n_trials= leaves some out"


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

"""The objectives of a search: metrics in the epoch logs, and measures of a whole trial."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, cast

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, MetricNotFoundError
from kerastune_optuna._keras_tuner import pairs_of
from kerastune_optuna._study.record import TrialRecord

Direction: TypeAlias = Literal["minimize", "maximize"]
DIRECTIONS = ("auto", "minimize", "maximize")

# Only names whose direction is certain. That of `cosine_similarity` is not: as predictions improve,
# Keras's metric of that name grows and its loss of that name falls. `dice` is a loss in Keras.
_CERTAIN: dict[Direction, list[str]] = {
    "minimize": "loss error mse mae mape msle rmse mean_squared_error mean_absolute_error "
    "mean_absolute_percentage_error mean_squared_logarithmic_error root_mean_squared_error "
    "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy "
    "kl_divergence poisson hinge squared_hinge categorical_hinge logcosh huber "
    "false_positives false_negatives".split(),
    "maximize": "accuracy acc binary_accuracy categorical_accuracy sparse_categorical_accuracy "
    "top_k_categorical_accuracy sparse_top_k_categorical_accuracy auc precision recall "
    "f1 f1_score fbeta_score r2 r2_score prc true_positives true_negatives precision_at_recall "
    "recall_at_precision sensitivity_at_specificity specificity_at_sensitivity io_u mean_io_u "
    "binary_io_u one_hot_io_u one_hot_mean_io_u iou miou dice_coef dice_coefficient".split(),
}
_MISSPELT = 0.87  # how similar, for difflib, a name and a known one must be for "Did you mean"
# What Keras may log for "accuracy".
_ACCURACIES = "accuracy categorical_accuracy sparse_categorical_accuracy binary_accuracy".split()
# Keras numbers unnamed metrics, like AUC() or Precision(), across the whole process: the second
# trial of a search logs `auc_1`, and the first one `auc`.
_NUMBER = re.compile(r"_\d+$")
_SIZES = (TrialRecord.n_params, TrialRecord.flops)  # known before a model is trained


def sign_of(direction: str | StudyDirection) -> int:
    """Return the factor that turns values with this direction into costs."""
    return -1 if direction in ("maximize", StudyDirection.MAXIMIZE) else 1


def directions_of(study: Study) -> list[Direction]:
    """Return the directions of a study's objectives, as users name them."""
    return [cast(Direction, one.name.lower()) for one in study.directions]


@dataclass(frozen=True)
class Objective:
    """Hold the name of a metric in the epoch logs and the direction in which it improves.

    Args:
        name: The metric.
        direction: "minimize" or "maximize".
        place: Its place among the objectives of the study.
    """

    name: str
    direction: Direction
    place: int = 0

    @classmethod
    def of(cls, trial: BaseTrial, monitor: object, direction: str) -> Objective:
        """Return what a trial reports, with the direction of its study if it has a study."""
        study = getattr(trial, "study", None)
        if study is None:
            return parse_objective(monitor, direction, "monitor")
        ways = directions_of(study)
        if len(ways) > 1:
            raise ArgumentError(
                "PruningCallback cannot report to a study of several objectives: Optuna does not "
                "prune them. Pass a trial of a study with one direction."
            )
        if direction not in ("auto", ways[0]):
            raise ArgumentError(
                f"direction={direction!r} is not that of the study, which is to {ways[0]}. "
                'Pass direction="auto" or create the study with the direction you mean.'
            )
        return parse_objective(monitor, ways[0], "monitor")

    @property
    def of_study(self) -> StudyDirection:
        """The direction as a storage has it."""
        return StudyDirection[self.direction.upper()]

    @property
    def looks_for_the_worst(self) -> bool:
        """Whether a metric of this name certainly improves in the other direction."""
        return _certain(self.name) not in (None, self.direction)

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than the best so far; NaN and infinity never are."""
        if not math.isfinite(value):
            return False
        return than is None or self.cost(value) < self.cost(than)

    def cost(self, value: float) -> float:
        """Return the value with the sign for which less is better."""
        return sign_of(self.direction) * value

    def value_of(self, trial: FrozenTrial) -> float:
        """Return the value of a COMPLETE trial."""
        return float(trial.values[self.place])  # Optuna completes no trial without one

    def find(self, names: Iterable[str]) -> str | None:
        """Return the name that the metric has in the epoch logs; None if it is not there."""
        logged = list(names)
        if self.name in logged:
            return self.name
        meant = [self.name]
        last = self.name.rpartition("_")[2]  # with several outputs, it is `output_accuracy`
        prefix = self.name.removesuffix(last)
        # `sparse_accuracy` is a metric itself, not the accuracy of an output.
        if last in ("accuracy", "acc") and not prefix.endswith(("sparse_", "top_k_")):
            meant += [prefix + accuracy for accuracy in _ACCURACIES]
        found = [name for name in logged if _NUMBER.sub("", name) in meant]
        return found[0] if len(found) == 1 else None

    def without_number(self, shape: tuple[int, ...]) -> MetricNotFoundError:
        """Return the error for a metric whose value has this shape, instead of being a number."""
        return MetricNotFoundError(
            f"objective={self.name!r} has the shape {shape}, not one number. Compile the model "
            'with an average, like F1Score(average="macro").'
        )

    def missing(self, names: Iterable[str]) -> MetricNotFoundError:
        """Return the error for a missing metric, which lists the names in the logs."""
        logged = sorted(names)
        listed = ", ".join(logged) or "nothing"
        return MetricNotFoundError(
            f"objective={self.name!r} is not among what the model logs: {listed}."
            f"{_check.nearest(self.name, logged)} Pass one of these names, or compile the model "
            "with that metric (Keras numbers unnamed metrics; give yours a name=)."
        )


class Objectives:
    """Hold the objectives of a search, and what follows from them.

    Args:
        each: The objectives, in the order of their values in the study.

    Attributes:
        are_several: Whether there are several, so that there is a front instead of one best trial.
        metrics: The objectives that are metrics in the epoch logs.
        watched: The first metric, which decides on the best epoch and on pruning.
        others: All objectives but the watched one.
        names: The names of the objectives.
        directions: The directions of the objectives.
        aim: The aim of the search, like `maximize val_accuracy`.
        sizes: The objectives that are sizes of a model: n_params, flops, both or neither.
    """

    # Measures of a trial as a whole, for which less is better.
    MEASURED: ClassVar[Sequence[str]] = (*_SIZES, TrialRecord.seconds)

    def __init__(self, each: Sequence[Objective]) -> None:
        self.each = each
        self.are_several = len(each) > 1
        # A single objective is a metric, whatever its name.
        measured = self.MEASURED if self.are_several else ()
        self.metrics = [one for one in each if one.name not in measured]
        self.watched = (self.metrics or each)[0]  # a study that no search made may have no metric
        self.others = [one for one in each if one != self.watched]
        self.names = [one.name for one in each]
        self.directions = [one.direction for one in each]
        self.aim = ", ".join(f"{one.direction} {one.name}" for one in each)
        self.sizes = [name for name in _SIZES if self.are_several and name in self.names]

    @classmethod
    def of(cls, study: Study) -> Objectives:
        """Return the objectives of any study, which may have other names than a search allows."""
        ways = directions_of(study)
        names = study.metric_names or ["value"] * len(ways)
        if len(set(names)) < len(names):
            names = [f"{name} {place}" for place, name in enumerate(names)]
        pairs = zip(names, ways, strict=True)
        return cls([Objective(*pair, place) for place, pair in enumerate(pairs)])

    @classmethod
    def parse(cls, names: Any, directions: object) -> Objectives:
        """Check the user's objectives and directions, and infer "auto".

        Raises:
            ArgumentError: They cannot work; the message says what to pass instead.
        """
        are_several = isinstance(names, list | tuple)
        given = list(names) if are_several else [names]
        if not given:
            raise ArgumentError(f'objective={names!r} is empty. Pass a name like "val_accuracy".')
        if isinstance(names, str):
            pairs: list[tuple[Any, object]] = [(names, directions)]
        else:
            pairs = _pairs(given, directions, are_several=are_several)
        plain = [name for name, _ in pairs]
        if twice := sorted({str(name) for name in plain if plain.count(name) > 1}):
            raise ArgumentError(f"objective= names {', '.join(twice)} twice. Pass each name once.")
        if all(name in cls.MEASURED for name in plain):
            listed = ", ".join(map(str, plain))
            raise ArgumentError(
                f"objective={listed} says nothing about what a model has learned. Pass it together "
                f'with a metric from the epoch logs, like ["val_accuracy", "{plain[0]}"].'
            )
        parse = _parse_of_several if are_several else parse_objective
        parsed = [parse(name, direction) for name, direction in pairs]
        return cls([replace(one, place=place) for place, one in enumerate(parsed)])


def parse_objective(name: object, direction: object, called: str = "objective") -> Objective:
    """Check the user's objective and direction, and infer "auto".

    Args:
        name: Name of the metric.
        direction: "auto", "minimize" or "maximize".
        called: The argument by which the name was passed.

    Raises:
        ArgumentError: The name is not a metric name, or its direction is not certain.
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(
            f"{called}={name!r} is not a name. Pass the name of one metric from the epoch logs, "
            'like "val_accuracy".'
        )
    if not name or name != name.strip():
        raise ArgumentError(
            f'{called}={name!r} is not a metric name. Pass one like "val_accuracy" or "val_loss".'
        )
    _check.one_of("direction", direction, DIRECTIONS)
    way = _certain(name) if direction == "auto" else cast(Direction, direction)
    if way is not None:
        return Objective(name, way)
    known = sorted(_CERTAIN["minimize"] + _CERTAIN["maximize"])
    meant = _check.nearest(name, [*known, *(f"val_{one}" for one in known)], _MISSPELT)
    doubt = f"direction='auto' cannot tell whether {name!r} should grow or fall. Pass"
    if meant:
        doubt = f"{name!r} is not a metric that direction='auto' knows.{meant} If not, pass"
    raise ArgumentError(f'{doubt} direction="maximize" or direction="minimize".')


def _certain(name: str) -> Direction | None:
    """Return the direction of a metric whose name makes it certain; None for any other."""
    plain = _NUMBER.sub("", name.removeprefix("val_")).lower()
    if plain.startswith("neg"):  # scikit-learn's neg_mean_squared_error grows
        return None
    for direction, known in _CERTAIN.items():
        # With several outputs, it is `output_metric`.
        if any(f"_{plain}".endswith(f"_{metric}") for metric in known):
            return direction
    return None


def _pairs(
    names: Sequence[Any], directions: object, *, are_several: bool
) -> list[tuple[Any, object]]:
    """Return each name with its direction.

    Raises:
        ArgumentError: There is not one direction that is known for each.
    """
    are_names = all(isinstance(name, str) for name in names)
    if not are_names and (pairs := pairs_of(names, directions)):  # an Objective, which has both
        return pairs
    if directions == "auto" or not are_several:
        return [(name, directions) for name in names]
    ways = [directions] if isinstance(directions, str) else directions
    if not isinstance(ways, list | tuple) or len(ways) != len(names):
        raise ArgumentError(
            f"direction={directions!r} does not match {len(names)} objectives. Pass a list with "
            'one of "auto", "minimize" and "maximize" for each, or "auto".'
        )
    return list(zip(names, ways, strict=True))


def _parse_of_several(name: object, direction: object) -> Objective:
    """Check one of several objectives, which may be a measure of the trial as a whole."""
    if name not in Objectives.MEASURED:
        try:
            return parse_objective(name, direction)
        except ArgumentError as error:
            raise type(error)(
                f"{error}{_check.nearest(str(name), Objectives.MEASURED, 0.8)}"
            ) from None
    if direction == "maximize":
        raise ArgumentError(
            f'direction="maximize" is wrong for {name!r}: less is better. Pass "minimize" or '
            '"auto" for it.'
        )
    return parse_objective(name, "minimize" if direction == "auto" else direction)

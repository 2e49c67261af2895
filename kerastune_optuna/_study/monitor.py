"""The objective: its name in the epoch logs, and the direction in which it improves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna._check import nearest, one_of
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, MetricNotFoundError

Direction: TypeAlias = Literal["minimize", "maximize"]
DIRECTIONS = ("auto", "minimize", "maximize")

# Only names whose direction is certain. That of `cosine_similarity` is not: as predictions improve,
# Keras's metric of that name grows and its loss of that name falls. `dice` is a loss in Keras.
_SMALLER_IS_BETTER = frozenset(
    "loss error mse mae mape msle rmse mean_squared_error mean_absolute_error "
    "mean_absolute_percentage_error mean_squared_logarithmic_error root_mean_squared_error "
    "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy "
    "kl_divergence poisson hinge squared_hinge categorical_hinge logcosh huber "
    "false_positives false_negatives".split()
)
_LARGER_IS_BETTER = frozenset(
    "accuracy acc binary_accuracy categorical_accuracy sparse_categorical_accuracy "
    "top_k_categorical_accuracy sparse_top_k_categorical_accuracy auc precision recall "
    "f1 f1_score fbeta_score r2 r2_score prc true_positives true_negatives precision_at_recall "
    "recall_at_precision sensitivity_at_specificity specificity_at_sensitivity io_u mean_io_u "
    "binary_io_u one_hot_io_u one_hot_mean_io_u iou miou dice_coef dice_coefficient".split()
)
_MISSPELT = 0.87  # how similar, for difflib, a name and a known one must be for "Did you mean"
_ACCURACIES = ("categorical_accuracy", "sparse_categorical_accuracy", "binary_accuracy")
_NUMBER = re.compile(r"_\d+$")


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
        direction = direction if study is None else _direction_of(study, direction)
        return parse_objective(monitor, direction, "monitor")

    @property
    def aim(self) -> str:
        """What the search is to do, like `maximize val_accuracy`."""
        return f"{self.direction} {self.name}"

    @property
    def of_study(self) -> StudyDirection:
        """The direction as a storage has it."""
        return StudyDirection[self.direction.upper()]

    @property
    def looks_for_the_worst(self) -> bool:
        """Whether a metric of this name certainly improves in the other direction."""
        return _certain(self.name) not in (None, self.direction)

    @property
    def needs_validation(self) -> bool:
        """Whether only validation data can give the metric."""
        return self.name.startswith("val_")

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
        known = list(names)
        if self.name in known:
            return self.name
        found = [name for name in known if self._also_means(name)]
        return found[0] if len(found) == 1 else None

    def _also_means(self, name: str) -> bool:
        """Whether Keras may log the metric under that other name."""
        plain = _plain_name(name)
        return plain == self.name or plain in _accuracies(self.name)

    def without_number(self, shape: tuple[int, ...]) -> MetricNotFoundError:
        """Return the error for a metric whose value has this shape, instead of being a number."""
        return MetricNotFoundError(
            f"objective={self.name!r} has the shape {shape}, not one number. Compile the model "
            'with an average, like F1Score(average="macro").'
        )

    def missing(self, names: Iterable[str]) -> MetricNotFoundError:
        """Return the error for a missing metric, which lists the names in the logs."""
        known = sorted(names)
        listed = ", ".join(known) or "nothing"
        return MetricNotFoundError(
            f"objective={self.name!r} is not among what the model logs: {listed}."
            f"{nearest(self.name, known)} Pass one of these names, or compile the model with that "
            "metric (Keras numbers unnamed metrics; give yours a name=)."
        )


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
    one_of("direction", direction, DIRECTIONS)
    return Objective(name, _infer(name) if direction == "auto" else cast(Direction, direction))


def _plain_name(name: str) -> str:
    """Return the name of a metric without the number that Keras may have given it."""
    # Keras numbers unnamed metrics, like AUC() or Precision(), across the whole process: the second
    # trial of a search logs `auc_1`, and the first one `auc`.
    return _NUMBER.sub("", name)


def _infer(name: str) -> Direction:
    """Return the direction of a metric whose name makes it certain; refuse any other."""
    if (direction := _certain(name)) is not None:
        return direction
    known = sorted(_LARGER_IS_BETTER | _SMALLER_IS_BETTER)
    meant = nearest(name, [*known, *(f"val_{one}" for one in known)], _MISSPELT)
    doubt = f"direction='auto' cannot tell whether {name!r} should grow or fall. Pass"
    if meant:
        doubt = f"{name!r} is not a metric that direction='auto' knows.{meant} If not, pass"
    raise ArgumentError(f'{doubt} direction="maximize" or direction="minimize".')


def _certain(name: str) -> Direction | None:
    """Return the direction of a metric whose name makes it certain; None for any other."""
    plain = _plain_name(name.removeprefix("val_")).lower()
    if plain.startswith("neg"):  # scikit-learn's neg_mean_squared_error grows
        return None
    if _is_named(plain, _SMALLER_IS_BETTER):
        return "minimize"
    return "maximize" if _is_named(plain, _LARGER_IS_BETTER) else None


def _accuracies(name: str) -> tuple[str, ...]:
    """Return the metrics that an objective may mean if its name is that of Keras's "accuracy"."""
    last = name.rpartition("_")[2]  # with several outputs, it is `output_accuracy`
    prefix = name.removesuffix(last)
    # `sparse_accuracy` is a metric itself, not the accuracy of an output.
    if last not in ("accuracy", "acc") or prefix.endswith(("sparse_", "top_k_")):
        return ()
    return tuple(prefix + accuracy for accuracy in ("accuracy", *_ACCURACIES))


def _is_named(name: str, known: Iterable[str]) -> bool:
    """Whether a name is, or ends in, a known name: with several outputs, it is `output_metric`."""
    return any(name == metric or name.endswith(f"_{metric}") for metric in known)


def _direction_of(study: Study, direction: str) -> str:
    """Return the direction of a study; refuse an explicit direction that contradicts it."""
    if len(study.directions) > 1:
        raise ArgumentError(
            "PruningCallback cannot report to a study of several objectives: Optuna does not prune "
            "them. Pass a trial of a study with one direction."
        )
    (of_study,) = directions_of(study)
    if direction not in ("auto", of_study):
        raise ArgumentError(
            f"direction={direction!r} is not that of the study, which is to {of_study}. "
            'Pass direction="auto" or create the study with the direction you mean.'
        )
    return of_study

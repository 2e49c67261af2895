"""Read the files of a KerasTuner project, of which some may be old, damaged, or of another shape.

KerasTuner keeps a folder for each project: oracle.json, and trial_<id>/ for each trial, with
trial.json, checkpoint.weights.h5, and build_config.json where the builder makes no weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import StatisticsError, fmean
from typing import Any, TypeGuard

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError

COMPLETED, FAILED = "COMPLETED", "FAILED"
_WEIGHTS, _SHAPES = "checkpoint.weights.h5", "build_config.json"


@dataclass
class Notes:
    """Collect what could not be read, and of which trials."""

    found: dict[str, dict[str, None]] = field(default_factory=dict)  # trials, each once, by texts

    def add(self, trial: str, text: str) -> None:
        """Note a text that is true of a trial."""
        self.found.setdefault(text, {})[trial] = None

    @property
    def lines(self) -> list[str]:
        """A line for each text noted, with the trials of which it is true."""
        return [f"{_trials(list(trials))}: {text}" for text, trials in self.found.items()]


def _trials(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{_check.count(len(names), 'trial')}, the first {names[0]}"


@dataclass(frozen=True)
class Metric:
    """Hold the values of a metric by their steps, the means over all executions."""

    is_max: bool
    values: Mapping[int, float]

    @property
    def best(self) -> float | None:
        """The best value; None where there is none."""
        finite = [value for value in self.values.values() if math.isfinite(value)]
        return (max if self.is_max else min)(finite, default=None)

    def at(self, step: int | None) -> float | None:
        """Return the value at a step, or the only one that there is."""
        if step in self.values or len(self.values) != 1:
            return self.values.get(step) if step is not None else None
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class Written:
    """Hold what a project says of a trial, as far as it can be read."""

    folder: Path
    trial_id: str
    status: str
    score: float | None  # always there where the status is COMPLETED
    best_step: int | None
    message: str
    space: Sequence[Any]
    values: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    as_written: Any  # its metrics as the file has them

    @property
    def is_complete(self) -> bool:
        """Whether it has a score."""
        return self.status == COMPLETED

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in (COMPLETED, FAILED)

    @property
    def weights(self) -> Path | None:
        """The file of its weights, in the one form that Keras 3 reads; None where there is none."""
        path = self.folder / _WEIGHTS
        return path if path.is_file() else None

    @property
    def shapes(self) -> Any:
        """The shapes by which Keras makes the weights that a builder did not make, or None."""
        path = self.folder / _SHAPES
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            return None  # most builders need none


def read(project: Path, notes: Notes) -> list[Written]:
    """Return what a project says of its trials, in the order in which they began.

    Args:
        project: The folder of the project.
        notes: Takes what cannot be read.

    Raises:
        ArgumentError: The folder is no project.
    """
    if not (project / "oracle.json").is_file():
        within = sorted(str(path.parent) for path in project.glob("*/oracle.json"))
        held = f" It holds these: {', '.join(within)}." if within else ""
        raise ArgumentError(
            f"{str(project)!r} is no project of KerasTuner: it has no oracle.json.{held} Pass the "
            "folder directory/project_name of the tuner."
        )
    order = _object(project / "oracle.json", "the order of the trials is not known", notes)
    started = order.get("start_order", []) if order else []
    begun = map(str, started) if isinstance(started, list) else ()
    place = {trial_id: number for number, trial_id in enumerate(begun)}
    found = [_trial(path, notes) for path in sorted(project.glob("trial_*/trial.json"))]
    known = [trial for trial in found if trial is not None]
    return sorted(known, key=lambda trial: place.get(trial.trial_id, len(place)))


def _object(path: Path, what: str, notes: Notes) -> dict[str, Any] | None:
    """Return the object that a file holds; where it holds none, note what follows from that."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} and no object")
    except (OSError, ValueError) as error:
        name = path.parent.name if path.name == "trial.json" else path.name
        text = f"{str(path)!r} cannot be read: {error}. KerasTuner may have died while it wrote it"
        notes.add(name, f"{text}: {what}.")
        return None
    return content


def _trial(path: Path, notes: Notes) -> Written | None:
    """Return what a file says of a trial; None where it says too little."""
    name = path.parent.name
    content = _object(path, "the trial is left out", notes)
    if content is None:
        return None
    asked = content.get("hyperparameters")
    space, values = map(asked.get, ("space", "values")) if isinstance(asked, dict) else (None, None)
    if not (isinstance(space, list) and isinstance(values, dict)):
        notes.add(name, "its 'hyperparameters' are missing or unreadable: the trial is left out.")
        return None
    score, step = content.get("score"), content.get("best_step")
    status, message = _status(content, name, notes)
    return Written(
        folder=path.parent,
        trial_id=str(content.get("trial_id", name.removeprefix("trial_"))),
        status=status,
        score=float(score) if _is_number(score) else None,
        best_step=step if isinstance(step, int) else None,
        message=message,
        space=space,
        values=values,
        metrics=_metrics(_metrics_of(content), name, notes),
        as_written=_metrics_of(content),
    )


def _status(content: Mapping[str, Any], name: str, notes: Notes) -> tuple[str, str]:
    """Return how a trial ended, and the last line of its error."""
    score, status = content.get("score"), content.get("status")
    if status is None:
        status = COMPLETED if score is not None else "unknown"
        notes.add(name, "it has no 'status', and counts as COMPLETED where it has a score.")
    if status == COMPLETED and not _is_number(score):
        text = f"its score {score!r} is no finite number"
        notes.add(name, f"{text}: it is FAIL.")
        return FAILED, text
    lines = str(content.get("message") or "").strip().splitlines()
    message = lines[-1] if lines else "failed in KerasTuner"
    return (FAILED if status == "INVALID" else str(status)), message


def _metrics_of(content: Mapping[str, Any]) -> Any:
    written = content.get("metrics")
    return written.get("metrics") if isinstance(written, dict) else written


def _metrics(written: Any, name: str, notes: Notes) -> dict[str, Metric]:
    """Return the metrics, without values where they cannot be read."""
    if not isinstance(written, dict):
        notes.add(name, "its 'metrics' are missing or unreadable: its score alone is known.")
        return {}
    found = {}
    for one, metric in written.items():
        try:
            values = {int(seen["step"]): fmean(seen["value"]) for seen in metric["observations"]}
            found[str(one)] = Metric(metric["direction"] == "max", values)
        except (KeyError, TypeError, ValueError, AttributeError, StatisticsError):
            found[str(one)] = Metric(False, {})
            notes.add(name, f"its metric {one!r} cannot be read.")
    return found


def _is_number(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)

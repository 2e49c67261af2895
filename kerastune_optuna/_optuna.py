"""All access to Optuna's private API, a small function for each use, and to its logging."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, Trial, TrialState

# Otherwise SQLite reuses the ids of a deleted study and its trials, and a process that still has
# the old study open would write into the new one.
for _model in (models.StudyModel, models.TrialModel):
    _model.__table__.dialect_options["sqlite"]["autoincrement"] = True
# The tables in which a database has trials, their user attributes and their reports.
TRIALS: Any = models.TrialModel.__table__
USER_ATTRS: Any = models.TrialUserAttributeModel.__table__
REPORTS: Any = models.TrialIntermediateValueModel.__table__
# Returns the two columns in which a database has a reported value, which may be NaN.
stored_report = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
# The system attr in which Optuna keeps the parameters of a trial that no sampler chooses. We write
# it ourselves, since Study.enqueue_trial() cannot set other system attrs at the same time.
FIXED_PARAMS = "fixed_params"


def storage_of(study: Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def id_of(one: Study | Trial | FrozenTrial) -> int:
    """Return the id under which a storage knows a study or a trial."""
    # The study that HyperbandPruner shows to samplers raises when isinstance() reads its class.
    if issubclass(type(one), Trial | FrozenTrial):
        return one._trial_id  # type: ignore[union-attr] # it is a trial
    return one._study_id  # type: ignore[union-attr] # it is a study


def has_study(storage: BaseStorage, study_id: int) -> bool:
    """Whether a study exists, by its id: Optuna's storages cache the names of deleted studies."""
    return any(study._study_id == study_id for study in storage.get_all_studies())


def is_of_missing_row(error: KeyError) -> bool:
    """Whether a database raised an error because it has no study or trial with some id."""
    return error.args == (models.NOT_FOUND_MSG,)


def attrs_of(one: Study | Trial | FrozenTrial) -> dict[str, Any]:
    """Return the system attrs of a study or trial; of a Trial, those that this process knows."""
    if issubclass(type(one), Trial | FrozenTrial):
        trial = as_known(one) if isinstance(one, Trial) else one
        return trial.system_attrs  # type: ignore[union-attr] # it is a trial
    return storage_of(one).get_study_system_attrs(id_of(one))  # type: ignore[arg-type] # a study


def set_attr(one: Study | Trial, key: str, value: Any) -> None:
    """Set a system attr of a study or a running trial, for which a Trial has no public method."""
    if isinstance(one, Trial):
        one.storage.set_trial_system_attr(id_of(one), key, value)
        as_known(one).system_attrs[key] = value
    else:
        storage_of(one).set_study_system_attr(id_of(one), key, value)


def as_stored(study: Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """Return the current state of a trial in its storage."""
    return storage_of(study).get_trial(id_of(trial))


def as_known(trial: Trial) -> FrozenTrial:
    """Return a running trial as this process read and has since written it, without a query."""
    return trial._cached_frozen_trial


def known_trials(
    study: Study, states: Container[TrialState] | None = None, *, anew: bool = False
) -> list[FrozenTrial]:
    """Return the trials of a study as this thread last read them, without a query.

    Optuna clears this cache in Study.ask() and Study.tell(). Without it, a sampler that may draw
    each parameter twenty times would query the database at each draw.

    Args:
        study: The study.
        states: The states of the trials to return; None for all.
        anew: Whether to read the trials again now; samplers then see the new ones too.
    """
    if anew:
        study._thread_local.cached_all_trials = None
    # The same call that samplers make: HyperbandPruner only filters Study.get_trials().
    return study._get_trials(deepcopy=False, states=states, use_cache=True)


@dataclass(eq=False)
class ShownStudy:
    """Stand in for a study, and show a sampler other trials than the study has."""

    _study: Study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def shown(
        self, trials: list[FrozenTrial], states: Container[TrialState] | None
    ) -> list[FrozenTrial]:
        """Return the trials that a sampler sees when it reads trials in these states."""
        raise NotImplementedError

    def _get_trials(  # samplers call it with these arguments
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return self.shown(self._study._get_trials(deepcopy, states, use_cache), states)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Optuna's INFO lines within a block, and then restore its logging."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def stoppable(study: Study, stop: Callable[[], None]) -> Iterator[None]:
    """Let `study.stop()` call a function: Optuna's raises an error outside of optimize()."""
    before = vars(study).get("stop")  # set by a block around this one
    vars(study)["stop"] = stop
    try:
        yield
    finally:
        del vars(study)["stop"]
        if before is not None:
            vars(study)["stop"] = before


def tell(study: Study, trial: Trial, values: Any, state: TrialState) -> FrozenTrial:
    """Tell a study how a trial ended, and do not let its sampler end the search.

    BruteForceSampler calls study.stop() once it has tried its whole space, but it also counts
    configurations whose trials were cut off.
    """
    with stoppable(study, lambda: None):
        return study.tell(trial, values, state)


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Seed the generators of a sampler; BaseSampler.reseed_rng() takes no seed."""
    for part in vars(sampler).values():
        if isinstance(part, LazyRandomState):
            part.rng.seed(seed)
        elif isinstance(part, BaseSampler):
            reseed(part, seed)


def genetic_parts(sampler: BaseSampler) -> list[BaseGASampler]:
    """Return the genetic samplers that a sampler is, or that it asks, such as NSGAIISampler."""
    asked = [part for part in vars(sampler).values() if isinstance(part, BaseSampler)]
    own = [sampler] if isinstance(sampler, BaseGASampler) else []
    return [*own, *(genetic for part in asked for genetic in genetic_parts(part))]


def forget_generations(sampler: BaseGASampler) -> None:
    """Let a genetic sampler read the generations of all trials again.

    Since Optuna 5.1, it remembers the places of the trials that it has read, which are others once
    a trial is excluded.
    """
    sampler._cached_study_id = None


class _Lock:
    """Lock as threading.Lock does, and travel to another process as a new lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[_Lock], tuple[()]]:
        return _Lock, ()


def let_travel(sampler: BaseSampler) -> None:
    """Let a sampler be pickled: since Optuna 5.1, genetic ones have a lock, which cannot be."""
    for genetic in genetic_parts(sampler):
        vars(genetic)["_thread_lock"] = _Lock()


def has_drawn(trial: FrozenTrial) -> bool:
    """Whether a running trial has parameters, or its sampler has drawn some for it."""
    # GPSampler stores them as "gp:relative_params:0", so that other processes see them. TPESampler
    # and our own GaussianProcessSampler do likewise.
    return bool(trial.params) or any(":relative_params:" in key for key in trial.system_attrs)


def without_constraints(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial without its constraints, about which CmaEsSampler would warn."""
    shown = copy.copy(trial)
    prefix = f"{_CONSTRAINTS_KEY}:"
    attrs = trial.system_attrs.items()
    shown.system_attrs = {key: value for key, value in attrs if not key.startswith(prefix)}
    return shown


def behind(storage: BaseStorage) -> BaseStorage:
    """Return the storage behind all that stand in front of it: ours, and Optuna's cache."""
    while isinstance(inner := getattr(storage, "_backend", None), BaseStorage):
        storage = inner
    return storage


def wrap_lock(storage: BaseStorage, kind: type[Any]) -> JournalFileBackend | None:
    """Put the lock of a journal's file into one of another kind, made of the path and that lock.

    Returns:
        The file's backend; None for a storage without such a file.
    """
    backend = storage._backend if isinstance(storage, JournalStorage) else None
    if not isinstance(backend, JournalFileBackend):
        return None
    if not isinstance(backend._lock, kind):
        backend._lock = kind(backend._file_path, backend._lock)
    return backend


def folder_of(artifact_store: object) -> str | None:
    """Return the folder of a FileSystemArtifactStore; None for a store of another kind."""
    folder = getattr(artifact_store, "_base_path", None)
    return None if folder is None else str(folder)

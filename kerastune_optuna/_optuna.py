"""All access to Optuna's private parts: a small function for each, which a test covers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, Trial, TrialState

# Else SQLite gives the ids of a deleted study and its trials to the next ones, into which a process
# that still has the old study open would write.
for _model in (models.StudyModel, models.TrialModel):
    _model.__table__.dialect_options["sqlite"]["autoincrement"] = True
# The system attr in which Optuna keeps the parameters of a trial that no sampler chooses. We write
# it ourselves, together with attrs of our own, which Study.enqueue_trial() does not take.
FIXED_PARAMS = "fixed_params"


def storage_of(study: Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def id_of(one: Study | Trial | FrozenTrial) -> int:
    """Return the id under which a storage knows a study or a trial."""
    # The study that HyperbandPruner shows to samplers raises where isinstance() asks for its class.
    if issubclass(type(one), Trial | FrozenTrial):
        return one._trial_id  # type: ignore[union-attr] # it is a trial
    return one._study_id  # type: ignore[union-attr] # it is a study


def has_study(storage: BaseStorage, study_id: int) -> bool:
    """Whether a study is there, by its id: Optuna's storages cache names of deleted studies."""
    return any(study._study_id == study_id for study in storage.get_all_studies())


def attrs_of(one: Study | Trial | FrozenTrial) -> dict[str, Any]:
    """Return the system attrs of a study or a trial; of a running one, as this process knows it."""
    if issubclass(type(one), Trial | FrozenTrial):
        trial = as_known(one) if isinstance(one, Trial) else one
        return trial.system_attrs  # type: ignore[union-attr] # it is a trial
    return storage_of(one).get_study_system_attrs(id_of(one))  # type: ignore[arg-type] # a study


def set_attr(one: Study | Trial, key: str, value: Any) -> None:
    """Write a system attr of a study or a running trial; the Trial itself does not show it."""
    if isinstance(one, Trial):
        one.storage.set_trial_system_attr(id_of(one), key, value)
        as_known(one).system_attrs[key] = value
    else:
        storage_of(one).set_study_system_attr(id_of(one), key, value)


def as_stored(study: Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """Return a trial as its storage has it now."""
    return storage_of(study).get_trial(id_of(trial))


def as_known(trial: Trial) -> FrozenTrial:
    """Return a running trial as this process read it and wrote it since, without a query."""
    return trial._cached_frozen_trial


def reports_of(trial: optuna.trial.BaseTrial) -> dict[int, float]:
    """Return the reports of a trial by step, without a query; a FixedTrial keeps none."""
    return dict(as_known(trial).intermediate_values) if isinstance(trial, Trial) else {}


def known_trials(
    study: Study, states: Container[TrialState] | None = None, *, anew: bool = False
) -> list[FrozenTrial]:
    """Return the trials of a study as this thread last read them, which costs no query.

    Optuna drops this cache in Study.ask() and Study.tell(). Without it, a sampler that may draw
    each parameter twenty times would query the database at each draw.

    Args:
        study: The study.
        states: Which trials; None for all.
        anew: Whether to read them again now; samplers then see these too.
    """
    if anew:
        study._thread_local.cached_all_trials = None
    # As samplers ask for them: HyperbandPruner only filters Study.get_trials().
    return study._get_trials(deepcopy=False, states=states, use_cache=True)


class ShownStudy:
    """Stand for a study before a sampler, and show it other trials than the study has."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def shown(
        self, trials: list[FrozenTrial], states: Container[TrialState] | None
    ) -> list[FrozenTrial]:
        """Return the trials that a sampler sees, of those that it asks for."""
        raise NotImplementedError

    def _get_trials(  # which samplers call, with these arguments
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return self.shown(self._study._get_trials(deepcopy, states, use_cache), states)


@contextmanager
def stoppable(study: Study, stop: Callable[[], None]) -> Iterator[None]:
    """Let `study.stop()` call a function, where Optuna refuses it outside of its optimize()."""
    before = vars(study).get("stop")  # of a block around this one
    vars(study)["stop"] = stop
    try:
        yield
    finally:
        del vars(study)["stop"]
        if before is not None:
            vars(study)["stop"] = before


def tell(study: Study, trial: Trial, values: Any, state: TrialState) -> FrozenTrial:
    """Tell a study how a trial ended, and let no sampler end the search.

    BruteForceSampler calls study.stop() once it takes its space for spent, which it does of points
    whose trials were cut off, too.
    """
    with stoppable(study, lambda: None):
        return study.tell(trial, values, state)


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Let what a sampler draws next depend on a seed; BaseSampler.reseed_rng() takes none."""
    for part in vars(sampler).values():
        if isinstance(part, LazyRandomState):
            part.rng.seed(seed)
        elif isinstance(part, BaseSampler):
            reseed(part, seed)


def startup_trials_of(sampler: BaseSampler) -> int:
    """Return how many COMPLETE trials a Gaussian process, or TPE, needs before it draws itself."""
    return sampler._n_startup_trials  # type: ignore[attr-defined, no-any-return]


def has_drawn(trial: FrozenTrial) -> bool:
    """Whether a running trial has parameters, or its sampler has drawn some for it."""
    # Under "gp:relative_params:0", and TPE likewise, it shares them with other processes. So does
    # our own GaussianProcessSampler.
    return bool(trial.params) or any(":relative_params:" in key for key in trial.system_attrs)


def without_constraints(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial without its constraints, of which CmaEsSampler would warn."""
    shown = copy.copy(trial)
    prefix = f"{_CONSTRAINTS_KEY}:"
    attrs = trial.system_attrs.items()
    shown.system_attrs = {key: value for key, value in attrs if not key.startswith(prefix)}
    return shown


def backend_of(storage: BaseStorage) -> Any:
    """Return what a storage hands its calls to: another storage, a journal's file, or None."""
    return getattr(storage, "_backend", None)


def file_of(journal: JournalFileBackend) -> str:
    """Return the path of a journal's file."""
    return journal._file_path


def lock_of(journal: JournalFileBackend) -> Any:
    """Return the lock that the user chose for a journal's file."""
    return journal._lock


def folder_of(artifact_store: object) -> str | None:
    """Return the folder of a FileSystemArtifactStore; None for a store of another kind."""
    folder = getattr(artifact_store, "_base_path", None)
    return None if folder is None else str(folder)

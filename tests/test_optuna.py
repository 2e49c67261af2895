"""What we rely on of Optuna's private API, where a failed search would not tell what changed."""

import pickle
import warnings

import keras
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from optuna_integration import KerasPruningCallback

from kerastune_optuna import PruningCallback, _optuna


@pytest.fixture
def study():
    return optuna.create_study(storage=InMemoryStorage())


def test_a_study_is_there_until_it_is_deleted(study):
    """`FrozenStudy._study_id`, of `get_all_studies`, is the study's."""
    storage, study_id = _optuna.storage_of(study), _optuna.id_of(study)
    assert _optuna.has_study(storage, study_id)
    optuna.delete_study(study_name=study.study_name, storage=storage)
    assert not _optuna.has_study(storage, study_id)


def test_trials_are_known_until_one_is_told(study):
    """`_get_trials(use_cache=True)` reads once; `cached_all_trials = None` lets it read again."""
    assert _optuna.known_trials(study) == []
    trial = study.ask()
    study._thread_local.cached_all_trials = []  # ask() forgets them too
    assert _optuna.known_trials(study) == []
    assert len(_optuna.known_trials(study, anew=True)) == 1
    study.tell(trial, 1.0)
    assert [one.state for one in _optuna.known_trials(study)] == [TrialState.COMPLETE]
    assert _optuna.known_trials(study, (TrialState.FAIL,)) == []


@pytest.mark.parametrize("name", ["TPESampler", "GPSampler", "NSGAIISampler", "QMCSampler"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_read_the_trials_that_are_shown(study, name):
    """Samplers ask the study for its trials by `_get_trials` alone, and so see what we show."""
    seen = []

    class Shown(_optuna.ShownStudy):
        def shown(self, trials, states):
            seen.append(states)
            return trials

    study.ask()
    sampler = getattr(optuna.samplers, name)()
    sampler.infer_relative_search_space(Shown(study), study.trials[0])
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    sampler.sample_relative(Shown(study), study.trials[0], space)
    assert seen


def test_storages_tell_what_is_behind_them(tmp_path):
    """Another storage, or a folder; others have nothing."""
    cached = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")
    assert isinstance(_optuna.behind(cached), RDBStorage)
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    for storage in (journal, InMemoryStorage()):
        assert _optuna.behind(storage) is storage
    assert _optuna.folder_of(FileSystemArtifactStore(tmp_path)) == str(tmp_path)
    assert _optuna.folder_of(object()) is None


def test_a_journal_takes_the_lock_that_it_is_given(tmp_path):
    """It takes and releases it for each write; one that was given before is not wrapped again."""
    calls = []

    class Noting(JournalFileOpenLock):
        def __init__(self, path, chosen):
            super().__init__(path)
            calls.append(chosen)

        def acquire(self):
            calls.append("acquire")
            return super().acquire()

        def release(self):
            calls.append("release")
            super().release()

    path = str(tmp_path / "journal")
    journal = JournalFileBackend(path, lock_obj=(lock := JournalFileOpenLock(path)))
    storage = JournalStorage(journal)
    for _ in range(2):
        assert _optuna.wrap_lock(storage, Noting) is journal
    assert _optuna.wrap_lock(InMemoryStorage(), Noting) is None
    journal.append_logs([{}])
    assert calls == [lock, "acquire", "release"]


CURVES = [[0.1, 0.5, 0.6, 0.7], [0.2, 0.1, 0.1, 0.1], [0.3, 0.6, 0.5, 0.9], [0.1, 0.2, 0.3, 0.2]]


def reports(make, pruner, interval):
    """Return what trials report of the curves, and how each ends, with a callback of a kind."""
    study = optuna.create_study(direction="maximize", pruner=pruner)

    def objective(trial):
        callback = make(trial, "val_accuracy", interval)
        callback.set_params({"epochs": 4})
        callback.set_model(keras.Sequential())
        callback.model.stop_training = False  # as Model.fit begins
        for epoch, value in enumerate(CURVES[trial.number]):
            callback.on_epoch_end(epoch, {"val_accuracy": value})
            if callback.model.stop_training:
                raise optuna.TrialPruned
        return max(CURVES[trial.number])

    study.optimize(objective, n_trials=len(CURVES))
    return [(trial.state, trial.intermediate_values) for trial in study.trials]


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize(
    "make_pruner",
    [
        lambda: optuna.pruners.MedianPruner(n_startup_trials=1),
        lambda: optuna.pruners.SuccessiveHalvingPruner(),
        lambda: optuna.pruners.ThresholdPruner(lower=0.15, n_warmup_steps=1),
    ],
    ids=["median", "halving", "threshold"],
)
def test_our_callback_decides_as_that_of_optuna_integration(make_pruner, interval):
    """On the same curves both report the same steps, and prune the same trials at the same one."""
    ours = reports(PruningCallback, make_pruner(), interval)
    assert ours == reports(KerasPruningCallback, make_pruner(), interval)
    assert {state for state, _ in ours} == {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("kind", [TPESampler, CmaEsSampler, RandomSampler])
def test_a_sampler_is_reseeded(kind):
    """A sampler keeps its generators, and other samplers, in attributes of its own."""

    def draw(seed):
        sampler = kind(seed=5)
        study = optuna.create_study(sampler=sampler)
        for value in range(12):
            if value == 11:
                _optuna.reseed(sampler, seed)
            trial = study.ask()
            drawn = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
            study.tell(trial, float(value % 3))
        return drawn

    assert draw(1) == draw(1) != draw(2)


def test_what_a_sampler_draws_at_once_is_stored(study):
    """TPE, and the GP likewise, share it with other processes before a trial has parameters."""
    with warnings.catch_warnings(action="ignore"):  # which are experimental
        study.sampler = TPESampler(n_startup_trials=1, multivariate=True, constant_liar=True)
    for asks in (True, True, False):
        trial = study.ask()
        if asks:
            study.tell(trial, trial.suggest_float("x", 0, 1))
    assert _optuna.has_drawn(study.trials[0])
    assert not _optuna.has_drawn(study.trials[-1])
    assert trial.relative_params  # which it draws when they are read, or the builder asks
    assert _optuna.has_drawn(study.trials[-1])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_genetic_sampler_travels():
    """It has a lock since Optuna 5.1; its copy draws on, also where another sampler asks it."""
    inner = optuna.samplers.NSGAIISampler(population_size=2, seed=0)
    sampler = optuna.samplers.PartialFixedSampler({"y": 0.5}, inner)
    assert _optuna.genetic_parts(sampler) == [inner]
    _optuna.let_travel(sampler)
    study = optuna.create_study(sampler=pickle.loads(pickle.dumps(sampler)))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=6)
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in study.trials]
    assert generations == [0, 0, 1, 1, 2, 2]


def test_a_genetic_sampler_forgets_what_it_read():
    """It reads the generations again, and so misses no trial whose place has changed."""
    sampler = optuna.samplers.NSGAIISampler(population_size=2, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    before = sampler.get_population(study, 1)
    _optuna.forget_generations(sampler)
    assert sampler.get_population(study, 1) == before

"""Stores of weights that stumble: an S3 server that stops, refuses, and ends keys."""

import signal
import sys
import threading

import keras
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta

from kerastune_optuna import WeightsError
from kerastune_optuna._storage import artifacts
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED, INTERRUPTED
from tests.support import forks
from tests.support.faults import ROOT, states, trials_of
from tests.support.s3 import EXPIRY, opened, s3_server
from tests.support.untrained import Untrained, build, has_best_weights, run, tuner_in


@pytest.fixture(scope="module")
def s3_running():
    with s3_server() as given:
        yield given


@pytest.fixture
def s3(s3_running):
    """Give the server, which runs, refuses nothing and has an empty bucket once more in the end."""
    yield s3_running
    s3_running.recover()


def improving(numbers=(), act=lambda: None):
    """Return a builder whose trials become better and better, and which acts in some of them."""

    def build_model(trial):
        units = trial.suggest_int("units", 1, 1000)
        if trial.number in numbers:
            act()
        return Untrained(units, [{"val_mae": 1 / (trial.number + epoch + 1)} for epoch in range(5)])

    return build_model


def acting(acts):
    act = lambda epoch, logs: acts.get(epoch, lambda: None)()  # noqa: E731
    return [lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=act)]


def tuner_with(tmp_path, store, build_model=build, **options):
    options |= {"artifact_store": store, "keep_best": 1}
    return tuner_in(tmp_path, build_model, "val_mae", **options)


def needed(tuner):
    """Return the ids of the weights of the best trial, and of all histories."""
    storage, ids = tuner.study._storage, set()
    for trial in tuner.study.trials:
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage):
            if meta.filename == "history.csv" or trial.number == tuner.best_trial.number:
                ids.add(meta.artifact_id)
    return ids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("away", "back", "said"),
    [("stop", "start", "Could not conn"), ("expire key", "expire none", EXPIRY)],
    ids=["stopped", "expired"],
)
def test_a_new_best_waits_for_a_store(s3, tmp_path, capfd, away, back, said):
    """What a trial came to is saved once the server is back or its keys are, as a line says."""

    def go_away():
        s3.order(away)
        s3.order_soon(back)

    tuner = tuner_with(tmp_path, s3.store(), improving({1}, go_away), n_trials=2)
    run(tuner)
    assert tuner.best_trial.number == 1
    assert has_best_weights(tuner)
    assert s3.keys == needed(tuner)
    told = f"The artifact store Boto3ArtifactStore 'weights' does not answer ({said}"
    assert told in capfd.readouterr().err


@pytest.mark.slow
def test_workers_open_a_store_that_refuses_requests(s3, tmp_path):
    """Two processes with a client each, which a function makes, save and load through refusals."""
    s3.order("refuse 5")
    url = s3.url
    tuner = tuner_with(tmp_path, lambda: opened(url), n_trials=4, backup_every=0, pruner="none")
    run(tuner, n_workers=2)
    assert states(tuner) == ["COMPLETE"] * 4
    assert has_best_weights(tuner)
    s3.order("refuse 0")
    assert s3.keys == needed(tuner)


def test_a_function_opens_a_store_again_with_new_keys(s3, tmp_path):
    """A client that has its keys for good is replaced by one with those that the function finds."""
    keys = ["key"]

    def expire():
        s3.order("expire key")
        keys.append("new")

    store = lambda: opened(s3.url, keys[-1])  # noqa: E731
    tuner = tuner_with(tmp_path, store, improving({1}, expire), n_trials=2)
    run(tuner)
    assert has_best_weights(tuner)
    s3.order("expire none")
    assert s3.keys == needed(tuner)


def test_a_store_that_never_worked_is_not_waited_for_long(s3, tmp_path, monkeypatch):
    """Keys that are wrong from the start are known before any training."""
    monkeypatch.setattr(artifacts, "_FIRST_PATIENCE", 0.5)
    s3.order("expire key")
    tuner = tuner_with(tmp_path, s3.store())
    with pytest.raises(WeightsError, match="artifact_store= cannot be written") as got:
        run(tuner)
    assert EXPIRY in str(got.value)
    assert tuner.study.trials == []


def test_a_bucket_that_is_not_there_is_told_at_once(s3, tmp_path, capfd):
    """Nothing trains, and nothing is tried again."""
    with pytest.raises(WeightsError, match="cannot be written: NoSuchBucket: "):
        run(tuner_with(tmp_path, opened(s3.url, bucket="nobodys")))
    assert "trying for" not in capfd.readouterr().err


def test_who_looks_into_another_bucket_reads_its_name(s3, tmp_path):
    """Weights that are not there may be in the store of the search."""
    run(tuner_with(tmp_path, s3.store(), n_trials=1))
    tuner = tuner_with(tmp_path, opened(s3.url, bucket="nobodys"))
    with pytest.raises(WeightsError, match=r"ArtifactStore 'nobodys' has no weights of trial 0\. "):
        tuner.best_model()


def test_a_backup_that_fails_stops_no_training(s3, tmp_path, capfd):
    """Epochs go on with one line and no wait, and the next backup that works takes its place."""
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1, backup_every=0)

    def look():  # the backup before the failure is removed
        assert s3.keys == {TrialRecord(tuner.study.trials[0]).backup["id"]}

    acts = {1: lambda: s3.order("stop"), 3: lambda: s3.order("start"), 4: look}
    run(tuner, callbacks=acting(acts))
    assert tuner.best_trial.user_attrs["epochs_run"] == 5
    said = capfd.readouterr().err
    assert said.count("Trial 0 could not be backed up and continues: Could not connect") == 1
    assert "does not answer" not in said
    assert s3.keys == needed(tuner)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def interrupted(s3, tmp_path, epoch):
    """Return a tuner whose first trial was interrupted in an epoch, while the store was away."""

    def interrupt_without():
        s3.order("stop")
        s3.order_soon("start")
        interrupt()

    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1)
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=acting({epoch: interrupt_without}))
    return tuner


@pytest.mark.slow
def test_an_interrupt_waits_for_a_store_that_is_stopped(s3, tmp_path, unhurried):
    """The first Ctrl-C costs neither the trial that just ended nor its weights."""
    tuner = interrupted(s3, tmp_path, 4)
    assert states(tuner)[0] == "COMPLETE"
    assert has_best_weights(tuner)


@pytest.mark.slow
def test_an_interrupted_trial_waits_with_its_backup(s3, tmp_path, unhurried):
    """The backup from which it goes on is in the store once that is back."""
    (trial, _) = trials_of(interrupted(s3, tmp_path, 2))
    assert trial.user_attrs["stop_reason"] == INTERRUPTED
    assert s3.keys == {TrialRecord(trial).backup["id"]}


# A third signal, by which the search ends itself, may come while Python runs a callback of weakref,
# which prints the error and goes on: the second one had its effect before.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_second_interrupt_ends_the_wait_for_a_store(s3, tmp_path):
    """The trial whose weights could not be saved is run again by the next search."""
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1)
    twice = threading.Timer(1, interrupt)
    acts = {4: lambda: (s3.order("stop"), interrupt(), twice.start())}
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=acting(acts))
    assert tuner.study.trials[0].user_attrs["stop_reason"] == INTERRUPTED
    s3.order("start")
    run(tuner)
    assert has_best_weights(tuner)


KILLED = """
import sys
from kerastune_optuna import OptunaTuner
from tests.support.faults import kill_at
from tests.support.models import Spy, build_model, in_classes
from tests.support.s3 import opened

folder, database, url = sys.argv[1:]
places = {"directory": folder, "storage": database, "artifact_store": lambda: opened(url)}
options = {"n_trials": 1, "seed": 0, "study_name": "test", "backup_every": 0}
tuner = OptunaTuner(build_model, "val_accuracy", **options, **places)
(x, y), seen = in_classes(), []
fit = {"validation_data": (x, y), "epochs": 6, "verbose": 0}
tuner.search(x, y, callbacks=[Spy(seen), kill_at(3)], **fit)
is_best = abs(tuner.best_model().evaluate(x, y, verbose=0)[1] - tuner.best_value) < 1e-6
print(seen, len(tuner.best_trial.intermediate_values), is_best)
"""


@pytest.mark.slow
def test_a_killed_trial_goes_on_where_no_disk_is_shared(s3, tmp_path):
    """Another process with a folder of its own has the backup from the store alone."""
    database = f"sqlite:///{tmp_path / 'study.db'}"  # in the place of one that both reach

    def work(folder):
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), database, s3.url]
        return forks.run(command, capture_output=True, text=True, cwd=ROOT)

    assert work("first").returncode == -signal.SIGKILL
    assert not any((tmp_path / "first").rglob("*.backup"))
    done = work("second")
    assert done.stdout.splitlines()[-1:] == ["['begin', 3, 4, 5, 'end'] 6 True"], done.stderr
    study = optuna.load_study(study_name="test", storage=database)
    assert [one.user_attrs["stop_reason"] for one in study.trials] == [DIED, "ran all epochs"]


def test_a_trial_knows_its_file_before_the_store_has_it(tmp_path):
    """A process that dies in between leaves no file that nobody would ever delete."""
    known = []

    class Noting(FileSystemArtifactStore):
        def write(self, artifact_id, content_body):
            ids = [one.artifact_id for one in get_all_artifact_meta(trial)]
            known.append(artifact_id in ids)
            super().write(artifact_id, content_body)

    trial = optuna.create_study().ask()
    store = artifacts.PatientStore(Noting(tmp_path))
    (tmp_path / "file").write_bytes(b"weights")
    store.upload(trial, tmp_path / "file")
    assert known == [True]

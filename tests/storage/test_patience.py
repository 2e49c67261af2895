"""A database or a store that goes away for a while is waited for, and costs no trial."""

import math
import threading
from types import SimpleNamespace

import keras
import optuna
import pytest
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore

from kerastune_optuna import StorageError, WeightsError
from kerastune_optuna._storage import database as _storage
from kerastune_optuna._storage import patience
from tests.support import faults
from tests.support.servers import SERVERS, database
from tests.support.untrained import build, has_best_weights, run, tuner_in


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(patience, "time", clock := faults.Clock())
    return clock


class Away(optuna.storages.InMemoryStorage):
    """Be away from the end of the first trial on, until a moment of a clock."""

    def __init__(self, _, clock, back):
        super().__init__()
        self.clock, self.back = clock, back

    def set_trial_state_values(self, trial_id, state, values=None):
        """Write, if it is there."""
        if state.is_finished() and self.clock.now < self.back:
            raise ConnectionError("server closed the connection")
        return super().set_trial_state_values(trial_id, state, values)


def test_a_database_is_not_waited_for_longer(clock, tmp_path):
    """One that stays away ends the search after 300 seconds, and soon after."""
    storage = Away(None, clock, math.inf)
    with pytest.raises(StorageError, match=r"did not answer for 3[0-2]\d s: server closed"):
        run(tuner_in(tmp_path, objective="val_mae", storage=storage, n_trials=1))
    assert 300 <= clock.now < 330


class AwayStore(FileSystemArtifactStore):
    """Take no weights until a moment of a clock."""

    def __init__(self, folder, clock, back):
        super().__init__(folder)
        self.clock, self.back = clock, back

    def write(self, artifact_id, content_body):
        """Write, if it is there."""
        is_of_weights = content_body.read(4) == b"\x89HDF"
        content_body.seek(0)
        if is_of_weights and self.clock.now < self.back:
            raise ConnectionError("no route to host")
        super().write(artifact_id, content_body)


@pytest.mark.parametrize(("name", "kind"), [("storage", Away), ("artifact_store", AwayStore)])
def test_what_is_away_is_waited_for_for_five_minutes(clock, tmp_path, name, kind):
    """A database, or a store of weights, that is back after 290 seconds costs nothing."""
    options = {"objective": "val_mae", "n_trials": 1, name: kind(tmp_path, clock, 290)}
    tuner = run(tuner_in(tmp_path, **options))
    assert faults.states(tuner) == ["COMPLETE"]
    assert has_best_weights(tuner)
    assert clock.now >= 290


def test_a_store_is_not_waited_for_longer(clock, tmp_path):
    """One that stays away is named after 300 seconds, and the trial has its value."""
    store = AwayStore(tmp_path, clock, math.inf)
    tuner = tuner_in(tmp_path, objective="val_mae", artifact_store=store, n_trials=1)
    told = r"weights of trial 0 cannot be saved: .*The artifact store AwayStore '.*' did not answer"
    with pytest.raises(WeightsError, match=told + r" for 3[0-2]\d s: no route to host") as got:
        run(tuner)
    assert len(str(got.value).splitlines()) == 1
    assert 300 <= clock.now < 330
    assert tuner.best_trial.number == 0


@pytest.mark.nightly
def test_a_server_that_restarts_fails_no_trial(search, tmp_path, capfd):
    """PostgreSQL is away for ten epochs: training goes on, every report arrives, no trial fails."""
    log, said, stopped = tmp_path / "log", [], []

    def is_told():
        said.append(capfd.readouterr().err)
        return "The storage does not answer" in "".join(said)

    def restart():
        try:
            faults.wait_until(is_told)
            faults.wait_until(lambda: len(faults.logged(log)) >= stopped[0] + 10)
            said.append("training went on")
        finally:
            server.start()

    restarting = threading.Thread(target=restart)

    def stop(epoch, logs):
        if epoch == 1 and not stopped:
            server.stop()
            stopped.append(len(faults.logged(log)))
            restarting.start()

    with faults.own_server() as server:
        stopping = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
        fit = {"epochs": 20, "callbacks": [faults.EpochLog(log), lambda trial: stopping]}
        tuner = search(storage=server.url, n_trials=3, fit=fit)
        restarting.join()
        trials = tuner.study.trials
        tuner.study._storage.remove_session()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert all(sorted(trial.intermediate_values) == list(range(20)) for trial in trials)
    assert "training went on" in said
    assert "Error" not in "".join(said) + capfd.readouterr().err


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_search(tmp_path, impatient, monkeypatch):
    """When patience ends the search ends with one line, and the next one goes on."""
    monkeypatch.setattr(_storage, "_BUSY_SECONDS", 1)
    tuner = tuner_in(tmp_path, n_trials=2, pruner="none")
    assert tuner.study.trials == []
    lockers = []

    def lock_once(epoch, logs):
        if not lockers:
            lockers.append(faults.lock(tmp_path / "study.db", 300))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=lock_once)
    with pytest.raises(StorageError, match=r"for [1-9] s: database is locked") as got:
        run(tuner, callbacks=[lambda trial: callback])
    assert len(str(got.value).splitlines()) == 1
    with lockers[0] as locker:
        locker.kill()
    run(tuner)
    assert faults.states(tuner) == ["FAIL", "COMPLETE", "COMPLETE"]


def cut_connections(url):
    """End all connections to a database but our own, as a server does with idle ones."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        others = connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = database() AND id <> connection_id()"
        ).scalars()
        for number in others.all():
            connection.exec_driver_sql(f"KILL {number}")


@pytest.mark.parametrize("server", ["postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def test_a_connection_that_the_server_closed_fails_no_trial(tmp_path, server):
    """A server that closes idle connections while a trial trains costs nothing."""
    with database(server) as url:

        def cutting(trial):
            model = build(trial)
            cut_connections(url)
            return model

        tuner = run(tuner_in(tmp_path, cutting, storage=url, n_trials=2, pruner="none"))
        assert faults.states(tuner) == ["COMPLETE"] * 2


def test_a_database_that_could_only_be_read_for_a_while_is_written_again(tmp_path):
    """A connection that was opened meanwhile stays read-only, so that it is not used again."""
    with database("postgresql") as url:
        storage = _storage.connect(url, 20)
        study = optuna.create_study(storage=storage)
        name = sqlalchemy.make_url(url).database
        engine = sqlalchemy.create_engine(SERVERS["postgresql"], isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            given = f"ALTER DATABASE {name} SET default_transaction_read_only"
            connection.exec_driver_sql(f"{given} = on")
            cut_connections(url)
            back = threading.Timer(1, connection.exec_driver_sql, [f"{given} = off"])
            back.start()
            study.ask()
            back.join()
        engine.dispose()
        storage.remove_session()


@pytest.mark.parametrize("name", ["sqlite_errorname", "sqlstate", "pgcode"])
def test_each_driver_has_its_own_name_for_the_code_of_an_error(name):
    """As sqlite3, psycopg and psycopg2, of which one need not be installed."""
    error = Exception("permission denied")
    given = {"original_exception": error, "is_disconnect": False, "is_pre_ping": False}
    assert patience.as_ours(SimpleNamespace(**given)) is None
    setattr(error, name, "42501")
    assert isinstance(patience.as_ours(SimpleNamespace(**given)), StorageError)


class Noting(patience.Delegating):
    """Note the name of each call."""

    def __init__(self, backend):
        super().__init__(backend)
        self.calls = []

    def _call(self, name, /, *args, **kwargs):
        self.calls.append(name)
        return super()._call(name, *args, **kwargs)


def test_each_call_reaches_what_stands_behind():
    """A whole trial is found in the storage behind, and each of its calls came by the front."""
    backend = optuna.storages.InMemoryStorage()
    storage = Noting(backend)
    study = optuna.create_study(storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert [trial.state.name for trial in backend.get_all_trials(0)] == ["COMPLETE"]
    assert {"create_new_trial", "set_trial_param", "set_trial_state_values"} <= set(storage.calls)


def test_no_method_of_optuna_passes_by():
    """Those that Optuna's base class has for all storages reach the backend too."""
    names = {name for name in vars(optuna.storages.BaseStorage) if not name.startswith("_")}
    assert names <= set(vars(patience.Delegating))

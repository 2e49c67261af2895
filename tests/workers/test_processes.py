"""Many workers on one study: exact in number on every storage, and none takes another with it."""

from __future__ import annotations

import atexit
import builtins
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import optuna
import psutil
import pytest
import sqlalchemy
from optuna.storages.journal import JournalFileBackend

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    OptunaTuner,
    TunerError,
    WorkerError,
    _report,
)
from kerastune_optuna._backend import environment
from kerastune_optuna._workers import processes
from kerastune_optuna._workers.loop import Payload
from kerastune_optuna._workers.processes import _BOOT, _raised
from tests.support import warm
from tests.support.faults import WATCHDOG, meet, wait_until
from tests.support.hosts import needs_posix
from tests.support.models import build_model, kept
from tests.support.servers import database, proxy

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "journal"])
def storage(request, tmp_path):
    """Give each kind of storage that processes can share."""
    if request.param == "sqlite":
        yield None
    elif request.param == "journal":
        yield optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    else:
        with database(request.param) as url:
            yield url


def untraced(trial):
    """Return a model that trains without a trace, which costs more than so few steps."""
    model = build_model(trial)
    model.run_eagerly = True
    return model


def logging_builder(log, n_workers):
    """Return a builder that writes the number of each trial, once all workers are there."""

    def build(trial):
        meet(log.parent, n_workers)
        if isinstance(trial, optuna.Trial):  # not where a model that was kept is built again
            with open(log, "a") as file:
                file.write(f"{trial.number}\n")
        return untraced(trial)

    return build


def runs(log):
    """Return how often each trial was run."""
    return Counter(int(line) for line in Path(log).read_text().split())


def finished(tuner):
    """Return the trials that count."""
    return [trial for trial in tuner.study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def evaluated(model, data):
    """Return the accuracy of a model on the validation data."""
    return model.evaluate(*data[2], verbose=0, return_dict=True)["accuracy"]


@pytest.mark.slow
def test_workers_run_forty_trials_once(search, data, storage, tmp_path, capfd, request):
    """Forty trials are run, none twice, all distinct, by many processes without an error."""
    log = tmp_path / "log"
    n_workers = 2
    if request.node.callspec.params["storage"] == "sqlite":
        request.getfixturevalue("cold")
        n_workers = 4
    tuner = search(
        logging_builder(log, n_workers),
        n_trials=40,
        storage=storage,
        fit={"n_workers": n_workers, "epochs": 1, "verbose": 2},
    )
    out, err = capfd.readouterr()
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 40
    assert runs(log) == dict.fromkeys(range(40), 1)
    assert len({tuple(trial.params.values()) for trial in tuner.study.trials}) == 40
    assert tuner.results()["worker"].nunique() == n_workers
    assert sorted(line.split()[1] for line in out.splitlines() if line.startswith("Trial ")) == (
        sorted(f"{number}:" for number in range(40))
    )
    assert "Traceback" not in err
    assert "Error" not in err
    assert evaluated(tuner.best_model(), data) == pytest.approx(tuner.best_value, abs=1e-6)


POPPER = """
import sys, warnings
import optuna
from kerastune_optuna._storage.database import connect
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="test", storage=connect(sys.argv[1], 60))
print("ready", flush=True)
sys.stdin.readline()
while (trial := study.ask()).number < 200:
    print(trial.number, flush=True)
    study.tell(trial, 0.0)
"""


@pytest.mark.slow
def test_waiting_trials_are_popped_once_on_sqlite(make_tuner, tmp_path):
    """Four processes pop 200 waiting trials of our SQLite: none twice, no exception."""
    tuner = make_tuner()
    for _ in range(200):
        tuner.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING))
    url = f"sqlite:///{tmp_path}/tuning/study.db"
    poppers = [
        warm.Popen(
            [sys.executable, "-c", POPPER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for popper in poppers:
        assert popper.stdout.readline() == "ready\n"
    for popper in poppers:
        popper.stdin.write("\n")
        popper.stdin.flush()
    outputs = [popper.communicate() for popper in poppers]
    errors = [err for _, err in outputs]
    assert [popper.returncode for popper in poppers] == [0, 0, 0, 0], errors
    assert not any("Error" in err for err in errors), errors
    popped = [int(number) for out, _ in outputs for number in out.split()]
    assert sorted(popped) == list(range(200))


def builder_to_kill(folder, number, n_workers=1):
    """Return a builder that waits in one trial until its process is killed.

    All workers are there before that, and where there are several also the one in its place.
    """

    def build(trial):
        meet(folder, n_workers + (trial.number > number and n_workers > 1))
        if trial.number == number:
            (folder / "part").write_text(f"{os.getpid()}")
            (folder / "part").rename(folder / "to-kill")
            time.sleep(WATCHDOG)
        return untraced(trial)

    return build


def kill_once(folder):
    """Kill the process that waits for it."""
    wait_until((folder / "to-kill").exists)
    os.kill(int((folder / "to-kill").read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_is_replaced(search, tmp_path, capfd):
    """One of four workers is killed in mid-trial: the others go on, and sixteen trials finish."""
    killer = threading.Thread(target=kill_once, args=(tmp_path,))
    killer.start()
    tuner = search(
        builder_to_kill(tmp_path, 10, n_workers=4),
        n_trials=16,
        fit={"n_workers": 4, "epochs": 1, "verbose": 2},
    )
    killer.join()
    assert len(finished(tuner)) == 16
    failed = [trial for trial in tuner.study.trials if trial.state.name == "FAIL"]
    assert [trial.number for trial in failed] == [10]
    assert failed[0].user_attrs["stop_reason"] == "its worker died"
    assert tuner.results()["worker"].nunique() == 5
    _, err = capfd.readouterr()
    assert err.count("died by SIGKILL; another takes its place") == 1


@pytest.mark.slow
def test_workers_that_all_die_end_the_search(search):
    """A builder that kills its process ends the search instead of starting workers for ever."""

    def build(trial):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerError, match="3 workers died one after the other, the last one by SI"):
        search(build, max_failed_trials=3, fit={"n_workers": 2})


@pytest.mark.slow
@pytest.mark.parametrize("leave", [sys.exit, lambda: os._exit(0)], ids=["sys.exit", "os._exit"])
def test_a_worker_that_ends_in_a_trial_has_died(search, tmp_path, capfd, leave):
    """Code 0 does not say that a worker is done: another takes its place, and no trial is lost."""

    def build(trial):
        if len(list(tmp_path.glob("*.left"))) < 2:
            (tmp_path / f"{os.getpid()}.left").touch()
            leave()
        return build_model(trial)

    tuner = search(build, n_trials=4, fit={"n_workers": 2, "epochs": 1})
    assert len(finished(tuner)) == 4
    assert "died with exit code 0; another takes its place" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_of_the_user_does_not_keep_a_search_waiting(search, capfd, fails):
    """A worker that is done ends after a while, though a thread of its builder would never end."""

    def build(trial):
        processes._LINGER = 0.5  # in the worker, where this runs
        threading.Thread(target=threading.Event().wait, name="endless").start()
        if fails:
            raise NameError("nothing is named so")
        return build_model(trial)

    with pytest.raises(NameError) if fails else nullcontext():
        search(build, n_trials=2, fit={"n_workers": 2, "epochs": 1})
    assert "while its threads still ran (endless" in capfd.readouterr().err


@pytest.mark.slow
def test_what_a_worker_raises_reaches_the_user(search, capfd):
    """The error of a worker is raised here, once, with its traceback as a note."""

    def build(trial):
        return undefined_name  # noqa: F821 - the error that is tested

    with pytest.raises(NameError, match="undefined_name") as got:
        search(build, fit={"n_workers": 2})
    assert "Raised in a worker" in got.value.__notes__[0]
    line = build.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in build' in got.value.__notes__[0]
    assert "return undefined_name" in got.value.__notes__[0]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_grid_is_visited_once(search):
    """GridSampler's points are visited once each by four workers, and the search ends by itself."""
    grid = {"units": [2, 3, 4, 5], "lr": [0.001, 0.01, 0.1]}
    tuner = search(
        n_trials=None,
        sampler=optuna.samplers.GridSampler(grid),
        fit={"n_workers": 4, "epochs": 1},
    )
    points = [tuple(trial.params.values()) for trial in tuner.study.trials]
    assert len(points) == len(set(points)) == 12


@contextmanager
def policy(name):
    """Let a dtype policy hold for all models meanwhile."""
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


class Trace:
    """Make a folder when Python tears everything down."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __del__(self, make=os.mkdir):
        make(self.folder)


def noting(folder):
    """Return a builder that notes the dtype policy of a process, and lets workers leave traces."""
    leader = os.getpid()

    def build(trial):
        model = build_model(trial)
        trial.set_user_attr("policy", model.layers[0].dtype_policy.name)
        if os.getpid() != leader and not hasattr(builtins, "trace"):
            builtins.trace = Trace(folder / f"torn down {os.getpid()}")
            atexit.register((folder / f"left {os.getpid()}").touch)
        return model

    return build


@dataclasses.dataclass
class Shared:
    """Hold a search by two workers, and what they were given."""

    tuner: OptunaTuner
    x: np.ndarray
    validation: tuple[np.ndarray, np.ndarray]
    storage: optuna.storages.RDBStorage
    store: Path
    folder: Path


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """Give a search of six trials by two workers, which takes too long to be made for each test.

    Arrays, a dtype policy, a database object and a function that opens a store had to travel.
    """
    folder = tmp_path_factory.mktemp("by_two")
    store = folder / "store"
    store.mkdir()
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 72)
    x = (rng.normal(size=(72, 4)) + np.eye(3, 4)[y] * 2).astype("float32")
    tiled, validation = np.tile(x[:48], (100, 1)), (x[48:], y[48:])
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/own.db")
    tuner = OptunaTuner(
        noting(folder),
        n_trials=6,
        seed=0,
        directory=folder / "tuning",
        study_name="test",
        pruner=optuna.pruners.NopPruner(),
        storage=storage,
        artifact_store=lambda: locked_store(store),
    )
    fit = {"validation_data": validation, "epochs": 1, "verbose": 0, "n_workers": 2}
    with policy("mixed_bfloat16"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "subprocess", subprocess)  # these workers start as those of users
        tuner.search(tiled, np.tile(y[:48], 100), **fit)
    return Shared(tuner, tiled, validation, storage, store, folder)


@pytest.mark.slow
def test_workers_look_for_no_garbage_while_they_import():
    """The hundreds of looks that Python takes while it imports TensorFlow are left out."""
    until_imported, found, _ = _BOOT.format(path=sys.path, report="").partition("gc.freeze()")
    assert found
    looks = "print(sum(one['collections'] for one in gc.get_stats()))"
    counts = [
        int(subprocess.run([sys.executable, "-c", boot + looks], capture_output=True).stdout)
        for boot in (until_imported, until_imported.replace("gc.disable()", "gc.enable()"))
    ]
    assert counts[0] < counts[1] / 10


@pytest.mark.slow
def test_workers_end_without_tearing_tensorflow_down(by_two):
    """What the user registered with atexit is called, and then the process is gone."""
    pids = {trial.user_attrs["worker"].split(":")[1] for trial in by_two.tuner.study.trials}
    assert {path.name for path in by_two.folder.glob("left *")} == {f"left {pid}" for pid in pids}
    assert not list(by_two.folder.glob("torn down *"))


@pytest.mark.slow
def test_arrays_travel_to_workers(by_two):
    """Arrays serve two workers, are described in the card, and leave no file behind."""
    assert len(finished(by_two.tuner)) == 6
    assert not list(Path(by_two.tuner.directory, "test").glob("**/*.npy"))
    # Which the worker wrote that opened the data.
    digest = hashlib.sha256(by_two.x.tobytes()).hexdigest()
    kind, found = _report.card(by_two.tuner.study)["data"]["x"].rsplit(maxsplit=1)
    assert kind == "float32(4800, 4)"
    assert digest.startswith(found)


@pytest.mark.parametrize("form", [pytest.param("datasets", marks=pytest.mark.slow), "functions"])
def test_data_travels_to_workers(search, data, form, tmp_path):
    """Datasets, and functions that load data once in each process, serve two workers."""
    import tensorflow as tf

    calls = tmp_path / "calls"

    def noted(name, value):
        with open(calls, "a") as file:
            file.write(f"{name}:{os.getpid()}\n")
        return value

    x, y, validation = data
    fits = {
        "datasets": {
            "x": tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48).batch(16),
            "y": None,
            "validation_data": tf.data.Dataset.from_tensor_slices(validation).batch(16),
        },
        "functions": {
            "x": lambda: noted("x", x),
            "y": lambda: noted("y", y),
            "validation_data": lambda: noted("validation_data", validation),
        },
    }
    tuner = search(n_trials=4, fit={"n_workers": 2, "epochs": 1, **fits[form]})
    assert len(finished(tuner)) == 4
    loads = Counter(calls.read_text().split()) if calls.exists() else {}
    assert set(loads.values()) == ({1} if form == "functions" else set())
    assert not list(Path(tuner.directory, "test").glob("**/*.npy"))
    kind = {
        "datasets": "tf.data of 3 x float32(None, 4), int64(None,) ",
        "functions": "float32(48, 4) ",
    }
    assert _report.card(tuner.study)["data"]["x"].startswith(kind[form])


@pytest.mark.slow
def test_one_seed_gives_one_table_for_all_forms_of_data(search, data, tmp_path):
    """With one worker and one seed, datasets, arrays and functions train the same trials."""
    import tensorflow as tf

    x, y, (x_val, y_val) = data
    fits = {
        "arrays": {"shuffle": False, "batch_size": 16},
        "datasets": {
            "x": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
            "y": None,
            "validation_data": tf.data.Dataset.from_tensor_slices((x_val, y_val)).batch(16),
        },
        "functions": {"x": lambda: x, "y": lambda: y, "shuffle": False, "batch_size": 16},
    }
    tables = [
        search(n_trials=3, directory=tmp_path / form, fit=fit)
        .results()
        .drop(columns=["seconds", "worker"])
        for form, fit in fits.items()
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


@pytest.mark.slow
def test_a_shuffled_dataset_has_another_order_in_each_epoch(search, tmp_path):
    """Each epoch has an order of its own, which is the same in all trials of two workers."""
    import tensorflow as tf

    log = tmp_path / "orders"
    rows = np.arange(48, dtype="float32").reshape(48, 1).repeat(4, axis=1)

    def write(x):
        tf.print(x[:, 0], output_stream=f"file://{log}", summarize=-1)
        return x

    dataset = tf.data.Dataset.from_tensor_slices((rows, np.zeros(48, "int64")))
    keras.utils.set_random_seed(1)  # which shuffle() takes for its own
    dataset = dataset.shuffle(48).batch(48).map(lambda x, y: (write(x), y))
    search(
        n_trials=4,
        fit={
            "x": dataset,
            "y": None,
            "validation_data": (rows, np.zeros(48)),
            "n_workers": 2,
            "epochs": 3,
        },
    )
    orders = log.read_text().split("\n")[:-1]
    assert len(orders) >= 4 * 3
    assert len(set(orders)) == 3


def test_what_cannot_travel_is_refused(search):
    """A dataset that calls Python, and objects that cannot be pickled, name a way out."""
    import tensorflow as tf

    generated = tf.data.Dataset.from_generator(
        lambda: iter([(np.zeros(4), 0)]),
        output_signature=(tf.TensorSpec((4,)), tf.TensorSpec((), tf.int64)),
    ).batch(1)
    with pytest.raises(ArgumentError, match=r"calls Python through PyFunc.*x=lambda: \.\.\."):
        search(fit={"x": generated, "y": None, "n_workers": 2})

    lock = threading.Lock()

    def build(trial):
        with lock:
            return build_model(trial)

    with pytest.raises(ArgumentError, match="build_model cannot travel to other workers"):
        search(build, study_name="other", fit={"n_workers": 2})


@pytest.mark.parametrize(
    "make",
    [
        lambda: "sqlite://",
        lambda: "sqlite:///:memory:",
        optuna.storages.InMemoryStorage,
        lambda: optuna.storages.RDBStorage("sqlite://"),
    ],
    ids=["url", "memory-url", "in-memory", "rdb"],
)
def test_storage_in_memory_is_refused(search, make):
    """A study in memory cannot be shared, and the error says what to pass."""
    given = make()
    with pytest.raises(ArgumentError, match="Leave storage out for SQLite in directory"):
        search(storage=given, fit={"n_workers": 2})


def test_a_database_object_is_made_safe(by_two):
    """SQLite opened by the user serves several workers as ours does."""
    assert len(by_two.tuner.study.trials) == len(finished(by_two.tuner)) == 6
    with by_two.storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.slow
def test_the_settings_of_keras_travel(by_two):
    """A dtype policy set by the user holds in workers too, and the best model has their value."""
    tuner = by_two.tuner
    with policy("mixed_bfloat16"):
        logs = tuner.best_model().evaluate(*by_two.validation, verbose=0, return_dict=True)
    assert {trial.user_attrs["policy"] for trial in tuner.study.trials} == {"mixed_bfloat16"}
    assert logs["accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_an_executor_with_another_backend_is_refused(search):
    """A process that has chosen its backend before the search cannot change it."""

    class OneElsewhere(Executor):
        def submit(self, function, payload, number):
            job = cloudpickle.loads(payload.pickled)
            job = dataclasses.replace(job, settings=("elsewhere", *job.settings[1:]))
            future = Future()
            try:
                future.set_result(function(Payload(cloudpickle.dumps(job)), number))
            except Exception as error:  # as any executor gives back what a task raised
                future.set_exception(error)
            return future

    with pytest.raises(WorkerError, match=r"backend 'elsewhere'.* KERAS_BACKEND=elsewhere"):
        search(fit={"executor": OneElsewhere()})


@needs_posix
def test_executors_that_cannot_train_are_refused(search):
    """Threads, forks and what is no executor at all are refused."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from multiprocessing import get_context

    with ThreadPoolExecutor() as threads, pytest.raises(ArgumentError, match="share Keras's seeds"):
        search(fit={"executor": threads})
    forks = ProcessPoolExecutor(mp_context=get_context("fork"))
    with forks, pytest.raises(ArgumentError, match="TensorFlow hangs in a fork"):
        search(fit={"executor": forks})
    with pytest.raises(ArgumentTypeError, match=r"is no concurrent\.futures"):
        search(fit={"executor": "dask"})
    with pytest.raises(ArgumentError, match="n_workers=0 is less than 1"):
        search(fit={"n_workers": 0})


@pytest.mark.slow
def test_a_process_pool_serves(search):
    """Any executor of processes runs the same worker loop."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        tuner = search(n_trials=4, fit={"executor": pool, "n_workers": 2})
    assert len(finished(tuner)) == 4


@pytest.mark.slow
def test_a_timeout_ends_the_search_of_workers(search):
    """A worker begins no trial once the time is over, and a search without n_trials ends by it."""
    seconds = 20  # a worker on a busy machine needs more than eight to begin a trial
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(exec, "import tensorflow, kerastune_optuna").result()  # which takes seconds
        over = time.monotonic() + seconds

        def build(trial):
            time.sleep(max(0, over - time.monotonic()) + 0.5)
            return untraced(trial)

        fit = {"executor": pool, "epochs": 1}
        tuner = search(build, n_trials=None, timeout=seconds, fit=fit)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"]


COPY = """
import sys
from pathlib import Path
import numpy as np
from kerastune_optuna import OptunaTuner
from tests.support.models import build_model
from tests.support.faults import meet
def build(trial):
    meet(Path(sys.argv[2]), 2)
    model = build_model(trial)
    model.run_eagerly = True  # which costs less than a trace
    return model
rng = np.random.default_rng(0)
x, y = rng.normal(size=(24, 4)), rng.integers(0, 3, 24)
tuner = OptunaTuner(
    build, n_trials=12, seed=0, storage=sys.argv[1], directory=sys.argv[2], study_name="test"
)
tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
"""


@pytest.mark.slow
def test_two_copies_of_a_script_share_a_study(make_tuner, tmp_path):
    """Two copies started at once on an empty PostgreSQL database run 12 trials in all."""
    with database("postgresql") as url:
        copies = [
            warm.Popen(
                [sys.executable, "-c", COPY, url, str(tmp_path)],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        errors = [copy.communicate()[1] for copy in copies]
        assert [copy.returncode for copy in copies] == [0, 0], errors
        tuner = make_tuner(storage=url)
        assert optuna.get_all_study_names(url) == ["test"]
        assert len(tuner.study.trials) == len(finished(tuner)) == 12
        assert tuner.results()["worker"].nunique() == 2


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


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_connection_that_the_server_closed_fails_no_trial(search, server):
    """A server that closes idle connections while a trial trains costs nothing."""
    with database(server) as url:

        def build(trial):
            model = build_model(trial)
            cut_connections(url)
            return model

        tuner = search(build, storage=url, n_trials=3)
        assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GrpcStorageProxy is experimental")  # as Optuna marks it
def test_the_grpc_proxy_serves_workers(search, tmp_path):
    """Optuna's gRPC proxy is taken as a storage object, by two workers too."""
    with proxy(f"sqlite:///{tmp_path}/proxied.db") as port:
        storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
        storage.wait_server_ready(timeout=WATCHDOG)
        tuner = search(storage=storage, n_trials=6, fit={"n_workers": 2, "epochs": 1})
        assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 6
        storage.close()


UNGUARDED = """
import keras, numpy, sys
from kerastune_optuna import OptunaTuner
def build(trial):
    model = keras.Sequential([keras.layers.Dense(trial.suggest_int("units", 2, 8))])
    model.compile("adam", "mse")
    return model
x = numpy.zeros((8, 2))
tuner = OptunaTuner(build, "val_loss", n_trials=2, directory=sys.argv[1])
tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=1, n_workers=2)
print(len(tuner.study.trials), "in all")
"""


class UnpicklableError(Exception):
    """Be an error that pickles and cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.slow
def test_an_error_that_cannot_travel_is_told(search):
    """An error that does not survive pickling arrives as text."""

    def build(trial):
        raise UnpicklableError("this", "that")

    with pytest.raises(TunerError, match="trials failed with the same error before any succeeded"):
        search(build, fit={"n_workers": 2})

    class FatalError(UnpicklableError, TypeError):
        pass

    def build_fatally(trial):
        raise FatalError("this", "that")

    with pytest.raises(WorkerError, match="FatalError: this and that"):
        search(build_fatally, study_name="fatal", fit={"n_workers": 2})


def test_a_full_study_starts_no_worker(search, make_tuner, capsys):
    """A search that has nothing to do returns at once."""
    search()
    search(tuner=make_tuner(), fit={"n_workers": 2, "verbose": 2})
    assert capsys.readouterr().out.startswith("Study 'test' has 2 of 2 trials done")


@needs_posix
def test_workers_share_cores_and_gpus():
    """Threads are shared out, GPUs are taken in turn, and what the user set stays."""
    cores = str(len(os.sched_getaffinity(0)))
    assert environment(0, 1, {"CUDA_VISIBLE_DEVICES": ""}) == {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_NUM_INTRAOP_THREADS": cores,
        "OMP_NUM_THREADS": cores,
        "PJRT_NPROC": cores,
    }
    given = {"CUDA_VISIBLE_DEVICES": "2,5", "OMP_NUM_THREADS": "3"}
    added = [environment(number, 100, given) for number in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in added] == ["2", "5", "2"]
    assert {one["TF_NUM_INTRAOP_THREADS"] for one in added} == {"1"}
    assert {one["TF_FORCE_GPU_ALLOW_GROWTH"] for one in added} == {"true"}
    assert {one["XLA_PYTHON_CLIENT_PREALLOCATE"] for one in added} == {"false"}
    assert not any("OMP_NUM_THREADS" in one for one in added)
    assert not any("KERASTUNE_OPTUNA_OWN_GPU" in one for one in added)
    assert environment(1, 2, given)["KERASTUNE_OPTUNA_OWN_GPU"] == "1"


def locked_store(folder):
    """Return a store of artifacts that cannot be pickled."""
    store = optuna.artifacts.FileSystemArtifactStore(folder)
    store.lock = threading.Lock()
    return store


@pytest.mark.slow
def test_a_function_opens_the_artifact_store_in_each_worker(search, by_two, tmp_path):
    """A store that cannot be pickled is opened where it is used."""
    with pytest.raises(ArgumentError, match="artifact_store cannot travel"):
        search(artifact_store=locked_store(tmp_path), fit={"n_workers": 2})
    assert len(kept(by_two.tuner, by_two.store)) == 1
    with policy("mixed_bfloat16"):  # as in the search
        logs = by_two.tuner.best_model().evaluate(*by_two.validation, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(by_two.tuner.best_value, abs=1e-6)


BESIDE_MODULES = """
import sys
import numpy
from helper import build
from kerastune_optuna import OptunaTuner
sys.path.insert(0, "")  # as notebooks do
tuner = OptunaTuner(build, "loss", n_trials=1, directory=sys.argv[1])
tuner.search(numpy.zeros((8, 4)), numpy.zeros(8), epochs=1, n_workers=2, verbose=0)
print(len(tuner.study.trials), "trial")
"""


@pytest.mark.slow
def test_modules_of_the_current_folder_kill_no_worker(tmp_path):
    """Files named like Python's own modules stay aside; those beside the script are there."""
    (scripts := tmp_path / "scripts").mkdir()
    (scripts / "script.py").write_text(BESIDE_MODULES)
    (scripts / "helper.py").write_text("from tests.support.models import build_model as build\n")
    for name in ("signal", "contextlib", "types", "queue", "random"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported {name}.py')")
    done = subprocess.run(
        [sys.executable, scripts / "script.py", tmp_path / "tuning"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1 trial\n", done.stderr


@pytest.mark.slow
def test_a_script_without_a_guard_works(tmp_path):
    """A script that has no `if __name__ == "__main__"` is not run again by its workers."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tuning")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 in all"


ENDLESS = """
import sys
from pathlib import Path
import numpy
from kerastune_optuna import OptunaTuner
from tests.support.models import build_model
from tests.support.faults import meet
folder = Path(sys.argv[1])
def build(trial):
    meet(folder, 2)
    return build_model(trial)
x, y = numpy.zeros((8, 4)), numpy.zeros(8)
tuner = OptunaTuner(build, n_trials=None, directory=folder / "tuning")
tuner.search(x, y, validation_data=(x, y), epochs=1, n_workers=2)
"""


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    """A parent that is killed leaves no worker behind."""
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    workers = [psutil.Process(int(file.stem)) for file in tmp_path.glob("*.pid")]
    assert parent.pid not in [worker.pid for worker in workers]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=WATCHDOG)
    assert alive == []


@pytest.mark.parametrize("written", [b"", b"\x80\x05"], ids=["nothing", "a-part"])
def test_an_error_that_was_not_written_whole_is_told(tmp_path, written):
    """A worker on a full disk cannot write its error: the search ends with an error of ours."""
    report = tmp_path / "report"
    report.write_bytes(written)
    raised = _raised(report, 4711)
    assert isinstance(raised, WorkerError)
    assert "(process 4711) ended with an error that did not reach this process" in str(raised)

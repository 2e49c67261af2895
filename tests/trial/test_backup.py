"""Backups of running trials: how often, what a retry goes on with, and what begins anew."""

import os
import random
import signal
from importlib.util import find_spec
from uuid import UUID

import keras
import numpy as np
import pytest

from kerastune_optuna import _digest
from kerastune_optuna._storage.artifacts import PatientStore, WholeFileStore
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._trial.backup import fetch
from kerastune_optuna._trial.variables import read_arrays, write_arrays
from tests.support.faults import EpochLog, interrupt_after, logged, trials_of
from tests.support.marks import mostly_nightly
from tests.support.models import build_eager, build_model, history, kept
from tests.support.untrained import run, tuner_in
from tests.trial.test_own_fit import Phases
from tests.trial.test_variables import MINIMIZED, OF_ROWS, Part, gan, of_tensorflow
from tests.zoo import ANIMALS
from tests.zoo.layers import table
from tests.zoo.models import OPTIMIZERS, Losses, distilled


class Counter(keras.callbacks.Callback):
    """Note the epochs, and how many of them this copy has seen."""

    def __init__(self, seen):
        super().__init__()
        self.seen, self.own = seen, 0

    def __deepcopy__(self, memo):
        return Counter(self.seen)

    def on_epoch_end(self, epoch, logs=None):
        """Interrupt the third epoch that there ever was."""
        self.own += 1
        self.seen.append((epoch, self.own))
        if len(self.seen) == 3:
            raise KeyboardInterrupt


def resumed(search, make_tuner, build=build_eager, objective="val_accuracy", fit=(), **options):
    """Interrupt a trial of four epochs in its third one and resume it; return what was seen."""
    seen = []
    fit = {"epochs": 4, "callbacks": [Counter(seen)], **dict(fit)}
    options = {"n_trials": 1, "backup_every": 0, **options}
    with pytest.raises(KeyboardInterrupt):
        search(build, objective, fit=fit, **options)
    interrupted = make_tuner(build, objective, **options)
    files, trials = kept(interrupted), interrupted.study.trials
    tuner = search(tuner=interrupted, fit=fit)
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE"]
    assert sorted(tuner.best_trial.intermediate_values) == [0, 1, 2, 3]
    return seen, files, trials


@pytest.mark.slow
def test_callbacks_of_the_user_begin_anew_where_a_trial_goes_on(search, make_tuner):
    """The model goes on after its last backup, and a copy of the callback counts from nothing."""
    seen, _, _ = resumed(search, make_tuner)
    assert seen == [(0, 1), (1, 2), (2, 3), (2, 1), (3, 2)]


@pytest.mark.slow
def test_a_trial_that_was_cut_off_after_its_last_epoch_had_all_of_them(search):
    """Whatever number Keras gives to the epoch, its retry trains none, and says so."""
    interrupts = [True]

    def end(logs):
        if interrupts:
            raise KeyboardInterrupt(interrupts.pop())

    ends_late = keras.callbacks.LambdaCallback(on_train_end=end)
    fit = {"initial_epoch": 3, "epochs": 6, "callbacks": [ends_late]}
    options = {"n_trials": 1, "backup_every": 0, "fit": fit}
    with pytest.raises(KeyboardInterrupt):
        search(build_eager, **options)
    (trial,) = [one for one in search(build_eager, **options).study.trials if one.value is not None]
    assert trial.user_attrs["stop_reason"] == "ran all epochs"
    assert trial.user_attrs["epochs_run"] == len(trial.intermediate_values) == 3


@pytest.mark.slow
def test_without_backups_a_trial_begins_anew(search, make_tuner):
    """With backup_every=None nothing of a running trial is kept, and its retry has all epochs."""
    seen, files, trials = resumed(search, make_tuner, backup_every=None)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 0, 1, 2, 3]
    assert files == []
    assert not any(TrialRecord(trial).backup is not None for trial in trials)


@pytest.mark.parametrize(
    ("trainings", "before", "now"),
    mostly_nightly({"fewer": (1, 4, 2), "more, of two trainings": (2, 2, 4)}, "fewer"),
)
def test_a_trial_begins_anew_where_its_epochs_are_others(
    search, make_tuner, trainings, before, now, capsys
):
    """What was interrupted in its third epoch has none of them, nor a training of so many."""
    seen, options = [], {"n_trials": 1, "backup_every": 0, "executions_per_trial": trainings}
    fit = {"callbacks": [Counter(seen)]}
    with pytest.raises(KeyboardInterrupt):
        search(build_eager, fit={"epochs": before, **fit}, **options)
    tuner = search(tuner=make_tuner(build_eager, **options), fit={"epochs": now, **fit})
    assert [epoch for epoch, _ in seen[3:]] == [*range(now)] * trainings
    assert sorted(tuner.best_trial.intermediate_values) == [*range(now * trainings)]
    told = f"Trial 1 starts over: epochs was {before} and is {now}"
    assert told in capsys.readouterr().err


def test_a_trial_begins_anew_where_its_validation_data_is_other(search, make_tuner, data, capsys):
    """What was stopped in its first trial to correct the data has no epoch of the wrong data."""
    seen, options = [], {"n_trials": 1, "backup_every": 0}
    x, y, (rows, labels) = data
    fit = {"epochs": 4, "callbacks": [Counter(seen)]}
    with pytest.raises(KeyboardInterrupt):
        search(build_eager, fit={**fit, "validation_data": (x, y)}, **options)
    search(tuner=make_tuner(build_eager, **options), fit={**fit, "validation_data": (rows, labels)})
    assert [epoch for epoch, _ in seen[3:]] == [0, 1, 2, 3]
    assert "Trial 1 starts over: the validation data has changed" in capsys.readouterr().err


def built_gan(trial):
    """Return a GAN of parts that are built."""
    model = gan(trial)
    model.generator(np.zeros((1, 2)))
    model.discriminator(np.zeros((1, 4)))
    return model


@pytest.mark.nightly
@of_tensorflow
def test_a_model_with_further_optimizers_trains_anew(search, make_tuner):
    """Where its own steps have yet to build them, so that half a backup is not used."""
    seen, files, _ = resumed(search, make_tuner, built_gan, **MINIMIZED, fit=OF_ROWS)
    assert files != []
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:.*build_model has changed")
@pytest.mark.parametrize("later", [1, 3], ids=["fewer layers", "more layers"])
def test_a_backup_of_another_model_is_not_used(search, later):
    """Where build_model has changed since, the retry has all epochs of what it returns now."""
    n_layers, ended = [2], []

    def build(trial):
        layers = [keras.layers.Dense(3) for _ in range(n_layers[0])]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Softmax()])
        rate = trial.suggest_float("rate", 0.01, 0.1)
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
        return model

    options = {"objective": "val_loss", "n_trials": 1, "backup_every": 0}
    fit = {"epochs": 4, "callbacks": [interrupt_after(3, ended)]}
    with pytest.raises(KeyboardInterrupt):
        search(build, fit=fit, **options)
    n_layers[0] = later
    tuner = search(build, fit=fit, **options)
    assert ended == [0, 1, 2, 0, 1, 2, 3]
    assert sorted(tuner.best_trial.intermediate_values) == [0, 1, 2, 3]
    assert len(tuner.best_model().layers) == later + 1


class Counting(WholeFileStore):
    """Count the backups."""

    backups = 0

    def write(self, artifact_id, content_body):
        """Count, and write."""
        self.backups += artifact_id.endswith(".backup")
        super().write(artifact_id, content_body)


@pytest.mark.parametrize(("every", "backups"), [(0, 5), (3600, 0)])
def test_backup_every_says_how_often(tmp_path, every, backups):
    """With 0 each of five epochs is backed up, and with an hour none of them."""
    store = Counting(tmp_path / "store")
    options = {"n_trials": 1, "artifact_store": store, "backup_every": every}
    run(tuner_in(tmp_path, objective="val_mae", **options))
    assert store.backups == backups


@pytest.mark.slow
def test_backups_change_no_digit(search, data):
    """A training that is backed up after epochs that are worse than the best draws as without."""

    def build(trial):
        layers = [keras.layers.Dropout(0.3), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        adam = keras.optimizers.Adam(0.05)
        model.compile(adam, "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    x, y = data[2]
    fit = {"epochs": 4, "validation_data": (x, (y + 1) % 3)}
    options = {"objective": "val_loss", "n_trials": 1, "fit": fit}
    often, never = (
        search(build, backup_every=every, study_name=str(every), **options) for every in (0, None)
    )
    assert history(often, 0) == history(never, 0)
    assert often.best_trial.user_attrs["best_epoch"] < 3


@pytest.mark.parametrize("content", [b"another file", b"{1}", None], ids=["other", "bit", "gone"])
def test_a_backup_with_another_checksum_is_not_read(tmp_path, content):
    """Whether it is some other file, this one with damage, or gone, the caller hears of it."""
    store, name = PatientStore(WholeFileStore(tmp_path)), f"{UUID(int=0)}.backup"
    path = tmp_path / name
    path.write_bytes(b"{3}")
    record = {"id": name, "sha256": _digest.of_file(path)}
    assert fetch(store, record, tmp_path / "fetched")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert not fetch(store, record, tmp_path / "fetched")


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int8", "bool", "float64"])
def test_a_backup_has_values_of_any_dtype(tmp_path, dtype):
    """Those that NumPy's files cannot store are read as float32, which has all their values."""
    values = np.array([0, 1, -3.5 if "float" in dtype else 1]).astype(dtype)
    write_arrays(tmp_path / "file", {"now": [values] * 11, "nowhere": [values], "none": []})
    found = read_arrays(tmp_path / "file", "now")
    assert len(found) == 11
    assert found[10].astype(dtype).tobytes() == values.tobytes()
    assert list(read_arrays(tmp_path / "file", "none")) == []


def drawing(trial):
    """Return a classifier, and a callback that draws its rate of learning by chance."""
    model = build_model(trial)

    def draw(epoch, logs):
        model.optimizer.learning_rate = 0.1 * (random.random() + np.random.random())

    return model, {"callbacks": [keras.callbacks.LambdaCallback(on_epoch_begin=draw)]}


def lora(trial):
    model = build_model(trial)
    for layer in model.layers:
        layer.enable_lora(2)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def averaged(trial):
    model = build_model(trial)
    model.optimizer.use_ema, model.optimizer.ema_momentum = True, 0.8
    return model


def scaled(trial):
    """Return a classifier of half precision, whose optimizer scales the loss."""
    hidden = keras.layers.Dense(trial.suggest_int("units", 2, 8), "relu", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(3, "softmax")])
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))
    model.compile(scaling, "sparse_categorical_crossentropy")
    return model


def optimized(name):
    """Return the builder of a classifier with an optimizer of the zoo."""

    def build(trial):
        model = build_model(trial)
        model.compile(OPTIMIZERS[name](0.01), "sparse_categorical_crossentropy")
        return model

    return build


class Autoencoder(Losses):
    """Encode and decode as keras.io's VAE does: with a step, and without a call."""

    def __init__(self):
        super().__init__("total_loss")
        self.encoder, self.decoder = Part(4), Part(4)
        self.seeds = keras.random.SeedGenerator(1337)

    def losses_of(self, data):
        """Return the error of what is decoded."""
        code = self.encoder(data)
        noise = keras.random.normal(keras.ops.shape(code), seed=self.seeds)
        return (keras.ops.mean(keras.ops.square(data - self.decoder(code + noise))),)


class Decaying(keras.Sequential):
    """Let an optimizer in a list in a dict, and the one of a part, make the weights smaller."""

    def compile(self, *given, **keywords):
        """Make the optimizers."""
        super().compile(*given, **keywords)
        part = self.layers[0]
        part.compile("adam")
        part.optimizer.build(part.trainable_variables)
        self.further = {"decay": [keras.optimizers.Adam()]}
        self.further["decay"][0].build(self.trainable_variables)

    def train_step(self, data):
        """Take a step with each of the optimizers."""
        logs = super().train_step(data)
        self.further["decay"][0].apply([*map(keras.ops.sin, self.trainable_variables)])
        part = self.layers[0]
        part.optimizer.apply([*map(keras.ops.sin, part.trainable_variables)])
        return logs


def autoencoder(trial):
    """Return an autoencoder of parts that only its step builds."""
    model = Autoencoder()
    model.compile(keras.optimizers.Adam(trial.suggest_float("lr", 0.01, 0.1)))
    return model


def decaying(trial):
    """Return a regression whose step has three optimizers."""
    part = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model = Decaying([keras.Input((4,)), part, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(trial.suggest_float("lr", 0.01, 0.1)), "mse")
    return model


def animal(name, package):
    """Return a case of the zoo, which needs a package."""
    of = ANIMALS[name]
    lacks = pytest.mark.skipif(not find_spec(package), reason=f"{package} is not installed")
    ends = pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras says so, too
    fit = {"fit": {"y": None, **of.fit, **of.data()}}
    return pytest.param(of.build, [], fit, id=name, marks=[pytest.mark.nightly, lacks, ends])


OWN_STEP = {**MINIMIZED, "fit": OF_ROWS}
FURTHER = [
    pytest.param(optimized(name), [], {}, id=name, marks=mark)
    for name, mark in {
        "multi_optimizer": pytest.mark.slow,
        "muon": pytest.mark.nightly,
        "schedule_free": pytest.mark.nightly,
    }.items()
    if name in OPTIMIZERS
]


@pytest.mark.parametrize(
    ("build", "callbacks", "options"),
    [
        pytest.param(lora, [], {}, marks=pytest.mark.slow),
        pytest.param(drawing, [], {}, marks=pytest.mark.slow),
        pytest.param(scaled, [], {}, marks=[of_tensorflow, pytest.mark.slow]),
        pytest.param(averaged, [keras.callbacks.SwapEMAWeights()], {}, marks=pytest.mark.nightly),
        pytest.param(decaying, [], {}, marks=[of_tensorflow, pytest.mark.nightly]),
        pytest.param(autoencoder, [], OWN_STEP, marks=[of_tensorflow, pytest.mark.slow]),
        pytest.param(distilled, [], {"fit": table()}, marks=pytest.mark.nightly),
        *FURTHER,
        animal("grain_function", "grain"),
        animal("orbax_checkpoint", "orbax"),
    ],
)
def test_a_training_that_was_interrupted_comes_to_the_same_digits(
    search, build, callbacks, options
):
    """Its variables go on as they were, where a file of Keras holds sums, or averages serve."""
    ended, given = [], {"epochs": 4, **options.get("fit", {})}
    options = {"objective": "val_loss", "n_trials": 1, "backup_every": 0, **options}
    options["fit"] = {**given, "callbacks": [*callbacks, interrupt_after(3, ended)]}
    with pytest.raises(KeyboardInterrupt):
        search(build, **options)
    tuner = search(build, **options)
    assert ended == [0, 1, 2, 2, 3]
    options["fit"] = {**given, "callbacks": callbacks}
    unbroken = search(build, study_name="unbroken", **options)
    assert history(tuner, 1) == history(unbroken, 0)
    models = tuner.best_model(), unbroken.best_model()
    assert all(map(np.array_equal, *(model.get_weights() for model in models)))


def test_a_backup_stays_until_the_next_one_is_there(tmp_path):
    """Each one that is written finds the one before it, so that a kill always leaves one."""
    found, place = [], tmp_path / "store"

    class Counting(WholeFileStore):
        def write(self, artifact_id, content_body):
            if artifact_id.endswith(".backup"):
                found.append(len(list(place.glob("*.backup"))))
            super().write(artifact_id, content_body)

    options = {"n_trials": 1, "backup_every": 0, "artifact_store": Counting(place)}
    run(tuner_in(tmp_path, objective="val_mae", **options))
    assert found == [0, 1, 1, 1, 1]


def dropping(trial):
    """Return a classifier whose training draws by chance."""
    hidden = keras.layers.Dense(trial.suggest_int("units", 2, 8), "relu")
    layers = [hidden, keras.layers.Dropout(0.3), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


class DroppingPhases(Phases):
    """Train such a classifier in a fit of two epochs and one of three."""

    def model(self, trial):
        """Return the classifier."""
        return dropping(trial)


def kill_at(training, fit, epoch):
    """Return a factory of callbacks that kill their process before an epoch, but no retry."""

    def make(trial):
        begun = []

        def kill(now, logs):
            place = len(trial.user_attrs.get("values", ())), len(begun) - 1, now
            if place == (training, fit, epoch) and TrialRecord(trial).retry_of is None:
                os.kill(os.getpid(), signal.SIGKILL)

        return keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: begun.append(None), on_epoch_begin=kill
        )

    return make


TWICE, FOLDS = {"executions_per_trial": 2}, {"cv": 2, "validation_data": None}
PHASES = DroppingPhases()
# Of each, what is searched, before which epoch of which fit of which training its process is
# killed, and which epochs the retry trains: a later fit of a builder's own begins anew.
KILLED = {
    "an epoch": (dropping, {}, {}, (0, 0, 2), ["2"]),
    "two optimizers": (optimized("multi_optimizer"), {}, {}, (0, 0, 2), ["2"]),
    "the first execution": (dropping, TWICE, {}, (0, 0, 1), ["1", "2", "0", "1", "2"]),
    "between executions": (dropping, TWICE, {}, (1, 0, 0), ["0", "1", "2"]),
    "the second execution": (dropping, TWICE, {}, (1, 0, 2), ["2"]),
    "between folds": (dropping, {}, FOLDS, (1, 0, 0), ["0", "1", "2"]),
    "the second fold": (dropping, {}, FOLDS, (1, 0, 1), ["1", "2"]),
    "the first phase": (PHASES, {}, {}, (0, 0, 1), ["1", "0", "1", "2"]),
    "between phases": (PHASES, {}, {}, (0, 1, 0), ["0", "1", "2"]),
    "the second phase": (PHASES, {}, {}, (0, 1, 2), ["0", "1", "2"]),
    "the second execution of phases": (
        DroppingPhases(),
        TWICE,
        {},
        (1, 0, 1),
        ["1", "0", "1", "2"],
    ),
}


@pytest.mark.parametrize(
    ("build", "options", "fit", "place", "again"),
    mostly_nightly(KILLED, "an epoch", "the second execution", "between phases"),
)
def test_a_killed_training_comes_to_the_same_digits(
    search, tmp_path, build, options, fit, place, again
):
    """Wherever its worker is killed, the retry trains what was not backed up, and nothing else."""
    log, options = tmp_path / "log", {"n_trials": 1, "backup_every": 0, "seed": 3, **options}
    killing = {"callbacks": [EpochLog(log), kill_at(*place)], "n_workers": 2, "epochs": 3, **fit}
    tuner = search(build, "val_loss", storage=None, **options, fit=killing)
    died, retried = trials_of(tuner)
    assert (died.state.name, retried.state.name) == ("FAIL", "COMPLETE")
    told = [what for number, what, *_ in logged(log) if number == retried.number]
    assert [what for what in told if what.isdigit()] == again
    unbroken = search(build, "val_loss", study_name="unbroken", **options, fit={"epochs": 3, **fit})
    whole = unbroken.best_trial
    assert (retried.params, retried.value) == (whole.params, whole.value)
    assert retried.intermediate_values == whole.intermediate_values
    assert history(tuner, retried.number) == history(unbroken, whole.number)
    models = tuner.best_model(), unbroken.best_model()
    assert all(map(np.array_equal, *(model.get_weights() for model in models)))

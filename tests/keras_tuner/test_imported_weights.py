"""A project of KerasTuner brings its weights along, and one of several objectives its front."""

from __future__ import annotations

import json
import shutil

import keras
import keras_tuner
import numpy as np
import optuna
import pytest

from kerastune_optuna import OptunaTuner, WeightsError, from_keras_tuner
from tests.keras_tuner_builders import compiled
from tests.test_cli import call, one_line  # noqa: F401 a fixture is found by its name

pytestmark = pytest.mark.slow  # KerasTuner trains


def build(hp):
    """Return a model that has its weights."""
    rate = hp.Float("lr", 1e-3, 1e-1, sampling="log")
    units = hp.Int("units", 2, 64)
    return compiled(keras.layers.Dense(units, "relu"), optimizer=keras.optimizers.Adam(rate))


def build_later(hp):
    """Return a model whose weights its first training makes, as in KerasTuner's own guide."""
    layers = [keras.layers.Dense(hp.Int("units", 2, 64), "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


@keras.saving.register_keras_serializable()
class Parts(keras.Model):
    """Make layers that get their weights when they are first called."""

    def __init__(self, units):
        super().__init__()
        self.units = units
        self.hidden = keras.layers.Dense(units, "relu")
        self.last = keras.layers.Dense(3, "softmax")

    def call(self, x):
        """Return the last layer's answer."""
        return self.last(self.hidden(x))


def build_parts(hp):
    """Return a model of a class of its own."""
    model = Parts(hp.Int("units", 2, 64))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def several():
    """Return KerasTuner's form of two objectives."""
    kinds = [("val_loss", "min"), ("val_accuracy", "max")]
    return [keras_tuner.Objective(*kind) for kind in kinds]


BUILDERS = {"built": build, "later": build_later, "parts": build_parts}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Give a function that searches three trials once a kind, and returns the project's folder."""
    folder = tmp_path_factory.mktemp("keras_tuner")

    def search(kind, build_with, objective="val_loss", **settings):
        if not (folder / kind).exists():
            settings = {"max_trials": 3, "seed": 1, "directory": folder, **settings}
            tuner = keras_tuner.RandomSearch(build_with, objective, project_name=kind, **settings)
            x, y, validation = DATA
            tuner.search(x, y, validation_data=validation, epochs=2, verbose=0)
        return folder / kind

    return search


def _data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)
    return x[:24], y[:24], (x[24:], y[24:])


DATA = _data()


def tuner_of(folder, kind, build_with, objective="val_loss", **settings):
    """Return a tuner of ours for the imported study."""
    built = from_keras_tuner(build_with)
    return OptunaTuner(built, objective, study_name=kind, directory=folder, **settings)


@pytest.mark.parametrize("kind", BUILDERS)
def test_imported_weights_evaluate_to_the_value(call, project, tmp_path, kind):  # noqa: F811
    """To the last digit, of each trial and of the best, whether or not the builder makes them."""
    out, _ = call("import", project(kind, BUILDERS[kind]), "--directory", tmp_path)
    assert "; 3 brought weights." in out
    tuner = tuner_of(tmp_path, kind, BUILDERS[kind])
    for trial in tuner.study.trials:
        model = tuner.best_model(trial=trial.number)
        assert model.evaluate(*DATA[2], verbose=0)[0] == trial.value
    assert tuner.best_model().evaluate(*DATA[2], verbose=0)[0] == tuner.best_value
    assert len(tuner_of(tmp_path, kind, BUILDERS[kind], keep_best=2).best_models(2)) == 2


def test_imported_weights_are_kept_as_others_are(call, project, tmp_path):  # noqa: F811
    """A search keeps those of the best trials, and a second import brings none back."""
    folder = project("built", build)
    call("import", folder, "--directory", tmp_path)
    tuner = tuner_of(tmp_path, "built", build, n_trials=4, seed=0)
    x, y, validation = DATA
    tuner.search(x, y, validation_data=validation, epochs=1, verbose=0)
    assert tuner.best_model().evaluate(*validation, verbose=0)[0] == tuner.best_value
    out, _ = call("import", folder, "--directory", tmp_path)
    assert "0 brought weights." in out
    worst = max(tuner.study.trials[:3], key=lambda trial: trial.value).number
    with pytest.raises(WeightsError, match="imported from KerasTuner, whose project had them in"):
        tuner.best_model(trial=worst)


def test_weights_that_a_project_lacks_are_told_of(call, project, tmp_path):  # noqa: F811
    """The error says that the trial was imported, and which file there was not."""
    folder = shutil.copytree(project("built", build), tmp_path / "built")
    for path in folder.glob("trial_*/checkpoint.weights.h5"):
        path.unlink()
    out, _ = call("import", folder, "--directory", tmp_path / "tuning")
    assert "; 0 brought weights." in out
    tuner = tuner_of(tmp_path / "tuning", "built", build)
    told = r"imported from KerasTuner without weights: the project had no trial_\d/checkpoint\.wei"
    with pytest.raises(WeightsError, match=told):
        tuner.best_model()


@pytest.mark.parametrize(
    ("kind", "told"), [("later", "^The weights of"), ("parts", "not all be load")]
)
def test_weights_without_shapes_are_an_error(call, project, tmp_path, kind, told):  # noqa: F811
    """Keras would load nothing into layers that have no weights yet, and may say nothing."""
    folder = shutil.copytree(project(kind, BUILDERS[kind]), tmp_path / kind)
    for path in folder.glob("trial_*/build_config.json"):
        path.unlink()
    call("import", folder, "--directory", tmp_path / "tuning")
    tuner = tuner_of(tmp_path / "tuning", kind, BUILDERS[kind])
    with pytest.raises(WeightsError, match=told):
        tuner.best_model()


def test_several_objectives_become_a_front(call, project, tmp_path):  # noqa: F811
    """Of the sum that KerasTuner minimizes, the values of its parts are what counts."""
    folder = project("sum", build, several())
    out, _ = call("import", folder, "--directory", tmp_path)
    assert "['val_accuracy', 'val_loss'], direction=['maximize', 'minimize']" in out
    tuner = tuner_of(tmp_path, "sum", build, ["val_accuracy", "val_loss"])
    for trial in tuner.study.trials:
        model = tuner.best_model(trial=trial.number)
        assert model.evaluate(*DATA[2], verbose=0)[::-1] == trial.values
        written = json.loads((folder / f"trial_{trial.number}" / "trial.json").read_text())
        assert written["score"] == pytest.approx(trial.values[1] - trial.values[0])
    assert tuner.best_trials


def test_several_objectives_in_doubt_must_be_named(call, project, tmp_path):  # noqa: F811
    """Where two metrics are equal, one line lists the sums, and --objective takes each name."""
    folder = shutil.copytree(project("sum", build, several()), tmp_path / "sum")
    for path in folder.glob("trial_*/trial.json"):
        trial = json.loads(path.read_text())
        metrics = trial["metrics"]["metrics"]
        metrics["val_acc"] = metrics["val_accuracy"]
        path.write_text(json.dumps(trial))
    _, err = call("import", folder, "--directory", tmp_path / "tuning", code=1)
    assert "has several objectives, which could be: " in one_line(err)
    assert "val_loss and val_acc" in one_line(err)
    assert not (tmp_path / "tuning").exists()
    chosen = ["--objective", "val_loss", "--objective", "val_acc"]
    out, _ = call("import", folder, "--directory", tmp_path / "tuning", *chosen)
    assert "['val_loss', 'val_acc'], direction=['minimize', 'maximize']" in out
    url = f"sqlite:///{tmp_path}/tuning/study.db"
    assert len(optuna.load_study(study_name="sum", storage=url).best_trials) >= 1
    _, err = call("import", folder, "--study", "x", "--objective", "val_lss", code=1)
    assert "has no metric val_lss, but: " in one_line(err)

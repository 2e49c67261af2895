"""Who reads a study that is not there makes nothing, and who has one sees it."""

import os
import shutil
import subprocess
import sys
import warnings

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import NoTrialsError
from kerastune_optuna._storage import Location
from tests.support.faults import ROOT, WATCHDOG
from tests.support.hosts import needs_posix
from tests.support.untrained import run, tuner_in

READING = ["best_model", "best_params", "best_trials", "results", "summary", "plot_history"]
READING += ["confirmation", "report", "confirm", "refit", "ensemble"]
GIVEN = {"report": ["never.html"], "confirm": [1, 2, [[0.0]], [0]], "refit": [[[0.0]], [0]]}
GIVEN["ensemble"] = [np.zeros((1, 1)), np.zeros(1)]


@pytest.mark.parametrize("name", READING)
def test_a_mistyped_directory_is_not_made(make_tuner, tmp_path, name):
    """All that only reads raises one line, and leaves no folder and no database."""
    tuner = make_tuner(directory=tmp_path / "tunign")
    with pytest.raises(NoTrialsError, match=r"tunign' has no study 'test'\. Call search"):
        getattr(tuner, name)(*GIVEN.get(name, []))  # a property raises before it is called
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_name_is_no_new_study(make_tuner):
    """In a directory that has studies, the error says which, and none is added."""
    storage = make_tuner().study._storage
    with pytest.raises(NoTrialsError, match=r"study_name= with one of 'test'"):
        make_tuner(study_name="tset").summary()
    assert optuna.get_all_study_names(storage) == ["test"]


def test_a_tuner_says_what_it_is_for(tmp_path):
    """Its repr, which a debugger asks for, names study and objective, and reads nothing."""
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=2)
    assert repr(tuner) == "OptunaTuner(study 'test': minimize val_mae)"
    assert list(tmp_path.iterdir()) == []


def test_a_plain_study_needs_no_keras_for_our_sampler():
    """It and all rooms below it are imported where Keras is not."""
    code = "import sys; sys.modules['keras'] = None; from kerastune_optuna import _search"
    subprocess.run([sys.executable, "-c", code], check=True)


# What a colleague does who may read studies of somebody else, and what happens where he writes.
COLLEAGUE = """
import sys
from kerastune_optuna import StorageError, open_study
from kerastune_optuna.__main__ import app
from tests.support.untrained import run, tuner_in
from typer.testing import CliRunner

for tuning in sys.argv[1:]:
    tuner, output = tuner_in(tuning, objective="val_mae", n_trials=9), f"{tuning}-of-mine"
    print(tuner.best_value, len(tuner.results()), tuner.best_model().count_params())
    tuner.summary()
    tuner.report(f"{output}/tuner.html")
    tuner.plot_history(), tuner.plot_curves()
    assert len(open_study(tuning).results()) == len(open_study(tuning).study.trials) == 2
    result = CliRunner().invoke(app, ["status", tuning])
    assert result.exit_code == 0, result.output
    try:
        run(tuner)
    except StorageError as error:
        print(error)
"""


@pytest.fixture
def of_somebody_else(tmp_path):
    """Give two studies that may only be read: the search of one ended, the other was killed."""
    folders = [tmp_path / "ended", tmp_path / "killed"]
    tuner, _ = (run(tuner_in(one, objective="val_mae", n_trials=2)) for one in folders)
    tuner.study._storage.remove_session()
    Location(tuner.study._storage).database.engine.dispose()
    assert [(one / "study.db-wal").exists() for one in folders] == [False, True]
    there = [path for one in folders for path in (*one.rglob("*"), one)]
    for path in there:
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            shutil.chown(path, 65534)
    yield folders
    for path in reversed(there):
        path.chmod(0o755)


def as_colleague(*arguments):
    """Run a script as a user who may not write to files of others, which root may."""
    limits = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]
    limits += ["--inh-caps", "-all"]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and there is no setpriv that takes this right away")
    command = [*(limits if os.geteuid() == 0 else []), sys.executable, "-c", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG)


@pytest.mark.slow
@needs_posix
def test_a_study_that_may_only_be_read_is_read(of_somebody_else):
    """Its results, its models and its report are there; a search is refused at once in a line."""
    before = [sorted(folder.iterdir()) for folder in of_somebody_else]
    ran = as_colleague(COLLEAGUE, *map(str, of_somebody_else))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].count("may write to") == 1
    assert ran.stdout.count("may write to") == 2
    for folder in of_somebody_else:
        output = folder.with_name(f"{folder.name}-of-mine")
        assert {path.name for path in output.iterdir()} == {"tuner.html"}
    assert [sorted(folder.iterdir()) for folder in of_somebody_else] == before


def test_a_file_of_the_best_model_loads_whole(tmp_path):
    """Its optimizer has what a file needs, and Keras nothing to warn of."""

    def build(trial):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
        return model

    best = run(tuner_in(tmp_path, build, "val_mae", n_trials=1), epochs=1).best_model()
    best.save(tmp_path / "best.keras")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = keras.saving.load_model(tmp_path / "best.keras")
    assert not [one for one in caught if "optimizer" in str(one.message)]
    assert model.optimizer.built

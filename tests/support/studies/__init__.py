"""Small studies that released versions wrote, which later ones must open and go on with.

`python -m tests.support.studies` keeps one that this version writes, in a folder of its name.
"""

from __future__ import annotations

import shutil
import sqlite3
from importlib.metadata import version
from pathlib import Path

from kerastune_optuna import OptunaTuner
from tests.support.models import build_model, in_classes

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / "study.sql").exists())
X, Y = in_classes()
VALIDATION = X[48:], Y[48:]


def tuner_in(folder, n_trials):
    """Return a tuner of the study in a folder."""
    return OptunaTuner(build_model, n_trials=n_trials, seed=0, directory=folder, study_name="kept")


def search(tuner):
    """Search as all versions did."""
    tuner.search(X[:48], Y[:48], validation_data=VALIDATION, epochs=3, verbose=0)


def unpack(kept, folder):
    """Make the folder of a study again, as the version that wrote it left it."""
    shutil.copytree(FOLDER / kept, folder)
    with sqlite3.connect(folder / "study.db") as database:
        database.executescript((folder / "study.sql").read_text())
    database.close()
    (folder / "study.sql").unlink()


def keep(folder):
    """Write a study of three trials, and keep it: its database as SQL, and the best weights."""
    tuner = tuner_in(folder, 3)
    tuner.enqueue({"units": 8, "lr": 0.1})
    search(tuner)
    tuner.study._storage.remove_session()
    with sqlite3.connect(folder / "study.db") as database:
        lines = "\n".join(database.iterdump())
    database.close()
    for path in folder.glob("study.db*"):
        path.unlink()
    (folder / "study.sql").write_text(f"{lines}\n")
    shutil.copytree(folder, FOLDER / version("kerastune_optuna"), dirs_exist_ok=True)

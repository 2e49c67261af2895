"""Optuna's dashboard, as the guide results.md starts it, shows a study with its files."""

import csv
import io
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.faults import wait_until
from tests.support.servers import free_port
from tests.support.untrained import run, tuner_in


def answer(url):
    """Return what a server answers; nothing as long as nobody listens."""
    try:
        with urllib.request.urlopen(url) as answered:
            return answered.read()
    except urllib.error.URLError:
        return None


@pytest.mark.slow
def test_it_shows_histories_and_weights(tmp_path):
    """Each trial has its curve and its table, and the best one the weights that are kept."""
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=2, pruner="none"))
    command = [Path(sys.executable).with_name("optuna-dashboard"), f"sqlite:///{tmp_path}/study.db"]
    command += ["--artifact-dir", tmp_path / tuner.study.study_name / "weights", "--port"]
    with free_port() as port:
        at = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, str(port)], stderr=subprocess.DEVNULL)
    try:
        study = json.loads(wait_until(lambda: answer(f"{at}/api/studies/1")))
        best = study["trials"][tuner.best_trial.number]
        files = {
            meta["filename"]: answer(f"{at}/artifacts/1/{best['trial_id']}/{meta['artifact_id']}")
            for meta in best["artifacts"]
        }
    finally:
        process.kill()
        process.wait()
    assert study["objective_names"] == ["val_mae"]
    assert [len(trial["intermediate_values"]) for trial in study["trials"]] == [5, 5]
    weights = files.pop(f"trial_{tuner.best_trial.number:04d}.weights.h5")
    assert weights.startswith(b"\x89HDF")
    rows = csv.DictReader(io.StringIO(files["history.csv"].decode()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]

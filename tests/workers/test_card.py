"""The card of a search: what its trials ran with."""

from __future__ import annotations

import json
import sys

import numpy as np
import optuna
import pytest

from kerastune_optuna import _report
from kerastune_optuna._report import text
from kerastune_optuna._workers.card import _plain
from tests.support.models import build_model


def cards_of(tuner):
    """Return the cards in a study."""
    attrs = tuner.study.user_attrs
    return [value for key, value in attrs.items() if key.startswith("card:")]


@pytest.mark.slow
def test_a_card_says_what_a_trial_ran_with(search):
    """Versions, seeds, devices, data and arguments, once for all trials of a search."""
    tuner = search(
        seed=np.int64(5), fit={"batch_size": np.int64(16), "class_weight": {0: 1.0, 1: 2.0, 2: 1.0}}
    )
    (card,) = cards_of(tuner)
    assert card == _report.card(tuner.study, 0) == _report.card(tuner.study)
    assert card["versions"]["optuna"] == optuna.__version__
    assert card["versions"]["python"] == sys.version.split()[0]
    assert card["versions"]["numpy"] == np.__version__
    assert card["backend"] in card["versions"]
    assert card["seed"] == 5
    assert card["sampler_seed"] == 1402645496
    assert card["study"]["objective"] == "maximize val_accuracy"
    assert card["data"]["x"].startswith("float32(48, 4) ")
    assert set(card["data"]) == {"x", "y", "validation_data"}
    assert card["arguments"]["epochs"] == 2
    assert card["arguments"]["batch_size"] == 16
    assert card["arguments"]["class_weight"] == {"0": 1.0, "1": 2.0, "2": 1.0}
    assert " cores of " in card["devices"][0]


def test_a_card_holds_tuples_as_lists():
    """JSON has none."""
    assert _plain({"shape": (1, (2, 3))}) == {"shape": [1, [2, 3]]}


@pytest.mark.slow
def test_a_search_that_goes_on_has_a_card_of_its_own(search, make_tuner):
    """With the arguments that its own trials have."""
    search(n_trials=1)
    search(tuner=make_tuner(n_trials=2))
    with pytest.warns(UserWarning, match="epochs was 2 and is 1"):
        tuner = search(tuner=make_tuner(n_trials=3), fit={"epochs": 1})
    first, same, other = (_report.card(tuner.study, number) for number in range(3))
    assert first == same
    assert first["arguments"] == {**other["arguments"], "epochs": 2}
    assert _report.card(tuner.study) == other
    assert len(cards_of(tuner)) == 2


@pytest.mark.slow
def test_a_card_stays_short(search):
    """An argument with a thousand entries is told by a digest, which differs where they do."""
    many = dict.fromkeys(range(1000), 1.0)
    first = search(n_trials=1, fit={"class_weight": many, "epochs": 1})
    other = search(n_trials=1, study_name="other", fit={"class_weight": many | {999: 2.0}})
    told, differs = (cards_of(one)[0]["arguments"]["class_weight"] for one in (first, other))
    assert len(told) < 200
    assert told != differs


@pytest.mark.slow
def test_what_functions_load_is_described(search, data):
    """As the data itself would be."""
    x, y, validation = data
    arrays = search(n_trials=1)
    loaded = search(
        n_trials=1,
        study_name="loaded",
        fit={"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation},
    )
    assert cards_of(arrays)[0]["data"] == cards_of(loaded)[0]["data"]


def test_no_password_is_in_a_card(search, tmp_path, monkeypatch):
    """Neither of a command nor of a storage, and so none in the report either."""
    secret = "s3cret"
    command = ["python", "search.py", f"postgresql://me:{secret}@host/db", "--token", secret]
    command += [f"--db-password={secret}", f"sqlite:///x?password={secret}", "--epochs", "3"]
    command += [f"postgresql://me:{secret}{'x' * 300}@host/db"]
    command += ["--db", f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{secret}"]
    monkeypatch.setattr(sys, "orig_argv", command)
    tuner = search(n_trials=1)
    told = json.dumps(cards_of(tuner))
    assert secret not in told
    assert "search.py" in told
    assert "--epochs 3" in told
    assert secret not in tuner.report(tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_the_report_shows_the_cards(search, make_tuner, tmp_path):
    """Each with the trials that ran with it."""
    search(n_trials=2)
    with pytest.warns(UserWarning, match="epochs was 2 and is 1"):
        tuner = search(tuner=make_tuner(n_trials=3), fit={"epochs": 1})
    page = tuner.report(tmp_path / "report.html").read_text()
    assert "<summary>Trials 0-1</summary>" in page
    assert "<summary>Trials 2</summary>" in page
    assert f"<div>optuna: {optuna.__version__}</div>" in page
    assert cards_of(tuner)[1]["data"]["x"] in page


def test_a_study_without_a_directory_keeps_nothing(search, tmp_path, monkeypatch):
    """With a storage and a store of its own, no folder is made for it."""
    monkeypatch.chdir(tmp_path)
    store = optuna.artifacts.FileSystemArtifactStore(tmp_path)
    url = f"sqlite:///{tmp_path}/study.db"
    tuner = search(build_model, storage=url, artifact_store=store, directory="none", n_trials=1)
    assert "kept" not in cards_of(tuner)[0]
    assert not (tmp_path / "none").exists()


def test_numbers_are_told_as_ranges():
    """A number that stands alone is no range."""
    assert text.numbers([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


@pytest.mark.parametrize("number", [None, 0])
def test_a_trial_without_a_card_says_so(number):
    """As those that Optuna alone ran."""
    study = optuna.create_study(study_name="plain")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(ValueError, match=r"card, which search\(\) writes for its trials. No trial"):
        _report.card(study, number)

"""The dashboard: real requests to it, and what a browser shows."""

from __future__ import annotations

import csv
import io
import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import optuna
import pytest

from kerastune_optuna import ArgumentError, MissingExtraError
from tests.support.servers import free_port
from tests.support.untrained import build, run, tuner_in


def get(dashboard, path):
    """Return what the dashboard answers."""
    with urllib.request.urlopen(urlsplit(dashboard.url)._replace(path=path).geturl()) as answer:
        return answer.read()


def details(dashboard):
    """Return the study as its page gets it."""
    study_id = dashboard.url.rsplit("/", 1)[1]
    return json.loads(get(dashboard, f"/api/studies/{study_id}"))


@pytest.fixture
def tuner(tmp_path):
    """Give a tuner that has searched two trials without training, whose study is in memory."""
    options = {"n_trials": 2, "pruner": optuna.pruners.NopPruner()}
    memory = optuna.storages.InMemoryStorage()
    return run(tuner_in(tmp_path, objective="val_mae", storage=memory, **options))


def test_it_serves_the_study(tuner):
    """Its page, its trials with their curves, and the name of the metric are there."""
    with tuner.dashboard() as dashboard:
        assert urlsplit(dashboard.url).hostname == "127.0.0.1"
        assert b"<html" in get(dashboard, urlsplit(dashboard.url).path)
        study = details(dashboard)
    assert study["name"] == "test"
    assert study["objective_names"] == ["val_mae"]
    assert [len(trial["intermediate_values"]) for trial in study["trials"]] == [5, 5]


def test_it_serves_histories_and_weights(tmp_path):
    """Each trial has its table, and the best one the weights that best_model() loads."""
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=2))
    with tuner.dashboard() as dashboard:
        study = details(dashboard)
        files = {
            (trial["number"], meta["filename"].split("_")[0]): get(
                dashboard,
                f"/artifacts/{study['trials'][0]['study_id']}/{trial['trial_id']}/"
                f"{meta['artifact_id']}",
            )
            for trial in study["trials"]
            for meta in trial["artifacts"]
            if trial["number"] == tuner.best_trial.number or "history" in meta["filename"]
        }
    rows = list(csv.DictReader(io.StringIO(files[0, "history.csv"].decode())))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert files[tuner.best_trial.number, "trial"].startswith(b"\x89HDF")


def test_it_follows_a_running_search(tmp_path):
    """A page that is asked for while trials run shows those that were told already."""
    seen = []

    def asking(trial):
        if trial.number == 2:
            seen.extend(trial["state"] for trial in details(dashboard)["trials"])
        return build(trial)

    options = {"n_trials": 3, "pruner": optuna.pruners.NopPruner()}
    tuner = tuner_in(tmp_path, asking, "val_mae", **options)
    with tuner.dashboard() as dashboard:
        run(tuner)
    assert seen[:2] == ["Complete", "Complete"]


def test_it_stops(make_tuner):
    """After stop() nothing listens and no thread is left; a second stop() does nothing."""
    before = set(threading.enumerate())
    dashboard = make_tuner().dashboard()
    get(dashboard, "/api/studies")
    dashboard.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(dashboard, "/")
    dashboard.stop()
    assert not [one for one in threading.enumerate() if one not in before and not one.daemon]


def test_a_missing_package_names_its_extra(make_tuner, monkeypatch):
    """Without optuna-dashboard one error says what to install."""
    tuner = make_tuner()
    assert tuner.study.trials == []
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MissingExtraError, match=r'"kerastune_optuna\[dashboard\]"'):
        tuner.dashboard()


def test_two_have_two_ports(make_tuner):
    """A free port is taken, and a port of one's own is kept."""
    tuner = make_tuner()
    with (
        free_port() as free,
        tuner.dashboard(port=free) as first,
        tuner.dashboard() as second,
    ):
        assert urlsplit(first.url).port == free
        assert urlsplit(second.url).port != free


@pytest.mark.parametrize("port", ["taken", 0, 70_000, "80"])
def test_a_port_that_cannot_be_used_is_an_error(make_tuner, port):
    """One line names the port and says what to pass."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if port == "taken" else port
        with pytest.raises(ArgumentError, match=rf"port='?{port}.*Pass") as got:
            make_tuner().dashboard(port=port)
    assert len(str(got.value).splitlines()) == 1

"""Time a study of many trials: `python -m tests.benchmarks.studies [trials] [server URLs...]`.

The first and the last trials are a real search() of the tuner, its storage, samples, reports and
weights, but nothing is trained: `fit` hands made-up losses of ten epochs to the callbacks. Those
between are copies of the first ones, row by row: what a trial costs depends on how many there are,
not on how they came. Without URLs it runs on SQLite. A URL names a PostgreSQL
server, where the database `bench_studies` is made anew.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit, urlunsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optuna
import sqlalchemy
from optuna.storages._rdb import models

from kerastune_optuna import OptunaTuner
from tests.benchmarks._sides import report, timed

EPOCHS = 10
WINDOW = 100  # trials at the start and at the end that are compared
WARM_UP = 20  # trials before each window, which do more than others: the first looks at the metrics
DATABASE = "bench_studies"
TABLES = (
    models.TrialModel,
    models.TrialParamModel,
    models.TrialValueModel,
    models.TrialIntermediateValueModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
)


class Untrained(keras.Sequential):
    """A model whose training is only the calls that callbacks get from it."""

    def fit(self, *, callbacks: list[Any], epochs: int, **_: Any) -> None:
        """Hand a random loss of each epoch to the callbacks."""
        calls = keras.callbacks.CallbackList(callbacks, model=self, epochs=epochs)
        calls.on_train_begin()
        for epoch in range(epochs):
            calls.on_epoch_begin(epoch)
            calls.on_epoch_end(epoch, {"loss": random.random(), "val_loss": random.random()})
        calls.on_train_end()


class Builder:
    """Give every trial the same model, and note when it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        frozen = keras.layers.Dense(1, trainable=False)  # as all trials may share it
        self.model = Untrained([keras.Input((1,)), frozen])

    def __call__(self, trial: optuna.trial.BaseTrial) -> keras.Model:
        """Suggest four parameters, and return the model."""
        self.asked.append(time.perf_counter())
        trial.suggest_int("units", 8, 64)
        trial.suggest_float("dropout", 0.0, 0.5)
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("activation", ["relu", "tanh"])
        self.model.compile("sgd", "mse")  # an optimizer of its own, which each trial must have
        return self.model


def make_tuner(builder: Builder, folder: str, url: str | None, trials: int) -> OptunaTuner:
    """Return the tuner of the study."""
    return OptunaTuner(
        builder,
        "val_loss",
        n_trials=trials,
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=optuna.pruners.NopPruner(),
        seed=1,
        directory=folder,
        study_name="many",
        storage=url,
    )


def fill(folder: str, url: str | None, trials: int) -> tuple[float, float]:
    """Fill a study; return the seconds of a trial at its start and at its end."""
    builder, some = Builder(), WARM_UP + WINDOW
    first = search(builder, make_tuner(builder, folder, url, some))
    copy_rows(url or f"sqlite:///{folder}/study.db", range(some, trials - some))
    last = search(builder, make_tuner(builder, folder, url, trials))
    if (found := len(make_tuner(builder, folder, url, trials).study.trials)) != trials:
        raise RuntimeError(f"there are {found} trials, not {trials}")
    return first, last


def copy_rows(url: str, numbers: range) -> None:
    """Add trials of these numbers, as copies of those that the first window has."""
    engine = sqlalchemy.create_engine(url)
    trial, *others = (sqlalchemy.inspect(model).local_table for model in TABLES)
    with engine.begin() as connection:
        first = rows_of(connection, trial, trial.c.number >= WARM_UP)
        source = {number: first[number % len(first)] for number in numbers}
        copies = [{**row, "number": number} for number, row in source.items()]
        connection.execute(trial.insert(), [without(row, "trial_id") for row in copies])
        added = rows_of(connection, trial, trial.c.number >= numbers.start)
        ids = {row["number"]: row["trial_id"] for row in added}
        for table in others:
            (key,) = table.primary_key.columns.keys()
            rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for row in rows_of(connection, table, table.c.trial_id < added[0]["trial_id"]):
                rows[row["trial_id"]].append(without(row, key))
            new = [
                {**row, "trial_id": ids[number]}
                for number, copied in source.items()
                for row in rows[copied["trial_id"]]
            ]
            connection.execute(table.insert(), new)
    if engine.dialect.name == "postgresql":
        # What PostgreSQL does by itself within the 20 minutes that so many trials would take.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text("VACUUM ANALYZE"))
    engine.dispose()


def rows_of(connection: Any, table: Any, condition: Any) -> list[dict[str, Any]]:
    """Return the rows of a table that meet a condition, in the order of the trials."""
    query = sqlalchemy.select(table).where(condition).order_by(table.c.trial_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a row that is to get a key of its own."""
    return {key: value for key, value in row.items() if key != name}


def search(builder: Builder, tuner: OptunaTuner) -> float:
    """Run the trials that are left; return the seconds of each of the last ones."""
    x = np.zeros((4, 1))
    tuner.search(x, x, validation_data=(x, x), epochs=EPOCHS, verbose=0)
    return (time.perf_counter() - builder.asked[-WINDOW]) / WINDOW


def read(folder: str, url: str | None, trials: int) -> float:
    """Return the seconds it takes to open the study and read its best parameters."""
    builder = Builder()
    began = time.perf_counter()
    tuner = make_tuner(builder, folder, url, trials)
    if len(tuner.best_params) != 4:
        raise RuntimeError(f"best_params is {tuner.best_params}")
    return time.perf_counter() - began


def new_database(server: str) -> str:
    """Return the URL of a new, empty database on a PostgreSQL server."""
    import psycopg

    with psycopg.connect(urlunsplit(urlsplit(server)._replace(path="/postgres"))) as connection:
        connection.autocommit = True
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return urlunsplit(urlsplit(server)._replace(path=f"/{DATABASE}"))


def row(server: str | None, trials: int) -> list[Any]:
    """Fill and read one study; return its row of the table."""
    kind = urlsplit(server).scheme if server else "sqlite"
    with tempfile.TemporaryDirectory() as folder:
        url = new_database(server) if server else None
        filled = timed(("studies:fill", folder, url, trials))
        seconds = timed(("studies:read", folder, url, trials)).answers[0]
    print(f"{kind}: {filled.seconds:.0f} s to fill, {seconds:.2f} s to read", flush=True)
    first, last = filled.answers[0]
    cells = [f"{first * 1000:.1f}", f"{last * 1000:.1f}", f"{last / first:.2f}", f"{seconds:.2f}"]
    return [kind, trials, *cells]


def main() -> None:
    """Measure the storages one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=int, nargs="?", default=10_000)
    parser.add_argument("servers", nargs="*", default=[None])
    options = parser.parse_args()
    rows = [
        row(None if server == "sqlite" else server, options.trials) for server in options.servers
    ]
    windows = [f"{which} {WINDOW}, ms a trial" for which in ("first", "last")]
    report(
        ["kerastune_optuna", "optuna", "sqlalchemy"],
        ["storage", "trials", *windows, "last / first", "open and read best_params, s"],
        rows,
    )


if __name__ == "__main__":
    main()

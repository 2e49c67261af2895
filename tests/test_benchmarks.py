"""The jobs of tests/benchmarks are such that their figures mean something."""

import importlib
from pathlib import Path

import numpy as np
import optuna
import pytest

from tests.benchmarks import jobs


@pytest.mark.nightly
@pytest.mark.parametrize("name", jobs.JOBS)
def test_a_job_tests_on_rows_that_no_side_saw(name, monkeypatch):
    """No row is in two parts of its data, and a random trial's model takes them."""
    if lacks := jobs.missing(name):
        pytest.skip(lacks)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    job = importlib.import_module(f"tests.benchmarks.jobs.{name}").JOB
    parts = job.load(0)
    rows = [{x.tobytes() + y.tobytes() for x, y in zip(*part, strict=True)} for part in parts]
    assert len(rows) == 3
    assert len(set.union(*rows)) == sum(map(len, rows))
    model = job.build_model(optuna.create_study(direction=job.direction).ask())
    x, y = (values[:4] for values in parts[0])
    scores = model.evaluate(x, y, verbose=0, return_dict=True)
    assert np.isfinite(scores[job.objective.removeprefix("val_")])

"""What is best of what was kept, where some of it is damaged."""

from __future__ import annotations

import optuna
import pytest

from kerastune_optuna import (
    WeightsError,
)
from tests.support.faults import (
    evaluated,
)


@pytest.mark.slow
def test_damaged_weights_are_noticed(search, data, tmp_path):
    """A file that has changed is refused, and the next best that is whole is named and loads."""
    tuner = search(n_trials=4, keep_best=4)
    best, second = (
        tuner.study.best_trial,
        sorted(tuner.study.trials, key=lambda trial: (-trial.value, trial.number))[1],
    )
    for file in (tmp_path / "tuning" / "test" / "weights").iterdir():
        meta = optuna.artifacts.get_all_artifact_meta(
            tuner.best_trial, storage=tuner.study._storage
        )
        if file.name in [one.artifact_id for one in meta if one.filename.endswith(".h5")]:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)
    expected = (
        f"The weights of trial {tuner.best_trial.number} are damaged: their checksum has changed. "
        f"The next best whose weights are whole is trial {second.number} "
        f"(val_accuracy {second.value:.6g}): best_model(trial={second.number})."
    )
    with pytest.raises(WeightsError) as got:
        tuner.best_model()
    assert str(got.value) == expected
    assert best.value == tuner.best_value
    accuracy = evaluated(tuner.best_model(trial=second.number), data)
    assert accuracy == pytest.approx(second.value, abs=1e-6)

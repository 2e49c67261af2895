"""What is best of what was kept, where some of it is damaged."""

from __future__ import annotations

import optuna
import pytest

from kerastune_optuna import WeightsError
from tests.support.untrained import run, tuner_in


def test_damaged_weights_are_noticed(tmp_path):
    """A file that has changed is refused, and the next best that is whole is named and loads."""
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=3, keep_best=3, pruner="none")
    run(tuner)
    best, second = sorted(tuner.study.trials, key=lambda trial: trial.value)[:2]
    metas = optuna.artifacts.get_all_artifact_meta(best, storage=tuner.study._storage)
    (name,) = (one.artifact_id for one in metas if one.filename.endswith(".h5"))
    file = tmp_path / "test" / "weights" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(WeightsError) as got:
        tuner.best_model()
    assert str(got.value) == (
        f"The weights of trial {best.number} are damaged: their checksum has changed. "
        f"The next best whose weights are whole is trial {second.number} "
        f"(val_mae {second.value:.6g}): best_model(trial={second.number})."
    )
    bias = tuner.best_model(trial=second.number).layers[-1].bias.numpy().item()
    assert bias == pytest.approx(second.value)

"""A study lives on: what an earlier version of the package wrote is opened, and goes on."""

from __future__ import annotations

import pytest

from tests.support.studies import VALIDATION, VERSIONS, search, tuner_in, unpack


@pytest.mark.slow
@pytest.mark.parametrize("kept", VERSIONS)
@pytest.mark.filterwarnings("ignore:The code of build_model")  # which another Python compiled
def test_a_study_of_an_earlier_version_goes_on(tmp_path, capsys, kept):
    """Its table, its summary and its best model are as they were, and it has one trial more."""
    unpack(kept, tmp_path / "tuning")
    tuner = tuner_in(tmp_path / "tuning", 4)
    before = tuner.results()
    assert before["state"].tolist() == ["COMPLETE"] * 3
    assert before["params_units"][0] == 8
    tuner.summary()
    assert 'Study "kept": maximize val_accuracy' in capsys.readouterr().out
    logs = tuner.best_model().evaluate(*VALIDATION, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)
    search(tuner)
    after = tuner.results()
    assert after[:3].equals(before)
    assert len(after) == 4

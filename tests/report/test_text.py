"""What is printed reaches any standard output, whatever letters its encoding has."""

import io
import sys
from contextlib import contextmanager, redirect_stdout

import optuna
import pytest

from kerastune_optuna import __main__ as cli
from tests.support.untrained import X, build, run, tuner_in


@contextmanager
def printed_in(encoding):
    """Give a list that gets what the block prints on a standard output of that encoding."""
    stdout, text = io.TextIOWrapper(io.BytesIO(), encoding), []
    with redirect_stdout(stdout):
        yield text
        stdout.flush()
    text.append(stdout.buffer.getvalue().decode(encoding, "replace"))


def build_with_foreign_names(trial):
    trial.suggest_categorical("層", ["密度" * 40])
    return build(trial)


def test_all_that_is_printed_fits_the_encoding(tmp_path):
    """Lines, tables and the space have a `?` where a letter is missing, and raise nothing."""
    options = {"objective": "val_mae", "study_name": "größte", "executions_per_trial": 2}
    memory = optuna.storages.InMemoryStorage()
    tuner = tuner_in(tmp_path, build_with_foreign_names, n_trials=1, storage=memory, **options)
    with printed_in("cp1252") as text:
        run(tuner, verbose=2)
        tuner.summary()
        tuner.space()
        print(tuner.confirm(1, 2, x=X, y=X, validation_data=(X, X), verbose=2))
        tuner.best_model()
    for part in ("größte", "Trial 0: val_mae", "rank", "?=??????", "95 % interval"):
        assert part in text[0]


def test_the_command_line_fits_the_encoding(tmp_path, monkeypatch):
    """It shows the code of a letter that is missing, so that an export loses nothing."""
    run(tuner_in(tmp_path, build_with_foreign_names, n_trials=1, objective="val_mae"))
    for command in ("status", "best", "export"):
        monkeypatch.setattr(sys, "argv", ["kerastune-optuna", command, str(tmp_path)])
        with printed_in("ascii") as text, pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
    assert "params_\\u5c64" in text[0]

"""What is printed reaches any standard output, whatever letters its encoding has."""

import io
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout, suppress

import optuna
import pytest

from kerastune_optuna import __main__ as cli
from kerastune_optuna import _signals, open_study
from kerastune_optuna._report import Plan, progress_for
from tests.support.faults import states
from tests.support.hosts import needs_posix
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
    for part in ("größte", "Trial 0: best val_mae", "rank", "?=??????", "95 % interval"):
        assert part in text[0]


def test_the_command_line_fits_the_encoding(tmp_path, monkeypatch):
    """No command fails where a letter is missing."""
    run(tuner_in(tmp_path, build_with_foreign_names, n_trials=1, objective="val_mae"))
    monkeypatch.setattr(sys, "argv", ["kerastune-optuna", "status", str(tmp_path)])
    with printed_in("ascii") as text, pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "rank" in text[0]


@needs_posix
@pytest.mark.parametrize(("way", "verbose"), [("pipe", 2), ("openpty", 2), ("openpty", 1)])
def test_a_search_goes_on_where_its_reader_is_gone(tmp_path, monkeypatch, way, verbose):
    """A pipe to a program that has ended, and a terminal that is closed, only take its lines."""
    monkeypatch.setenv("TERM", "xterm")
    ours, its = getattr(os, way)()

    def build_model(trial):
        if trial.number == 1:
            os.close(ours)
        return build(trial)

    stdout = os.fdopen(its, "w")
    with redirect_stdout(stdout):
        tuner = tuner_in(tmp_path, build_model, "val_mae", n_trials=3, pruner="none")
        run(tuner, verbose=verbose)
        tuner.summary()
    with suppress(OSError):  # what could not be written
        stdout.close()
    assert states(tuner) == ["COMPLETE"] * 3


@pytest.mark.parametrize("kind", ["none", "closed"])
def test_a_search_goes_on_without_a_standard_output(tmp_path, kind):
    """Python has none under pythonw, and a program may have closed its own."""
    stdout = None if kind == "none" else io.StringIO()
    if stdout is not None:
        stdout.close()
    with redirect_stdout(stdout):
        tuner = run(tuner_in(tmp_path, build, "val_mae", n_trials=1), verbose=2)
        tuner.summary()
        tuner.space()
    assert states(tuner) == ["COMPLETE"]


CODES = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\r"  # it writes into the clipboard, and clears the screen


def test_no_text_of_a_study_commands_a_terminal(tmp_path, monkeypatch, capfd):
    """Names and values, and why trials ended, are shown without control characters."""
    monkeypatch.setenv("TERM", "xterm")
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/study.db", study_name=f"a{CODES}", direction="minimize"
    )
    choices = optuna.distributions.CategoricalDistribution([f"c{CODES}"])
    given = {"params": {f"b{CODES}": f"c{CODES}"}, "distributions": {f"b{CODES}": choices}}
    for state, value in (("COMPLETE", 1.0), ("FAIL", None), ("RUNNING", None)):
        given |= {"state": optuna.trial.TrialState[state], "value": value}
        attrs = {"stop_reason": f"d{CODES}"}
        study.add_trial(optuna.trial.create_trial(**given, user_attrs=attrs))
    opened = open_study(tmp_path)
    opened.summary()
    print(repr(opened), opened._repr_html_())
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    plan = Plan(study.study_name, opened._home.objectives, 3, 5)
    for where, verbose in ((terminal, 1), (sys.stdout, 2)):
        with redirect_stdout(where):
            progress = progress_for(verbose, study, plan)
            with progress.running():
                progress.trial(study.trials[1])
    _signals.print_line(study.trials[1].user_attrs["stop_reason"])
    for command in ("status", "stop", "status --study x"):
        monkeypatch.setattr(sys, "argv", ["", *command.split(), str(tmp_path)])
        where = terminal if command == "status" else sys.stdout
        with redirect_stdout(where), pytest.raises(SystemExit):
            cli.main()
    said = "".join(capfd.readouterr())
    assert said.count("]52;c;aGk=[2J31m") > 9
    assert set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said)) == set()
    drawn = terminal.getvalue()
    assert "b]52;c;aGk=[2J31m" in drawn
    assert not re.search(r"\x1b(?!\[[0-9;]*[mAK]|\[\?25[lh])|\x07|\x9b", drawn)

"""What a search shows while it runs: in terminals, in notebooks, and where there is neither."""

import io
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import nullcontext, redirect_stdout, suppress
from importlib.util import find_spec
from math import inf, nan

import nbclient
import nbformat
import optuna
import pytest
from jupyter_client.manager import start_new_kernel
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console

from kerastune_optuna._report import progress_for
from kerastune_optuna._report.facts import saved_epochs
from kerastune_optuna._report.live import curve
from kerastune_optuna._report.text import duration
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._workers.loop import shown_once
from tests.support import forks
from tests.support.faults import ROOT, WATCHDOG, wait_until
from tests.support.hosts import needs_posix
from tests.support.middle import EPOCHS, add_trial, frame, study_of_the_middle
from tests.support.untrained import run

TITLE = "Study 'iris': maximize val_accuracy"
HEADS = ["Study", "trials", "best", "saved"]
SCRIPT = """
import sys, time, warnings
import keras
from tests.support import untrained

def build(trial):
    print(f"trial {trial.number} is told of")
    warnings.warn("a warning of each trial")
    return untrained.build(trial)

waits = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(0.5))
tuner = untrained.tuner_in(sys.argv[1], build, "val_mae", study_name="iris")
untrained.run(tuner, verbose=1, callbacks=[lambda trial: waits])
"""
NEVER_BEGUN = {TrialRecord.code: "WITHDRAWN"}  # no trial of which users would be told
WANTED = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def rows_of(written):
    rows, at = [""], 0
    for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\n)|([^\x1b\r\n]+)", written):
        if code == "\n":
            at += 1
            rows += [""] * (at == len(rows))
        elif code == "\x1b[1A":
            at -= 1
        elif code == "\x1b[2K":
            rows[at] = ""
        rows[at] += text
    return [row.rstrip() for row in rows if row]


class Terminal(io.StringIO):
    """A terminal in the place of standard output."""

    def isatty(self):
        """Say so."""
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def progress(study):
    return progress_for("auto", study, frame(study).plan)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_a_picture_stays_below_what_is_printed(terminal, error):
    """The last one stays, and the terminal is as it was, however the search ends."""
    study = study_of_the_middle()
    caught = pytest.raises(error) if error else nullcontext()
    with redirect_stdout(terminal):
        with caught, progress(study).running():
            print("above [/it]")
            wait_until(lambda: "12 of 30" in terminal.getvalue())
            print("and", end="", flush=True)
            add_trial(study, 16, TrialState.FAIL, 1)
            wait_until(lambda: "Trial 16: failed" in terminal.getvalue())
            study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=NEVER_BEGUN))
            if error:
                raise error
        assert sys.stdout is terminal
    first, *above = rows_of(terminal.getvalue())
    assert first == "Continuing study 'iris': 12 of 30 trials done"
    assert above[:2] == ["above [/it]", "and"]
    assert above[2].startswith("Trial 16: failed")
    assert [row.split()[0] for row in above[3:]] == [*HEADS, "failed"]
    assert re.findall(r"\x1b\[\?25[lh]", terminal.getvalue()) == ["\x1b[?25l", "\x1b[?25h"]


def test_of_two_searches_at_once_one_draws(terminal):
    """Both in threads of one process, which has one terminal."""
    study = study_of_the_middle()
    with redirect_stdout(terminal), progress(study).running(), progress(study).running():
        print("above")
    rows = rows_of(terminal.getvalue())
    assert rows.count(TITLE) == 1
    assert rows.index("above") < rows.index(TITLE)


@pytest.mark.parametrize("what", ["no terminal", "no cursor", "no blocks"])
def test_lines_are_printed_where_nothing_can_be_drawn(monkeypatch, terminal, what):
    """In a pipe, on a terminal without codes, and with an encoding that lacks the blocks."""
    if what == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
        monkeypatch.setenv("FORCE_COLOR", "1")
    elif what == "no cursor":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(Terminal, "encoding", "latin-1")
    study = study_of_the_middle()
    with redirect_stdout(terminal), (shown := progress(study)).running():
        shown.trial(study.trials[0])
    assert terminal.getvalue().splitlines() == [
        "Continuing study 'iris': 12 of 30 trials done",
        f"Trial 0: val_accuracy {study.trials[0].value}",
    ]


@pytest.mark.slow
@needs_posix
def test_a_search_draws_in_a_terminal_until_ctrl_c(tmp_path):
    """What its builder prints stands above the picture, which stays."""
    ours, its = os.openpty()
    written = bytearray()

    def read():
        with suppress(OSError):  # which Linux raises once nobody has the other end
            while chunk := os.read(ours, 1 << 16):
                written.extend(chunk)

    def rows():
        return rows_of(written.decode(errors="replace"))

    reader = threading.Thread(target=read)
    script = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with open(its, "rb+", buffering=0) as end:
        env = {**os.environ, **WANTED, "TERM": "xterm"}
        process = forks.start(script, stdin=end, stdout=end, stderr=end, env=env)
    reader.start()
    with process:
        wait_until(lambda: any(row.startswith("trial 1  ") for row in rows()))
        process.send_signal(signal.SIGINT)
    reader.join()
    os.close(ours)
    begins = rows().index("Study 'iris': minimize val_mae")
    above, picture = rows()[:begins], rows()[begins:]
    assert "trial 1 is told of" in above
    assert sum("UserWarning: a warning of each trial" in row for row in above) == 1
    assert [row.split()[0] for row in picture[:4]] == HEADS
    assert picture[4].startswith("search() was stopped. Call it with the same arguments")
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["tutorial", "from_keras_tuner", "lora"])
def test_a_notebook_keeps_one_readable_picture(monkeypatch, name):
    """Each notebook runs, its search leaves one picture, and its model is the study's."""
    if name == "lora" and find_spec("keras_hub") is None:
        pytest.skip("keras-hub is not installed; .ci/nightly installs it")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    options = {"timeout": WATCHDOG, "kernel_name": "python3"}
    options["resources"] = {"metadata": {"path": ROOT / "examples"}}
    nbclient.NotebookClient(notebook, **options).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    *_, searched = (found for source, found in outputs.items() if "tuner.search(" in source)
    pictures = [output.data for output in searched if output.output_type == "display_data"]
    assert len(pictures) == 1
    lines = pictures[0]["text/plain"].splitlines()
    assert lines[0].startswith("Study '")
    assert re.search(r" (\d+) of \1\b", lines[1])
    assert pictures[0]["text/html"].startswith("<pre")
    assert "\x1b" not in str(searched)
    *_, last = (found for source, found in outputs.items() if "tuner.best_value" in source)
    tuned, best = map(float, last[-1].text.split()[-2:])
    assert tuned == best


INTERRUPTED = """
import keras, os, pathlib, time
from tests.support.untrained import Untrained, run, tuner_in
pathlib.Path("kernel").write_text(str(os.getpid()))
seconds = 600
class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pathlib.Path("trains").touch()
        time.sleep(seconds)
def build(trial):
    return Untrained(2, [{"val_mae": trial.suggest_float("level", 0, 1)}] * 2)
tuner = tuner_in("tuning", build, "val_mae", n_trials=2, pruner="none")
"""
SEARCHING = "run(tuner, epochs=2, callbacks=[Slow()], n_workers={0})"
GOING_ON = f"""
seconds = 0; {SEARCHING}
done = tuner.results().query("state == 'COMPLETE'")
assert len(done) == 2
assert any(":%d:" % os.getpid() in worker for worker in done["worker"]) == ({{0}} == 1)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_kernel_is_interrupted(tmp_path, monkeypatch, n_workers):
    """Its button ends a search of what cells define, in workers too, and the next call goes on."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager, client = start_new_kernel(cwd=tmp_path)

    def error_of(cell):
        reply = client.execute_interactive(cell, timeout=WATCHDOG, output_hook=lambda message: None)
        return reply["content"].get("ename")

    def interrupt():
        wait_until((tmp_path / "trains").exists)
        # As the manager does, whose own method would leave an event loop open in this thread.
        os.kill(int((tmp_path / "kernel").read_text()), signal.SIGINT)

    try:
        assert error_of(INTERRUPTED) is None
        button = threading.Thread(target=interrupt)
        button.start()
        assert error_of(SEARCHING.format(n_workers)) == "KeyboardInterrupt"
        button.join()
        assert error_of(GOING_ON.format(n_workers)) is None
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def printed(study, width, height=40, **options):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(frame(study, **options))
    return console.file.getvalue().splitlines()


def test_a_picture_tells_where_the_search_stands():
    """It has the trials done, the time left, the best value's place, what pruning saved, curves."""
    rows = printed(study_of_the_middle(), 100)
    assert [line.split(maxsplit=1)[0] for line in rows[:4]] == HEADS
    assert rows[1].endswith("12 of 30 in 31 s, about 35 s left")
    assert "0.9637 in trial 9, epoch 10" in rows[2]
    assert "28 epochs, 4 pruned" in rows[3]
    assert [bool(re.search("▁[▁▂▃▄▅▆▇█]*█", row)) for row in rows[4:]] == [True] * 4


def test_a_picture_tells_what_another_trial_is_expected_to_gain():
    """It is what the sampler expected of the latest trial, where terminator="auto" asks for it."""
    study = study_of_the_middle()
    for gain in (0.01, 0.0004):
        study.add_trial(create_trial(value=0.5, user_attrs={TrialRecord.expected_gain: gain}))
    assert printed(study, 100)[4].rstrip() == "gain    0.0004 expected of another trial"


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_row_is_wider_than_its_console(width):
    """Parameters are cut off, be they long or of several lines, and each trial has one row."""
    study = study_of_the_middle(running=3)
    name, value = "a name [bold]", "line\nbreak " * 30
    own = {"params": {name: value}, "distributions": {name: CategoricalDistribution([value])}}
    study.add_trial(create_trial(state=TrialState.RUNNING, **own))
    rows = printed(study, width)
    assert max(map(len, rows)) <= width
    assert [row.startswith("trial ") for row in rows] == [False] * 4 + [True] * 4


def test_a_low_terminal_shows_as_many_trials_as_have_room():
    """The last row then says how many are left out."""
    rows = printed(study_of_the_middle(running=20), 80, height=12)
    assert len(rows) < 12
    assert rows[-1].split() == ["and", "14", "more"]


def test_a_picture_of_the_end_has_no_running_trial():
    """What remains on the screen is the head, with the time that the search took."""
    rows = printed(study_of_the_middle(), 80, is_over=True)
    assert len(rows) == 4
    assert rows[1].rstrip().endswith("12 of 30 in 31 s")


def test_only_pruned_trials_save_epochs():
    """A trial that failed or was stopped early saves none."""
    study = optuna.create_study(direction="maximize")
    for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING"):
        add_trial(study, 0, TrialState[name], 3)
    assert saved_epochs(study.trials, EPOCHS) == EPOCHS - 3
    assert saved_epochs(study.trials, 2) == 0


def test_a_curve_goes_from_the_lowest_to_the_highest():
    """Each value is a block; where there are too many, each stands for several."""
    blocks = {(): "", (0.5,): "▁", (0.0, 0.5, 1.0): "▁▅█", (1.0, nan, 0.0): "█ ▁", (inf,): " "}
    assert {values: curve(values, 8) for values in blocks} == blocks
    assert curve(list(range(100)), 4) == "▁▃▆█"


def test_the_log_gets_each_line_whatever_is_shown(quick, caplog, capsys):
    """As logging is told; without a level, nothing is logged."""
    tuner = quick(n_trials=1, pruner="none")
    run(tuner)
    assert caplog.messages == []
    caplog.set_level("INFO", logger="kerastune_optuna")
    run(tuner, n_trials=2)
    assert capsys.readouterr().out == ""
    assert caplog.messages[0] == "test: Continuing study 'test': 1 of 2 trials done"
    assert caplog.messages[1].startswith("test: Trial 1: best val_mae 0.")
    assert {record.name for record in caplog.records} == {"kerastune_optuna"}


def test_a_duration_has_the_units_that_matter():
    """Tenths matter in seconds, seconds in minutes, and minutes in hours."""
    told = {0.4: "0.4 s", 31.4: "31 s", 59.7: "1 min 00 s", 3599: "59 min 59 s", 7300: "2 h 01 min"}
    assert {seconds: duration(seconds) for seconds in told} == told


def test_a_warning_is_shown_once():
    """However often filters change meanwhile, which makes Python forget what it has shown."""
    with warnings.catch_warnings(record=True) as shown, shown_once():
        for _ in range(3):
            warnings.simplefilter("always")
            warnings.warn("the same", UserWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the same", "another"]

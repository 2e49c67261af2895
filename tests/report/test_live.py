"""What a search shows while it runs: in terminals, in notebooks, and where there is neither."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbclient
import nbformat
import optuna
import pytest
from jupyter_client.manager import start_new_kernel
from optuna.trial import TrialState
from rich.console import Console

from kerastune_optuna._report.display import curve
from kerastune_optuna._report.facts import saved_epochs
from kerastune_optuna._report.text import duration
from kerastune_optuna._workers.warnings import shown_once
from tests.pictures.live import EPOCHS, add_trial, frame, live_svg, study_of_the_middle
from tests.support import forks
from tests.support.faults import WATCHDOG, wait_until

ROOT = Path(__file__).parent.parent.parent
TITLE = "Study 'shown': maximize val_accuracy"
SCRIPT = """
import os, signal, sys, time, warnings
import keras, numpy as np
from tests.support.models import build_model
from kerastune_optuna import OptunaTuner

directory, n_trials, n_workers, seconds, killed, asking = sys.argv[1], *map(int, sys.argv[2:])

def build(trial):
    trial.suggest_categorical("a choice of a very long name", ["first " * 20, "second " * 20])
    if trial.number % 10 == 1:
        print(f"trial {trial.number} is told of")
    if trial.number == asking:
        breakpoint()
    if trial.number == killed:
        os.write(2, b"the last words\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    warnings.warn("a warning of each trial")
    return build_model(trial)

def wait(epoch, logs):
    time.sleep(seconds / 10)

rng = np.random.default_rng(0)
x, y = rng.normal(size=(48, 4)), rng.integers(0, 3, 48)
verbose = "auto" if n_workers == 2 else 1  # which are the same in a terminal
tuner = OptunaTuner(build, n_trials=n_trials, seed=0, directory=directory, study_name="shown")
tuner.search(
    x, y, validation_data=(x, y), epochs=8, n_workers=n_workers, verbose=verbose,
    callbacks=[lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=wait)],
)
print("the end")
"""


class Screen:
    """A terminal of tmux, in which a shell waits for commands."""

    def __init__(self, socket, width):
        self._socket = socket
        shell = ["-e", "PS1=ready$ ", "env", "-u", "ENV", "sh"]
        self.do("-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", "100", *shell)

    def do(self, *command):
        """Give tmux a command; return what it answers."""
        tmux = ["tmux", "-S", str(self._socket), *command]
        return subprocess.run(tmux, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    def rows(self):
        """Return the rows of the screen that are used; one that was wrapped is one row."""
        rows = self.do("capture-pane", "-p", "-J").rstrip().splitlines()
        return [row.rstrip() for row in rows]

    def run(self, folder, n_workers=1, seconds=5, killed=-1, asking=-1):
        """Start the script below as a user would."""
        script = folder / "script.py"
        script.write_text(SCRIPT)
        arguments = [folder / "tuning", 30, n_workers, seconds, killed, asking]
        command = " ".join(map(str, [sys.executable, script, *arguments]))
        paths = f"PYTHONPATH={ROOT} TF_CPP_MIN_LOG_LEVEL=3"
        self.do("send-keys", f"clear; {paths} {command}", "Enter")

    def wait_for(self, is_there):
        """Return the rows of the screen once they are as wanted."""
        gives_up = time.monotonic() + WATCHDOG
        while not is_there(rows := self.rows()):
            assert time.monotonic() < gives_up, "\n".join(rows)
            time.sleep(0.1)
        return rows

    def resize(self, width):
        """Make the terminal wider or narrower."""
        self.do("resize-window", "-x", str(width))

    def shows_a_cursor(self):
        """Whether the cursor is visible."""
        return self.do("display-message", "-p", "#{cursor_flag}").strip() == "1"


@contextmanager
def screen(folder, width=80):
    """Give a terminal of that width."""
    if shutil.which("tmux") is None:
        # pip cannot install it, and Windows has none; nothing else in Python is a whole terminal.
        pytest.skip("tmux is not installed, and the display needs a real terminal")
    terminal = Screen(folder / "tmux", width)
    try:
        yield terminal
    finally:
        terminal.do("kill-server")


def picture(rows):
    """Return the rows of the live display, which begins with its title."""
    assert rows.count(TITLE) == 1, "\n".join(rows)
    return rows[rows.index(TITLE) :]


def is_running(n_workers):
    """Return what tells whether rows show so many running trials."""
    return lambda rows: sum("/8" in row for row in rows) == n_workers


def is_whole(width, n_workers):
    """Return what tells whether the display is there once, below all output, and no row wraps."""
    heads = ["Study", "trials", "best", "saved"] + ["trial"] * n_workers

    def is_so(rows):
        drawn = rows[rows.index(TITLE) :] if rows.count(TITLE) == 1 else []
        return (
            [row.split()[0] for row in drawn if row] == heads
            and len(drawn) == len(heads)
            and all("…" in row and "/8" in row for row in drawn[4:])
            and width * 2 / 3 < max(map(len, drawn)) <= width
        )

    return is_so


@pytest.mark.nightly
@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_display_stays_whole(n_workers, tmp_path):
    """At 80 and 120 columns, through prints, resizes and Ctrl-C, no row is wrapped or left over."""
    with screen(tmp_path) as terminal:
        terminal.run(tmp_path, n_workers)
        terminal.wait_for(is_running(n_workers))
        assert not terminal.shows_a_cursor()
        for width in (80, 120, 50, 80):
            terminal.resize(width)
            terminal.wait_for(is_whole(width, n_workers))
        terminal.wait_for(lambda rows: "trial 1 is told of" in rows)
        rows = terminal.rows()
        assert sum("a warning of each trial" in row for row in rows) <= 2  # with its source line
        terminal.do("send-keys", "C-c")
        rows = terminal.wait_for(lambda rows: rows[-1:] == ["ready$"])
        drawn = picture(rows)
        assert terminal.shows_a_cursor()
    assert [row.split()[0] for row in drawn[:4]] == ["Study", "trials", "best", "saved"]
    assert "left" not in drawn[1]
    assert drawn[4].startswith("search() was stopped. Call it with the same arguments")
    assert "^C" not in "".join(rows)


@pytest.mark.nightly
def test_a_builder_may_ask_a_question(tmp_path):
    """What breakpoint() asks in a builder is shown while it waits, and the answer is taken."""
    with screen(tmp_path) as terminal:
        terminal.run(tmp_path, seconds=0, asking=2)
        rows = terminal.wait_for(lambda rows: "(Pdb)" in rows)
        assert is_running(1)(rows)
        terminal.do("send-keys", "trial.number + 40", "Enter")
        terminal.wait_for(lambda rows: "42" in rows)
        terminal.do("send-keys", "continue", "Enter")
        terminal.wait_for(lambda rows: "the end" in rows)


@pytest.mark.nightly
def test_the_last_words_of_a_killed_search_are_shown(tmp_path):
    """What a process wrote before it was killed is printed, and the cursor is shown again."""
    with screen(tmp_path) as terminal:
        terminal.run(tmp_path, seconds=0, killed=2)
        rows = terminal.wait_for(lambda rows: "the last words" in "".join(rows))
        terminal.wait_for(lambda rows: terminal.shows_a_cursor())
    assert "trial 1 is told of" in rows


@pytest.mark.slow
def test_a_pipe_gets_lines_without_escape_codes(tmp_path):
    """With verbose=1, and colors forced, a search that is piped prints a line for each trial."""
    script = [sys.executable, "-c", SCRIPT, tmp_path, "3", "1", "0", "-1", "-1"]
    wanted = {"FORCE_COLOR": "1", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = forks.run(
        script, capture_output=True, text=True, check=True, env={**os.environ, **wanted}
    )
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Trial ")] == [
        f"{number}:" for number in range(3)
    ]
    assert [line for line in lines if "told of" not in line][3:] == ["the end"]
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("UserWarning: a warning of each trial") == 1


@pytest.mark.nightly
def test_a_notebook_keeps_one_readable_picture(tmp_path, monkeypatch):
    """The lecture's notebook runs, its search leaves one picture, and its model is the study's."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IRIS_TRIALS", "4")
    notebook = nbformat.read(ROOT / "examples" / "iris.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=WATCHDOG,
        kernel_name="python3",
        resources={"metadata": {"path": ROOT / "examples"}},
    )
    client.execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    (searched,) = (found for source, found in outputs.items() if "tuner.search(" in source)
    pictures = [output.data for output in searched if output.output_type == "display_data"]
    assert len(pictures) == 1
    lines = pictures[0]["text/plain"].splitlines()
    assert lines[0] == "Study 'iris': maximize val_categorical_accuracy"
    assert "4 of 4" in lines[1]
    assert pictures[0]["text/html"].startswith("<pre")
    assert "\x1b" not in str(searched)
    *_, last = outputs.values()
    tuned, best = map(float, last[-1].text.split()[-2:])
    assert tuned == best


CELLS = (
    """
import keras, numpy, os
from kerastune_optuna import OptunaTuner
units_of_others = [2, 3, 4]
""",
    """
def build(trial):
    units = trial.suggest_categorical("units", units_of_others)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model
""",
    """
x = numpy.random.default_rng(0).normal(size=(8, 2))
data = {"validation_data": lambda: (x, x[:, :1]), "epochs": 1, "verbose": 0}
tuner = OptunaTuner(build, "val_loss", n_trials=2, seed=0)
tuner.search(lambda: x, lambda: x[:, :1], n_workers=2, **data)
workers = set(tuner.results()["worker"])
print(len(tuner.study.trials), any(f":{os.getpid()}:" in worker for worker in workers))
print(tuner.best_value, tuner.best_model().evaluate(x, x[:, :1], verbose=0))
""",
)


@pytest.mark.nightly
def test_a_notebook_searches_with_workers(tmp_path, monkeypatch):
    """What cells define, and the globals that it reads, travel to worker processes."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    texts = [output.text for output in notebook.cells[-1].outputs if output.name == "stdout"]
    count, values = "".join(texts).splitlines()
    assert count == "2 False"
    best, evaluated = map(float, values.split())
    assert evaluated == pytest.approx(best, abs=1e-6)


INTERRUPTED = """
import keras, numpy, os, pathlib, time
from kerastune_optuna import OptunaTuner
pathlib.Path("kernel").write_text(str(os.getpid()))
seconds = 600
class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pathlib.Path("trains").touch()
        time.sleep(seconds)
def build(trial):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(trial.suggest_float("rate", 0, 1)), "mse", run_eagerly=True)
    return model
x = numpy.zeros((8, 2))
data = {"x": x, "y": x[:, :1], "validation_data": (x, x[:, :1])}
tuner = OptunaTuner(build, "val_loss", n_trials=2, seed=0)
"""
SEARCHING = "tuner.search(**data, epochs=2, verbose=0, callbacks=[Slow()], n_workers={})"
GOING_ON = f"""
seconds = 0
{SEARCHING.format(1)}
assert list(tuner.results()["state"]).count("COMPLETE") == 2
"""


@pytest.mark.nightly
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_kernel_is_interrupted(tmp_path, monkeypatch, n_workers):
    """The notebook's button ends a search with KeyboardInterrupt, and the next call goes on."""
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
        assert error_of(GOING_ON) is None
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def printed(study, width, height=40, **options):
    """Return the rows of a picture on a console of that size."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(frame(study, **options))
    return console.file.getvalue().splitlines()


def test_a_picture_tells_where_the_search_stands():
    """It has the trials done, the time left, the best value's place and what pruning saved."""
    head = printed(study_of_the_middle(), 80)[:4]
    assert [line.split(maxsplit=1)[0] for line in head] == ["Study", "trials", "best", "saved"]
    assert head[1].endswith("12 of 30 in 31 s, about 35 s left")
    assert "0.9637 in trial 9, epoch 10" in head[2]
    assert "28 of 120 epochs (23%), 4 pruned" in head[3]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_row_is_wider_than_its_console(width):
    """Parameters are cut off, be they long or of several lines, and each trial has one row."""
    study = study_of_the_middle(running=3)
    choices = optuna.distributions.CategoricalDistribution(["line\nbreak " * 30])
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={"a name [bold]": choices.choices[0]},
            distributions={"a name [bold]": choices},
        )
    )
    rows = printed(study, width)
    assert max(map(len, rows)) <= width
    assert [row.startswith("trial ") for row in rows] == [False] * 4 + [True] * 4


def test_a_running_trial_has_its_curve():
    """Its values, which rise, end with the highest block."""
    rows = [row for row in printed(study_of_the_middle(), 100) if row.startswith("trial 1")]
    assert len(rows) == 4
    assert all(re.search("▁[▁▂▃▄▅▆▇█]*█", row) for row in rows)


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
    for number, state in enumerate(
        (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
    ):
        add_trial(study, number, state, 3)
    assert saved_epochs(study.trials, EPOCHS) == EPOCHS - 3
    assert saved_epochs(study.trials, 2) == 0


@pytest.mark.parametrize(
    ("values", "width", "blocks"),
    [
        ([], 8, ""),
        ([0.5], 8, "▄"),
        ([0.0, 0.5, 1.0], 8, "▁▅█"),
        ([1.0, float("nan"), 0.0], 8, "█ ▁"),
        ([float("inf")], 8, " "),
        (list(range(100)), 4, "▁▃▆█"),
    ],
)
def test_a_curve_goes_from_the_lowest_to_the_highest(values, width, blocks):
    """Each value is a block; where there are too many, each stands for several."""
    assert curve(values, width) == blocks


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 s"),
        (31.4, "31 s"),
        (59.7, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7300, "2 h 01 min"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds, text):
    """Tenths matter in seconds, seconds in minutes, and minutes in hours."""
    assert duration(seconds) == text


def test_a_warning_is_shown_once():
    """However often filters change meanwhile, which makes Python forget what it has shown."""
    with warnings.catch_warnings(record=True) as shown, shown_once():
        for _ in range(3):
            warnings.simplefilter("always")
            warnings.warn("the same", UserWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the same", "another"]


def test_the_picture_for_the_readme_shows_four_trials():
    """The script that draws it draws the display of a search in its middle."""
    assert live_svg().count("trial&#160;1") == 4

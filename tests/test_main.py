"""The command line, run as a shell runs it."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import optuna
import pytest

from kerastune_optuna import __main__ as cli
from tests.support.models import PruneAt
from tests.support.servers import database
from tests.support.untrained import run as search
from tests.support.untrained import tuner_in


@pytest.fixture
def call(monkeypatch, capsys):
    """Give a function that runs the command in this process, which is ten times faster."""

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["kerastune-optuna", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert ended.value.code == code, captured
        return captured.out, captured.err

    return run


def searched(folder, **options):
    """Return a tuner that has searched three trials, the second of them pruned."""
    options |= {"objective": "val_mae", "n_trials": 3, "pruner": PruneAt([1])}
    return search(tuner_in(folder, **options), epochs=2)


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """Give such a tuner, which no test may change."""
    return searched(tmp_path_factory.mktemp("searched") / "tuning")


def one_line(errors):
    (line,) = errors.splitlines()
    assert line.startswith("Error: ")
    return line


def content(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_status_says_how_far_the_search_is(call, tmp_path, capsys):
    """It prints the summary, with each trial that is running."""
    tuner = searched(tmp_path / "tuning")
    running = tuner.study.ask()
    running.suggest_int("units", 1, 1000)
    running.report(0.25, step=4)
    out, err = call("status", tmp_path / "tuning")
    assert "Trials: 4: 2 COMPLETE 1 PRUNED 1 RUNNING" in out
    tuner.summary()
    assert (out, err) == capsys.readouterr()


def test_stop_ends_a_search_after_its_trial(call, tmp_path, capsys):
    """Also that of another process, which says so; the next search goes on."""
    told = []

    def stop(study, trial):
        told.append(call("stop", tmp_path)[0])
        time.sleep(0.11)  # a search sees what another process wrote after a tenth of a second

    options = {"objective": "val_mae", "n_trials": 3, "pruner": "none"}
    tuner = search(tuner_in(tmp_path, **options), on_trial_end=stop, verbose=2)
    (line,) = [text.splitlines()[-1] for text in told]
    assert line.startswith("Told the searches of study 'test' to stop; no trial is running, so")
    assert capsys.readouterr().out == "Stopped from outside: call search() again to go on\n"
    assert len(search(tuner).results()) == 3


@pytest.mark.slow
def test_a_study_on_postgresql_is_read(call, tmp_path):
    """By a URL, as from a folder."""
    with database("postgresql") as url:
        searched(tmp_path / "tuning", storage=url)
        assert "Trials: 3: 2 COMPLETE 1 PRUNED" in call("status", url)[0]
        _, err = call("status", url, "--study", "other", code=1)
        assert "holds no study 'other'. Pass --study with one of: test." in one_line(err)


def test_of_several_studies_one_must_be_named(call, make_tuner, tmp_path):
    """The error lists them, and --study takes one."""
    for name in ("test", "other"):
        make_tuner(study_name=name).study.add_trial(optuna.trial.create_trial(value=0.5))
    _, err = call("status", tmp_path / "tuning", code=1)
    assert "holds several studies. Pass --study with one of: other, test." in one_line(err)
    out, _ = call("status", tmp_path / "tuning", "--study", "other")
    assert "Trials: 1: 1 COMPLETE" in out
    _, err = call("status", tmp_path / "tuning", "--study", "third", code=1)
    assert "holds no study 'third'. Pass --study with one of: other, test." in one_line(err)


@pytest.mark.parametrize("kind", ["folder", "url", "empty"])
def test_where_nothing_is_nothing_is_made(call, tmp_path, kind):
    """The error says what to pass, and no file or table is made."""
    file = tmp_path / "study.db"
    if kind == "empty":
        file.touch()
    _, err = call("status", f"sqlite:///{file}" if kind == "url" else tmp_path, code=1)
    expected = "no such table" if kind == "empty" else f"sqlite:///{file} holds no study. Pass"
    assert expected in one_line(err)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0] * (kind == "empty")


def test_reading_changes_nothing(call, tuner, tmp_path):
    """The database holds what it held, one that Optuna alone has made too."""
    optuna.create_study(storage=f"sqlite:///{tmp_path}/plain.db", study_name="plain")
    for path in (tuner.directory / "study.db", tmp_path / "plain.db"):
        before = content(path)
        call("status", f"sqlite:///{path}")
        assert content(path) == before
    with closing(sqlite3.connect(tmp_path / "plain.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_study_without_a_trial_says_so(call, make_tuner, tmp_path):
    """Before the first trial begins, there is nothing to list."""
    make_tuner().study  # noqa: B018 the property makes the study
    assert "No trial has begun yet." in call("status", tmp_path / "tuning")[0]


def test_several_objectives_need_no_names(call, tmp_path):
    """A study that Optuna alone made is shown, with numbers in place of names."""
    url = f"sqlite:///{tmp_path}/two.db"
    study = optuna.create_study(storage=url, directions=["minimize", "maximize"])
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    out, _ = call("status", url)
    assert ": minimize value 0" in out
    assert "Front: 1 trial, which has rank 1" in out


@pytest.mark.parametrize("wrong", [[], ["stat"], ["status", "--foo"], ["status", "a", "b"]])
def test_wrong_usage_is_code_2(call, wrong):
    """One line says what is wrong, and where to read how it is right."""
    out, err = call(*wrong, code=2)
    assert one_line(err).endswith("Try --help.")
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status", "postgresql://me:s3cret@127.0.0.1:1/x"], 1),
        (["postgresql://me:s3cret@127.0.0.1:1/x"], 2),
        (["status", "tuning", "mysql://me:s3cret@127.0.0.1:1/x"], 2),
        (["status", "odd://me:s3cret@:x/y"], 1),
    ],
)
def test_passwords_are_shown_nowhere(call, arguments, code):
    """Whether the server does not answer or the command is misspelt, whatever the URL."""
    out, err = call(*arguments, code=code)
    assert "s3cret" not in one_line(err) + out


def test_help_lists_all_commands(call):
    """Each has a line, and a help of its own with an example that begins like what a user types."""
    listed = call("--help")[0].split("Commands:")[1].strip().splitlines()
    commands = [line.split()[0] for line in listed]
    assert commands == ["status", "stop"]
    for command in commands:
        assert f"Example: kerastune-optuna {command} " in call(command, "--help")[0]


@pytest.mark.slow
def test_it_starts_without_keras(tuner):
    """TensorFlow is left alone, which takes seconds to import and writes on standard error."""
    code = (
        "import sys; from kerastune_optuna.__main__ import main\n"
        "try: main()\n"
        "finally: print(sorted({'keras', 'tensorflow', 'pandas'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["status", tuner.directory]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
        assert done.stderr == ""


def test_the_package_runs_as_a_module(tmp_path):
    """`python -m kerastune_optuna` is the same command, with the same codes."""
    command = [sys.executable, "-m", "kerastune_optuna", "status", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds no study" in one_line(done.stderr)

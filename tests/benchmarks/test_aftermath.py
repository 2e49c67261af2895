"""The judge of kills, cuts and storm passes a sound search, and names each thing that is wrong."""

import math
import shutil
from contextlib import suppress

import optuna
import pytest

from tests.benchmarks import _aftermath, _survival
from tests.benchmarks._leader import VALIDATION, X, Y
from tests.support.faults import EpochLog, interrupt_at
from tests.support.models import build_eager
from tests.support.untrained import tuner_in

EPOCHS, N_TRIALS = 4, 3
CUT_OFF, RETRY, OTHER, LAST = range(4)  # the numbers of the trials


def tuner_there(folder):
    options = {"keep_best": 2, "backup_every": 0, "pruner": optuna.pruners.NopPruner()}
    return tuner_in(folder / "tuning", build_eager, "val_loss", n_trials=N_TRIALS, **options)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Give a folder with a search of three trials, of which the first was cut off and resumed."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tmp").mkdir()
    fit = {"validation_data": VALIDATION, "epochs": EPOCHS, "verbose": 0}
    for others in ([interrupt_at(2)], []):
        with suppress(KeyboardInterrupt):
            tuner_there(folder).search(X, Y, callbacks=[EpochLog(folder / "log"), *others], **fit)
    return folder


@pytest.fixture
def folder(searched, tmp_path):
    """Give a copy of that folder, which a test may spoil."""
    return shutil.copytree(searched, tmp_path / "copy")


@pytest.fixture
def look(folder, monkeypatch):
    """Give a function that returns what the judge reads in the folder."""
    monkeypatch.setattr(_survival, "EPOCHS", EPOCHS)
    return lambda: _survival.left_in(folder, tuner_there(folder), seen=[])


def trained(left, number, epochs, **changes):
    """Return what the diary says of a process that trained those epochs of a trial."""
    begin = left.diary[number][0]._replace(**changes)
    return [begin._replace(epoch=epoch) for epoch in (-1, *epochs)]


def test_a_sound_search_passes(look, capsys):
    """Nothing is wrong with it, and one of its four trials is a retry that has a backup."""
    left = look()
    assert _aftermath.examine(left)
    told = "4 trials, 1 of them retries that trained, of which 1 had a backup and 0 began anew"
    assert told in capsys.readouterr().out


def without_last_epochs(left):
    for epoch in range(1, EPOCHS):
        del left.trials[OTHER].intermediate_values[epoch]
    left.diary[OTHER] = left.diary[OTHER][:2]


def with_a_gap(left):
    del left.trials[OTHER].intermediate_values[1]


def trained_by_two(left):
    left.diary[OTHER] += trained(left, OTHER, range(EPOCHS), process=("", 0, 1))


def trained_twice(left):
    left.diary[OTHER] *= 2


def with_an_untrained_step(left):
    del left.diary[OTHER][2]


def begun_anew(left):
    left.diary[RETRY] = trained(left, RETRY, range(EPOCHS))


def begun_too_late(left):
    left.diary[RETRY] = trained(left, RETRY, range(3, EPOCHS))
    left.diary[CUT_OFF] = left.diary[CUT_OFF][:3]


def with_another_seed(left):
    left.trials[RETRY].user_attrs["seed"] += 1


def without_a_seed(left):
    del left.trials[RETRY].user_attrs["seed"]


def with_another_parameter(left):
    left.trials[RETRY].params["units"] += 1
    left.trials[RETRY].system_attrs = {}


def with_two_retries(left):
    left.trials[OTHER].user_attrs["retry_of"] = CUT_OFF


def with_a_known_configuration(left):
    left.trials[LAST].params = left.trials[OTHER].params


def of_a_finished_trial(left):
    left.trials[CUT_OFF].state = optuna.trial.TrialState.PRUNED


def trained_on(left):
    left.diary[CUT_OFF] += trained(left, CUT_OFF, [3, 4], when=math.inf)[1:]


def unfinished(left):
    left.trials[LAST].state = optuna.trial.TrialState.RUNNING


def doubled(left):
    left.trials.append(left.trials[LAST])


def ended_badly(left):
    left.seen.append("a copy ended with 1")


def with_old_weights(left):
    worst = ({RETRY, OTHER, LAST} - {one.number for one in left.best}).pop()
    left.owners["old"] = worst, "weights"
    left.stored.add("old")


OF_THE_RECORD = {
    without_last_epochs: "trial 2 (COMPLETE) has a curve of [0]",
    with_a_gap: "trial 2 (COMPLETE) has a curve of [0, 2, 3]",
    trained_by_two: "trial 2 was trained by [",
    trained_twice: "trial 2 was trained as [-1, 0, 1, 2, 3, -1, 0, 1, 2, 3]",
    with_an_untrained_step: "trial 2 has steps that were not trained: [1]",
    begun_anew: "trial 1 went on at 0, and had a backup of 2",
    begun_too_late: "trial 1 went on at 3 after [0, 1]",
    with_another_seed: "trial 1 has seed ",
    without_a_seed: "trial 1 has seed None",
    with_another_parameter: "trial 1 has {",
    with_two_retries: "trial 0 has 2 retries that were trained",
    with_a_known_configuration: "trial 3 trained the configuration of trial 2 again",
    of_a_finished_trial: "trial 0 is PRUNED and has a retry",
    trained_on: "trial 0 ran on through ",
    unfinished: "trial 3 is RUNNING",
    doubled: "4 of 3 trials are finished",
    with_old_weights: "(COMPLETE) is left",
    ended_badly: "a copy ended with 1",
}


@pytest.mark.parametrize("spoil", OF_THE_RECORD, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_with_the_record_is_named(look, spoil, capsys):
    """A line says what, and the judge does not pass the search."""
    left = look()
    spoil(left)
    assert not _aftermath.examine(left)
    assert OF_THE_RECORD[spoil] in capsys.readouterr().out


def file_of(left, number, kind):
    """Return the path of a file that a trial has in the store."""
    folder = left.tuner._home.folder / "weights"
    return next(folder / name for name in left.stored if left.owners[name] == (number, kind))


def without_weights(folder, left):
    file_of(left, left.best[1].number, "weights").unlink()


def with_damaged_weights(folder, left):
    file_of(left, left.best[1].number, "weights").write_bytes(b"damaged")


def with_other_weights(folder, left):
    first, second = (file_of(left, one.number, "weights") for one in left.best)
    shutil.copy(first, second)


def without_a_table(folder, left):
    file_of(left, OTHER, "history.csv").unlink()


def with_half_a_table(folder, left):
    path = file_of(left, OTHER, "history.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def with_a_backup(folder, left):
    (left.tuner._home.folder / "weights" / "old.backup").touch()


def with_a_temporary_file(folder, left):
    (folder / "tmp" / "kerastune_optuna_old.lock").touch()


OF_FILES = {
    without_weights: "is lost",
    with_damaged_weights: "are damaged: their checksum has changed",
    with_other_weights: "are damaged: their checksum has changed",
    without_a_table: "the history.csv of trial 2 (COMPLETE) is lost",
    with_half_a_table: "trial 2 has a damaged table",
    with_a_backup: "old.backup is of no trial",
    with_a_temporary_file: "tmp/kerastune_optuna_old.lock",
}


@pytest.mark.parametrize("spoil", OF_FILES, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_with_the_files_is_named(folder, look, spoil, capsys):
    """A line says what, and the judge does not pass the search."""
    spoil(folder, look())
    assert not _aftermath.examine(look())
    assert OF_FILES[spoil] in capsys.readouterr().out


@pytest.mark.parametrize(("host", "is_excused"), [("", True), (None, True), ("another", False)])
def test_who_could_reach_no_backup_may_begin_anew(look, host, is_excused):
    """An outage of the host of the retry, or of all, excuses what it cost, and no other."""
    left = look()
    begun_anew(left)
    left.outages.append((host, 0, math.inf))
    assert list(_aftermath.backups(left)) == [] if is_excused else [OF_THE_RECORD[begun_anew]]


@pytest.mark.parametrize(("is_whole", "status"), [(True, 0), (False, 1)])
def test_the_scripts_exit_as_the_judge_says(monkeypatch, is_whole, status):
    """What is wrong on one kind of storage is the script's exit status."""
    monkeypatch.setattr("sys.argv", ["kills"])
    survive = lambda kind, *_: kind == "sqlite" or is_whole  # noqa: E731
    with pytest.raises(SystemExit) as end:
        _survival.run_each(survive, ["journal", "sqlite"], "kills", 1, 1, "")
    assert int(end.value.code) == status

"""What a database is asked at once, and what is asked again where a connection is lost."""

import copy
import io
import itertools
import os
import pickle
import shutil
import sqlite3
import threading
import time
import warnings
from contextlib import closing
from functools import partial

import joblib
import optuna
import pytest
import sqlalchemy
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from kerastune_optuna import ArgumentError, StorageError, TunerError
from kerastune_optuna._storage import database as _storage
from kerastune_optuna._study import Home
from tests.support.faults import CuttingProxy, states
from tests.support.hosts import needs_posix
from tests.support.servers import database
from tests.support.untrained import Untrained, build, has_best_weights, run, tuner_in

HAS_ESCAPES = not sqlalchemy.__version__.startswith("2.0.")
needs_escapes = pytest.mark.skipif(
    not HAS_ESCAPES, reason="SQLAlchemy 2.0 has no escapes for a ? or a { in the path of a database"
)


@pytest.fixture(params=["postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def proxy(request):
    with database(request.param) as url, CuttingProxy(url) as proxy:
        yield proxy


def test_tables_that_another_process_makes_first_are_found():
    """Where two make the tables of an empty database at once, the later one goes on with them."""
    made = []

    def let_another_be_first(_connection, _cursor, statement, *_rest):
        if statement.startswith("INSERT INTO version_info") and not made:
            made.append("it begins")
            made.append(_storage.connect(url))

    with database("mariadb") as url:
        given = (sqlalchemy.Engine, "before_cursor_execute", let_another_be_first)
        sqlalchemy.event.listen(*given)
        try:
            assert _storage.connect(url).get_all_studies() == []
        finally:
            sqlalchemy.event.remove(*given)
    assert len(made) == 2


@needs_posix
def test_members_of_a_group_share_a_folder(tmp_path):
    """What a search makes there may be written by those whom the umask lets write."""
    before = os.umask(0o002)
    try:
        tuner = run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=1))
    finally:
        os.umask(before)
    modes = {one.name: one.stat().st_mode & 0o060 for one in (tmp_path / "tuning").rglob("*")}
    assert len(modes) > 4
    assert set(modes.values()) == {0o060}, modes
    assert len(tuner.study.trials) == 1


def each_cut(proxy):
    """Yield functions that cut at the first message to come, and so on, until none comes."""
    for number in itertools.count():
        before = proxy.cuts
        yield partial(proxy.cut_at, number)
        if proxy.cuts == before:
            return


def add(storage, study_id):
    before = storage.get_n_trials(study_id)
    yield
    trial_id = storage.create_new_trial(study_id)
    yield
    assert storage.get_n_trials(study_id) == before + 1
    assert storage.get_trial_number_from_id(trial_id) == before


def take(storage, study_id):
    trial_id = storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    yield
    storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    yield
    assert storage.get_trial(trial_id).state is TrialState.RUNNING
    assert not storage.set_trial_state_values(trial_id, TrialState.RUNNING)


def end(storage, study_id):
    trial_id = storage.create_new_trial(study_id)
    yield
    is_ours = storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.5])
    yield
    assert is_ours
    assert storage.get_trial(trial_id).values == [1.5]


def read(storage, study_id):
    trial_id = storage.create_new_trial(study_id)
    yield
    trials = storage.get_all_trials(study_id)
    yield
    assert trial_id == trials[-1]._trial_id


def delete(storage, study_id):
    other = storage.create_new_study([StudyDirection.MINIMIZE])
    yield
    storage.delete_study(other)
    yield
    assert [study._study_id for study in storage.get_all_studies()] == [study_id]


@pytest.mark.slow
@pytest.mark.parametrize("deed", [add, take, end, read, delete])
def test_what_is_cut_off_is_done_once(proxy, deed):
    """Whichever message of a call is lost, its answer or another, the call is made once."""
    storage = _storage.connect(proxy.url, 60)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    for cut in each_cut(proxy):
        steps = deed(storage, study_id)
        next(steps)
        cut()
        next(steps)
        proxy.pass_on()
        assert next(steps, None) is None
    assert proxy.cuts > 5
    storage.remove_session()


def test_a_trial_that_another_took_is_left_to_it(proxy):
    """Whose call was cut off when another worker took a trial, but has not signed it yet."""
    storage = _storage.connect(proxy.url, 60)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    trial_id = storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    other = _storage.connect(proxy.behind.render_as_string(hide_password=False), 60)
    proxy.cut_all()

    def take_first():
        while not proxy.cuts:
            time.sleep(0.001)
        assert other.set_trial_state_values(trial_id, TrialState.RUNNING)
        proxy.pass_on()

    taking = threading.Thread(target=take_first)
    taking.start()
    assert not storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    taking.join()
    storage.remove_session()
    other.remove_session()


def test_an_opened_database_is_read_as_its_url_is(tmp_path):
    """Finished trials that this process has read are not read again, however it was opened."""
    opened = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=_storage.connect(opened, 60))
    study.add_trials([create_trial(value=float(number)) for number in range(3)])
    assert len(study.trials) == 3
    asked = []
    note = lambda *given: asked.append(given[2])  # noqa: E731
    sqlalchemy.event.listen(opened.engine, "before_cursor_execute", note)
    assert len(study.trials) == 3
    assert not [one for one in asked if "trial_values" in one]


@pytest.mark.parametrize(
    "name", [pytest.param("what? {c}", marks=[needs_escapes, needs_posix]), "a%20b d#e ünï"]
)
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, name):
    """The database is in the folder itself, and the command line finds it there."""
    monkeypatch.chdir(tmp_path)
    run(tuner_in(f"{name}/t", objective="val_mae", n_trials=1))
    assert (tmp_path / name / "t" / "study.db").is_file()
    assert len(Home.load_study(f"{name}/t", None, "").trials) == 1
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda url: None, str, optuna.storages.RDBStorage], ids=["folder", "url", "object"]
)
def test_a_relative_path_keeps_its_files(tmp_path, monkeypatch, make):
    """Workers find them too, where the current folder changes after the tuner was first used."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    monkeypatch.chdir(first)
    options = {"storage": make("sqlite:///s.db"), "n_trials": 1}
    tuner = run(tuner_in("tuning", objective="val_mae", **options))
    monkeypatch.chdir(second)
    assert has_best_weights(tuner)
    tuner.n_trials = 3
    assert len(states(run(tuner, n_workers=2))) == 3
    assert has_best_weights(tuner)
    assert not list(second.iterdir())


def put_back(file, earlier):
    with closing(sqlite3.connect(earlier)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)


def damage_pages(file, _):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as content:
        content.seek(4096)
        content.write(b"x" * (file.stat().st_size - 4096))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put_back, "an earlier state of the database was put back"),
        (damage_pages, "The database is damaged: "),
    ],
)
def test_a_search_whose_database_is_changed_beneath_it_ends_with_a_line(tmp_path, change, told):
    """Where a backup is put back or pages are damaged, the error says so."""
    file, earlier = tmp_path / "tuning" / "study.db", tmp_path / "earlier.db"

    def build_and_change(trial):
        if trial.number == 1:
            change(file, earlier)
        return build(trial)

    tuner = tuner_in(tmp_path / "tuning", build_and_change, "val_mae", pruner="none")
    put_back(earlier, run(tuner, n_trials=1) and file)
    with pytest.raises(TunerError, match=told) as got:
        run(tuner, n_trials=4)
    assert len(str(got.value).splitlines()) == 1


@needs_posix  # Windows deletes no file that is open
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_search_whose_folder_is_deleted_ends(tmp_path, is_made_anew):
    """It does not go on in a file that nobody finds any more, and says so after the trial."""

    def build_without_folder(trial):
        shutil.rmtree(tmp_path / "tuning")
        if is_made_anew:
            run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=1))
        return build(trial)

    tuner = tuner_in(tmp_path / "tuning", build_without_folder, "val_mae", n_trials=5)
    with pytest.raises(StorageError, match=r"study.db' is gone, or is another file"):
        run(tuner)
    assert (tmp_path / "tuning").exists() == is_made_anew


def test_the_file_alone_has_what_was_searched(tmp_path):
    """A copy of study.db without its log has all trials of a search that has ended."""
    run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=3))
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "tuning" / "study.db", tmp_path / "copy")
    study = Home.load_study(str(tmp_path / "copy"), None, "")
    assert [trial.state.is_finished() for trial in study.trials] == [True] * 3


def test_whoever_reads_to_write_keeps_others_from_writing(tmp_path):
    """So no other process changes what a transaction has read before it writes."""
    engine = _storage.Location(_storage.connect(f"sqlite:///{tmp_path}/study.db")).database.engine
    other = sqlite3.connect(tmp_path / "study.db", timeout=0)
    with engine.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE").connection.close()


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: content[::-1]]
)
def test_a_damaged_file_is_named(tmp_path, damage):
    """What a copy that was cut short left is an error in one line, which says so."""
    run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=2, pruner="none"))
    content = (tmp_path / "tuning" / "study.db").read_bytes()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "study.db").write_bytes(damage(content))
    with pytest.raises(StorageError, match=r"copy/study\.db' cannot be .*a whole copy") as got:
        tuner_in(tmp_path / "copy", objective="val_mae").results()
    assert len(str(got.value).splitlines()) == 1


@pytest.mark.skipif(HAS_ESCAPES, reason="SQLAlchemy has escapes for them since 2.1")
def test_a_folder_that_has_no_escape_is_refused(tmp_path):
    """The error says which SQLAlchemy can open it."""
    with pytest.raises(ArgumentError, match=r"sqlalchemy>=2.1"):
        run(tuner_in(tmp_path / "what?", objective="val_mae", n_trials=1))


@pytest.mark.slow
def test_the_copy_of_a_folder_that_is_searched_is_searched_whole(tmp_path):
    """What ran when the folder was copied runs there for nobody, and is run again."""
    seen = []

    def build_and_copy(trial):
        if not seen:
            _storage.Location(trial.storage).checkpoint()
            shutil.copytree(tmp_path / "tuning", tmp_path / "copy")
            copy = tuner_in(tmp_path / "copy", objective="val_mae", n_trials=2, pruner="none")
            with warnings.catch_warnings(action="ignore"):  # build_model is another one there
                seen.extend(run(copy, timeout=60).study.trials)
        return build(trial)

    run(tuner_in(tmp_path / "tuning", build_and_copy, "val_mae", n_trials=2))
    assert [trial.state.name for trial in seen] == ["FAIL", "COMPLETE", "COMPLETE"]


def build_perfect(trial):
    return Untrained(2, [{"val_mae": -trial.suggest_float("level", 0.0, 1.0)}])


@pytest.mark.slow
def test_a_study_that_was_copied_keeps_its_weights(tmp_path):
    """A search over its copy in another database, with the same folder, deletes none of them."""
    options = {"objective": "val_mae", "pruner": "none"}
    first = run(tuner_in(tmp_path, n_trials=2, **options))
    options["storage"] = f"sqlite:///{tmp_path}/other.db"
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.copy_study(from_study_name="test", from_storage=url, to_storage=options["storage"])
    with warnings.catch_warnings(action="ignore"):
        better = run(tuner_in(tmp_path, build_perfect, n_trials=4, **options))
    assert better.best_trial.number > 1
    assert has_best_weights(first)
    run(tuner_in(tmp_path, n_trials=1, overwrite=True, **options))
    assert has_best_weights(first)


def dumped(value):
    joblib.dump(value, file := io.BytesIO())
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "copied", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, dumped]
)
def test_a_study_is_saved_as_optunas_faq_saves_one(tmp_path, copied):
    """A copy, of a tuner too, has its trials and database, with transactions as they were."""
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=1))
    study, again = tuner.study, copied(tuner.study)
    assert again.best_value == copied(tuner).best_value == study.best_value
    again.enqueue_trial({"units": 3})
    assert len(study.trials) == 2
    engine = _storage.Location(again._storage).database.engine
    assert sqlalchemy.event.contains(engine, "begin", _storage._begin_immediate)

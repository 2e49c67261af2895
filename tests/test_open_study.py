"""open_study(): what anybody's study shows without the builder of its models."""

import html

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import ArgumentError, BuilderError, StorageError, WeightsError, open_study
from tests.support.models import build_model
from tests.support.untrained import X, run, tuner_in

CALLS = {
    "search": lambda tuner: run(tuner),
    "confirm": lambda tuner: tuner.confirm(1, 2, X, X, (X, X)),
    "refit": lambda tuner: tuner.refit(X, X),
    "enqueue": lambda tuner: tuner.enqueue({"x": 1.0}),
    "space": lambda tuner: tuner.space(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_is_trained_without_a_builder(tmp_path, call):
    """Whatever needs one says what to do instead, and changes nothing."""
    written_by_a_script(tmp_path, "mine")
    opened = open_study(tmp_path)
    with pytest.raises(BuilderError, match="knows no build_model, so nothing of study 'mine'"):
        call(opened)
    assert len(opened.study.trials) == len(TrialState)


def test_what_cannot_be_opened_is_an_error(tmp_path):
    """No study, another name, no store, and a model with code of its own."""
    with pytest.raises(StorageError, match=r"study.db holds no study\. Pass the directory="):
        open_study(tmp_path)
    run(tuner_in(tmp_path, objective="val_mae", n_trials=1))
    with pytest.raises(ArgumentError, match=r"no study 'iris'. Pass study_name= with one of: test"):
        open_study(tmp_path, "iris")
    with pytest.raises(ArgumentError, match="has no open_reader, write, remove"):
        open_study(tmp_path, artifact_store=tmp_path)
    with pytest.raises(WeightsError, match="The model of trial 0 has code that is not Keras's"):
        open_study(storage=f"sqlite:///{tmp_path}/study.db", directory=tmp_path).best_model()


def written_by_a_script(folder, name, metrics=None, directions=("maximize",)):
    """Write a study that no tuner made, with a trial in each state."""
    place = {"storage": f"sqlite:///{folder}/study.db", "study_name": name}
    study = optuna.create_study(**place, directions=directions)
    if metrics is not None:
        study.set_metric_names(metrics)
    drawn = {"params": {"x": 1.0}, "distributions": {"x": FloatDistribution(0, 2)}}
    for state in TrialState:
        given = {} if state is TrialState.WAITING else drawn | {"intermediate_values": {0: 0.25}}
        values = [0.5] * len(directions) if state is TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, values=values, **given))


STUDIES = {
    "a name that is no folder's": ("team/lamps", ["val_loss"], ["val_loss"]),
    "a measure of trials": ("s", ["seconds"], ["seconds"]),
    "any metric": ("s", [" Größe [m²]"], [" Größe [m²]"]),
    "no metric": ("s", None, ["value"]),
    "several": ("s", ["flops", "auc"], ["flops", "auc"]),
    "several without names": ("s", None, ["value 0", "value 1"]),
    "several measures": ("s", ["seconds", "flops"], ["seconds", "flops"]),
    "two of a name": ("s", ["mae", "mae"], ["mae 0", "mae 1"]),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("name", "metrics", "shown"), STUDIES.values(), ids=STUDIES)
def test_each_study_of_optuna_is_read(tmp_path, capsys, name, metrics, shown):
    """No rule for searches counts, all that shows results does, and the file stays as it was."""
    ways = ["maximize"] * len(shown)
    written_by_a_script(tmp_path, name, metrics, ways)
    before = (tmp_path / "study.db").read_bytes()
    opened = open_study(tmp_path)
    aim = ", ".join(f"maximize {metric}" for metric in shown)
    assert repr(opened) == f"OptunaTuner(study {name!r}: {aim})"
    opened.summary()
    assert f" Study {name!r}: {aim}" in capsys.readouterr().out
    assert "not open" not in opened._repr_html_()
    assert [trial.values for trial in opened.best_trials] == [[0.5] * len(shown)]
    assert len(opened.results()) == len(TrialState) - 1  # without the waiting one
    assert opened.history(1).columns[1] == ("auc" if "auc" in shown else shown[0])
    with pytest.raises(WeightsError, match="which only trials run by a tuner have"):
        opened.best_model(trial=1)
    assert len(opened.study.trials) == len(TrialState)
    assert (tmp_path / "study.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_a_study_of_any_storage_is_shown(tmp_path):
    """It is open, so that what it has is shown at once, also if the storage is an object."""
    written_by_a_script(tmp_path, "mine")
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    opened = open_study(storage=storage, directory=tmp_path / "none")
    assert "Study 'mine': maximize value" in html.unescape(opened._repr_html_())


def test_a_trial_is_excluded_without_a_builder(tmp_path):
    """What is written is that alone, and others see it."""
    written_by_a_script(tmp_path, "mine")
    open_study(tmp_path).exclude(1, "a leak")
    assert open_study(tmp_path).results()["state"][1] == "EXCLUDED"


def test_a_study_is_opened_without_its_builder(search, data, tmp_path, capsys):
    """What can be looked at is there, and the best model, which evaluates to the best value."""
    tuner = search(build_model, "val_loss", n_trials=1, fit={"epochs": 1})
    opened = open_study(tmp_path / "tuning")
    assert opened.results().equals(tuner.results())
    assert opened.best_params == tuner.best_params
    opened.summary(2)
    tuner.summary(2)
    here, there = capsys.readouterr().out.split(" Study ")[1:]
    assert here == there
    found = opened.best_model().evaluate(*data[2], verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(tuner.best_value)

"""A project that KerasTuner has searched becomes a study, and a search goes on with it."""

from __future__ import annotations

import json
import shutil

import keras_tuner
import optuna
import pytest

from kerastune_optuna import HyperParameters, OptunaTuner, from_keras_tuner
from tests.keras_tuner_builders import compiled, keras
from tests.test_cli import call, one_line  # noqa: F401 a fixture is found by its name


def build(hp):
    """Ask for each kind of range that there is, under a condition or without."""
    kind = hp.Choice("kind", ["a", "b"])
    rate = hp.Float("lr", 1e-4, 1e-1, step=10, sampling="log")
    momentum = hp.Float("momentum", 0.1, 0.9, sampling="reverse_log")
    hp.Float("dropout", 0.0, 0.3, step=0.1)
    hp.Fixed("note", "as before")
    with hp.conditional_scope("kind", ["a"]):
        units, name = hp.Int("units", 2, 8, step=2), hp.Choice("activation", ["relu", "elu"])
    with hp.conditional_scope("kind", ["b"]):
        size, form = hp.Int("size", 2, 5), hp.Choice("form", ["tanh", "selu"])
    layer = keras.layers.Dense(*((units, name) if kind == "a" else (size, form)))
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    return compiled(layer, optimizer=optimizer)


IMPORT = "kerastune_optuna:import"


class Tuner(keras_tuner.RandomSearch):
    """Search as KerasTuner does, but for the trainings."""

    def run_trial(self, trial, *args, **kwargs):
        """Fail every seventh time, and tell else what two executions of a training might."""
        number = int(trial.trial_id)
        if number % 7 == 5:
            raise ValueError(f"trial {number} does not fit")
        build(trial.hyperparameters)
        values = trial.hyperparameters.values
        accuracy = 0.5 + values["momentum"] / 3 + (values["kind"] == "a") / 10 + values["lr"]
        logs = {"val_accuracy": accuracy, "accuracy": accuracy + 0.01, "val_loss": 1 - accuracy}
        return [logs, {**logs, "val_accuracy": accuracy - 0.02}]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Give the folder and the tuner of a project of 20 trials, which no test may change."""
    folder = tmp_path_factory.mktemp("keras_tuner")
    tuner = Tuner(
        build, "val_accuracy", max_trials=20, seed=3, directory=folder, project_name="old"
    )
    tuner.search(verbose=0)
    return folder / "old", tuner


@pytest.fixture
def imported(call, project, tmp_path):  # noqa: F811 the fixture is the one imported
    """Give the study that the command makes of the project."""
    out, _ = call("import", project[0], "--directory", tmp_path / "tuning")
    url = f"sqlite:///{tmp_path}/tuning/study.db"
    return out, optuna.load_study(study_name="old", storage=url)


def test_trials_keep_their_order_values_and_parameters(imported, project):
    """Twenty trials are there as KerasTuner has them, the failed ones too."""
    out, study = imported
    oracle = project[1].oracle
    assert out.startswith("Added 20 trials, and left out 0")
    theirs = [oracle.trials[trial_id] for trial_id in oracle.start_order]
    assert len(study.trials) == 20
    for our, their in zip(study.trials, theirs, strict=True):
        assert our.params == pytest.approx(their.hyperparameters.values)
        assert our.value == their.score
        assert our.state.name == {"COMPLETED": "COMPLETE", "FAILED": "FAIL"}[their.status]
    failed = [trial.number for trial in study.trials if trial.state.name == "FAIL"]
    assert failed == [5, 12, 19]
    assert study.trials[5].user_attrs["stop_reason"] == "ValueError: trial 5 does not fit"


def test_the_best_parameters_are_the_same(imported, project):
    """KerasTuner's best hyperparameters are those of the study's best trial."""
    best = project[1].get_best_hyperparameters()[0]
    assert imported[1].best_params == pytest.approx(best.values)
    assert HyperParameters(imported[1].best_trial).values == best.values


def test_reports_are_kept(imported):
    """The mean over the executions is at the step that KerasTuner has it for."""
    trial = imported[1].best_trial
    assert trial.intermediate_values == {0: pytest.approx(trial.value)}
    metrics = trial.user_attrs["kerastune_optuna:import"]["metrics"]
    assert set(metrics) == {"val_accuracy", "accuracy", "val_loss"}


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_a_search_goes_on_with_it(data, tmp_path):
    """The next trials have the same distributions, and the sampler learns from those before."""
    tuner = OptunaTuner(
        from_keras_tuner(build),
        n_trials=19,
        seed=0,
        study_name="old",
        directory=tmp_path / "tuning",
    )
    x, y, validation = data
    tuner.search(x, y, validation_data=validation, epochs=1, verbose=0)
    trials = tuner.study.trials
    assert len(trials) == 22
    assert [trial.state.name for trial in trials[20:]] == ["COMPLETE"] * 2
    known = {name: space for trial in trials[:20] for name, space in trial.distributions.items()}
    new = {name: space for trial in trials[20:] for name, space in trial.distributions.items()}
    assert new == {name: known[name] for name in new}
    common = optuna.search_space.intersection_search_space(trials)
    assert set(common) >= {"kind", "lr", "momentum", "dropout"}
    assert len(tuner.results()) == 22


def small(hp):
    """Ask for one of eight configurations."""
    return compiled(keras.layers.Dense(hp.Int("units", 2, 5), hp.Choice("end", ["relu", "elu"])))


class OfFive(Tuner):
    """Have searched five of the eight."""

    def run_trial(self, trial, *args, **kwargs):
        """Tell of a value."""
        small(trial.hyperparameters)
        return {"val_accuracy": 0.5 + int(trial.trial_id) / 100}


def test_no_new_trial_repeats_an_imported_one(call, data, tmp_path):  # noqa: F811
    """The first search after the import draws the three configurations that are left, and ends."""
    options = {"max_trials": 5, "seed": 0, "directory": tmp_path, "project_name": "old"}
    OfFive(small, "val_accuracy", **options).search(verbose=0)
    call("import", tmp_path / "old", "--directory", tmp_path / "tuning")
    options = {"study_name": "old", "directory": tmp_path / "tuning", "seed": 0}
    tuner = OptunaTuner(from_keras_tuner(small), **options)
    x, y, validation = data
    tuner.search(x, y, validation_data=validation, epochs=1, verbose=0)
    points = [tuple(sorted(trial.params.items())) for trial in tuner.study.trials]
    assert len(points) == len(set(points)) == 8


def test_a_second_import_adds_what_is_new(call, project, tmp_path):  # noqa: F811
    """Trials that are there are left out, and unfinished ones too."""
    folder = tmp_path / "old"
    shutil.copytree(project[0], folder)
    path = folder / "trial_07" / "trial.json"
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "status": "RUNNING"}))
    begins = [
        call("import", folder, "--directory", tmp_path, "--study", "mine")[0].partition(".")[0]
        for _ in range(2)
    ]
    path.write_text(whole)
    begins.append(call("import", folder, "--directory", tmp_path, "--study", "mine")[0])
    assert begins[0].startswith("Added 19 trials, and left out 1")
    assert begins[1].startswith("Added 0 trials, and left out 20")
    assert begins[2].startswith("Added 1 trial, and left out 19")
    assert "Study 'mine' has 17 COMPLETE and 3 FAIL; the first count" in begins[2]


def test_another_project_needs_another_study(call, project, tmp_path):  # noqa: F811
    """Trials of two projects are not mixed."""
    shutil.copytree(project[0], tmp_path / "old")
    call("import", project[0], "--directory", tmp_path)
    _, err = call("import", tmp_path / "old", "--directory", tmp_path, code=1)
    assert "is another project. Pass another --study." in one_line(err)


def test_a_storage_is_taken_in_place_of_a_directory(call, project, tmp_path, monkeypatch):  # noqa: F811
    """The study lies where --storage says, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    call("import", project[0], "--storage", f"sqlite:///{tmp_path}/my.db")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("my.db")] == []


def rewritten(project, folder, change):
    """Copy the project with another content of each trial, and return its folder."""
    shutil.copytree(project[0], folder)
    for path in folder.glob("trial_*/trial.json"):
        trial = json.loads(path.read_text())
        change(trial)
        path.write_text(json.dumps(trial))
    return folder


def test_an_objective_in_doubt_must_be_named(call, project, tmp_path):  # noqa: F811
    """Where two metrics have the scores, the error lists them, and --objective takes one."""

    def change(trial):
        if metrics := trial["metrics"]["metrics"]:
            metrics["val_auc"] = metrics["val_accuracy"]

    folder = rewritten(project, tmp_path / "old", change)
    _, err = call("import", folder, "--directory", tmp_path, code=1)
    assert "could be any of: val_accuracy, val_auc. Pass --objective with" in one_line(err)
    _, err = call("import", folder, "--directory", tmp_path, "--objective", "loss", code=1)
    assert "is not 'loss', but one of: val_accuracy, val_auc." in one_line(err)
    out, _ = call("import", folder, "--directory", tmp_path, "--objective", "val_auc")
    assert "'val_auc', direction='maximize'" in out


def test_a_value_between_the_steps_is_left_out(call, project, tmp_path):  # noqa: F811
    """Of a default that no search would draw the trial's other parameters remain."""

    def change(trial):
        trial["hyperparameters"]["values"]["dropout"] = 0.25

    folder = rewritten(project, tmp_path / "old", change)
    call("import", folder, "--directory", tmp_path)
    study = optuna.load_study(study_name="old", storage=f"sqlite:///{tmp_path}/study.db")
    assert {"dropout" in trial.params for trial in study.trials} == {False}
    assert study.best_trial.user_attrs["kerastune_optuna:import"]["values"]["dropout"] == 0.25


def test_one_name_under_two_conditions_is_two_parameters(call, project, tmp_path):  # noqa: F811
    """They have the names under which HyperParameters asks a trial for them."""

    def change(trial):
        hp = trial["hyperparameters"]
        for one in hp["space"]:
            one["config"]["name"] = one["config"]["name"].replace("form", "activation")
        hp["values"] = {name.replace("form", "activation"): v for name, v in hp["values"].items()}

    folder = rewritten(project, tmp_path / "old", change)
    call("import", folder, "--directory", tmp_path)
    study = optuna.load_study(study_name="old", storage=f"sqlite:///{tmp_path}/study.db")
    first = study.trials[0].params["kind"]
    other = {"a": "b", "b": "a"}[first]
    names = {name for trial in study.trials for name in trial.params if "activation" in name}
    assert names == {"activation", f"activation | kind={other}"}
    assert all("activation" in HyperParameters(trial).values for trial in study.trials)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: folder, "is no project of KerasTuner: it has no oracle.json. Pass the"),
        (lambda folder: (folder / "within").rename(folder / "two").parent, "It holds these: "),
        (lambda folder: folder / "within", "trial_00/trial.json' cannot be read: "),
    ],
)
def test_what_is_no_project_is_one_line(call, tmp_path, make, text):  # noqa: F811
    """The error says which folder to pass, or which file is damaged."""
    empty = tmp_path / "empty"
    (empty / "within" / "trial_00").mkdir(parents=True)
    if text.startswith("is no"):
        shutil.rmtree(empty / "within")
    else:
        (empty / "within" / "oracle.json").write_text("{}")
        (empty / "within" / "trial_00" / "trial.json").write_text('{"trial_id": "00", "hyp')
    _, err = call("import", make(empty), "--directory", tmp_path / "tuning", code=1)
    assert text in one_line(err)


def test_a_project_without_results_is_one_line(call, project, tmp_path):  # noqa: F811
    """There is nothing to learn from trials that are not completed."""
    folder = rewritten(project, tmp_path / "old", lambda trial: trial.update(status="FAILED"))
    _, err = call("import", folder, "--directory", tmp_path, code=1)
    assert "has no completed trial" in one_line(err)


def changed(trial, path, value=None):
    """Give a part of a trial's JSON another value, or drop it where there is none."""
    *above, last = path.split(".")
    for key in above:
        trial = trial[key]
    if value is None:
        del trial[last]
    else:
        trial[last] = value


DAMAGES = {
    "status": ("status", None, "it has no 'status', and counts as COMPLETED where it has a score."),
    "metrics": ("metrics", None, "its 'metrics' are missing or unreadable: its score alone is"),
    "observation": (
        "metrics.metrics.val_accuracy.observations",
        [{"step": 0, "value": ["much"]}],
        "its metric 'val_accuracy' cannot be read.",
    ),
    "text": ("score", "0.5 or so", "its score '0.5 or so' is no finite number: it is FAIL."),
    "NaN": ("score", float("nan"), "its score nan is no finite number: it is FAIL."),
    "no score": ("score", None, "its score None is no finite number: it is FAIL."),
    "space": (
        "hyperparameters",
        [1, 2],
        "its 'hyperparameters' are missing or unreadable: the trial is left out.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_of_a_trial_is_one_line(call, project, tmp_path, damage):  # noqa: F811
    """It names the trial; the rest of the trial, and all others, are imported."""
    path, value, told = DAMAGES[damage]
    folder = shutil.copytree(project[0], tmp_path / "old")
    file = folder / "trial_02" / "trial.json"
    trial = json.loads(file.read_text())
    changed(trial, path, value)
    file.write_text(json.dumps(trial))
    out, _ = call("import", folder, "--directory", tmp_path)
    line, last = out.splitlines()
    assert line.startswith(f"trial_02: {told}")
    is_left_out, is_failed = damage == "space", damage in ("text", "NaN", "no score")
    assert last.startswith(f"Added {19 if is_left_out else 20} trials, and left out 0")
    assert f"has {16 if is_left_out or is_failed else 17} COMPLETE and" in last
    study = optuna.load_study(study_name="old", storage=f"sqlite:///{tmp_path}/study.db")
    found = [one for one in study.trials if one.user_attrs[IMPORT]["trial_id"] == "02"]
    assert [one.state.name for one in found] == [["COMPLETE", "FAIL"][is_failed]] * (
        not is_left_out
    )
    assert all(one.params for one in found)


@pytest.mark.parametrize("content", ["[1, 2]", "null", "3.5", '"text"', '{"trial_id": "02", ', ""])
def test_a_file_of_another_shape_is_one_line(call, project, tmp_path, content):  # noqa: F811
    """The line names the file, and all other trials are imported."""
    folder = shutil.copytree(project[0], tmp_path / "old")
    (folder / "trial_02" / "trial.json").write_text(content)
    out, _ = call("import", folder, "--directory", tmp_path)
    line, last = out.splitlines()
    assert line.startswith(f"trial_02: '{folder}/trial_02/trial.json' cannot be read: ")
    assert line.endswith("KerasTuner may have died while it wrote it: the trial is left out.")
    assert last.startswith("Added 19 trials, and left out 0")


@pytest.mark.parametrize("content", ["[1, 2]", '{"start_order": 3}', ""])
def test_an_oracle_of_another_shape_costs_the_order_alone(call, project, tmp_path, content):  # noqa: F811
    """The trials are then in the order of their folders."""
    folder = shutil.copytree(project[0], tmp_path / "old")
    (folder / "oracle.json").write_text(content)
    out, _ = call("import", folder, "--directory", tmp_path)
    lines = out.splitlines()
    assert [line for line in lines if line.endswith(": the order of the trials is not known.")] == [
        line for line in lines[:-1] if line.startswith("oracle.json: ")
    ]
    assert lines[-1].startswith("Added 20 trials, and left out 0")


def test_a_project_of_an_older_version_is_read(call, project, tmp_path):  # noqa: F811
    """Files from before KerasTuner 1.2.0 lack some keys, of which one line each tells."""

    def change(trial):
        del trial["message"]
        trial["status"] = trial["status"].replace("FAILED", "INVALID")
        for one in trial["hyperparameters"]["space"]:
            one["config"].pop("step", None)
            del one["config"]["conditions"]

    folder = rewritten(project, tmp_path / "old", change)
    out, _ = call("import", folder, "--directory", tmp_path)
    *lines, last = out.splitlines()
    begin = "20 trials, the first trial_00: hyperparameters have no "
    assert lines == [
        f"{begin}'conditions': they count as active.",
        f"{begin}'step': all values between the ends count.",
    ]
    assert "has 17 COMPLETE and 3 FAIL" in last
    study = optuna.load_study(study_name="old", storage=f"sqlite:///{tmp_path}/study.db")
    assert study.trials[5].user_attrs["stop_reason"] == "failed in KerasTuner"
    assert study.best_params["dropout"] in (0.0, 0.1, 0.2)


def test_a_hyperparameter_that_cannot_be_read_is_left_out(call, project, tmp_path):  # noqa: F811
    """One line counts the trials, which have all their other parameters."""

    def change(trial):
        for one in trial["hyperparameters"]["space"]:
            if one["config"]["name"] == "lr":
                one["class_name"] = "Vector"

    folder = rewritten(project, tmp_path / "old", change)
    out, _ = call("import", folder, "--directory", tmp_path)
    line, _ = out.splitlines()
    assert line.startswith("20 trials, the first trial_00: a hyperparameter cannot be read, and is")
    study = optuna.load_study(study_name="old", storage=f"sqlite:///{tmp_path}/study.db")
    assert "lr" not in study.best_params
    assert {"kind", "momentum", "dropout"} <= set(study.best_params)


def test_without_metrics_the_objective_must_be_named(call, project, tmp_path):  # noqa: F811
    """The scores are known all the same, and the name tells the direction."""
    folder = rewritten(project, tmp_path / "old", lambda trial: trial.pop("metrics"))
    _, err = call("import", folder, "--directory", tmp_path, code=1)
    assert "could be any of: none. Pass --objective" in one_line(err)
    out, _ = call("import", folder, "--directory", tmp_path, "--objective", "val_accuracy")
    assert "'val_accuracy', direction='maximize'" in out

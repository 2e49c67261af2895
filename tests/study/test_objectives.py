"""Objectives: names and directions, and several: the front, pruning on one, what is measured."""

import io
import math

import keras
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from kerastune_optuna import ArgumentError, MetricNotFoundError
from kerastune_optuna._report.live import Frame
from kerastune_optuna._report.progress import Plan
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._study.objectives import Objective, Objectives, parse_objective
from tests.search.test_stopping import that_learns_nothing
from tests.support import untrained
from tests.support.faults import finished, meet, states, trials_of
from tests.support.models import history, kept
from tests.support.servers import database
from tests.support.untrained import OBJECTIVES, Untrained, X, build, run, tuner_in

SMALLER = "loss val_loss val_mean_absolute_error val_digit_loss val_iou_loss val_dice_loss".split()
LARGER = (
    "val_accuracy val_f1_score val_r2_score val_auc_3 digit_sparse_categorical_accuracy val_iou "
    "val_mask_miou val_mean_iou val_mean_io_u_1 val_dice_coef dice_coefficient "
    "val_f1 val_AUC val_r2 val_prc val_sold_acc macro_F1".split()
)


def front_of(tuner):
    """Return the numbers of the trials on the front, by Optuna, without those that repeat."""
    best = tuner.study.best_trials
    return [trial.number for trial in best if trial.user_attrs.get("repeat_of") is None]


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """Give a tuner that has searched 16 trials for two objectives, which no test may change."""
    return run(tuner_in(tmp_path_factory.mktemp("two") / "tuning", n_trials=16, sampler="random"))


def test_one_name_in_a_list_is_that_name():
    """A list of one is an objective, whose direction may be a text or a list."""
    alone = Objectives.parse("val_loss", "auto")
    assert Objectives.parse(["val_loss"], "auto").each == alone.each
    assert Objectives.parse(("val_loss",), ["auto"]).each == alone.each
    assert Objectives.parse(["val_loss"], "minimize").each == alone.each
    assert not alone.are_several


def test_directions_are_those_of_their_names():
    """Auto and explicit directions may stand in one list; the first metric is watched."""
    found = Objectives.parse(["n_params", "val_mine", "loss"], ["auto", "maximize", "auto"])
    assert found.directions == ["minimize", "maximize", "minimize"]
    assert (found.watched.name, found.watched.place) == ("val_mine", 1)


def test_the_front_is_what_no_trial_dominates(tuner):
    """best_trials are Optuna's, and the store has the weights of each, and no others."""
    front = [trial.number for trial in tuner.best_trials]
    assert front == front_of(tuner)
    assert len(kept(tuner)) == len(front) > 1


@pytest.mark.parametrize("breaks", ["rival", "both"])
def test_weights_are_kept_where_better_trials_break_a_constraint_more(quick, breaks):
    """A trial is alone on the front then, though another one has better values."""

    def building(trial):
        def tell(epoch, logs):
            trial.set_constraint("cost", 0.5 if breaks == "both" else -0.5)

        return build(trial), {"callbacks": [keras.callbacks.LambdaCallback(on_epoch_end=tell)]}

    tuner = quick(building, OBJECTIVES, n_trials=2, keep_best="auto")
    rival = tuner.study.ask()
    rival.set_constraint("cost", 1.0)
    tuner.study.tell(rival, [-1.0, 0.0])
    run(tuner, epochs=1)
    assert [trial.number for trial in tuner.best_trials] == [1]
    assert tuner.best_model(trial=1).count_params() == tuner.best_trials[0].values[1]


def test_the_values_are_those_of_the_best_epoch_and_of_the_model(tuner):
    """The metric is its best, and n_params what Keras counts."""
    for trial in tuner.best_trials:
        error, size = trial.values
        assert error == trial.user_attrs["best_value"] == min(trial.intermediate_values.values())
        assert size == tuner.best_model(trial=trial.number).count_params()


OF_ONE = ["best_trial", "best_params", "best_value", "best_model", "best_models", "refit"]
GIVEN = {"best_models": [1], "refit": [X, X]}


@pytest.mark.parametrize("name", OF_ONE)
def test_no_trial_of_the_front_is_the_best(name, tuner):
    """What needs one best trial is an error that lists those on the front."""
    numbers = ", ".join(str(trial.number) for trial in tuner.best_trials)
    with pytest.raises(ArgumentError, match=rf"better than the others: {numbers}\. .*best_trials"):
        getattr(tuner, name)(*GIVEN.get(name, []))  # a property raises before it is called


def check_pruned(trials, size="n_params"):
    """Check that some were, each at all its epochs behind a COMPLETE one that is no larger."""
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        reports = trial.intermediate_values
        assert any(
            other.state is TrialState.COMPLETE
            and other.user_attrs[size] <= trial.user_attrs[size]
            and all(other.intermediate_values[step] < reports[step] for step in reports)
            for other in trials
        )


@pytest.mark.slow
def test_two_workers_on_postgresql_find_the_front(tmp_path):
    """With a database server and two processes the front is right, and dominated trials pruned."""

    def build_together(trial):
        meet(tmp_path, 2)
        return build(trial)

    with database("postgresql") as url:
        tuner = tuner_in(tmp_path / "tuning", build_together, n_trials=16, storage=url)
        run(tuner, n_workers=2)
        assert [trial.number for trial in tuner.best_trials] == front_of(tuner)
        assert len(finished(tuner)) == 16
        assert len({TrialRecord(trial).process for trial in trials_of(tuner)}) == 2
        check_pruned(trials_of(tuner))
        assert len(kept(tuner)) == len(tuner.best_trials)
        tuner.study._storage.remove_session()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": optuna.samplers.NSGAIISampler(population_size=4, seed=0)},
        {"sampler": optuna.samplers.TPESampler(n_startup_trials=4, seed=0), "pruner": "hyperband"},
        {"sampler": "random", "pruner": "halving"},
        {"pruner": optuna.pruners.MedianPruner(n_startup_trials=2)},
    ],
    ids=["NSGA-II", "Hyperband", "halving", "median"],
)
def test_samplers_and_pruners_work_with_several(options, quick):
    """Optuna's own run as they are, and no trial fails."""
    tuner = run(quick(build_with_loss, ["n_params", "val_mae", "loss"], n_trials=8, **options))
    assert len(finished(tuner)) == len(tuner.study.trials) == 8
    assert [trial.number for trial in tuner.best_trials] == front_of(tuner)


def build_with_loss(trial):
    level = trial.suggest_float("level", 0.0, 1.0)
    curve = [{"val_mae": level - 0.1 * epoch, "loss": 1 - level} for epoch in range(5)]
    return Untrained(trial.suggest_int("units", 1, 9), curve)


def build_that_gets_worse(trial):
    """Return a model whose second epoch is its best, and whose loss is NaN there in trial 1."""
    nan = math.nan if trial.number == 1 else 0.25
    curve = [{"val_mae": 0.5, "val_loss": 0.1}, {"val_mae": 0.4, "val_loss": nan}, {"val_mae": 0.6}]
    return Untrained(trial.suggest_int("units", 1, 9), curve)


def test_other_metrics_are_those_of_the_best_epoch(quick):
    """The first metric decides on the epoch, though another one was better before."""
    tuner = run(quick(build_that_gets_worse, ["val_mae", "val_loss"], n_trials=1))
    assert tuner.best_trials[0].values == [0.4, 0.25]
    assert tuner.best_trials[0].user_attrs["best_epoch"] == 1


def test_a_metric_that_is_nan_fails_its_trial(quick):
    """Optuna takes NaN for no value: the trial says which metric it was, and the search goes on."""
    tuner = run(quick(build_that_gets_worse, ["val_mae", "val_loss"], n_trials=2))
    assert states(tuner) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuner.results()["stop_reason"][1].endswith("val_loss is NaN at the best epoch")


def test_a_second_metric_that_is_not_logged_is_told_before_training(quick):
    """Each metric is looked for, not only the first."""
    tuner = quick(build, ["val_mae", "val_mse"])
    with pytest.raises(MetricNotFoundError, match="objective='val_mse'"):
        run(tuner)
    assert not any(trial.intermediate_values for trial in tuner.study.trials)


def test_time_is_measured(search):
    """The seconds of a real training are an objective."""
    names = ["val_accuracy", "seconds", "val_loss"]
    (trial,) = (tuner := search(objective=names, n_trials=1)).best_trials
    accuracy, seconds, loss = trial.values
    assert 0 < seconds < trial.user_attrs["seconds"]
    best = history(tuner, 0)[trial.user_attrs["best_epoch"]]
    assert [accuracy, loss] == [float(best["val_accuracy"]), float(best["val_loss"])]


def test_flops_are_counted_and_trials_pruned_by_them(quick):
    """A study that goes on has them in each trial, and a repeat has those of its trial."""
    for n_trials in (12, 16):
        tuner = quick(build, ["val_mae", "flops"], n_trials=n_trials, sampler="random")
        tuner.study.enqueue_trial({"units": 5, "level": 0.0})
        trials = run(tuner).study.trials
    check_pruned(trials, "flops")
    table = tuner.results()
    # Each unit multiplies, adds and has a bias, and the last layer multiplies and adds it.
    assert table["flops"].tolist() == [5 * trial.params["units"] + 1 for trial in trials]
    done = table[table["state"] == "COMPLETE"]
    assert done["values_flops"].tolist() == done["flops"].tolist()
    assert sum("repeat_of" in trial.user_attrs for trial in trials) == 1


def test_confirm_is_for_one_objective(tuner):
    """No mean says who wins: the error says what to do instead, and nothing is trained."""
    with pytest.raises(ArgumentError, match=r"minimize val_mae, minimize n_params\. .*refit\(x"):
        tuner.confirm(1, 2, X, X, (X, X), verbose=0)
    assert optuna.get_all_study_names(tuner.study._storage) == ["test"]


def test_a_named_trial_is_trained_anew(tuner):
    """refit() takes the number of a trial, and returns its model and what fit returned."""
    trial = tuner.best_trials[-1]
    model, _ = tuner.refit(X, X, trial=trial.number, verbose=0)
    assert model.count_params() == trial.values[1]


def test_trials_that_bring_nothing_new_end_a_search(quick, capsys):
    """terminator= counts the trials since the front had a new member; equals are not new."""
    tuner = quick(that_learns_nothing, OBJECTIVES, n_trials=9, terminator=2)
    run(tuner, verbose=2)
    assert states(tuner)[:3] == ["COMPLETE"] * 3
    assert len(finished(tuner)) == 3
    assert "Stopped: 2 trials brought no better value" in capsys.readouterr().out


def test_a_builders_own_fit_returns_all_metrics(quick):
    """Each objective is looked for among the metrics that it returned."""

    def own(trial):
        return Untrained(trial.suggest_int("units", 1, 9), [])

    own.fit = lambda trial, model, **given: {"val_mae": 0.5, "val_loss": 0.25}
    (trial,) = run(quick(own, ["val_mae", "val_loss", "n_params"], n_trials=1)).best_trials
    assert trial.values == [0.5, 0.25, 3 * trial.params["units"] + 1]


def test_the_summary_has_a_column_for_each_objective(tuner, capsys):
    """The title has all aims, rank 1 are those on the front, and a line counts them."""
    tuner.summary(20)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == " Study 'test': minimize val_mae, minimize n_params"
    first = [line for line in shown if line.startswith("    1 ")]
    assert len(first) == len(tuner.best_trials)
    assert f" Front: {len(first)} trials, which have rank 1" in shown


def test_results_have_a_column_for_each_objective(tuner):
    """A pruned trial has no values there."""
    table = tuner.results()
    values = table[["values_val_mae", "values_n_params"]].to_numpy().tolist()
    for trial, own in zip(tuner.study.trials, values, strict=True):
        assert own == trial.values if trial.values else np.isnan(own).all()
    assert "value" not in table.columns


def test_the_front_is_drawn(tuner):
    """A line goes through the trials on the front, from left to right."""
    front = tuner.plot_front().data[-1]
    best = sorted(trial.values for trial in tuner.best_trials)
    assert [list(point) for point in zip(front.x, front.y, strict=True)] == best


def test_one_objective_has_no_front(make_tuner):
    """The error says what to call instead."""
    tuner = make_tuner()
    assert tuner.study.trials == []
    with pytest.raises(ArgumentError, match="plot_history"):
        tuner.plot_front()


def test_the_live_display_names_all_objectives(tuner):
    """It shows the best of the first metric."""
    objectives = Objectives.parse(OBJECTIVES, "auto")
    console = Console(file=io.StringIO(), width=80, height=9)
    console.print(Frame(Plan("test", objectives, 16, 5), tuner.study.trials, 1.0))
    drawn = console.file.getvalue()
    assert "minimize val_mae, minimize n_params" in drawn
    best = min(tuner.best_trials, key=lambda trial: trial.values[0])
    assert f"{best.values[0]:#.4g} in trial {best.number}" in drawn


@pytest.mark.parametrize(
    ("name", "direction"),
    [*((one, "minimize") for one in SMALLER), *((one, "maximize") for one in LARGER)],
)
def test_certain_names_have_a_direction(name, direction):
    """A direction of "auto" is the one that a metric's name makes certain."""
    assert parse_objective(name, "auto").direction == direction


@pytest.mark.parametrize(
    "name",
    ["val_cosine_similarity", "val_dice", "val_score", "profit", "val_neg_mean_squared_error"],
)
def test_other_names_ask_for_a_direction(name):
    """A name that leaves a doubt is an error, and an explicit direction settles it."""
    with pytest.raises(
        ArgumentError, match=r'[Pp]ass direction="maximize" or direction="minimize"'
    ):
        parse_objective(name, "auto")
    assert parse_objective(name, "maximize") == Objective(name, "maximize")


def test_a_misspelt_name_is_asked_about():
    """The error names what may be meant, and what to do otherwise."""
    told = r"Did you mean 'val_accuracy'\? If not, pass direction="
    with pytest.raises(ArgumentError, match=told):
        parse_objective("val_acuracy", "auto")


@pytest.mark.parametrize(
    ("objective", "direction"),
    [("val_accuracy", "minimize"), ("loss", "maximize"), (["loss", "auc"], ["auto", "minimize"])],
)
def test_a_direction_to_the_worst_warns(make_tuner, objective, direction):
    """The wrong way round is asked for on purpose, if ever: the tuner says so, and does it."""
    with pytest.warns(UserWarning, match="searches for the worst '.*'. Pass direction") as got:
        make_tuner(objective=objective, direction=direction)
    assert [warning.filename for warning in got] == [untrained.__file__]


@pytest.mark.parametrize(
    ("objective", "logged", "found"),
    [
        ("val_accuracy", ["loss", "val_accuracy", "val_binary_accuracy"], "val_accuracy"),
        ("val_accuracy", ["accuracy", "val_categorical_accuracy"], "val_categorical_accuracy"),
        ("accuracy", ["sparse_categorical_accuracy"], "sparse_categorical_accuracy"),
        ("val_accuracy", ["val_binary_accuracy", "val_categorical_accuracy"], None),
        ("val_auc", ["val_loss", "val_auc_7"], "val_auc_7"),
        ("val_auc", ["val_auc_7", "val_auc_8"], None),
        ("val_loss", ["loss"], None),
        ("val_sparse_accuracy", ["val_sparse_categorical_accuracy"], None),
        ("val_top_k_accuracy", ["val_top_k_categorical_accuracy"], None),
        ("val_sold_acc", ["val_sold_accuracy", "val_sold_auc"], "val_sold_accuracy"),
        ("sold_accuracy", ["kind_accuracy", "sold_binary_accuracy"], "sold_binary_accuracy"),
    ],
)
def test_the_metric_is_found_where_one_name_can_be_meant(objective, logged, found):
    """Keras's other names of a metric are found when there is just one of them."""
    assert parse_objective(objective, "auto").find(logged) == found


BETTER = [("minimize", 1.0, 2.0), ("maximize", 2.0, 1.0), ("maximize", 1.0, None)]
OTHERS = [("minimize", 2.0, 2.0), ("maximize", math.inf, 1.0), ("minimize", math.nan, None)]


@pytest.mark.parametrize(("direction", "value", "than"), [*BETTER, *OTHERS])
def test_better_means_further_in_the_direction(direction, value, than):
    """A value is better when it is finite and strictly further in the direction."""
    is_better = Objective("metric", direction).is_better(value, than=than)
    assert is_better is ((direction, value, than) in BETTER)

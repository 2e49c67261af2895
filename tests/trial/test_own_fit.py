"""Several fits of one training, as a builder's own fit makes them: one curve, best and model."""

import re
import signal

import keras
import numpy as np
import pytest
from optuna.trial import TrialState

from kerastune_optuna import BuilderError, TooManyFailuresError
from tests.support import falling
from tests.support.falling import Falling, loss_of
from tests.support.faults import interrupt_after, trials_of
from tests.support.hosts import needs_posix
from tests.support.models import PruneAt, Spy, build_model, history
from tests.support.noise import Noise


class Phases:
    """Train with frozen layers first, and then with all of them, as transfer learning does."""

    def __init__(
        self,
        returns=lambda *histories: histories[-1],
        between=lambda model: None,
        epochs=(2, 3),
        counts_on=lambda first: 0,
    ):
        self.returns, self.between = returns, between  # what fit returns of its Histories
        self.epochs, self.counts_on = epochs, counts_on  # what initial_epoch= of the second fit is

    def model(self, trial):
        """Return a classifier."""
        return build_model(trial)

    def __call__(self, trial):
        """Build a model whose first layer is frozen, and that needs no graph."""
        model = self.model(trial)
        model.layers[0].trainable = False
        return self.compiled(model)

    def compiled(self, model):
        """Return the model, compiled alike for both fits."""
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], run_eagerly=True)
        return model

    def fit(self, trial, model, epochs, **arguments):
        """Train twice."""
        first = model.fit(epochs=self.epochs[0], **arguments)
        self.between(model)
        model.layers[0].trainable = True
        begin = self.counts_on(first)
        numbers = {"initial_epoch": begin, "epochs": begin + self.epochs[1]}
        return self.returns(first, self.compiled(model).fit(**numbers, **arguments))


class MadeUp(Phases):
    """Train models whose training is made up."""

    def model(self, trial):
        """Return a model that has something to tune."""
        return falling.build(trial)


def training(train, kind=MadeUp):
    """Return a builder whose fit is a function of the model and of what fit is given."""

    class Own(kind):
        def fit(self, trial, model, **given):
            return train(model, **given)

    return Own()


def spoil(model):
    """Make a model worse than it ever was."""
    for weight in model.weights:
        weight.assign(np.linspace(0, 18, np.prod(weight.shape)).reshape(weight.shape))


@pytest.fixture
def made_up(search):
    """Give a function that searches for a trial of made up fits, of which the first is better."""

    def run(returns=lambda *both: both[-1], between=spoil, objective="val_loss", **options):
        return search(MadeUp(returns, between), objective, **{"n_trials": 1, **options})

    return run


def comes_to_its_value(tuner, data):
    return loss_of(tuner.best_model(), data) == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.parametrize("between", [spoil, lambda model: None], ids=["first", "second"])
def test_all_fits_are_one_curve_with_one_best_epoch(made_up, data, between):
    """Whichever fit has the best epoch, it is the value, and its weights are kept."""
    tuner = made_up(between=between)
    trial, attrs = tuner.best_trial, tuner.best_trial.user_attrs
    rows = [float(row["val_loss"]) for row in history(tuner, 0)]
    assert [trial.intermediate_values[step] for step in range(5)] == rows
    assert attrs["epochs_run"] == attrs["epochs"] == 5
    assert attrs["stop_reason"] == "ran all epochs"
    assert (attrs["best_epoch"] < 2) == (between is spoil)
    assert tuner.best_value == min(rows) == rows[attrs["best_epoch"]]
    assert comes_to_its_value(tuner, data)


@pytest.mark.parametrize(
    "counts_on", [lambda first: len(first.epoch), lambda first: first.epoch[-1], lambda first: 7]
)
def test_epochs_are_counted_once_whatever_initial_epoch_says(search, counts_on, capsys):
    """Keras's tutorials go on with the next epoch, or with the last one again."""
    tuner = search(MadeUp(counts_on=counts_on), "val_loss", n_trials=1)
    assert sorted(tuner.best_trial.intermediate_values) == list(range(5))
    assert [row["epoch"] for row in history(tuner, 0)] == list("01234")
    tuner.summary()
    best, run = map(int, re.search(r" (\d+)/(\d+) ", capsys.readouterr().out).groups())
    assert best <= run == 5


def searched(search, build, **options):
    """Search with a fit that notes what its callbacks are shown; return the trial and the notes."""
    seen = []
    tuner = search(build, "val_loss", n_trials=1, fit={"callbacks": [Spy(seen)]}, **options)
    return tuner.study.trials[0], seen


class Catching(MadeUp):
    """Take a phase that raises for one that did not help."""

    def fit(self, trial, model, **arguments):
        """Return a number whatever happens."""
        try:
            return super().fit(trial, model, **arguments)
        except Exception:
            return 0.0


TWO_FITS = ["begin", 0, 1, "end", "begin", 0, 1, "end"]


@pytest.mark.parametrize(
    ("kind", "step", "expected", "where"),
    [
        (MadeUp, 0, ["begin", 0, "end"], "1/2"),
        (Catching, 0, ["begin", 0, "end"], "1/2"),
        (MadeUp, 3, TWO_FITS, "4/5"),
    ],
)
def test_a_training_that_is_pruned_has_no_further_fit(search, kind, step, expected, where):
    """No callback hears of a fit whose first epoch would be for nothing; all epochs are told."""
    trial, seen = searched(search, kind(), pruner=PruneAt([0], step))
    assert seen == expected
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs["epochs_run"] == step + 1
    assert trial.user_attrs["stop_reason"] == f"pruned at epoch {where} by PruneAt"


def test_the_half_of_a_training_may_be_too_little_for_its_code(search):
    """What code after a fit makes of a pruned training is no failure of the trial."""
    build = training(lambda model, **given: model.fit(**given).history["val_loss"][1])
    trial, _ = searched(search, build, pruner=PruneAt([0]))
    assert trial.state is TrialState.PRUNED


@needs_posix  # the clock of Windows ticks 64 times a second
def test_a_training_whose_time_is_over_has_no_further_fit(search):
    """The seconds of a trial are those of all its fits."""
    trial, seen = searched(search, MadeUp(), max_seconds_per_trial=1e-9)
    assert seen == ["begin", 0, "end"]
    assert "max_seconds_per_trial" in trial.user_attrs["stop_reason"]


def test_a_training_that_diverges_has_no_further_fit(search):
    """A loss that is not finite ends all fits."""

    class Diverging(MadeUp):
        def fit(self, trial, model, **arguments):
            model.layers[0].kernel.assign(np.full((4, 1), np.nan))
            return super().fit(trial, model, **arguments)

    seen = []
    options = {"n_trials": 1, "max_failed_trials": 1, "fit": {"callbacks": [Spy(seen)]}}
    with pytest.raises(TooManyFailuresError, match="diverged at epoch 1/2: the loss is nan"):
        search(Diverging(), "val_loss", **options)
    assert seen == ["begin", 0, "end"]


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", [MadeUp, Catching])
@pytest.mark.parametrize("moment", ["within a fit", "between fits"])
def test_an_interrupt_leaves_all_fits(search, make_tuner, moment, kind):
    """The trial is run again, and nothing of its second fit was begun."""
    seen = []
    within = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    options = {"between": interrupt} if moment == "between fits" else {}
    callbacks = [Spy(seen), *[within] * (moment == "within a fit")]
    with pytest.raises(KeyboardInterrupt):
        search(kind(**options), n_trials=1, fit={"callbacks": callbacks})
    assert seen.count("begin") == 1
    states = [trial.state for trial in make_tuner().study.trials]
    assert states == [TrialState.FAIL, TrialState.WAITING]


def resumed(search, make_tuner, build, at, *callbacks):
    """Interrupt a trial after some epochs and resume it; return the tuner and what a Spy saw."""
    seen, stops = [], interrupt_after(at, [], interrupt)
    options = {"n_trials": 1, "backup_every": 0}
    with pytest.raises(KeyboardInterrupt):
        search(build, "val_loss", fit={"callbacks": [*callbacks, stops]}, **options)
    tuner = make_tuner(build, "val_loss", **options)
    return search(tuner=tuner, fit={"callbacks": [*callbacks, Spy(seen)]}), seen


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 3], ids=["end of the first", "second"])
def test_an_interrupt_trains_no_fit_that_ended_again(search, make_tuner, data, at):
    """The first fit has no epoch left and its whole History; the second is trained anew."""
    lengths = []

    def returns(first, second):
        lengths.append(len(first.history["val_loss"]))
        return best_of(first, second)

    tuner, seen = resumed(search, make_tuner, Phases(returns, between=spoil), at)
    assert seen == ["begin", "end", "begin", 0, 1, 2, "end"]
    assert set(lengths) == {2}
    before, trial = trials_of(tuner)
    rows = [float(row["val_loss"]) for row in history(tuner, 1)]
    assert [trial.intermediate_values[step] for step in range(5)] == rows
    assert rows[:2] == [before.intermediate_values[step] for step in range(2)]
    assert trial.user_attrs["fits"] == [2, 3]
    assert trial.user_attrs["epochs_run"] == 5
    assert trial.user_attrs["best_epoch"] < 2
    assert comes_to_its_value(tuner, data)


@pytest.mark.slow
def test_a_fit_that_a_callback_stopped_is_not_trained_longer_when_resumed(search, make_tuner, data):
    """Its callback, which begins anew, would let it have further epochs."""

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.left = 2

        def on_epoch_end(self, epoch, logs=None):
            self.left -= 1
            self.model.stop_training = self.model.stop_training or self.left == 0

        def on_train_end(self, logs=None):
            spoil(self.model)  # as restore_best_weights= replaces the last weights

    tuner, seen = resumed(search, make_tuner, Phases(epochs=(4, 4)), 3, Stop())
    assert seen == ["begin", "end", "begin", 0, 1, "end"]
    assert tuner.best_trial.user_attrs["fits"] == [2, 2]
    assert comes_to_its_value(tuner, data)


@pytest.mark.slow
def test_a_number_for_the_last_weights_counts_after_a_resume_too(search, make_tuner, data):
    """No epoch had a value: the weights are those that the model has in the end."""

    def train(model, validation_data, **given):
        model.fit(**given)
        return loss_of(model, data)

    tuner, seen = resumed(search, make_tuner, training(train, Phases), 1)
    assert seen == ["begin", 1, "end"]
    assert comes_to_its_value(tuner, data)


@pytest.mark.slow
def test_a_fit_of_its_own_may_compile_the_model(search, make_tuner, data):
    """An interrupted trial goes on, and its best model is handed out as it was built."""

    class CompiledInFit(Phases):
        def __call__(self, trial):
            return keras.Sequential.from_config(super().__call__(trial).get_config())

        def fit(self, trial, model, **arguments):
            return super().fit(trial, self.compiled(model), **arguments)

    tuner, seen = resumed(search, make_tuner, CompiledInFit(), 1)
    assert seen == ["begin", 1, "end", "begin", 0, 1, 2, "end"]
    model = tuner.best_model()
    assert not model.compiled
    loss = loss_of(Phases().compiled(model), data)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


def best_of(first, second):
    return min(first.history["val_loss"] + second.history["val_loss"])


@pytest.mark.parametrize(
    "returns",
    [
        best_of,
        lambda *both: round(best_of(*both), 4),
        lambda *both: {"val_loss": best_of(*both), "other": 3},
        lambda first, second: first,
    ],
    ids=["number", "rounded", "dict", "History"],
)
def test_what_agrees_with_the_epochs_may_be_returned(made_up, returns):
    """The value stays that of the best epoch."""
    tuner = made_up(returns)
    assert tuner.best_value == min(tuner.best_trial.intermediate_values.values())


LAST = lambda first, second: second.history["val_loss"][-1]  # noqa: E731 worse than the best
IS_BETTER = "ignore:The builder's fit returned another val_loss:UserWarning"


@pytest.mark.filterwarnings(IS_BETTER)
@pytest.mark.parametrize(
    "returns", [LAST, lambda *both: {"val_loss": LAST(*both)}], ids=["number", "dict"]
)
def test_what_fit_returns_counts_with_the_last_weights(made_up, data, returns):
    """As in KerasTuner its value is that of the trial, whose best epoch was another."""
    tuner = made_up(returns)
    trial = tuner.best_trial
    reported = trial.intermediate_values
    assert tuner.best_value == reported[4] > min(reported.values())
    assert trial.user_attrs["best_value"] == tuner.best_value
    assert trial.user_attrs["best_epoch"] == 4
    assert comes_to_its_value(tuner, data)


def test_a_line_says_once_that_the_best_epoch_was_better(made_up):
    """Not for each trial, and not where nothing was lost."""
    with pytest.warns(UserWarning, match="returned another val_loss than that of its best") as got:
        made_up(LAST, n_trials=2, train_repeats=True)
    (line,) = [str(one.message) for one in got if "another val_loss" in str(one.message)]
    assert len(line.splitlines()) == 1


def test_what_is_better_than_all_epochs_counts_in_silence(made_up, recwarn):
    """Say of weights that were averaged after the last epoch."""
    assert made_up(lambda *both: 0.125).best_value == 0.125
    assert not [one for one in recwarn if "returned" in str(one.message)]


@pytest.mark.filterwarnings(IS_BETTER)
def test_a_value_that_is_not_finite_fails_a_trial_with_epochs(made_up):
    """And it is what fit returned that is not finite, not what the epochs logged."""
    with pytest.raises(TooManyFailuresError, match="fit returned a val_loss that is not finite"):
        made_up(lambda *both: float("nan"), max_failed_trials=1)


OTHERS = {
    "best": (lambda *both: {"val_loss": best_of(*both), "val_accuracy": 5.0}, 1, 1.0),
    "returned": (lambda *both: {"val_loss": LAST(*both), "val_accuracy": 5.0}, 4, 5.0),
    "last": (lambda *both: {"val_loss": LAST(*both)}, 4, 2.0),
}


@pytest.mark.filterwarnings(IS_BETTER)
@pytest.mark.parametrize(("returns", "epoch", "accuracy"), OTHERS.values(), ids=OTHERS)
def test_several_objectives_are_those_of_the_epoch_that_counts(made_up, returns, epoch, accuracy):
    """What else fit returns counts with the last weights alone, before what that epoch logged."""
    tuner = made_up(returns, objective=["val_loss", "val_accuracy"])
    row = history(tuner, 0)[epoch]
    assert tuner.best_trials[0].values == [float(row["val_loss"]), accuracy]


def test_what_a_fit_returns_may_be_tensors(made_up):
    """As what Keras's functions of losses return, for each of several objectives."""
    names = ["val_loss", "val_accuracy"]
    returns = lambda *both: {name: keras.ops.convert_to_tensor(0.125) for name in names}  # noqa: E731
    assert made_up(returns, objective=names).best_trials[0].values == [0.125, 0.125]


@pytest.mark.filterwarnings(IS_BETTER)
def test_the_mean_of_last_values_counts_with_the_weights_of_the_best(made_up, data):
    """Where a trial has several trainings, each returns its own."""
    tuner = made_up(LAST, executions_per_trial=2)
    attrs = tuner.best_trial.user_attrs
    assert tuner.best_value == pytest.approx(np.mean(attrs["values"]))
    assert attrs["best_epochs"] == [4, 4]
    assert loss_of(tuner.best_model(), data) == pytest.approx(min(attrs["values"]), abs=1e-5)
    best = min(tuner.best_trial.intermediate_values.values())
    fit = {"validation_data": data[2], "verbose": 0}
    confirmed = tuner.confirm(1, 2, *data[:2], **fit)
    assert min(confirmed.winner.values) > 2 * best, "of the last epochs too"


@pytest.mark.slow
@pytest.mark.filterwarnings(IS_BETTER)
def test_a_model_that_samples_draws_as_where_its_last_weights_were_evaluated(search, data):
    """Its seed generators stand where they stood before that."""

    class Sampling:
        def __call__(self, trial):
            model = keras.Sequential([keras.Input((4,)), Noise(), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(trial.suggest_float("rate", 1e-3, 1e-2)), "mse")
            return model

        def fit(self, trial, model, callbacks, **arguments):
            model.fit(callbacks=callbacks, **arguments)
            return model.evaluate(*arguments["validation_data"], verbose=0, callbacks=callbacks)

    tuner = search(Sampling(), "val_loss", n_trials=1)
    assert tuner.best_value not in tuner.best_trial.intermediate_values.values()
    assert comes_to_its_value(tuner, data)


@pytest.mark.slow
@pytest.mark.filterwarnings(IS_BETTER)
def test_the_last_weights_are_kept_after_a_resume_too(search, make_tuner, data):
    """A backup of all epochs holds them beside those of the best one."""
    deaths, seen = [1], []

    def train(model, callbacks, **given):
        late = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: spoil(model) if epoch == 1 else None
        )
        model.fit(callbacks=[late, *callbacks], **given)
        if deaths:
            raise KeyboardInterrupt(deaths.pop())
        return loss_of(model, data)

    build, options = training(train, Phases), {"n_trials": 1, "backup_every": 0.0}
    with pytest.raises(KeyboardInterrupt):
        search(build, "val_loss", **options)
    tuner = make_tuner(build, "val_loss", **options)
    search(tuner=tuner, fit={"callbacks": [Spy(seen)]})
    assert seen == ["begin", "end"]
    trial = tuner.best_trial
    assert tuner.best_value > min(trial.intermediate_values.values())
    assert trial.user_attrs["best_epoch"] == 1
    assert comes_to_its_value(tuner, data)


def test_a_history_that_no_callback_saw_counts_with_the_last_weights(search, data):
    """Its best epoch's weights are gone, and a line says so, and that nothing was pruned."""

    class Unpassed(MadeUp):
        def fit(self, trial, model, callbacks, **arguments):
            return super().fit(trial, model, **arguments)

    with pytest.warns(UserWarning, match="nothing is pruned") as got:
        tuner = search(Unpassed(between=spoil), "val_loss", n_trials=2, train_repeats=True)
    (line,) = [str(one.message) for one in got if "History" in str(one.message)]
    assert "last epoch" in line
    assert "Pass callbacks= on" in line
    assert len(line.splitlines()) == 1
    assert comes_to_its_value(tuner, data)


@pytest.mark.filterwarnings("ignore:The builder's fit returned a History:UserWarning")
def test_a_last_phase_that_no_callback_saw_counts_where_it_is_better(search, data):
    """With its weights: the epochs before were seen."""

    def train(model, callbacks, epochs, **given):
        model.fit(epochs=1, callbacks=callbacks, **given)
        return model.fit(epochs=3, **given)

    tuner = search(training(train), "val_loss", n_trials=1)
    assert tuner.best_value < tuner.best_trial.intermediate_values[0]
    assert comes_to_its_value(tuner, data)


def test_another_model_may_be_trained_before_without_the_objective(search):
    """As for pre-training: its epochs count, and the value comes from the trial's model."""

    def train(model, **given):
        Falling(model.layers[0], keras.layers.Dense(4), logged=["loss"]).fit(**given)
        return model.fit(**given)

    trial = search(training(train), "val_loss", n_trials=1).best_trial
    assert sorted(trial.intermediate_values) == [2, 3]


class Unbuilt(MadeUp):
    """Return models that have no weights before their training."""

    def model(self, trial):
        """Return a model without an input."""
        return keras.Sequential([keras.layers.Dense(trial.suggest_int("units", 2, 8))])


@pytest.mark.parametrize("kind", [MadeUp, Unbuilt])
def test_another_model_with_the_objective_is_an_error(search, kind):
    """Its value would count, and best_model() could not have its weights."""
    build = training(lambda model, **given: Falling().fit(**given), kind)
    with pytest.raises(BuilderError, match="another model than its trial's") as got:
        search(build, "val_loss", n_trials=1)
    assert len(str(got.value).splitlines()) == 1


def test_a_model_around_that_of_the_trial_may_be_trained(search, data):
    """As with layers of augmentation before it: the weights are those of the trial's model."""
    around = lambda model: Falling(keras.layers.Rescaling(1.0), model)  # noqa: E731
    build = training(lambda model, **given: around(model).fit(**given))
    assert comes_to_its_value(search(build, "val_loss", n_trials=1), data)


def worsen(model):
    """Let the epochs to come make a model worse."""
    model.share = 2


@pytest.mark.filterwarnings(IS_BETTER)
@pytest.mark.parametrize(
    "how",
    [{"between": worsen}, {"between": lambda model: None}, {"returns": LAST}],
    ids=["first", "second", "last"],
)
def test_refit_ends_with_the_epoch_that_counts(made_up, data, how):
    """On the data of the search it comes to the model of the best epoch, or of the last one."""
    tuner = made_up(**how)
    model, came = tuner.refit(*data[:2], validation_data=data[2], verbose=0)
    assert loss_of(model, data) == pytest.approx(tuner.best_value, abs=1e-5)
    last = came if isinstance(came, float) else came.history["val_loss"][-1]
    assert last == pytest.approx(tuner.best_value, abs=1e-5)


def test_refit_trains_each_fit_as_long_as_the_trial_did(search, data):
    """A first fit that a callback of search() stopped is no longer without that callback."""
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    tuner = search(MadeUp(), "val_loss", n_trials=1, fit={"callbacks": [Stop()]})
    assert tuner.best_trial.user_attrs["best_epoch"] == 1
    tuner.refit(*data[:2], callbacks=[Spy(seen)], verbose=0)
    assert seen == ["begin", 0, "end", "begin", 0, "end"]


def test_refit_trains_the_fits_of_the_best_training(search, data):
    """Its seed, its fits and its best epoch give the weights that were kept."""
    seen, build = [], MadeUp()
    build.between = lambda model: setattr(build, "epochs", (2, build.epochs[1] + 1))
    tuner = search(build, "val_loss", n_trials=1, executions_per_trial=2)
    attrs = tuner.best_trial.user_attrs
    best = attrs["values"].index(min(attrs["values"]))
    assert attrs["fits"] == [[2, 4], [2, 5]][best]
    assert sorted(tuner.best_trial.intermediate_values) == list(range(6 + 7))
    assert attrs["best_epoch"] >= 2
    model, _ = tuner.refit(*data[:2], callbacks=[Spy(seen)], verbose=0)
    assert loss_of(model, data) == pytest.approx(loss_of(tuner.best_model(), data))
    assert seen[:5] == ["begin", 0, 1, "end", "begin"]
    assert len(seen) == 5 + attrs["best_epoch"]

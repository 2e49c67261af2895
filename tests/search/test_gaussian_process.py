"""The Gaussian process: what it draws for numbers, categories, steps and branches."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import norm

from kerastune_optuna import GaussianProcessSampler
from kerastune_optuna._search.box import Box
from kerastune_optuna._search.process import Process, log_improvement
from kerastune_optuna._search.space import in_order

RANGES = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 0.9, step=0.3),
    "units": IntDistribution(16, 512, step=16),
    "few": IntDistribution(1, 1000, log=True),
    "kind": CategoricalDistribution(("a", None, 3)),
}
LAYERS = {"layers": IntDistribution(1, 3)} | {
    f"units_{number}": IntDistribution(8, 64) for number in range(3)
}


def searched(objective, n_trials, seed=1, **options):
    study = optuna.create_study(sampler=GaussianProcessSampler(seed, **options))
    study.optimize(objective, n_trials)
    return study


def test_without_startup_trials_the_first_draws_are_independent():
    """Nothing has ended where two workers ask at once, or a trial was enqueued, to learn from."""
    study = optuna.create_study(sampler=GaussianProcessSampler(1, n_startup_trials=0))
    drawn = [study.ask().suggest_float("x", 0, 1) for _ in range(2)]
    assert all(0 <= x <= 1 for x in drawn)


def with_layers(trial):
    """Ask for as many layers as the trial says, of which each has a best number of units."""
    layers = trial.suggest_int("layers", 1, 3)
    off = [abs(trial.suggest_int(f"units_{number}", 8, 64) - 40) for number in range(layers)]
    return sum(off) / 10 + 5 * (3 - layers)


def test_values_come_back_from_their_places():
    """What a trial had is what its place stands for, in its kind, whatever the range."""
    params = {"rate": 0.01, "share": 0.6, "units": 48, "few": 37, "kind": None}
    box = Box(RANGES)
    points = box.points([params])
    assert box.params(box.settled(points.places).rows(0)) == pytest.approx(params)
    assert points.places[0].tolist() == pytest.approx([0.5, 0.625, 40 / 512, math.log(37, 1000), 1])


def test_what_is_drawn_lies_on_the_steps_of_its_range():
    """Numbers with steps, whole numbers and categories are those that the builder may get."""
    box = Box(RANGES)
    drawn = box.drawn(200, np.random.default_rng(0))
    for row in range(200):
        for name, value in box.params(drawn.rows(row)).items():
            assert RANGES[name]._contains(RANGES[name].to_internal_repr(value))
    assert {box.params(drawn.rows(row))["kind"] for row in range(200)} == {"a", None, 3}


def test_parameters_are_in_the_order_in_which_trials_ask_for_them():
    """What a later trial asks for in addition comes right after what it asks for before that."""
    rate, units = FloatDistribution(0, 1), IntDistribution(1, 9)
    first = {"layers": units, "units_0": units, "rate": rate}
    second = {"layers": units, "units_0": units, "units_1": units, "rate": rate}
    assert list(in_order([first, second])) == ["layers", "units_0", "units_1", "rate"]


def test_the_values_that_bring_a_parameter_are_learned_from_the_trials():
    """A layer is asked for where there are so many layers, also where no trial had that number."""
    box = Box(LAYERS)
    one = {"layers": 1, "units_0": 8}
    three = {"layers": 3, "units_0": 8, "units_1": 8, "units_2": 8}
    box.learn_conditions(box.points([one, three, one, three]))
    drawn = box.drawn(100, np.random.default_rng(0))
    asked = {tuple(box.params(drawn.rows(row))) for row in range(100)}
    # Of two layers, which no trial had, the process takes what it knows of one or of three.
    assert asked == {(*LAYERS,)[:2], (*LAYERS,)}


def test_improvement_is_its_integral_and_known_in_the_tail():
    """Where improvement is likely it is what an integral gives; far off it does not vanish."""
    mean, deviation, best = np.array([0.3, -1.5]), np.array([0.7, 0.9]), 0.5
    expected = [
        quad(lambda y, m=m, s=s: (y - best) * norm.pdf(y, m, s), best, 20)[0]
        for m, s in zip(mean, deviation, strict=True)
    ]
    assert log_improvement(mean, deviation, best) == pytest.approx(np.log(expected), rel=1e-6)
    far = log_improvement(np.array([-30.0, -31.0, -1e4]), np.ones(3), 0.0)
    assert np.isfinite(far).all()
    assert (np.diff(far) < 0).all()


def test_gradients_are_those_of_the_functions():
    """What is climbed by is the slope of the likelihood and of the improvement."""
    rng = np.random.default_rng(0)
    points, values = rng.random((12, 3)), rng.normal(size=12)
    process = Process(points, values, np.array([0, 1, 1]), rng.random(12))
    theta, data = np.array([0.4, -0.3, 0.2, -3.0]), (values, process._gaps())
    numeric = approx_fprime(theta, lambda theta: process._loss(theta, *data)[0], 1e-7)
    assert process._loss(theta, *data)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)
    process.suppose(rng.random((2, 3)), rng)
    moves = np.tile([True, False, True], (2, 1))
    begin, start = rng.random((2, 3)), rng.random(4)
    numeric = approx_fprime(start, lambda x: process._cost(x, begin, moves)[0], 1e-7)
    assert process._cost(start, begin, moves)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("weight", [-9.0, 9.0])
def test_equal_points_break_no_equation(weight):
    """Nor do points far outside of a range that became small, with the least noise there may be."""
    rng = np.random.default_rng(0)
    points = np.repeat(rng.random((4, 2)) * [[1, 1], [1, 1], [1, 1], [1e9, 1]], 100, axis=0)
    points[:200] += rng.normal(size=(200, 2)) * 1e-9  # nearly equal
    values = rng.normal(size=400)
    process = Process(points, values, np.arange(2), np.zeros(400))
    process.theta = np.array([weight, weight, 6.0, math.log(1e-6)])
    loss, slope = process._loss(process.theta, values, process._gaps())
    assert np.isfinite([loss, *slope, *process.gains(points)]).all()
    assert loss < 1e9


@pytest.mark.parametrize("seed", range(3))
def test_beginnings_condemn_no_branch_for_long(seed):
    """What began worse in three trials, and gains more later, is drawn within ten trials."""
    sampler = GaussianProcessSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    begun = [("late", 0.1, 0.4), ("late", 0.2, 0.6), ("late", 0.15, 0.5)]
    begun += [("early", 0.5, 0.2), ("early", 0.4, 0.8), ("early", 0.9, 0.5)]
    for params in begun:
        study.enqueue_trial(dict(zip(("kind", "x", "y"), params, strict=True)))
    kinds = []
    while len(kinds) < len(begun) + 10:
        trial = study.ask()
        kinds.append(trial.suggest_categorical("kind", ["early", "late"]))
        x, y = (trial.suggest_float(name, 0, 1) for name in "xy")
        trial.report(0.5 if kinds[-1] == "early" else 0.42 + 0.1 * x, 0)
        if kinds[-1] == "late" or len(kinds) < len(begun):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, 0.6 + 0.02 * x - 0.1 * (y - 0.5) ** 2)
    assert "late" in kinds[len(begun) :]


def test_branches_are_searched():
    """With 30 trials it finds three layers that are each nearly right, where TPE does not."""
    assert searched(with_layers, 30).best_value < 0.6
    tpe = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    tpe.optimize(with_layers, 30)
    assert tpe.best_value > 0.6


def test_trials_that_run_are_drawn_apart():
    """Workers that begin together get points of their own."""
    study = searched(lambda trial: math.sin(30 * trial.suggest_float("x", 0, 1)), 8)
    asked = [study.ask().suggest_float("x", 0, 1) for _ in range(4)]
    assert len({round(one, 3) for one in asked}) == 4


def test_no_configuration_comes_twice_until_all_were_tried():
    """In a space of ten, the process draws each once."""
    study = searched(lambda trial: trial.suggest_int("n", 1, 10) % 3, 10, n_startup_trials=1)
    assert len({trial.params["n"] for trial in study.trials}) == 10


def test_what_is_left_is_drawn_however_bad_it_must_be():
    """Of a straight line, the process is so sure that a repeat of the best seems a better draw."""
    study = optuna.create_study(sampler=GaussianProcessSampler(1))
    for n in range(1, 40):
        study.enqueue_trial({"n": n})
    study.optimize(lambda trial: trial.suggest_int("n", 1, 40), 40)
    assert study.trials[-1].params["n"] == 40


@pytest.mark.parametrize("worst", [math.inf, math.nan])
def test_values_that_are_none_count_as_the_worst(worst):
    """A loss that overflowed teaches where not to look."""

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        return worst if x > 0.5 else (x - 0.2) ** 2

    study = searched(objective, 25)
    late = [trial.params["x"] for trial in study.trials[12:]]
    assert sum(x > 0.5 for x in late) <= 3
    assert study.best_value < 1e-3


def test_what_broke_a_constraint_counts_as_the_worst():
    """A study with constraints of Optuna's own is drawn away from what breaks them."""

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("small", x - 0.5)
        return -x

    study = searched(objective, 25)
    broken = [trial.number for trial in study.trials[12:] if trial.params["x"] > 0.5]
    assert len(broken) <= 6
    assert study.best_trial.params["x"] == pytest.approx(0.5, abs=0.05)


def test_a_trial_that_failed_is_no_obstacle():
    """From trials that fail before they asked for all, and the others, the process learns on."""
    study = optuna.create_study(sampler=GaussianProcessSampler(3))
    for number in range(14):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        if number % 4 == 3:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, (value - trial.suggest_float("y", 0, 1)) ** 2)
    drawn = [any("gaussian_process" in key for key in one.system_attrs) for one in study.trials]
    assert drawn[8:] == [True] * 6


def test_several_objectives_are_spread_along_their_front():
    """Of two costs the best points lie between 0 and 1 of x, with y at 0."""
    study = optuna.create_study(directions=["minimize"] * 2, sampler=GaussianProcessSampler(1))
    for _ in range(30):
        trial = study.ask()
        x, y = trial.suggest_float("x", -2, 2), trial.suggest_float("y", -2, 2)
        study.tell(trial, [x**2 + y**2, (x - 1) ** 2 + y**2])
    x, y = zip(*(trial.params.values() for trial in study.trials[10:]), strict=True)
    assert np.median(np.abs(y)) < 0.1
    assert min(x) < 0.2
    assert max(x) > 0.8

"""Compare samplers and pruners at equal epochs: how near they come to the best configuration.

Run it from the repository: `python -m tests.benchmarks.samplers` replays the recorded curves in the
folder `curves`, in points of accuracy below the best configuration. With `--lcbench FOLDER` it
searches the LCBench surrogate, an ONNX file of the learning curves of 34 tasks (needs
`onnxruntime`): a regret of 0 is the best of 600 random configurations, one of 1 their median. The
table in Markdown has the regrets after as many epochs as 5, 10, 20 and 40 full trainings have, and
what each row has less than the first; `--help` lists what else can be asked for.

With `--by seconds`, a budget is a `timeout=`, of as many seconds as so many median trainings take,
and each search knows its own; trials that run then are trained to their end, as a tuner does. With
`--by enough`, each search has as many trials as the first budget says, and the columns say after
which of them terminator="auto" would have ended it. With `--by trials`, too, and the columns say
how often a search ends badly: the mean regret, that of the worst twentieth and of the worst search,
and how many of a hundred end worse than random search with as many trials, none of them pruned.
"""

import heapq
import itertools
import json
import math
import os
import statistics
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import optuna
from optuna import pruners, samplers
from optuna.trial import TrialState

from kerastune_optuna._optuna import as_known
from kerastune_optuna._search import Chooser, StopConditions
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._study import Objectives, derive
from tests.benchmarks._sides import be_quiet, command_line, report, with_error
from tests.benchmarks.pruners import SPAWN
from tests.benchmarks.spaces import CURVES, Recorded

N_RANDOM = 600  # configurations a task, whose best and median are the measure
N_TRIALS = 30  # of a search, for the pruner; the epochs are what ends it
# Of LCBench, in the order in which the surrogate takes them.
PARAMETERS = "batch_size learning_rate momentum weight_decay num_layers max_units max_dropout"
GOAL = Objectives.parse("val_accuracy", "auto").watched
RANDOM = "random, no pruner"  # the row with which luck is compared
NO_TASKS = ("#na#", "167083")  # of the surrogate's code


def plain(sampler, pruner):
    """Take Optuna's objects as they come."""

    def prepare(study, seed, epochs, deadline=None):
        study.sampler = sampler(seed=derive(seed, 0, 1))  # as a tuner does: all rows begin alike
        study.pruner = pruner(epochs)

    return prepare


def named(sampler, pruner=None):
    """Take what a tuner makes of a name, which learns from trials that were pruned."""

    def prepare(study, seed, epochs, deadline=None):
        if pruner is None:  # all defaults, of a search of many long trials
            n_trials = N_TRIALS if deadline is None else None
            Chooser(seed=seed).start(study, n_trials, epochs, deadline=deadline)
        else:
            Chooser(sampler, pruner(epochs), seed).start(study)
        study.sampler = LearningSampler(study.sampler, GOAL, constrained=False, may_repeat=False)

    return prepare


def _halving(epochs):
    return pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)


_TPE = samplers.TPESampler
_GP = partial(samplers.GPSampler, warn_independent_sampling=False)
ROWS = {
    "auto (our default)": named(None),
    "TPE, Wilcoxon 0.2 (our first default)": plain(_TPE, lambda epochs: WilcoxonPruner()),
    "TPE shown pruned trials, Wilcoxon 0.2": named("tpe", lambda epochs: WilcoxonPruner()),
    "GP shown pruned trials, Wilcoxon 0.2": named(None, lambda epochs: WilcoxonPruner()),
    "GP shown pruned trials, Wilcoxon (no short trials)": named("auto", WilcoxonPruner),
    "GP shown pruned trials, halving 3 from 3": named(None, _halving),
    "GP, halving 3 from 3": plain(_GP, _halving),
    "TPE, halving 3 from 3": plain(_TPE, _halving),
    "TPE, Hyperband 3": plain(_TPE, lambda epochs: pruners.HyperbandPruner(1, epochs, 3)),
    "TPE, Median (Optuna's default)": plain(_TPE, lambda epochs: pruners.MedianPruner()),
    "TPE, no pruner": plain(_TPE, lambda epochs: pruners.NopPruner()),
    "GP of Optuna, no pruner": plain(_GP, lambda epochs: pruners.NopPruner()),
    RANDOM: plain(samplers.RandomSampler, lambda epochs: pruners.NopPruner()),
    "our GP, no pruner": named("gp", lambda epochs: pruners.NopPruner()),
    "KerasTuner BayesianOptimization": None,  # which no study describes
}


class LCBench:
    """Ask the LCBench surrogate (Zimmer, Lindauer and Hutter, 2021; YAHPO Gym, 2022) for curves."""

    epochs = 52

    def __init__(self, folder, name):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name = name
        self._model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._inputs = [one.name for one in self._model.get_inputs()]
        self._code = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][name]
        space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        self._space = {one["name"]: one for one in space if one["type"] != "categorical"}
        drawn = optuna.create_study(sampler=samplers.RandomSampler(seed=0))
        curves, seconds = zip(*(self.timed(drawn.ask()) for _ in range(N_RANDOM)), strict=True)
        found = sorted(map(max, curves))
        self.best = found[-1]
        self.unit = self.best - statistics.median(found)
        self.training = statistics.median(map(sum, seconds))

    def curve(self, trial):
        """Ask the surrogate for the curve of a configuration."""
        return self.timed(trial)[0]

    def timed(self, trial):
        """Ask the surrogate for a curve, and the seconds of each of its epochs."""
        values = [_suggest(trial, self._space[name]) for name in PARAMETERS.split()]
        rows = np.array([[1 + epoch, *values] for epoch in range(self.epochs)], "float32")
        codes = np.full((len(rows), 1), self._code, "int32")
        answer = self._model.run(None, dict(zip(self._inputs, (codes, rows), strict=True)))
        until, accuracies = answer[0][:, 0].tolist(), answer[0][:, 1].tolist()
        return accuracies, [max(0.0, end - begin) for begin, end in itertools.pairwise([0, *until])]


def _suggest(trial, one):
    ask = trial.suggest_int if one["type"] == "uniform_int" else trial.suggest_float
    return ask(one["name"], one["lower"], one["upper"], log=one["log"])


def search(prepare, task, seed, n_workers, budgets):
    """Search until the epochs are spent; return the regret after each budget.

    And return the seconds of the sampler by the trial's number.
    """
    study, regrets, seconds = begun(prepare, task, seed), [], []
    ends = [budget * task.epochs for budget in budgets]
    for spent in itertools.islice(trained(study, task, n_workers, seconds), max(ends)):
        if spent in ends:
            regrets.append(regret(study, task))
    return regrets, seconds


def search_by_trials(prepare, task, seed, n_workers, budgets):
    """Search for as many trials as the first budget; return the regret, and the trainings."""
    study = begun(prepare, task, seed)
    spent = max(trained(study, task, n_workers, [], budgets[0]))
    return [regret(study, task), spent / task.epochs], []


def begun(prepare, task, seed, deadline=None):
    """Return a new study of a task."""
    study = optuna.create_study(direction="maximize", study_name=f"{task.name}-{seed}")
    # With one seed for all tasks their searches would begin at the same random points.
    prepare(study, zlib.crc32(f"{task.name} {seed}".encode()), task.epochs, deadline)
    return study


def trained(study, task, n_workers, seconds, n_trials=math.inf):
    """Train trials by workers that advance by an epoch in turn; yield how many epochs are spent.

    The seconds of the sampler are added, by the trial's number.
    """
    running = []  # first the turn and the number
    for spent in itertools.count():
        while len(running) < n_workers and len(seconds) < n_trials:
            began = time.perf_counter()
            trial = study.ask()
            curve = task.curve(trial)
            seconds.append(time.perf_counter() - began)
            heapq.heappush(running, (spent, trial.number, trial, curve))
        if not running:
            return
        _, *one = heapq.heappop(running)
        if not has_ended(study, *one[1:]):
            heapq.heappush(running, (spent, *one))
        yield spent + 1


def regret(study, task):
    """Return how far the best of a study is below the best of all."""
    return (task.best - found(study)) / task.unit


def search_until_enough(prepare, task, seed, n_workers, budgets):
    """Search for as many trials as the first budget; say what terminator="auto" would have saved.

    Returns the regret where it would end the search and at the end, and the epochs until then.
    """
    study = begun(prepare, task, seed)
    study.sampler.sampler.tells_gain = True
    ending, epochs, told = StopConditions(terminator="auto"), 0, None
    for _ in range(budgets[0]):
        trial = study.ask()
        curve = task.curve(trial)
        epochs += next(n for n in itertools.count(1) if has_ended(study, trial, curve))
        now = [regret(study, task), epochs / task.epochs]
        if told is None and ending.stop(study, asks=True):
            told = [len(study.trials), *now]
    return [*(told or [len(study.trials), *now]), *now], []


class Limit:
    """Stand in for the deadline of a search whose clock is that of the trainings it replays."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0

    def seconds_left(self):
        """Return how many seconds are left."""
        return self.seconds - self.now


def search_by_clock(prepare, task, seed, n_workers, budgets):
    """Search once for each budget, for the seconds of so many trainings; return the regrets."""
    return [_within(Limit(n * task.training), prepare, task, seed, n_workers) for n in budgets], []


def _within(limit, prepare, task, seed, n_workers):
    study = begun(prepare, task, seed, limit)
    running = []  # of those that run, first when their next epoch ends, and the number
    while running or limit.seconds_left() > 0:
        while len(running) < n_workers and limit.seconds_left() > 0:
            trial = study.ask()
            curve, seconds = task.timed(trial)
            heapq.heappush(running, (limit.now + seconds[0], trial.number, trial, curve, seconds))
        limit.now, number, trial, curve, seconds = heapq.heappop(running)
        epoch = len(as_known(trial).intermediate_values)
        if not has_ended(study, trial, curve):
            then = limit.now + seconds[epoch + 1]
            heapq.heappush(running, (then, number, trial, curve, seconds))
    return regret(study, task)


SAVED = "trials", "regret then", "trainings then", "regret at the end", "trainings at the end"
HOW = {"epochs": search, "seconds": search_by_clock, "enough": search_until_enough}
HOW["trials"] = search_by_trials


class Asking:
    """Ask KerasTuner for what a task asks an Optuna trial for."""

    def __init__(self, hp):
        self._hp = hp

    def suggest_int(self, name, low, high, log=False):
        """Ask for a whole number."""
        return self._hp.Int(name, low, high, sampling="log" if log else "linear")

    def suggest_float(self, name, low, high, log=False):
        """Ask for a number."""
        return self._hp.Float(name, low, high, sampling="log" if log else "linear")


def by_keras_tuner(task, seed, budgets):
    """Return the regrets of KerasTuner's tuner, which trains each trial to its end."""
    import keras_tuner

    values = []

    class Tuner(keras_tuner.BayesianOptimization):
        def run_trial(self, trial, **_):
            values.append(max(task.curve(Asking(trial.hyperparameters))))
            return {"val_accuracy": values[-1]}

    with tempfile.TemporaryDirectory() as folder:
        goal = keras_tuner.Objective("val_accuracy", "max")
        start = zlib.crc32(f"{task.name} {seed}".encode())
        tuner = Tuner(objective=goal, max_trials=max(budgets), seed=start, directory=folder)
        tuner.search(verbose=0)
    return [(task.best - max(values[:budget])) / task.unit for budget in budgets]


def has_ended(study, trial, curve):
    """Train a trial's next epoch, and say whether it was the last one."""
    epoch = len(as_known(trial).intermediate_values)
    trial.report(curve[epoch], epoch)
    if epoch + 1 == len(curve):
        study.tell(trial, max(curve))
    elif trial.should_prune():
        study.tell(trial, state=TrialState.PRUNED)
    else:
        return False
    return True


def found(study):
    """Return the best value so far, of trials that a tuner hands out: those that are COMPLETE."""
    trials = study.get_trials(deepcopy=False)
    complete = [one.value for one in trials if one.state is TrialState.COMPLETE]
    return max(complete or [max(one.intermediate_values.values()) for one in trials])


@cache
def task_of(folder, name):
    """Return a task; each process opens it once."""
    return Recorded(name) if folder is None else LCBench(folder, name)


def run(folder, n_workers, budgets, by, cell):
    be_quiet()
    row, name, seed = cell
    if ROWS[row] is None:
        return by_keras_tuner(task_of(folder, name), seed, budgets), []
    how = HOW[by]
    return how(ROWS[row], task_of(folder, name), seed, n_workers, budgets)


def names_of(folder, *, choose):
    """Return the tasks of a table; of LCBench those on which no choice was made, or the others."""
    if folder is None:
        return sorted(file.stem for file in CURVES.glob("*.json"))
    codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    tasks = [name for name in codes if name not in NO_TASKS]
    return tasks[::4] if choose else [name for name in tasks if name not in tasks[::4]]


def rows_of(outcomes):
    """Yield the rows of a table: regrets, how far each row is from the first, and milliseconds."""
    first, _ = zip(*next(iter(outcomes.values())), strict=True)
    for row, those in outcomes.items():
        regrets, seconds = zip(*those, strict=True)
        columns = np.hstack([regrets, np.subtract(regrets, first)]).T.tolist()
        cells = [with_error(column) for column in columns]
        for number in (30, 100):
            parts = [of[number - 5 : number + 5] for of in seconds if len(of) > number + 5]
            took = [1000 * statistics.fmean(part) for part in parts]
            cells.append(f"{statistics.median(took):.0f}" if took else "")
        yield [row, *cells]


def lucks_of(outcomes):
    """Yield the rows of a table of luck: of each the outcomes by task."""
    for row, by_task in outcomes.items():
        regrets, trainings = np.array(list(by_task.values())).transpose(2, 0, 1)
        cells = [with_error(regrets.ravel()), *np.quantile(regrets, [0.95, 1])]
        if RANDOM in outcomes:
            pairs = zip(regrets, outcomes[RANDOM].values(), strict=True)
            worse = [np.subtract.outer(own, np.array(those)[:, 0]) for own, those in pairs]
            cells.append(100 * np.mean([np.sign(one).mean() / 2 + 0.5 for one in worse]))
        cells.append(trainings.mean())
        yield [row, *(one if isinstance(one, str) else f"{one:.3g}" for one in cells)]


def report_budgets(given, rows, group, outcomes):
    """Print the regrets of a group of tasks after each budget."""
    titles = SAVED if given.by == "enough" else [f"at {budget}" for budget in given.budgets]
    header = [f"{what}{title}" for what in ("", "less ") for title in titles]
    of_group = list(itertools.product(group, given.seeds))
    found = {row: [outcomes[row, *cell] for cell in of_group] for row in rows}
    report(("optuna", "scipy"), ["row", *header, "ms a trial, 30th", "100th"], rows_of(found))


def report_luck(given, rows, group, outcomes):
    """Print how often the searches of a group of tasks end badly."""
    header = ["row", "mean", "worst twentieth", "worst", "% worse than random", "trainings"]
    by_task = {
        row: {name: [outcomes[row, name, seed][0] for seed in given.seeds] for name in group}
        for row in rows
    }
    report(("optuna", "scipy"), header, lucks_of(by_task))


def main():
    parser = command_line(__doc__)
    parser.add_argument("--lcbench", type=Path, help="folder of the surrogate")
    parser.add_argument("--choose", action="store_true", help="the tasks on which choices are made")
    parser.add_argument("--data", nargs="*", help="tasks; default: all")
    parser.add_argument("--rows", default="", help="texts with | between, one of which a row has")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1, help="of each search")
    parser.add_argument("--budgets", type=int, nargs="*", default=[5, 10, 20, 40])
    parser.add_argument("--by", choices=HOW, default="epochs", help="what ends a search")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [row for row in ROWS if any(text in row for text in given.rows.split("|"))]
    names = given.data or names_of(given.lcbench, choose=given.choose)
    cells = list(itertools.product(rows, names, given.seeds))
    one = partial(run, given.lcbench, given.workers, given.budgets, given.by)
    with ProcessPoolExecutor(2, SPAWN) as pool:
        outcomes = dict(zip(cells, pool.map(one, cells), strict=True))
    say = report_luck if given.by == "trials" else report_budgets
    for group in [names] if given.lcbench else [[name] for name in names]:
        print(f"\n{', '.join(group)}; seeds {given.seeds}, {given.workers} at a time")
        say(given, rows, group, outcomes)


if __name__ == "__main__":
    main()

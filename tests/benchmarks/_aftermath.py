"""What must hold after a disturbed search: each check returns what is wrong, a text for each."""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property

import optuna

from kerastune_optuna import OptunaTuner, TunerError
from kerastune_optuna._study.record import TrialRecord
from tests.benchmarks import _leader
from tests.benchmarks._leader import Line, append

_CLOSE = 1e-6  # a share of the value, of which evaluate() may differ from fit()
# A process that was stopped until others ran its trial again learns of it from its next report.
_LATE = 1
_TABLE, _WEIGHTS = "history.csv", "weights"
_SHOWN = 12  # things that are wrong, of each check
_LATENCY = 10  # seconds between an epoch and what a trial does in its store before or after it


@dataclass
class Aftermath:
    """Hold what searches left, all of which have ended.

    Args:
        tuner: One of their study, in which a COMPLETE trial has as many models as `keep_best` says.
        lines: What the diary says.
        epochs: How many epochs each COMPLETE trial was trained.
        stored: The names of the files in the store of weights.
        outages: When a host, or each if it is None, may have reached no store or database, or had
            no room on its disk: `(host, since, until)` on the clock of the diary.
        remains: What else is left, where nothing should be.
        seen: What went wrong during the searches.
    """

    tuner: OptunaTuner
    lines: list[Line]
    epochs: int
    stored: set[str]
    outages: list[tuple[str | None, float, float]]
    remains: list[str]
    seen: list[str]

    @cached_property
    def trials(self):
        """The trials of the study."""
        return self.tuner.study.trials

    @property
    def finished(self):
        """Those that count."""
        return [one for one in self.trials if one.state.name in ("COMPLETE", "PRUNED")]

    @property
    def best(self):
        """Those whose weights are kept, the best first."""
        complete = [one for one in self.trials if one.state.name == "COMPLETE"]
        return sorted(complete, key=lambda one: (one.value, one.number))[: self.tuner.keep_best]

    @property
    def retries(self):
        """Those that train another one again, by it."""
        again = [one for one in self.trials if "retry_of" in one.user_attrs]
        return [(self.trials[one.user_attrs["retry_of"]], one) for one in again]

    @cached_property
    def diary(self):
        """What the diary says of each trial."""
        lines = defaultdict(list)
        for line in self.lines:
            lines[line.trial].append(line)
        return lines

    def trained(self, trial):
        """Return the epochs that a trial's own process trained, as they came."""
        return [line.epoch for line in self.diary.get(trial.number, ()) if line.epoch >= 0]

    def attempts(self, trial):
        """Return a trial and those of which it is the retry, the first first."""
        found = [trial]
        while (before := found[0].user_attrs.get("retry_of")) is not None:
            found.insert(0, self.trials[before])
        return found

    def is_calm(self, line, before=0, after=0):
        """Whether a line's process had its store, database and disk around it, so many seconds."""
        return not any(
            host in (None, line.process[0])
            and (began < line.when + after and ended > line.when - before)
            for host, began, ended in self.outages
        )

    def backed_up(self, trial, until):
        """Return how many epochs of a trial were backed up then: after which another one ended."""
        pairs = (
            pair
            for attempt in self.attempts(trial)
            for pair in itertools.pairwise(self.diary.get(attempt.number, ()))
        )
        due = (
            one.epoch + 1
            for one, then in pairs
            if then.when <= until and self.is_calm(one, after=then.when - one.when)
        )
        return max(due, default=0)

    @cached_property
    def owners(self):
        """The number of the trial and the kind of each file that was ever put into the store."""
        storage, found = self.tuner.study._storage, {}
        for trial in self.trials:
            for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage):
                kind = _TABLE if meta.filename == _TABLE else _WEIGHTS
                found[meta.artifact_id] = trial.number, kind
        return found

    @property
    def held(self):
        """The number of the trial and the kind of each file that the store has now."""
        return {self.owners[key] for key in self.stored & set(self.owners)}


def remains(left):
    """No file, process or connection is left."""
    yield from left.remains


def seen(left):
    """Each search ended as it should, and none took a trial from a process that lived."""
    yield from left.seen


def size(left):
    """Exactly n_trials are finished, and nothing runs or waits."""
    if (done := len(left.finished)) != left.tuner.n_trials:
        yield f"{done} of {left.tuner.n_trials} trials are finished"
    for trial in left.trials:
        if not trial.state.is_finished():
            yield f"trial {trial.number} is {trial.state.name}"


def once(left):
    """Each trial was trained once, by one process, its epochs without gaps or doubles."""
    for number, lines in left.diary.items():
        if len(processes := {line.process for line in lines}) > 1:
            yield f"trial {number} was trained by {sorted(processes)}"
        begin, *epochs = [line.epoch for line in lines]
        if begin != -1 or epochs != [epochs[0] + place for place in range(len(epochs))]:
            yield f"trial {number} was trained as {[begin, *epochs]}"


def retries(left):
    """Who trains a configuration again says of which failed trial it is the one retry."""
    trained = [one for one in left.trials if left.trained(one)]
    of_trained = Counter(one.user_attrs.get("retry_of") for one in trained)
    for number in {before.number for before, _ in left.retries}:
        if left.trials[number].state.name != "FAIL":
            yield f"trial {number} is {left.trials[number].state.name} and has a retry"
        if of_trained[number] > 1:
            yield f"trial {number} has {of_trained[number]} retries that were trained"
    by_configuration = defaultdict(list)
    for trial in trained:
        by_configuration[tuple(sorted(trial.params.items()))].append(trial)
    for alike in by_configuration.values():
        # Two workers may draw one configuration at the same time, and then both train it.
        for one, other in itertools.permutations(alike, 2):
            is_known = one in left.finished and one.datetime_complete < other.datetime_start
            if is_known and left.attempts(one)[0].number != left.attempts(other)[0].number:
                yield f"trial {other.number} trained the configuration of trial {one.number} again"


def same(left):
    """A retry has the parameters and the seed of its trial."""
    for before, trial in left.retries:
        given, taken = TrialRecord(before), TrialRecord(trial)
        if wrong := dict(given.params.items() - taken.params.items()):
            yield f"trial {trial.number} has {taken.params}, and trial {before.number} {wrong}"
        if given.seed not in (None, taken.seed):
            yield f"trial {trial.number} has seed {taken.seed}, trial {before.number} {given.seed}"


def backups(left):
    """A retry trains no epoch again whose backup was in the store."""
    for before, trial in left.retries:
        if not left.trained(trial):
            continue
        begin, first, *_ = left.diary[trial.number]
        due = left.backed_up(before, begin.when)
        if first.epoch < due and left.is_calm(begin, before=_LATENCY):
            yield f"trial {trial.number} went on at {first.epoch}, and had a backup of {due}"


def alive(left):
    """A process whose trial another one runs again leaves it."""
    for before, trial in left.retries:
        if lines := left.diary.get(trial.number):
            old = left.diary.get(before.number, ())
            late = [one.epoch for one in old if one.when > lines[0].when]
            if len(late) > _LATE:
                yield f"trial {before.number} ran on through {late} after {trial.number} began"


def curves(left):
    """The curve and the table of each finished trial have no gaps, and go as far as it trained."""
    for trial in left.finished:
        steps, own = sorted(trial.intermediate_values), left.trained(trial)
        length = left.epochs if trial.state.name == "COMPLETE" else len(steps)
        if not steps or steps != list(range(length)):
            yield f"trial {trial.number} ({trial.state.name}) has a curve of {steps}"
        table = left.tuner.history(trial.number)
        if (rows := list(table["epoch"])) != steps:
            yield f"trial {trial.number} has a table of {rows}, and a curve of {steps}"
        # history() has the reports alone where a table is damaged, or lost, as `store` looks for.
        if "loss" not in table and (trial.number, _TABLE) in left.held:
            yield f"trial {trial.number} has a damaged table"
        if own and own[-1:] != steps[-1:]:
            yield f"trial {trial.number} was trained to {own[-1]}, and has a curve of {steps}"


def epochs(left):
    """Each step of a curve was trained, and a retry left out none."""
    for trial in left.finished:
        trained = set()
        for attempt in left.attempts(trial):
            own = left.trained(attempt)
            if own and own[0] > max(trained, default=-1) + 1:
                yield f"trial {attempt.number} went on at {own[0]} after {sorted(trained)}"
            trained |= set(own)
        if missing := set(trial.intermediate_values) - trained:
            yield f"trial {trial.number} has steps that were not trained: {sorted(missing)}"


def best_models(left):
    """The models that are kept come to the values of their trials, the best to best_value."""
    if left.tuner.best_value != left.best[0].value:
        yield f"best_value is {left.tuner.best_value}, and the best trial has {left.best[0].value}"
    for trial in left.best:
        try:
            model = left.tuner.best_model(trial.number)
            loss = model.evaluate(*_leader.VALIDATION, verbose=0, return_dict=True)["loss"]
        except TunerError as error:
            yield f"trial {trial.number}: {error}"
        else:
            if abs(loss - trial.value) > _CLOSE * abs(trial.value):
                yield f"trial {trial.number} has {trial.value}, and its model comes to {loss}"


def store(left):
    """The store holds the weights of the best, the table of each finished trial, and no more."""
    yield from (f"{key} is of no trial" for key in left.stored - set(left.owners))
    due = {(one.number, _WEIGHTS) for one in left.best}
    due |= {(one.number, _TABLE) for one in left.finished}
    for number, kind in left.held ^ due:
        told = f"the {kind} of trial {number} ({left.trials[number].state.name})"
        lines = left.diary.get(number)
        if (number, kind) in left.held:
            yield f"{told} is left"
        elif not lines or left.is_calm(lines[-1], after=_LATENCY):
            yield f"{told} is lost"


# The first one looks at what may go away while the others read the database.
CHECKS = (remains, seen, size, once, retries, same, backups, alive, curves, epochs)
CHECKS += (best_models, store)


def work(left):
    """Return how much was trained, and how much of it more than once."""
    retried = [(before, one) for before, one in left.retries if left.trained(one)]
    due = [one for before, one in retried if left.backed_up(before, left.diary[one.number][0].when)]
    anew = [one.number for _, one in retried if left.trained(one)[0] == 0]
    trained = [(left.attempts(one)[0].number, e) for one in left.trials for e in left.trained(one)]
    again = len(trained) - len(set(trained))
    return (
        f"{len(left.trials)} trials, {len(retried)} of them retries that trained, of which "
        f"{len(due)} had a backup and {len(anew)} began anew {anew}; {len(trained)} epochs, "
        f"{again} of them again"
    )


def tell(left, path):
    """Write a line for each trial, for whoever looks for the cause of what is wrong."""
    for one in left.trials:
        known = {key: one.user_attrs.get(key) for key in ("stop_reason", "retry_of", "worker")}
        append(path, {"trial": one.number, "state": one.state.name, "value": one.value, **known})


def examine(left):
    """Print a line for each check; return whether all passed."""
    all_passed = True
    for check in CHECKS:
        try:
            wrong = list(check(left))
        except Exception as error:  # a check that cannot be made has not passed
            wrong = [f"{type(error).__name__}: {error}"]
        all_passed &= not wrong
        print(f"{'FAIL' if wrong else 'ok  '} {check.__doc__}", flush=True)
        for what in wrong[:_SHOWN]:
            print(f"       {what}")
        if len(wrong) > _SHOWN:
            print(f"       and {len(wrong) - _SHOWN} more", flush=True)
    print(work(left), flush=True)
    return all_passed

"""What must hold after the storm: each check returns what is wrong, a text for each thing."""

import itertools
from collections import Counter, defaultdict
from functools import cached_property

import optuna

from kerastune_optuna import TunerError
from tests.benchmarks import _leader
from tests.benchmarks._leader import STUDY, append

_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_CLOSE = 1e-6  # a share of the value, of which evaluate() may differ from fit()
# A process that was stopped until others ran its trial again learns of it from its next report.
_LATE = 1
_SHOWN = 12  # things that are wrong, of each check


class Aftermath:
    """Hold what the storm left on a land where the searches have ended."""

    def __init__(self, land, n_trials):
        self.land, self.n_trials = land, n_trials

    @cached_property
    def trials(self):
        """The trials of the study."""
        return optuna.load_study(study_name=STUDY, storage=self.land.server.url).trials

    @property
    def finished(self):
        """Those that count."""
        return [one for one in self.trials if one.state.name in ("COMPLETE", "PRUNED")]

    @property
    def best(self):
        """Those whose weights are kept, the best first."""
        complete = [one for one in self.trials if one.state.name == "COMPLETE"]
        return sorted(complete, key=lambda one: (one.value, one.number))[: _leader.KEEP]

    @cached_property
    def diary(self):
        """What the diary says of each trial."""
        lines = defaultdict(list)
        for line in _leader.read_diary(self.land.diary):
            lines[line.trial].append(line)
        return lines

    def epochs(self, trial):
        """Return the epochs that a trial's own process trained, as they came."""
        return [line.epoch for line in self.diary.get(trial.number, ()) if line.epoch >= 0]

    def attempts(self, trial):
        """Return a trial and those of which it is the retry, the first first."""
        found = [trial]
        while (before := found[0].user_attrs.get("retry_of")) is not None:
            found.insert(0, self.trials[before])
        return found

    def artifacts(self, trial):
        """Return the names of the files that a trial ever put into the store, by their ids."""
        storage = optuna.storages.get_storage(self.land.server.url)
        metas = optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
        return {meta.artifact_id: meta.filename for meta in metas}


def size(left):
    """Exactly n_trials are finished, and nothing runs or waits."""
    if (done := len(left.finished)) != left.n_trials:
        yield f"{done} of {left.n_trials} trials are finished"
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
    of = [one.user_attrs["retry_of"] for one in left.trials if "retry_of" in one.user_attrs]
    trained = [one for one in left.trials if left.epochs(one)]
    of_trained = Counter(one.user_attrs.get("retry_of") for one in trained)
    for number in set(of):
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


def alive(left):
    """Nobody took a trial from a process that lived, but where that was stopped for long."""
    yield from left.land.robbed
    for trial in left.trials:
        lines = left.diary.get(trial.number)
        if lines and (before := trial.user_attrs.get("retry_of")) is not None:
            late = [one.epoch for one in left.diary.get(before, ()) if one.when > lines[0].when]
            if len(late) > _LATE:
                yield f"trial {before} was trained on through {late} after {trial.number} began"


def curves(left):
    """The curve of each finished trial begins at 0 and has no gaps."""
    for trial in left.finished:
        steps = sorted(trial.intermediate_values)
        if not steps or steps != list(range(len(steps))):
            yield f"trial {trial.number} ({trial.state.name}) has a curve of {steps}"


def epochs(left):
    """Each step of a curve was trained, and a retry went on where its backup was."""
    for trial in left.finished:
        trained = set()
        for attempt in left.attempts(trial):
            own = left.epochs(attempt)
            if own and own[0] > max(trained, default=-1) + 1:
                yield f"trial {attempt.number} went on at {own[0]} after {sorted(trained)}"
            trained |= set(own)
        steps = sorted(trial.intermediate_values)
        if missing := set(steps) - trained:
            yield f"trial {trial.number} has steps that were not trained: {sorted(missing)}"
        own = left.epochs(trial)
        if own and own[-1] != steps[-1]:
            yield f"trial {trial.number} was trained to {own[-1]} and has steps to {steps[-1]}"


def best_models(left):
    """The models that are kept come to the values of their trials, the best to best_value."""
    tuner = _leader.make_tuner(left.land.server.url, left.land.s3.url, "tuning", left.n_trials)
    values = [one.value for one in left.best]
    if tuner.best_value != values[0]:
        yield f"best_value is {tuner.best_value}, and the best trial has {values[0]}"
    for trial in left.best:
        try:
            model = tuner.best_model(trial.number)
            loss = model.evaluate(*_leader.VALIDATION, verbose=0, return_dict=True)["loss"]
        except TunerError as error:
            yield f"trial {trial.number}: {error}"
        else:
            if abs(loss - trial.value) > _CLOSE * abs(trial.value):
                yield f"trial {trial.number} has {trial.value}, and its model comes to {loss}"


def bucket(left):
    """The bucket holds the weights of the best, the table of each finished trial, and no more."""
    owners = {key: (one, name) for one in left.trials for key, name in left.artifacts(one).items()}
    best, finished = ({one.number for one in some} for some in (left.best, left.finished))
    for key in left.land.s3.keys:
        trial, name = owners.get(key, (None, key))
        if trial is None:
            yield f"{key} is of no trial"
        elif trial.number not in (finished if name == "history.csv" else best):
            yield f"{name} of trial {trial.number} ({trial.state.name})"


def disks(left):
    """Nothing is left on the disks of the hosts."""
    for host in left.land.hosts:
        yield from host.left_on_disk()


def connections(left):
    """Nobody is connected to the database."""
    (count,) = left.land.ask(_CLIENTS)
    if count:
        yield f"{count} connections are open"


def processes(left):
    """No process is left on a host."""
    yield from (f"{host.name}: {one}" for host in left.land.hosts for one in host.processes())


def ends(left):
    """A search that broke off said why, with an error of ours or as an interrupt."""
    for host, how in left.land.ends_of_searches():
        if how.startswith("UNTOLD"):
            yield f"{host}: {how.removeprefix('UNTOLD ')}"


# The first ones look at what may go away while the others read the database.
CHECKS = (processes, connections, disks, size, once, retries, alive, curves, epochs)
CHECKS += (best_models, bucket, ends)


def work(left):
    """Return how much was trained, and how much of it more than once."""
    retried = [one for one in left.trials if "retry_of" in one.user_attrs and left.epochs(one)]
    anew = [one.number for one in retried if left.epochs(one)[0] == 0]
    trained = [(left.attempts(one)[0].number, e) for one in left.trials for e in left.epochs(one)]
    again = len(trained) - len(set(trained))
    return (
        f"{len(left.trials)} trials, {len(retried)} of them retries that trained, of which "
        f"{len(anew)} began anew {anew}; {len(trained)} epochs, {again} of them again"
    )


def tell(left, path):
    """Write a line for each trial, for whoever looks for the cause of what is wrong."""
    for one in left.trials:
        known = {key: one.user_attrs.get(key) for key in ("stop_reason", "retry_of", "worker")}
        append(path, {"trial": one.number, "state": one.state.name, "value": one.value, **known})


def examine(land, n_trials):
    """Print a line for each check; return whether all passed."""
    left, all_passed = Aftermath(land, n_trials), True
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
    tell(left, land.told)
    return all_passed

"""Whose a trial is: claimed by one worker alone, and nobody's for ever."""

import math
import signal
import threading
import time
from contextlib import nullcontext

import optuna
import psutil
import pytest
from optuna.distributions import IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from kerastune_optuna import _signals
from kerastune_optuna._search import Budget, StopConditions
from kerastune_optuna._search.stopping import Deadline
from kerastune_optuna._storage.database import Location, connect
from kerastune_optuna._study.ending import Ending
from kerastune_optuna._study.liveness import (
    Watch,
    machine,
    own_runs,
    started,
)
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import fail_and_retry, lay_out
from tests.support.faults import states
from tests.support.storages import KINDS, empty, opened
from tests.support.untrained import run

DEAD = f"{machine()}:1:1"  # the signature of a process that is gone: process 1 is older than that


@pytest.fixture(autouse=True)
def left():
    """Leave what a test claimed, whose ids are those of other tests in this process too."""
    with own_runs.leaving_all():
        yield


def budget_of(n_trials):
    return Budget(n_trials, StopConditions(train_repeats=True))


def test_a_trial_that_ended_is_not_run_again():
    """Who takes a trial for dead that ends that moment leaves no retry of it."""
    study = optuna.create_study()
    seen = study.ask()
    looked = study.get_trials()[0]
    study.tell(seen, 1.0)
    assert not fail_and_retry(study, looked, has_died=True)
    assert budget_of(1).claim(study, Watch()) is None
    assert [one.state.name for one in study.trials] == ["COMPLETE", "FAIL"]


def test_threads_of_one_process_run_exactly_the_budget():
    """Eight that begin at once run 24 trials; what they began beside those says so."""

    class Slow(optuna.storages.InMemoryStorage):
        def create_new_trial(self, *args, **options):
            time.sleep(0.01)  # as for a server
            return super().create_new_trial(*args, **options)

    study = optuna.create_study(storage=Slow())

    def work():
        while (trial := budget_of(24).claim(study, Watch())) is not None:
            study.tell(trial, trial.suggest_float("x", 0, 1))
            own_runs.leave(study._storage, trial._trial_id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ran = [trial for trial in study.trials if TrialRecord(trial).has_begun]
    assert [trial.state.name for trial in ran] == ["COMPLETE"] * 24
    others = {TrialRecord(trial).ending for trial in study.trials if trial not in ran}
    assert others <= {Ending.WITHDRAWN}


@pytest.mark.parametrize(("first", "n_trials"), [(1, 1), (2, 9)], ids=["last", "only"])
def test_who_was_second_gives_its_trial_up(first, n_trials):
    """Another worker began the last trial first, or the first, which may be the only one."""

    class Raced(optuna.storages.InMemoryStorage):
        is_free = True

        def create_new_trial(self, study_id, template_trial=None):
            if template_trial is not None and self.is_free:
                self.is_free = False
                for _ in range(first):
                    own_runs.begin(study)
            return super().create_new_trial(study_id, template_trial)

    study, deadline = optuna.create_study(storage=Raced()), Deadline(0.1)
    budget = Budget(n_trials, StopConditions(deadline))
    assert budget.claim(study, Watch()) is None
    assert [trial.state.name for trial in study.trials] == ["RUNNING"] * first + ["FAIL"]
    assert TrialRecord(study.trials[-1]).ending is Ending.WITHDRAWN
    assert budget.counted(study) == study.trials[:first]


def test_a_trial_that_was_one_too_many_is_not_run_again():
    """Its worker died before it gave the trial up."""
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=0.0))
    study.ask().set_user_attr(TrialRecord.worker, DEAD)
    assert budget_of(1).reap(study, Watch())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    assert TrialRecord(study.trials[1]).ending is Ending.WITHDRAWN


def of_a_neighbour():
    """Return the signature of another process of this machine, which lives."""
    pid = psutil.Process().ppid()
    return f"{machine()}:{pid}:{started(pid)}"


def test_a_retry_waits_until_its_trial_has_failed():
    """Who is killed when it laid a retry out leaves none that runs beside its trial."""
    study = optuna.create_study()
    study.ask().set_user_attr(TrialRecord.worker, of_a_neighbour())
    lay_out(study, user_attrs={TrialRecord.retry_of: 0})
    assert TrialRecord.retry_of not in budget_of(2).claim(study, Watch()).user_attrs
    assert fail_and_retry(study, study.trials[0], has_died=True)
    assert budget_of(2).claim(study, Watch()).user_attrs[TrialRecord.retry_of] == 0


def test_nobody_waits_for_ever_for_what_another_search_abandoned(pace):
    """A living notebook whose search lost its storage never asks for the last configuration."""
    pace(wait=0.01, look=0.05, lease=0.2, silence=60)
    study, ranges = optuna.create_study(), {"units": IntDistribution(2, 3)}
    study.add_trial(create_trial(params={"units": 2}, distributions=ranges, value=0.0))
    study.ask().set_user_attr(TrialRecord.worker, of_a_neighbour())
    ending = StopConditions(Deadline(20))
    assert Budget(None, ending).claim(study, Watch()) is None
    assert not ending.is_over(), "it did not wait until its time was over"
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]


def test_what_an_ended_search_left_is_reaped_beside_another_study():
    """A trial that this process runs in another storage may have the same id."""
    ended, other = optuna.create_study(), optuna.create_study()
    for study in (ended, other):
        assert budget_of(1).claim(study, Watch())._trial_id == 0
    own_runs.leave(ended._storage, 0)
    assert budget_of(1).reap(ended, Watch())
    assert not budget_of(1).reap(other, Watch())


def test_a_second_interrupt_leaves_no_trial_for_ever(quick):
    """Ctrl-C twice between claim and training: the same kernel's next search runs the trial."""

    class Interrupted(optuna.storages.InMemoryStorage):
        def create_new_trial(self, *args, **options):
            trial_id = super().create_new_trial(*args, **options)
            if trial_id == 0:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return trial_id

    tuner = quick(n_trials=2, storage=Interrupted(), pruner="none")
    with pytest.raises(KeyboardInterrupt):
        run(tuner)
    run(tuner)
    assert states(tuner) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_what_other_code_runs_counts_once_it_has_ended():
    """A script with Optuna alone that was killed leaves its trial RUNNING for ever."""
    study = optuna.create_study()
    theirs = study.ask()
    assert budget_of(1).claim(study, Watch()).number == 1
    study.tell(theirs, 0.0)
    assert [trial.number for trial in budget_of(2).counted(study)] == [0, 1]


def test_a_configuration_that_is_given_up_is_named(capsys):
    """After three deaths a line says which one it is, and another takes its place."""
    study = optuna.create_study()
    lay_out(study, {"units": 2})
    for _ in range(3):
        trial = budget_of(1).claim(study, Watch())
        assert trial.suggest_int("units", 2, 3) == 2
        trial.set_user_attr(TrialRecord.worker, DEAD)
        budget_of(1).reap(study, Watch())
    assert "Giving up on trial 2 with {'units': 2}: its worker died 3" in capsys.readouterr().err
    assert TrialRecord.retry_of not in budget_of(1).claim(study, Watch()).user_attrs


def test_a_new_best_asks_for_no_trial_that_kept_nothing(quick):
    """Of ten thousand finished trials each would take a call through a proxy, at each new best."""
    asked = set()

    class Noting(optuna.storages.InMemoryStorage):
        def get_trial_system_attrs(self, trial_id):
            asked.add((trial_id, self.get_trial(trial_id).state.is_finished()))
            return super().get_trial_system_attrs(trial_id)

    tuner = quick(storage=Noting(), keep_best=2, backup_every=60)
    tuner.study.add_trials(optuna.trial.create_trial(value=value) for value in (0.1, 0.2, 0.3))
    run(tuner, n_trials=6)
    assert not asked & {(0, True), (1, True), (2, True)}


@pytest.mark.parametrize("done", [1, 0], ids=["of a larger search", "left"])
def test_what_need_not_be_run_here_is_not_waited_for(pace, done):
    """It is beyond the size of the search, or its process lives on and beats for it no more."""
    pace(lease=0.3, poll=0.1)
    study = optuna.create_study()
    study.add_trials([optuna.trial.create_trial(value=0.0)] * done)
    study.ask().set_user_attr(TrialRecord.worker, of_a_neighbour())
    assert not budget_of(1).wait_for_others(study, Watch())
    assert study.trials[-1].state is TrialState.RUNNING


@pytest.mark.parametrize("end", ["timeout", "Ctrl-C"])
def test_waiting_for_others_has_an_end(pace, end):
    """What others run is left to them once the time is over, or after Ctrl-C."""
    pace(poll=0.001)
    study, deadline, came = optuna.create_study(), Deadline(600), []
    study.ask().set_user_attr(TrialRecord.worker, of_a_neighbour())
    acts = {
        "timeout": lambda: setattr(deadline, "_moment", -math.inf),
        "Ctrl-C": lambda: signal.raise_signal(signal.SIGINT),
    }

    class Acting(Watch):
        looks = 0

        def running(self, study):
            self.looks += 1
            if self.looks == 3:
                acts[end]()
            assert self.looks < 20, "it waits on"
            return super().running(study)

    budget = Budget(1, StopConditions(deadline, train_repeats=True))
    is_raised = pytest.raises(KeyboardInterrupt) if end == "Ctrl-C" else nullcontext()
    with is_raised, _signals.listening(""):
        came.append(budget.wait_for_others(study, Acting()))
    assert came == [False]
    assert study.trials[0].state is TrialState.RUNNING


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_of_a_dead_process_is_run_again_on_every_storage(tmp_path, kind):
    """The next worker has its parameters and its seed, and there is no third trial."""
    with empty(kind, tmp_path) as given:
        storage = opened(given) or f"sqlite:///{tmp_path}/study.db"
        study = optuna.create_study(storage=connect(storage, 60))
        died = study.ask()
        units = died.suggest_int("units", 1, 1000)
        died.set_user_attr("seed", 7)
        died.set_user_attr(TrialRecord.worker, DEAD)
        trial = budget_of(1).claim(study, Watch())
        assert trial.suggest_int("units", 1, 1000) == units
        assert (TrialRecord(trial).retry_of, trial.user_attrs["seed"]) == (0, 7)
        assert [one.state.name for one in study.trials] == ["FAIL", "RUNNING"]
        study._storage.remove_session()


def test_a_search_that_goes_on_waits_for_nobody(pace):
    """Where no other process runs a trial, the first one is claimed without a wait."""

    class Read(optuna.storages.InMemoryStorage):
        reads = 0

        def get_all_trials(self, *arguments, **keywords):
            self.reads += 1
            assert self.reads < 20, "it waits on"
            return super().get_all_trials(*arguments, **keywords)

    pace(wait=600)
    study, budget = optuna.create_study(storage=Read()), budget_of(2)
    study.add_trial(optuna.trial.create_trial(value=0.0))
    assert budget.claim(study, Watch()).number == 1


def test_a_trial_that_was_lost_is_left():
    """Who lost a trial while the sampler thought runs the next one, and beats for that alone."""

    class Losing(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            if trial.number == 0:
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                raise UpdateFinishedTrialError

    study = optuna.create_study(sampler=Losing())
    trial = budget_of(2).claim(study, Watch())
    assert own_runs.ids_in(study._storage) == [trial._trial_id] == [1]
    own_runs.leave(study._storage, trial._trial_id)


@pytest.mark.parametrize("make", [str, optuna.storages.RDBStorage], ids=["url", "object"])
def test_a_change_of_the_folder_makes_nobody_dead(tmp_path, monkeypatch, make):
    """A trial of a process that lives is left to it, though the URL of the file is relative."""
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(storage=connect(make("sqlite:///study.db"), 1.0))
    trial, file = study.ask(), Location(study._storage).inode
    trial.set_user_attr(TrialRecord.worker, f"{of_a_neighbour()}@{file}")
    monkeypatch.chdir("/")
    assert not budget_of(2).reap(study, Watch())
    trial.set_user_attr(TrialRecord.worker, f"{DEAD}@{file}")
    assert budget_of(2).reap(study, Watch())

"""A storage in front of another one hands on what it has no method for."""

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from kerastune_optuna._storage.delegating import Delegating


class Noting(Delegating):
    """Note the name of each call."""

    def __init__(self, backend):
        super().__init__(backend)
        self.calls = []

    def _call(self, name, /, *args, **kwargs):
        self.calls.append(name)
        return super()._call(name, *args, **kwargs)


def test_each_call_reaches_what_stands_behind():
    """A whole trial is found in the storage behind, and each of its calls came by the front."""
    backend = InMemoryStorage()
    storage = Noting(backend)
    study = optuna.create_study(storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert [trial.state.name for trial in backend.get_all_trials(0)] == ["COMPLETE"]
    assert {"create_new_trial", "set_trial_param", "set_trial_state_values"} <= set(storage.calls)


def test_no_method_of_optuna_passes_by():
    """Those that Optuna's base class has for all storages reach the backend too."""
    names = {name for name in vars(BaseStorage) if not name.startswith("_")}
    assert names <= set(vars(Delegating))

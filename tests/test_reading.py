"""Who reads a study that is not there makes nothing, and who has one sees it at a glance."""

from __future__ import annotations

import warnings

import keras
import optuna
import pytest

from kerastune_optuna import NoTrialsError
from tests.untrained import run, tuner_in

READING = {
    "best_model": lambda tuner: tuner.best_model(),
    "best_params": lambda tuner: tuner.best_params,
    "best_trials": lambda tuner: tuner.best_trials,
    "results": lambda tuner: tuner.results(),
    "summary": lambda tuner: tuner.summary(),
    "report": lambda tuner: tuner.report("never.html"),
    "plot_history": lambda tuner: tuner.plot_history(),
    "confirmation": lambda tuner: tuner.confirmation,
    "confirm": lambda tuner: tuner.confirm(1, 2, [[0.0]], [0], epochs=1),
    "refit": lambda tuner: tuner.refit([[0.0]], [0]),
}


@pytest.mark.parametrize("read", READING.values(), ids=READING)
def test_a_mistyped_directory_is_not_made(make_tuner, tmp_path, read):
    """All that only reads raises one line, and leaves no folder and no database."""
    with pytest.raises(NoTrialsError, match=r"tunign' has no study 'test'\. Call search"):
        read(make_tuner(directory=tmp_path / "tunign"))
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_name_is_no_new_study(search, make_tuner):
    """In a directory that has studies, the error says which, and none is added."""
    search(n_trials=1)
    with pytest.raises(NoTrialsError, match=r"study_name= with one of 'test'"):
        make_tuner(study_name="tset").summary()
    with pytest.raises(NoTrialsError, match=r"study_name= with one of 'test'"):
        make_tuner(study_name="tset").summary()


@pytest.mark.slow
def test_a_tuner_says_what_it_has(search, make_tuner, tmp_path):
    """Its repr names study, objective, trials and best value, and makes nothing to do so."""
    fresh = make_tuner()
    assert repr(fresh) == "OptunaTuner(study 'test': maximize val_accuracy, not open yet)"
    assert list(tmp_path.iterdir()) == []
    value = search(n_trials=2).best_value
    shown = "OptunaTuner(study 'test': maximize val_accuracy, 2 of 30 trials, best "
    assert repr(make_tuner(n_trials=30)) == f"{shown}{value:.6g})"
    assert repr(make_tuner(n_trials=None)).split(", ")[1] == "2 trials"
    assert repr(make_tuner(n_trials=1)).split(", ")[1] == "2 of 1 trial"


class Away(optuna.storages.InMemoryStorage):
    """Answer, until the connection is lost."""

    is_away = False

    def get_all_trials(self, *arguments, **keywords):
        """Read, where that is possible."""
        if self.is_away:
            raise ConnectionError("server closed the connection")
        return super().get_all_trials(*arguments, **keywords)


def test_a_tuner_is_shown_while_its_database_is_away(tmp_path):
    """Its repr, which a debugger asks for, neither raises nor waits for five minutes."""
    storage = Away()
    tuner = run(tuner_in(tmp_path, objective="val_mae", storage=storage, n_trials=1))
    storage.is_away = True
    assert repr(tuner) == "OptunaTuner(study 'test': minimize val_mae, does not answer)"
    storage.is_away = False
    assert "1 of 1 trial, best " in repr(tuner)


def test_a_file_of_the_best_model_loads_whole(search, data, tmp_path):
    """Its optimizer gets what a file needs when it is saved, and Keras has nothing to warn of."""
    best = search(n_trials=1).best_model()
    assert not best.optimizer.built  # which would take twice the memory of the weights
    best.save(tmp_path / "best.keras")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = keras.saving.load_model(tmp_path / "best.keras")
    assert not [one for one in caught if "optimizer" in str(one.message)]
    assert model.optimizer.built

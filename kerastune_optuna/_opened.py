"""open_study: look at a study, and get its models, without the builder of its search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna._exceptions import BuilderError
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import Home, load, names_of, parse_objectives
from kerastune_optuna._trial import stored_model
from kerastune_optuna._tuner import OptunaTuner


def open_study(
    directory: str | Path = "tuning",
    study_name: str | None = None,
    *,
    storage: str | BaseStorage | None = None,
    artifact_store: StoreSource | None = None,
) -> OptunaTuner:
    """Open a study that a search has made, without the code of its builder.

    You can look at it and get its models. To train, make an OptunaTuner with the builder.

    Args:
        directory: The directory= of the search. Default "tuning".
        study_name: The name of the study. Default None: the only study that is there.
        storage: The storage= of the search. Default None: the database in `directory`.
        artifact_store: The artifact_store= of the search. Default None: a folder in `directory`.

    Returns:
        An OptunaTuner, with which you can look at the study by summary(), results(), history(),
        report() and figures, and get the best trials and best_model(). Models are rebuilt from
        their files if they consist of layers, losses and metrics of Keras, except Lambda layers. No
        code of the study is run. Methods that train raise a BuilderError.

    Raises:
        ArgumentError: There are several studies, or none of that name.
        StorageError: There is no study, or the storage cannot be used.

    Example:
        With the folder and the data of the example of OptunaTuner:

        >>> from kerastune_optuna import open_study
        >>> opened = open_study(folder)
        >>> loss = opened.best_model().evaluate(x[48:], y[48:], verbose=0)
        >>> abs(loss - opened.best_value) < 1e-6
        True
    """
    source = str(directory) if storage is None else storage
    study = load(source, study_name, "study_name= with one of")
    names, name = names_of(study), study.study_name
    ways = [direction.name.lower() for direction in study.directions]
    home = Home(name, directory, parse_objectives(names, ways), storage, artifact_store)
    return OptunaTuner(
        _FromFiles(home),
        names,
        direction=ways,
        n_trials=None,
        directory=directory,
        study_name=name,
        storage=storage,
        artifact_store=artifact_store,
    )


@dataclass(frozen=True)
class _FromFiles:
    """Build the models that a study has kept, in place of its builder."""

    home: Home

    def learn_ranges(self) -> None:
        """Refuse to search, before anything else happens.

        Raises:
            BuilderError: Says what to do instead.
        """
        raise BuilderError(
            f"open_study() knows no build_model, so nothing of study {self.home.name!r} can be "
            "trained. Make an OptunaTuner with its build_model to go on."
        )

    def __call__(self, trial: BaseTrial) -> keras.Model:
        """Return the model of a finished trial.

        Raises:
            BuilderError: The trial has not run.
            WeightsError: The model cannot be built from its file.
        """
        if not isinstance(trial, FrozenTrial):
            self.learn_ranges()
        return stored_model(self.home, cast(FrozenTrial, trial))

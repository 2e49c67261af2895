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

    Args:
        directory: The directory= of the search. Default "tuning".
        study_name: The name of the study. Default None: the only study that is there.
        storage: The storage= of the search, if it had one.
        artifact_store: The artifact_store= of the search, if it had one.

    Returns:
        A tuner with all that can be looked at: summary(), results(), history(), report(), figures
        and the best trials. best_model() works for models that consist of Keras's own layers
        except Lambda, losses and metrics, and runs no code of the study. What trains a model needs
        the builder, and raises an error.

    Raises:
        ArgumentError: There are several studies, or none of that name.
        StorageError: There is no study, or the storage cannot be used.

    Example:
        >>> import tempfile
        >>> import optuna
        >>> from kerastune_optuna import open_study
        >>> url = f"sqlite:///{tempfile.mkdtemp()}/study.db"
        >>> optuna.create_study(storage=url, study_name="lamps").add_trial(
        ...     optuna.create_trial(value=0.5)
        ... )
        >>> open_study(storage=url).best_value
        0.5
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

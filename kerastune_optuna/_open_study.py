"""open_study: look at any study of Optuna, and get its models, without a builder."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import BaseStorage

from kerastune_optuna._arguments import check_store
from kerastune_optuna._rerun import FromFiles
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import Home
from kerastune_optuna._tuner import OptunaTuner


def open_study(
    directory: str | Path = "tuning",
    study_name: str | None = None,
    *,
    storage: str | BaseStorage | None = None,
    artifact_store: StoreSource | None = None,
) -> OptunaTuner:
    """Open a study that a search has made, without the code of its builder.

    You can look at it and get its models. To train, make an OptunaTuner with the builder. A study
    that plain Optuna has made opens too, whatever its name and its metrics are; it has no models.

    Args:
        directory: The directory= of the search. Default "tuning".
        study_name: The name of the study. Default None: the only study that is there.
        storage: The storage= of the search. Default None: the database in `directory`.
        artifact_store: The artifact_store= of the search. Default None: a folder in `directory`.

    Returns:
        An OptunaTuner, with which you can look at the study by summary(), results(), history(),
        report() and figures, and get the best trials and best_model(). Models are rebuilt from
        their files if they consist of layers, losses and metrics of Keras, except Lambda layers. No
        code of the study is run. It has none of the arguments of a search, and methods that train
        raise a BuilderError.

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
    if artifact_store is not None:
        check_store(artifact_store)
    source = str(directory) if storage is None else storage
    study = Home.load_study(source, study_name, "study_name= with one of", None)
    tuner = OptunaTuner.__new__(OptunaTuner)  # what __init__ takes and checks is for a search
    tuner._home = home = Home.of(study, directory, artifact_store)
    tuner.build_model, tuner.n_trials, tuner.keep_best = FromFiles(home), None, "auto"
    return tuner

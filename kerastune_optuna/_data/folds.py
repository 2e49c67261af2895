"""Cross-validation: split the rows of a search's data into folds, as scikit-learn does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna import _check
from kerastune_optuna._data.fit import Fold, Given
from kerastune_optuna._data.sources import makes_batches
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_INSTEAD = (
    "Pass a number of folds, a splitter of scikit-learn like GroupKFold(5), a list of (train, "
    "test) rows, or None."
)
_LARGEST_SEED = 2**32  # exclusive: random_state= takes smaller numbers only


def cross_validated(
    fit: Given, cv: Any, groups: Any, seed: int | None, metrics: Sequence[str]
) -> Given:
    """Return the arguments of a search with its data loaded and split into folds.

    Args:
        fit: The arguments that were passed to search().
        cv: A number of folds, a splitter, or a list of splits; None is refused, as groups need it.
        groups: The `groups` argument of the splitter's split().
        seed: The seed by which rows are shuffled if `cv` is a number of folds. None means 0, since
            all trials of a study must have the same folds.
        metrics: The objectives that are metrics in the epoch logs.

    Raises:
        ArgumentError: The data cannot be split this way, or the folds cannot give the objective.
        MissingExtraError: scikit-learn, which splits the data, is not installed.
    """
    if cv is None:
        raise ArgumentError(f"groups= was passed without cv=, which uses it. {_INSTEAD}")
    _check.installed("sklearn", extra="examples")
    _check_validation(fit, metrics)
    if names := ", ".join(fit.functions):
        raise ArgumentError(
            f"cv= splits arrays that all trials share, but {names} is a function of the "
            "trial. Pass arrays, or cv=None and validation_data= as a function of the trial too."
        )
    from sklearn.model_selection import check_cv  # an optional package

    try:
        cv = int(cv) if isinstance(cv, int | np.integer) else check_cv(cv)
    except ValueError as error:
        raise ArgumentTypeError(f"cv={cv!r} is not a splitter. {_INSTEAD}") from error
    loaded = fit.loaded()
    return replace(loaded, folds=_folds(loaded, cv, groups, seed))


def _shuffled(n: int, seed: int | None, labels: NDArray[Any] | None) -> Any:
    """Return scikit-learn's splitter for `n` folds.

    It is stratified if the targets are classes: whole numbers or strings, each of which occurs at
    least `n` times.
    """
    from sklearn.model_selection import KFold, StratifiedKFold  # an optional package

    kind = KFold
    if labels is not None and labels.ndim == 1:
        is_float = np.issubdtype(labels.dtype, np.floating)
        is_whole = not is_float or (labels == np.round(labels)).all()
        if is_whole and np.unique(labels, return_counts=True)[1].min(initial=n) >= n:
            kind = StratifiedKFold
    return kind(n, shuffle=True, random_state=(seed or 0) % _LARGEST_SEED)


def _check_validation(fit: Given, metrics: Sequence[str]) -> None:
    """Reject validation data in addition to folds, and objectives that are not validated."""
    if fit.validation_data is not None or fit.validation_split:
        name = "validation_data" if fit.validation_data is not None else "validation_split"
        raise ArgumentError(
            f"{name} was passed with cv=, which validates each fold on the rows that it leaves "
            f"out. Leave {name} out, or pass cv=None."
        )
    for name in metrics:
        if not name.startswith("val_"):
            raise ArgumentError(
                f"objective={name!r} is measured on the training rows, but cv= leaves out rows "
                f"for validation. Pass objective='val_{name}', or cv=None."
            )


def _folds(fit: Given, cv: Any, groups: Any, seed: int | None) -> list[Fold]:
    """Return the training and validation rows of each fold."""
    _check_arrays(fit)
    leaves, labels = keras.tree.flatten(fit.x), _labels(fit.y)
    rows = leaves[0].shape[0]
    x = leaves[0] if len(leaves) == 1 else np.zeros((rows, 1))
    try:
        splitter = _shuffled(cv, seed, labels) if isinstance(cv, int) else cv
        split = splitter.split(x, labels, groups)
        folds = [(np.asarray(train), np.asarray(valid)) for train, valid in split]
    except (ValueError, TypeError) as error:  # raised by splitters for data that they cannot split
        reason = str(error).splitlines()[0].removesuffix(".")
        raise ArgumentError(f"cv= cannot split the data ({reason}). {_INSTEAD}") from error
    parts = [part for fold in folds for part in fold]
    are_whole = all(part.size > 0 and part.dtype.kind in "iu" for part in parts)
    if not (parts and are_whole and all(0 <= part.min() <= part.max() < rows for part in parts)):
        raise ArgumentError(
            "cv= gave no folds, or a fold that does not consist of row numbers from 0 to "
            f"{rows - 1}. {_INSTEAD}"
        )
    return folds


def _check_arrays(fit: Given) -> None:
    """Reject data from which rows cannot be picked."""
    parts = [("x", fit.x)] if makes_batches(fit.x) else []
    parts += [(name, leaf) for name in "xy" for leaf in keras.tree.flatten(getattr(fit, name))]
    for name, leaf in parts:
        kind = type(leaf).__name__
        has_rows = getattr(leaf, "shape", ()) and not makes_batches(leaf)
        if leaf is not None and (kind == "SparseTensor" or not has_rows):
            raise ArgumentTypeError(
                f"cv= picks rows, which is not possible for {name} of type {kind}. Pass arrays, "
                "sparse arrays of SciPy, or validation_data= in place of cv=."
            )


def _labels(y: Any) -> Any:
    """Return the targets as a splitter needs them: one-hot classes become a single column."""
    leaves = keras.tree.flatten(y)
    if len(leaves) != 1 or leaves[0] is None:
        return None
    labels = np.asarray(leaves[0])
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    is_one_hot = labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()
    return labels.argmax(1) if is_one_hot else labels

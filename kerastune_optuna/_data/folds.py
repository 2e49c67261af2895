"""Cross-validation: which rows each fold trains on, and a search's data cut to one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna import _check
from kerastune_optuna._data.checks import makes_batches
from kerastune_optuna._data.fit import FitArguments, Fold
from kerastune_optuna._data.pick import pick
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_INSTEAD = (
    "Pass a number of folds, a splitter of scikit-learn like GroupKFold(5), a list of (train, "
    "test) rows, or None."
)
_LARGEST_SEED = 2**32  # exclusive: random_state= takes smaller numbers only


def cross_validated(
    fit: FitArguments, cv: Any, groups: Any, seed: int | None, metrics: Sequence[str]
) -> FitArguments:
    """Return the arguments of a search with its data loaded and split into folds.

    Args:
        fit: What search() got.
        cv: A number of folds, a splitter, or what its split() returns; None to leave the arguments
            as they are.
        groups: What the splitter's split() gets as groups.
        seed: Fixes how rows are shuffled for a number of folds; None for an order that is fixed
            too, since all trials of a study are to have the same folds.
        metrics: The objectives that the epoch logs hold.

    Raises:
        ArgumentError: The data cannot be split so, or the folds could not give the objective.
        MissingExtraError: A number of folds needs scikit-learn.
    """
    if cv is None:
        if groups is not None:
            raise ArgumentError(f"groups came without cv, which splits by them. {_INSTEAD}")
        return fit
    cv = _Splits(cv) if _is_listed(cv) else cv
    _check_kind(cv, groups)
    _check_validation(fit, cv, metrics)
    opened, split = fit.opened(), partial(_split, cv=cv, groups=groups, seed=seed)
    if not opened.functions:
        return split(opened)
    no_rows = np.arange(0)
    n = _number_of_folds(cv, groups)
    return replace(opened, folds=[(no_rows, no_rows)] * n, split=partial(_split_again, split))


def _split_again(split: Callable[[FitArguments], FitArguments], fit: FitArguments) -> FitArguments:
    """Return the arguments of a trial, whose data has as many folds as that of all others.

    Raises:
        ArgumentError: It has more or fewer.
    """
    made = split(fit)
    if len(made.folds) != len(fit.folds):
        raise ArgumentError(
            f"cv= gave {_check.count(len(made.folds), 'fold')} of the data of a trial, and "
            f"{len(fit.folds)} before it. Pass a number of folds, which all trials have."
        )
    return made


def _number_of_folds(cv: Any, groups: Any) -> int:
    """Return how many folds there are of data that only the trials make."""
    if isinstance(cv, int | np.integer):
        return int(cv)
    try:
        return int(cv.get_n_splits(groups=groups))
    except (AttributeError, TypeError, ValueError) as error:  # what splitters raise without data
        raise ArgumentError(
            f"cv={cv!r} does not say how many folds it gives of data that functions of the trial "
            f"make ({error}). Pass a number of folds, or a splitter with a get_n_splits() that "
            "needs no data."
        ) from error


class _Splits:
    """Stand for a splitter, and give the splits that the user listed."""

    def __init__(self, splits: Iterable[Any]) -> None:
        self._splits = list(splits)  # a generator can be read only once

    def __repr__(self) -> str:
        return f"[{len(self._splits)} splits]"

    def get_n_splits(self, **_data: Any) -> int:
        """Return how many there are."""
        return len(self._splits)

    def split(self, *_data: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield pairs of row numbers, also where the user gave masks."""
        for train, valid in self._splits:
            yield _numbers(train), _numbers(valid)


def _is_listed(cv: Any) -> bool:
    return isinstance(cv, Iterable) and not isinstance(cv, str) and not hasattr(cv, "split")


def _numbers(rows: Any) -> NDArray[Any]:
    picked = np.asarray(rows)
    return np.flatnonzero(picked) if picked.dtype == bool else picked


def _check_kind(cv: Any, groups: Any) -> None:
    if isinstance(cv, _Splits) and groups is not None:
        raise ArgumentError(f"groups came with cv={cv!r}, which are split already. Leave it out.")
    if hasattr(cv, "split") and not isinstance(cv, str):
        return
    if isinstance(cv, bool) or not isinstance(cv, int | np.integer):
        raise ArgumentTypeError(f"cv={cv!r} is no number of folds and no splitter. {_INSTEAD}")
    _check.integer("cv", cv, least=2, instead=_INSTEAD)
    if groups is not None:
        raise ArgumentError(
            f"groups came with cv={cv}, which does not keep groups together. Pass "
            f"cv=sklearn.model_selection.GroupKFold({cv})."
        )
    _check.installed("sklearn", extra="examples")


def _check_validation(fit: FitArguments, cv: Any, metrics: Sequence[str]) -> None:
    """Refuse validation data beside the folds, and objectives that are not of validation."""
    if fit.validation_data is not None or fit.validation_split:
        name = "validation_data" if fit.validation_data is not None else "validation_split"
        raise ArgumentError(
            f"{name} came with cv={cv!r}, which validates each fold with the rows that it leaves "
            f"out. Leave {name} out, or pass cv=None."
        )
    for name in metrics:
        if not name.startswith("val_"):
            raise ArgumentError(
                f"objective={name!r} is measured on the rows that are trained on, and cv={cv!r} "
                f"leaves rows out to validate. Pass objective='val_{name}', or cv=None."
            )


def _split(fit: FitArguments, cv: Any, groups: Any, seed: int | None) -> FitArguments:
    """Return the arguments with the rows that each fold trains on, and is validated with."""
    _check_arrays(fit)
    leaves, labels = keras.tree.flatten(fit.x), _labels(fit.y)
    splitter = cv if hasattr(cv, "split") else _splitter(int(cv), labels, seed)
    x = leaves[0] if len(leaves) == 1 else np.zeros((leaves[0].shape[0], 1))
    try:
        split = splitter.split(x, labels, groups)
        folds = [(np.asarray(train), np.asarray(valid)) for train, valid in split]
    except (ValueError, TypeError) as error:  # what splitters raise for data that they cannot split
        reason = str(error).splitlines()[0].removesuffix(".")
        raise ArgumentError(f"cv={cv!r} cannot split the data ({reason}). {_INSTEAD}") from error
    if not folds or any(0 in (train.size, valid.size) for train, valid in folds):
        raise ArgumentError(f"cv={cv!r} gave no fold, or one without rows. {_INSTEAD}")
    rows = leaves[0].shape[0]
    for picked in (picked for fold in folds for picked in fold):
        if picked.dtype.kind not in "iu" or picked.min() < 0 or picked.max() >= rows:
            raise ArgumentError(
                f"cv={cv!r} gave a fold that does not hold numbers of rows from 0 to {rows - 1}. "
                f"{_INSTEAD}"
            )
    return replace(fit, folds=folds)


def _check_arrays(fit: FitArguments) -> None:
    """Refuse data whose rows cannot be picked."""
    if makes_batches(fit.x):
        raise ArgumentError(
            f"cv= picks rows, which x of type {type(fit.x).__name__} does not let it. Pass arrays, "
            "or validation_data= in place of cv=."
        )
    for name in ("x", "y"):
        for leaf in keras.tree.flatten(getattr(fit, name)):
            if type(leaf).__name__ == "SparseTensor":
                raise ArgumentTypeError(
                    f"cv= picks rows, which {name} of type SparseTensor does not let it. Pass an "
                    "array of scipy.sparse."
                )
            if leaf is not None and not getattr(leaf, "shape", ()):
                raise ArgumentTypeError(
                    f"cv= picks rows, and {name} holds a value of type {type(leaf).__name__}, "
                    "which has none. Pass arrays."
                )


def _labels(y: Any) -> Any:
    """Return the targets as a splitter takes them: classes in one dimension, also if one-hot."""
    leaves = keras.tree.flatten(y)
    if len(leaves) != 1 or leaves[0] is None:
        return None
    labels = np.asarray(leaves[0])
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    is_one_hot = labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()
    return labels.argmax(1) if is_one_hot else labels


def _splitter(n: int, labels: Any, seed: int | None) -> Any:
    """Return scikit-learn's splitter for a number of folds; by class where each has enough rows."""
    from sklearn.model_selection import KFold, StratifiedKFold  # an optional package

    kind = StratifiedKFold if _are_classes(labels, n) else KFold
    return kind(n, shuffle=True, random_state=(seed or 0) % _LARGEST_SEED)


def _are_classes(labels: NDArray[Any] | None, n: int) -> bool:
    """Whether targets are whole numbers or texts of which each comes `n` times at least."""
    if labels is None or labels.ndim != 1:
        return False
    if np.issubdtype(labels.dtype, np.floating) and not (labels == np.round(labels)).all():
        return False
    return bool(np.unique(labels, return_counts=True)[1].min(initial=n) >= n)


def key_of_folds(folds: Sequence[Fold]) -> str | None:
    """Return a short text that differs where folds do; None where there are none."""
    if not folds:
        return None
    found = hashlib.sha256()
    for rows in (rows for fold in folds for rows in fold):
        found.update(np.ascontiguousarray(rows, np.int64).tobytes() + b"|")
    return f"{len(folds)} folds ({found.hexdigest()[:8]})"


def of_fold(fit: FitArguments, number: int) -> FitArguments:
    """Return the arguments of a training, cut to the fold of its number; unchanged without folds.

    Raises:
        ArgumentError: A builder gave validation_split= beside the folds.
    """
    if not fit.folds:
        return fit
    if fit.validation_split:
        raise ArgumentError(
            f"build_model returned validation_split={fit.validation_split} beside its model, and "
            "cv= validates each fold with the rows that it leaves out. Leave it out."
        )
    train, valid = fit.folds[number % len(fit.folds)]
    weights = fit.others.get("sample_weight")
    weighted = {} if weights is None else {"sample_weight": weights}
    return replace(
        fit,
        x=pick(fit.x, train),
        y=pick(fit.y, train),
        validation_data=pick((fit.x, fit.y, *weighted.values()), valid),
        others={**fit.others, **pick(weighted, train)},
        pipelines={},
        folds=(),
    )

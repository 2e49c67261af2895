"""The user's callbacks: one list serves all trials, and each trial gets copies."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Sequence
from typing import Any

import keras
import optuna

from kerastune_optuna._data import as_list
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

# The attributes in which Keras's own callbacks keep the file that they write to.
_FILES = {keras.callbacks.CSVLogger: "filename", keras.callbacks.ModelCheckpoint: "filepath"}
# It opens its folder when it is made, so only a new one writes elsewhere. Keras 3.10 lacks it.
_ORBAX = getattr(keras.callbacks, "OrbaxCheckpoint", None)


def check_callback(callback: object) -> None:
    """Reject an object that is not a callback, and a callback that cannot be copied.

    Raises:
        ArgumentTypeError: The object is neither a Callback nor a factory.
        ArgumentError: The callback cannot be copied, or can serve only one training.
    """
    check_kind(callback)
    if isinstance(callback, keras.callbacks.Callback):
        _copy(callback)


def check_kind(callback: object) -> None:
    """Reject an object that is not a callback, and a callback that can serve only one training.

    Raises:
        ArgumentTypeError: The object is neither a Callback nor a factory.
        ArgumentError: The callback can serve only one training.
    """
    is_usable = isinstance(callback, keras.callbacks.Callback) or callable(callback)
    if isinstance(callback, type) or not is_usable:
        raise ArgumentTypeError(
            f"callbacks holds {callback!r}, which is not a keras Callback. Pass instances, or "
            "functions that take the trial and return one."
        )
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise ArgumentError(
            "callbacks holds BackupAndRestore, which would start each trial from the weights "
            "of another. Leave it out, or pass a function that takes the trial and returns "
            "a BackupAndRestore with a folder for that trial."
        )


def for_trial(
    shared: Sequence[Any], of_builder: Any, trial: optuna.trial.BaseTrial, folder: str
) -> list[keras.callbacks.Callback]:
    """Return one trial's callbacks; Keras's own that write files write them into `folder`.

    Args:
        shared: The callbacks of the search, which are copied, and factories of callbacks.
        of_builder: The callbacks that the builder returned for this trial. They are not copied,
            since copying a callback that holds the model would copy the model too.
        trial: The trial.
        folder: The subfolder of the user's folders in which the callbacks write.

    Raises:
        ArgumentTypeError: An entry is neither a Callback nor a factory.
        ArgumentError: A callback can serve only one training.
    """
    is_made, made = keras.callbacks.Callback, []
    copied = [_copy(one) if isinstance(one, is_made) else one for one in shared]
    for callback in [*copied, *as_list(of_builder)]:
        check_kind(callback)
        if isinstance(callback, is_made):
            made.append(_in_folder(callback, folder))
            continue
        for product in (products := as_list(callback(trial))):
            if not isinstance(product, is_made):
                raise ArgumentTypeError(
                    f"callbacks holds the factory {callback!r}, which returned {product!r}. "
                    "Return a keras Callback or a list of them."
                )
        made += products
    return made


def may_add_metrics(callback: Any) -> bool:
    """Whether a callback may add names to the epoch logs that the model does not log itself."""
    kind, base = type(callback), keras.callbacks.Callback
    if not issubclass(kind, base) or kind is keras.callbacks.LambdaCallback:
        return True
    acts = kind.on_epoch_end is not base.on_epoch_end
    return bool(acts and not kind.__module__.startswith("keras."))


def _copy(callback: keras.callbacks.Callback) -> keras.callbacks.Callback:
    """Return a copy of a callback, or say that it has none."""
    if type(callback) is _ORBAX:
        return callback  # it holds threads, and `_in_folder` makes another one
    try:
        return copy.deepcopy(callback)
    except Exception as error:  # a callback may hold anything, so copying may raise anything
        raise ArgumentError(
            f"callbacks holds a {type(callback).__name__} that cannot be copied for each trial "
            f"({type(error).__name__}: {error}). Pass a function that takes the trial and returns "
            f"a new one: callbacks=[lambda trial: {type(callback).__name__}(...)]."
        ) from error


def _in_folder(callback: keras.callbacks.Callback, folder: str) -> keras.callbacks.Callback:
    """Return the callback; if it is one of Keras's that write files, a copy that uses `folder`."""
    if type(callback) is _ORBAX:
        # All its arguments are attributes, except `initial_value_threshold`, which is `best`.
        names = inspect.signature(type(callback)).parameters
        given = {name: getattr(callback, name, callback.best) for name in names}
        return type(callback)(**given | {"directory": os.path.join(callback.directory, folder)})
    if not isinstance(callback, (*_FILES, keras.callbacks.TensorBoard)):
        return callback
    callback = copy.copy(callback)  # a builder may return the same callback in each trial
    for kind, name in _FILES.items():
        if isinstance(callback, kind):
            head, tail = os.path.split(getattr(callback, name))
            # CSVLogger opens its file without making the folder.
            os.makedirs(os.path.join(head, folder), exist_ok=True)
            setattr(callback, name, os.path.join(head, folder, tail))
    if isinstance(callback, keras.callbacks.TensorBoard):
        callback.log_dir = os.path.join(callback.log_dir, folder)
    return callback

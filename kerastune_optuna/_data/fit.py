"""The arguments of Model.fit: check their names, and hold what the trials pass on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import keras
from numpy.typing import NDArray

from kerastune_optuna import _check
from kerastune_optuna._data.anew import Beginning
from kerastune_optuna._data.cache import from_memory
from kerastune_optuna._data.checks import (
    a_batch,
    begun,
    check_training_data,
    check_validation_data,
    count_batches,
    is_loader,
    makes_batches,
    may_end,
    open_data,
    open_parcel,
    parts_of,
    shape_of_a_batch,
    takes_trial,
    weights_within,
)
from kerastune_optuna._data.datasets import Shuffling, for_trainings, is_tf_dataset
from kerastune_optuna._data.specs import specify, specify_read
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._study import Objective, Objectives

_DATA = ("x", "y", "validation_data")
# Arguments that only search() sets.
_OWNED = {*_DATA, "verbose"}
_SAME_FOR_ALL = {*_OWNED, "initial_epoch"}
# Named parameters of search(), which passes them to Model.fit in its own way.
_OURS = {*_OWNED, "epochs", "callbacks", "validation_split", "steps_per_execution"}
_OF_SEARCH = {"cv", "groups"}
_SIZES = {"batch_size": "x", "validation_batch_size": "validation_data"}
Fold: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # rows to train on, and to validate with


@dataclass(frozen=True)
class FitArguments:
    """Hold the arguments that every trial of a search passes to Model.fit, except callbacks.

    If `is_free`, the arguments go to the builder's own fit, which may take any data, or none. Those
    that are `taken` from an earlier search give way to data that does not fit them.
    """

    x: Any
    y: Any
    epochs: int
    validation_data: Any
    validation_split: float
    others: Mapping[str, Any] = field(default_factory=dict)
    steps_per_execution: int | str = "auto"
    pipelines: Mapping[str, Any] = field(default_factory=dict)
    beginning: Beginning = field(default_factory=lambda: Beginning({}))
    folds: Sequence[Fold] = ()
    is_free: bool = False
    taken: frozenset[str] = frozenset()

    @property
    def data(self) -> dict[str, Any]:
        """The data by its name in Model.fit, in the order in which functions make it."""
        return {name: getattr(self, name) for name in _DATA}

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs as far as they are known, by the argument that contains them."""
        are_inputs = isinstance(self.x, Mapping | list | tuple)  # alone, without targets
        x = self.x if are_inputs else parts_of(self.x)[0]
        return {"x": x, "validation_data": parts_of(self.validation_data)[0]}

    @property
    def targets(self) -> dict[str, Any]:
        """The targets as far as they are known, by the argument that contains them."""
        x = None if isinstance(self.x, list | tuple) else parts_of(self.x)[1]  # several inputs
        return {"x": x, "y": self.y, "validation_data": parts_of(self.validation_data)[1]}

    @property
    def functions(self) -> dict[str, Callable[[Any], Any]]:
        """The functions of the trial that make data, by the name of the data.

        Raises:
            ArgumentTypeError: A function takes something other than the trial.
        """
        return {name: source for name, source in self.data.items() if takes_trial(name, source)}

    @property
    def may_get_weights(self) -> bool:
        """Whether a function has yet to load x, and may return weights of its rows, too."""
        return is_loader(self.x) and "sample_weight" not in self.others

    @property
    def epochs_per_training(self) -> int:
        """How many epochs a training runs unless it is stopped early."""
        return int(self.epochs) - self.first_epoch

    @property
    def first_epoch(self) -> int:
        """The number of the first epoch for Keras and its callbacks."""
        return int(self.others.get("initial_epoch", 0))

    def opened(self) -> FitArguments:
        """Return a copy whose data is loaded from functions and parcels, and checked.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        opened = replace(
            self,
            x=open_data("x", self.x),
            y=open_data("y", self.y),
            validation_data=open_data("validation_data", self.validation_data),
            others={name: open_parcel(value) for name, value in self.others.items()},
        )
        # Of arrays, a function returns its targets too, as datasets hold theirs.
        if is_loader(self.x) and opened.y is None and not self.is_free and is_pair(opened.x):
            opened = opened.with_parts_of(opened.x)
        opened = opened._fitting()
        given = {**opened.data, **opened.others}
        datasets = {k: one for k, one in given.items() if isinstance(one, keras.utils.PyDataset)}
        beginning = Beginning(datasets)
        return replace(opened.checked(), pipelines=opened._pipelines(), beginning=beginning)

    def with_builders(self, arguments: Mapping[str, Any]) -> FitArguments:
        """Return a copy in which the arguments from a builder replace those of search()."""
        others = {**self.others, **arguments}
        ours = {name: others.pop(name) for name in _OURS.intersection(arguments)}
        fit = replace(self, others=others, **ours)
        return replace(fit, pipelines=fit._pipelines()) if fit.counted_steps() else fit

    def completed(self, others: Mapping[str, Any]) -> FitArguments:
        """Return a copy with others that were not passed, as far as the data fits them."""
        taken = others.keys() - self.others.keys() - _OURS
        mine = {**{name: others[name] for name in taken}, **self.others}
        return replace(self, others=mine, taken=frozenset(taken))._fitting()

    def _fitting(self) -> FitArguments:
        """Return a copy without those taken arguments that do not fit the data, once it is open."""
        if not self.taken:
            return self
        unfit = {name for name, of in _SIZES.items() if makes_batches(getattr(self, of))}
        unfit.update(weights_within(self.x))
        if self.others.get("sample_weight") is not None:
            unfit.add("class_weight")  # Keras takes only one of them
        kept = {k: value for k, value in self.others.items() if k not in unfit & self.taken}
        return replace(self, others=kept)

    def with_parts_of(self, pair: tuple[Any, ...]) -> FitArguments:
        """Return a copy with the parts of the (x, y) or (x, y, sample_weight) of a function.

        Raises:
            ArgumentError: There are weights, but sample_weight was passed too.
        """
        x, y, weights = keras.utils.unpack_x_y_sample_weight(pair)
        if weights is None:
            return replace(self, x=x, y=y)
        if self.others.get("sample_weight") is not None:
            raise ArgumentError(
                "The function that was passed as x returned weights, but sample_weight was passed "
                "too. Return (x, y), or leave sample_weight out."
            )
        return replace(self, x=x, y=y, others={**self.others, "sample_weight": weights})

    def of_training(self, seed: int) -> FitArguments:
        """Return a copy for one training, with pipelines whose shuffles start from its seed.

        Args:
            seed: The training's seed, which each shuffle() without its own seed uses.
        """
        pipelines = {
            name: data.begin(seed) if isinstance(data, Shuffling) else data
            for name, data in self.pipelines.items()
        }
        return replace(self, pipelines=pipelines)

    def skip(self, epochs: int) -> None:
        """Advance the shuffles by some epochs: each reading of a pipeline draws a new order."""
        self.beginning.skip(epochs, self._is_evaluated)
        data = self.pipelines.get("x")
        if data is None or "steps_per_epoch" in self.others:
            return  # with steps_per_epoch=, an epoch continues where the last one ended
        # Keras reads a pipeline of known length twice per epoch, and uses only the first reading.
        for _ in range(epochs * (1 + (data.cardinality() >= 0))):
            iter(data)

    def _is_evaluated(self, place: int) -> bool:
        """Whether Keras evaluates the validation data after one of the epochs."""
        frequency, epoch = self.others.get("validation_freq", 1), self.first_epoch + place + 1
        return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency

    def _pipelines(self) -> dict[str, Any]:
        """Return the datasets or Shufflings that trainings read in place of the user's datasets."""
        is_read_whole = not self.counted_steps()
        return {
            name: for_trainings(from_memory(data) if is_read_whole else data)
            for name in ("x", "validation_data")
            if is_tf_dataset(data := getattr(self, name))
        }

    def checked(self) -> FitArguments:
        """Check the data, except what functions have not loaded yet, and return self.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        for name, source in self.data.items():
            takes_trial(name, source)
        if self.is_free:
            return self
        x, y, validation = (None if is_loader(one) else one for one in self.data.values())
        if not is_loader(self.x):
            check_training_data(x, y, self.others)
        steps = self.others.get("validation_steps")
        check_validation_data(validation, self.validation_split, steps, x)
        return self

    def as_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments for Model.fit."""
        # Keras 3.15 warns about its own default shuffle=True for data that makes its own batches.
        shuffles_itself = makes_batches(self.x) and not isinstance(self.x, keras.utils.PyDataset)
        quiet = {"shuffle": False} if shuffles_itself else {}
        return {
            **quiet,
            "x": begun(self.x),
            "y": self.y,
            "epochs": self.epochs,
            "validation_data": self.validation_data,
            "validation_split": self.validation_split,
            **self.others,
            **self.pipelines,
        }

    def _evaluated(self) -> tuple[Any, Any]:
        if self.validation_data is None:
            return self.x, self.y
        x, y, _ = keras.utils.unpack_x_y_sample_weight(self.validation_data)
        return x, y

    def inputs_of_a_batch(self) -> Any:
        """Return the inputs of one batch of the validation data or, if there is none, of x."""
        batch = a_batch(self._evaluated()[0], batch_size=self._evaluation_size)
        return keras.utils.unpack_x_y_sample_weight(batch)[0]

    def specification(self) -> Any:
        """Return a symbolic batch as a step gets it; None if that requires reading the data."""
        return specify(self.x, self.y)

    def specification_of_a_batch(self) -> Any:
        """Return what `specification` returns, and read a batch if that is required."""
        return specify_read(self.x, self.y)

    @property
    def _evaluation_size(self) -> int:
        return self.others.get("validation_batch_size") or self._batch_size

    def steps_of_an_epoch(self) -> int | None:
        """Return how many batches an epoch trains on; None if only training shows it."""
        steps = self.others.get("steps_per_epoch")
        # Where data ends unforeseen, Keras counts a step too many, but not within calls of several.
        if steps is None or may_end(self.x):
            steps = count_batches(self.x, self._batch_size, self.validation_split)
        return steps

    def counted_steps(self) -> list[int]:
        """Return the numbers of steps that the user passed; the data may have more batches."""
        given = (self.others.get(name) for name in ("steps_per_epoch", "validation_steps"))
        return [steps for steps in given if steps is not None]

    def shape_of_a_batch(self) -> tuple[int, ...] | None:
        """Return the shape of one batch of the first input; None if it is unknown."""
        return shape_of_a_batch(self.x, self._batch_size)

    @property
    def _batch_size(self) -> int:
        return self.others.get("batch_size") or 32  # as Keras reads None

    @property
    def has_validation(self) -> bool:
        """Whether the epoch logs will contain validation metrics."""
        return self.validation_data is not None or bool(self.validation_split or self.folds)


def is_pair(loaded: Any) -> bool:
    """Whether what a function loaded is (x, y) or (x, y, sample_weight)."""
    return isinstance(loaded, tuple) and len(loaded) in (2, 3)


def check_fit_arguments(
    names: Iterable[str], caller: str = "search()", *, is_free: bool = False
) -> None:
    """Reject names of arguments that neither the installed Keras's Model.fit nor the caller takes.

    Args:
        names: The names that were passed.
        caller: The method to which they were passed.
        is_free: Whether the arguments go to the builder's own fit, which may take any others.

    Raises:
        ArgumentTypeError: An argument is unknown; the message suggests the nearest known one.
    """
    known = _arguments_of_fit() - _OURS
    for name in names:
        if name in _OF_SEARCH:
            raise ArgumentTypeError(
                f"{caller} got {name!r}, which only search() takes. Leave it out: {caller} trains "
                "on all rows that it gets."
            )
        if name not in known and not is_free:
            ours = known | _OURS | {"n_trials", "timeout", "n_workers"}
            raise ArgumentTypeError(
                f"{caller} got {name!r}, which Model.fit does not take."
                f"{_check.nearest(name, ours)} It takes {', '.join(sorted(known))}."
            )


def check_builders_arguments(names: Iterable[str]) -> None:
    """Reject arguments of Model.fit that a builder must not return.

    Raises:
        ArgumentTypeError: An argument must be passed to search(), or is unknown; the message then
            suggests the nearest known one.
    """
    known = _arguments_of_fit()
    own = sorted(known - _SAME_FOR_ALL)
    for name in names:
        if name in _SAME_FOR_ALL:
            raise ArgumentTypeError(
                f"build_model returned {name!r} with its model, which must be the same for all "
                f"trials. Pass {name}= to search(); data may be a function of the trial."
            )
        if name not in known:
            raise ArgumentTypeError(
                f"build_model returned {name!r} with its model, which Model.fit does not take."
                f"{_check.nearest(str(name), known)} It takes {', '.join(own)}."
            )


def _arguments_of_fit() -> set[str]:
    """Return the names of the arguments that the installed Keras's Model.fit takes."""
    return set(inspect.signature(keras.Model.fit).parameters) - {"self"}


def check_training(arguments: FitArguments, objectives: Objectives, *, may_add: bool) -> None:
    """Reject epochs, batches or a validation with which the objective could never be logged.

    Args:
        arguments: The arguments of search(), possibly with those that a builder returned.
        objectives: The tuner's objectives.
        may_add: Whether the user's callbacks may add metrics to the logs. The builder's own fit may
            do so in any case.

    Raises:
        ArgumentError: An argument is invalid; the message says what to pass instead.
    """
    _check.integer("epochs", arguments.epochs, least=1, instead="Pass 1 or more epochs.")
    for name, of in _SIZES.items():
        if (size := arguments.others.get(name)) is not None:
            _check.integer(name, size, least=1, instead="Pass how many rows a batch has.")
            _check_takes_size(name, of, arguments)
    if (initial := arguments.first_epoch) >= arguments.epochs:
        raise ArgumentError(
            f"initial_epoch={initial} leaves none of epochs={arguments.epochs} to train. Pass "
            "epochs= greater than initial_epoch=."
        )
    for objective in objectives.metrics:
        if objective.needs_validation and not (may_add or arguments.is_free):
            _check_validation(arguments, objective)


def _check_takes_size(name: str, of: str, arguments: FitArguments) -> None:
    """Reject a batch size for data that already comes in batches."""
    data = getattr(arguments, of)
    if makes_batches(data) and not arguments.is_free:
        raise ArgumentError(
            f"{name} was passed with {of} of type {type(data).__name__}, which already has "
            f"batches, so Keras would ignore it. Leave {name} out; to tune it, pass a function of "
            "the trial that makes the batches."
        )


def _check_validation(arguments: FitArguments, objective: Objective) -> None:
    """Reject arguments without validation, or with a validation that would never run."""
    if not arguments.has_validation:
        raise ArgumentError(
            f"objective={objective.name!r} needs validation data, but there is none. Pass "
            f"validation_data= or validation_split=, or objective={objective.name[4:]!r}."
        )
    frequency = arguments.others.get("validation_freq", 1)
    if isinstance(frequency, int) and frequency > arguments.epochs:
        raise ArgumentError(
            f"validation_freq={frequency} is more than epochs={arguments.epochs}: the objective "
            f"{objective.name!r} would never be logged. Pass validation_freq=1, or more epochs."
        )

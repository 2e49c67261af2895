"""The arguments of Model.fit: as given, loaded, and as each training passes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import keras
from numpy.typing import NDArray
from optuna.trial import BaseTrial

from kerastune_optuna._backend import batch_size_of, undisturbed
from kerastune_optuna._data.anew import Beginning
from kerastune_optuna._data.checks import (
    check_parts,
    check_source,
    check_split,
    check_validation_data,
    fault_of_type,
    fault_of_values,
    weights_within,
)
from kerastune_optuna._data.datasets import Shuffling, for_trainings, from_memory
from kerastune_optuna._data.sources import (
    UNKNOWN,
    GeneratorFunction,
    a_batch,
    cardinality,
    count_rows,
    is_loader,
    is_tf_dataset,
    load,
    makes_batches,
    parts_of,
    pick,
    symbolic,
    symbolic_read,
    takes_trial,
    unpack_x,
)
from kerastune_optuna._data.transport import open_parcel, pack
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_DATA = ("x", "y", "validation_data")
ONLY_SEARCH_SETS = {*_DATA, "verbose"}  # arguments that only search() sets
# Named parameters of search(), which passes them to Model.fit in its own way.
SEARCH_PARAMETERS = {
    *ONLY_SEARCH_SETS,
    "epochs",
    "callbacks",
    "validation_split",
    "steps_per_execution",
}
DATA_OF_SIZE = {"batch_size": "x", "validation_batch_size": "validation_data"}  # of which data
Fold: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # rows to train on, and to validate with


@dataclass(frozen=True)
class FitArguments:
    """Hold what a training passes to Model.fit, except callbacks.

    If `is_free`, the arguments go to the builder's own fit, which may take any data, or none. Keras
    reads the pipelines in place of the user's tf.data.Datasets, and `beginning` holds the states of
    the user's PyDatasets if there are any. With cross-validation, `folds` has the rows of each fold
    until a training picks one.
    """

    x: Any
    y: Any
    epochs: int
    validation_data: Any
    validation_split: float
    others: Mapping[str, Any] = field(default_factory=dict)
    steps_per_execution: int | str = "auto"
    is_free: bool = False
    pipelines: Mapping[str, Any] = field(default_factory=dict)
    beginning: Beginning | None = None
    folds: Sequence[Fold] = ()

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
    def epochs_per_training(self) -> int:
        """How many epochs a training runs unless it is stopped early."""
        return int(self.epochs) - self.first_epoch

    @property
    def first_epoch(self) -> int:
        """The number of the first epoch for Keras and its callbacks."""
        return int(self.others.get("initial_epoch", 0))

    @property
    def has_validation(self) -> bool:
        """Whether the epoch logs will contain validation metrics."""
        held_out = self.validation_split or self.folds
        return self.validation_data is not None or bool(held_out)

    @property
    def batch_size(self) -> int:
        """How many rows of arrays a batch has, with 32 for None as in Keras."""
        return self.others.get("batch_size") or 32

    @property
    def counted_steps(self) -> list[int]:
        """The numbers of steps that the user passed; the data may have more batches."""
        given = (self.others.get(name) for name in ("steps_per_epoch", "validation_steps"))
        return [steps for steps in given if steps is not None]

    @property
    def n_batches(self) -> int | None:
        """How many batches the data for training has; None if that is unknown, or endless."""
        if hasattr(self.x, "cardinality"):
            size: int | None = cardinality(self.x)
        elif makes_batches(self.x):
            size = count_rows(self.x)
        elif (rows := count_rows(self.x)) is None:
            return None
        elif self.steps_per_epoch and not self.others.get("batch_size"):
            return self.steps_per_epoch  # Keras then makes as many batches of arrays
        else:
            # Keras gives the first floor(rows * (1 - split)) rows to training.
            size = math.ceil(int(rows * (1 - self.validation_split)) / self.batch_size)
        return size if size is not None and size > 0 else None

    @property
    def steps_per_epoch(self) -> int | None:
        """The number of steps after which Keras ends an epoch even if there is more data."""
        most = (self.others.get("steps_per_epoch"), keras.config.max_steps_per_epoch())
        return min((steps for steps in most if steps), default=None)

    def as_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments for Model.fit."""
        # Keras 3.15 warns about its own default shuffle=True for data that makes its own batches.
        shuffles_itself = makes_batches(self.x) and not isinstance(self.x, keras.utils.PyDataset)
        quiet = {"shuffle": False} if shuffles_itself else {}
        return {
            **quiet,
            "x": iter(self.x) if isinstance(self.x, GeneratorFunction) else self.x,
            "y": self.y,
            "epochs": self.epochs,
            "validation_data": self.validation_data,
            "validation_split": self.validation_split,
            **self.others,
            **self.pipelines,
        }

    def _pipelines(self) -> dict[str, Any]:
        """Return the datasets or Shufflings that stand in for the user's tf.data.Datasets."""
        data = {"x": self.x, "validation_data": self.validation_data}
        datasets = {name: one for name, one in data.items() if is_tf_dataset(one)}
        if not self.counted_steps:  # each epoch reads the whole dataset
            datasets = {name: from_memory(one) for name, one in datasets.items()}
        return {name: for_trainings(one) for name, one in datasets.items()}

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Yield the arrays that are loaded, with names like validation_data[0]['age']."""
        given = {**self.data, "sample_weight": self.others.get("sample_weight")}
        for name, data in given.items():
            if data is None or is_loader(data) or makes_batches(data):
                continue
            for path, leaf in keras.tree.flatten_with_path(data):
                if leaf is not None:
                    yield name + "".join(f"[{step!r}]" for step in path), leaf

    def check_kinds(self) -> None:
        """Reject arrays whose type Keras does not take, except those that functions will load.

        Raises:
            ArgumentTypeError: An array or column has such a type; the message says what to pass.
        """
        if self.is_free:  # the builder's own fit may take anything
            return
        for name, leaf in self.arrays():
            if (fault := fault_of_type(leaf)) is not None:
                raise ArgumentTypeError(f"{name} holds {fault}.")

    def not_finite(self) -> str | None:
        """Return where the data is not finite, like "x holds NaN in column 'age'", or None."""
        try:
            faults = ((name, fault_of_values(leaf)) for name, leaf in self.arrays())
            return next((f"{name} holds {fault}" for name, fault in faults if fault), None)
        except Exception:  # the data may raise anything, and a trial must not fail for a hint
            return None

    def specification(self) -> Any:
        """Return a symbolic batch as a step gets it; None if that requires reading the data."""
        batch = getattr(self.x, "element_spec", None)
        if batch is None:
            batch = keras.utils.pack_x_y_sample_weight(self.x, self.y)
        told = keras.tree.map_structure(symbolic, batch)
        leaves = keras.tree.flatten(told)
        return told if leaves and all(leaf is not None for leaf in leaves) else None

    def specification_of_a_batch(self) -> Any:
        """Return what `specification` returns, for any data; if necessary, read a batch.

        Raises:
            Exception: Any error from the user's data, or from Keras if the shapes are unknown.
        """
        if (told := self.specification()) is not None:
            return told
        if hasattr(self.x, "element_spec"):  # reading a batch would advance a shuffle()
            return keras.tree.map_structure(symbolic_read, self.x.element_spec)
        with undisturbed():
            return keras.tree.map_structure(symbolic_read, a_batch(self.x, self.y))

    def steps_of_an_epoch(self) -> int | None:
        """Return how many batches an epoch trains on; None if only training shows it."""
        steps: int | None = self.others.get("steps_per_epoch")
        is_tf = hasattr(self.x, "cardinality")
        # Where data ends unforeseen, Keras counts a step too many, but not within calls of several.
        if steps is not None and not (is_tf and cardinality(self.x) == UNKNOWN):
            return steps
        return self.n_batches if is_tf or not makes_batches(self.x) else None

    def shape_of_a_batch(self) -> tuple[int, ...] | None:
        """Return the shape of a batch of the first input, with guesses for unknown sizes."""
        if hasattr(self.x, "element_spec"):
            spec = self.x.element_spec
            first = keras.tree.flatten(spec[0] if isinstance(spec, tuple) else spec)[0]
            if not getattr(first, "shape", None) or not first.shape.rank:
                return None  # several replicas, an unknown rank, or scalars without a batch()
            rows, *row = first.shape.as_list()
            return (rows or batch_size_of(self.x) or 128, *(size or 1 for size in row))
        leaves = [] if makes_batches(self.x) else keras.tree.flatten(self.x)
        shape = getattr(leaves[0], "shape", ()) if leaves else ()
        return (self.batch_size, *(int(size or 1) for size in shape[1:])) if shape else None


@dataclass(frozen=True)
class Given(FitArguments):
    """Hold what all trainings of a search share, and give each training its own.

    First come the arguments as the user passed them, which travel to workers; data may be functions
    there, or parcels. `completed` adds those of an earlier search. `loaded` then loads the data in
    each process, and once more for each trial if functions of the trial make it. Last,
    `of_training` adds what the builder returned, and picks a fold and the seed of the shuffles.

    Args:
        taken: The names of arguments from an earlier search, which give way to data that does not
            fit them.
    """

    taken: frozenset[str] = frozenset()

    @property
    def functions(self) -> dict[str, Callable[[Any], Any]]:
        """The functions of the trial that make data, by the name of the data.

        Raises:
            ArgumentTypeError: A function takes something other than the trial.
        """
        loaders = {name: source for name, source in self.data.items() if is_loader(source)}
        return {name: source for name, source in loaders.items() if takes_trial(name, source)}

    def completed(self, others: Mapping[str, Any]) -> Given:
        """Return a copy with others that were not passed, as far as the data fits them."""
        taken = others.keys() - self.others.keys() - SEARCH_PARAMETERS
        mine = {**{name: others[name] for name in taken}, **self.others}
        return replace(self, others=mine, taken=frozenset(taken))._without_unfit()

    def _without_unfit(self) -> Given:
        """Return a copy without the taken arguments that do not fit the data, once it is loaded."""
        unfit = {name for name, of in DATA_OF_SIZE.items() if makes_batches(getattr(self, of))}
        unfit.update(weights_within(self.x))
        if self.others.get("sample_weight") is not None:
            unfit.add("class_weight")  # Keras takes only one of them
        kept = {k: value for k, value in self.others.items() if k not in unfit & self.taken}
        return replace(self, others=kept)

    def check(self) -> None:
        """Check the data, except what functions have not loaded yet.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        if self.is_free:
            return
        x, y, validation = (None if is_loader(one) else one for one in self.data.values())
        if not is_loader(self.x):
            check_source("x", x, self.others.get("steps_per_epoch"), "steps_per_epoch")
            check_parts(x, y, self.others)
        check_split(self.validation_split, x)
        if validation is not None:
            check_validation_data(validation, self.others.get("validation_steps"))

    def packed(self, folder: Path | None) -> Given:
        """Return a copy for other processes, which call `unpacked` of it.

        `pack` says what it does with the folder.

        Raises:
            ArgumentError: A dataset cannot be sent to other processes.
        """
        data = {name: pack(name, value, folder) for name, value in self.data.items()}
        others = {name: pack(name, value, folder) for name, value in self.others.items()}
        return replace(self, **data, others=others)

    def unpacked(self) -> Given:
        """Return a copy with the data as it was before it was packed."""
        data = {name: open_parcel(value) for name, value in self.data.items()}
        others = {name: open_parcel(value) for name, value in self.others.items()}
        return replace(self, **data, others=others)

    def loaded(self, trial: BaseTrial | None = None) -> Given:
        """Return a copy with the data that functions load, and check it.

        Args:
            trial: The trial whose parameters functions of the trial make data from; None (default)
                to leave these functions uncalled.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        data, others = self.data, dict(self.others)
        loaders = {name: source for name, source in data.items() if is_loader(source)}
        data |= {name: load(name, source, trial) for name, source in loaders.items()}
        if "x" in loaders and isinstance(data["x"], tuple):
            is_of_trial = takes_trial("x", self.x)
            if is_of_trial or not self.is_free:
                unpack_x(data, others, is_of_trial=is_of_trial)
        loaded = replace(self, **data, others=others)
        if self.taken:
            loaded = loaded._without_unfit()
        loaded.check()
        if trial is not None:
            loaded.check_kinds()
        given = {**loaded.data, **loaded.others}
        batches = {name: one for name, one in given.items() if makes_batches(one)}
        if not batches:
            return loaded
        datasets = {k: one for k, one in batches.items() if isinstance(one, keras.utils.PyDataset)}
        beginning = Beginning(datasets) if datasets else None
        return replace(loaded, pipelines=loaded._pipelines(), beginning=beginning)

    def of_training(self, arguments: Mapping[str, Any], number: int, seed: int) -> FitArguments:
        """Return what one training passes to Model.fit; the data must be loaded.

        Args:
            arguments: The arguments from its builder, which replace those of search().
            number: The number of the training, which determines its fold.
            seed: The training's seed, which each shuffle() without its own seed uses.

        Raises:
            ArgumentError: The builder returned validation_split= in addition to the folds.
        """
        others = {**self.others, **arguments}
        ours = {
            name: others.pop(name, getattr(self, name)) for name in ("epochs", "validation_split")
        }
        fit: FitArguments = replace(self, **ours, others=others, folds=())
        if self.folds:
            return _of_fold(fit, *self.folds[number % len(self.folds)])
        if not self.pipelines:
            return fit
        is_newly_counted = fit.counted_steps and not self.counted_steps
        pipelines = fit._pipelines() if is_newly_counted else self.pipelines
        begun = {
            name: data.begin(seed) if isinstance(data, Shuffling) else data
            for name, data in pipelines.items()
        }
        return replace(fit, pipelines=begun)


def _of_fold(fit: FitArguments, train: NDArray[Any], valid: NDArray[Any]) -> FitArguments:
    """Return the arguments of a training on some rows, which is validated on others.

    Raises:
        ArgumentError: A builder returned validation_split= in addition to the folds.
    """
    if fit.validation_split:
        raise ArgumentError(
            f"build_model returned validation_split={fit.validation_split} with its model, but "
            "cv= validates each fold on the rows that it leaves out. Leave validation_split out."
        )
    weights = fit.others.get("sample_weight")
    weighted = {} if weights is None else {"sample_weight": weights}
    return replace(
        fit,
        x=pick(fit.x, train),
        y=pick(fit.y, train),
        validation_data=pick((fit.x, fit.y, *weighted.values()), valid),
        others={**fit.others, **pick(weighted, train)},
    )

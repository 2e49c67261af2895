"""One animal for each form in which Keras takes data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tests.zoo.animal import Animal, compiled, generator, on_inputs, on_targets, rate, split
from tests.zoo.layers import images, series, table

BATCH = 16


def small(trial: Any) -> keras.Model:
    """Return a classifier of the table."""
    layers = [keras.Input((8,)), kl.Dense(8, activation="relu"), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


def small_unbuilt(trial: Any) -> keras.Model:
    """Return a classifier whose inputs its data will tell, with dropout."""
    layers = [kl.Dense(8, activation="relu"), kl.Dropout(0.3), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


def as_dataset(x: Any, y: Any, shuffled: bool = False) -> Any:
    """Return a tf.data.Dataset of batches."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    if shuffled:
        keras.utils.set_random_seed(3)  # which the order depends on beside the seed of shuffle()
        dataset = dataset.shuffle(64, seed=3)
    return dataset.batch(BATCH)


def in_datasets(data: dict[str, Any], shuffled: bool = False) -> dict[str, Any]:
    """Return data as datasets to train on and to validate with."""
    return {
        "x": as_dataset(data["x"], data["y"], shuffled),
        "validation_data": as_dataset(*data["validation_data"]),
    }


def datasets(shuffled: bool = False) -> dict[str, Any]:
    """Return the table as datasets."""
    return in_datasets(table(), shuffled)


def loaded_datasets(shuffled: bool = False) -> dict[str, Any]:
    """Return functions that make such datasets."""
    data = table()
    return {
        "x": partial_of(as_dataset, data["x"], data["y"], shuffled),
        "validation_data": partial_of(as_dataset, *data["validation_data"]),
    }


def partial_of(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Return a function without arguments."""
    return lambda: function(*arguments)


def cached_and_shuffled() -> dict[str, Any]:
    """Return a dataset that is mapped, cached, shuffled anew in each epoch and fetched ahead."""
    import tensorflow as tf

    data = table()
    keras.utils.set_random_seed(3)
    dataset = tf.data.Dataset.from_tensor_slices((data["x"], data["y"]))
    dataset = dataset.map(lambda x, y: (x * 2.0, y)).cache().shuffle(64, seed=5).batch(BATCH)
    return {"x": dataset.prefetch(2), "validation_data": as_dataset(*data["validation_data"])}


def endless() -> dict[str, Any]:
    """Return a dataset without an end, and how many steps make an epoch."""
    data = datasets()
    return {**data, "x": data["x"].repeat(), "steps_per_epoch": 3}


def loaded() -> dict[str, Any]:
    """Return functions that load arrays."""
    data = table()
    return {name: partial_of(lambda value: value, value) for name, value in data.items()}


def batches(x: Any, y: Any, passes: int = 1) -> Iterator[Any]:
    """Yield batches, as a user's own generator does."""
    for _ in range(passes):
        for begin in range(0, len(x), BATCH):
            yield x[begin : begin + BATCH], y[begin : begin + BATCH]


def generators() -> dict[str, Any]:
    """Return a function that makes an endless generator."""
    data = table()
    return {
        "x": partial_of(batches, data["x"], data["y"], 1000),
        "validation_data": data["validation_data"],
        "steps_per_epoch": 4,
    }


def tables_of_trial() -> dict[str, Any]:
    """Return functions of the trial that make arrays."""
    data, (x, y) = table(), table()["validation_data"]

    def features(trial: Any) -> int:
        return int(trial.suggest_int("features", 4, 8, step=4))

    return {
        "x": lambda trial: (data["x"][:, : features(trial)], data["y"]),
        "validation_data": lambda trial: (x[:, : features(trial)], y),
    }


def datasets_of_trial() -> dict[str, Any]:
    """Return functions of the trial that make datasets, which are mapped and shuffled."""
    data = table()

    def made(trial: Any, x: Any, y: Any, shuffled: bool) -> Any:
        scale = trial.suggest_categorical("scale", [0.5, 2.0])
        return as_dataset(x, y, shuffled).map(lambda x, y: (x * scale, y))

    return {
        "x": lambda trial: made(trial, data["x"], data["y"], True),
        "validation_data": lambda trial: made(trial, *data["validation_data"], False),
    }


def generators_of_trial() -> dict[str, Any]:
    """Return a function of the trial that makes a generator."""
    data = table()

    def made(trial: Any) -> Any:
        return batches(trial.suggest_float("scale", 0.5, 2) * data["x"], data["y"], 1000)

    return {"x": made, "validation_data": data["validation_data"], "steps_per_epoch": 4}


class Batches(keras.utils.PyDataset):
    """Give batches by their number."""

    def __init__(self, x: Any, y: Any, **options: Any) -> None:
        super().__init__(**options)
        self.x, self.y = x, y

    def __len__(self) -> int:
        """Return how many batches there are."""
        return -(-len(self.x) // BATCH)

    def __getitem__(self, number: int) -> Any:
        """Return a batch."""
        part = slice(number * BATCH, (number + 1) * BATCH)
        return self.x[part], self.y[part]


def py_datasets(**options: Any) -> dict[str, Any]:
    """Return PyDatasets."""
    data = table()
    return {
        "x": Batches(data["x"], data["y"], **options),
        "validation_data": Batches(*data["validation_data"]),
    }


def loaders(shuffled: bool) -> dict[str, Any]:
    """Return loaders of PyTorch."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = table()

    def loader(x: Any, y: Any, is_shuffled: bool) -> Any:
        rows = TensorDataset(torch.tensor(x), torch.tensor(y))
        return DataLoader(rows, batch_size=BATCH, shuffle=is_shuffled)

    return {
        "x": loader(data["x"], data["y"], shuffled),
        "validation_data": loader(*data["validation_data"], False),
    }


def tensors() -> dict[str, Any]:
    """Return tensors of the backend."""
    return dict(keras.tree.map_structure(ops.convert_to_tensor, table()))


def frames() -> dict[str, Any]:
    """Return data frames and series of pandas."""
    import pandas as pd

    return on_targets(pd.Series, on_inputs(pd.DataFrame, table()))


class Imputer(kl.Layer):
    """Put a number where one is missing, and say where."""

    def call(self, x: Any) -> Any:
        """Return both side by side."""
        missing = ops.isnan(x)
        return ops.concatenate([ops.where(missing, 0.0, x), ops.cast(missing, x.dtype)], axis=-1)


def imputing(trial: Any) -> keras.Model:
    """Return a classifier of tables with holes."""
    layers = [keras.Input((8,)), Imputer(), kl.Dense(8, "relu"), kl.Dense(3, "softmax")]
    return compiled(keras.Sequential(layers), trial)


def with_holes() -> dict[str, Any]:
    """Return the table as frames, with a tenth of the numbers missing."""
    rng = generator()
    return on_inputs(lambda x: x.mask(rng.random(x.shape) < 0.1), frames())


def columns() -> tuple[dict[str, Any], Any]:
    """Return columns of numbers and of words, and the classes of their rows."""
    rng = generator()
    y = rng.integers(0, 3, 96)
    numbers = (rng.normal(size=96) + y).astype("float32")
    kinds = np.array(["red", "green", "blue"])[(y + rng.integers(0, 2, 96)) % 3]
    return {"number": numbers, "kind": kinds}, y


def datasets_of_columns() -> dict[str, Any]:
    """Return datasets of dicts of columns."""
    x, y = columns()
    return in_datasets(split({name: column[:, None] for name, column in x.items()}, y))


def of_columns(trial: Any) -> keras.Model:
    """Return a model that looks words up, as keras.io's structured data does."""
    number = keras.Input((1,), name="number")
    kind = keras.Input((1,), name="kind", dtype="string")
    lookup = kl.StringLookup(vocabulary=["red", "green", "blue"], output_mode="one_hot")
    seen = kl.Concatenate()([number, lookup(kind)])
    outputs = kl.Dense(3, activation="softmax")(kl.Dense(8, activation="relu")(seen))
    return compiled(keras.Model({"number": number, "kind": kind}, outputs), trial)


SENTENCES = ["a good film", "a bad film", "not so good", "very bad indeed", "good good", "so so"]


def sentences() -> tuple[Any, Any]:
    """Return 96 sentences as an array of objects, and their classes."""
    places = generator().integers(0, len(SENTENCES), 96)
    return np.array(SENTENCES, dtype=object)[places], places % 3


def texts() -> dict[str, Any]:
    """Return sentences as arrays of objects."""
    return split(*sentences())


def text_tensors() -> dict[str, Any]:
    """Return sentences as tensors of TensorFlow."""
    import tensorflow as tf

    return on_inputs(lambda x: tf.constant(x.tolist()), texts())


def text_datasets() -> dict[str, Any]:
    """Return sentences as datasets of TensorFlow."""
    return in_datasets(on_inputs(lambda x: x.tolist(), texts()))


def of_text(trial: Any) -> keras.Model:
    """Return a classifier that takes sentences as they come."""
    words = kl.TextVectorization(vocabulary=["good", "bad", "film", "not", "so", "very"])
    layers = [keras.Input((), dtype="string"), words, kl.Embedding(8, 4)]
    layers += [kl.GlobalAveragePooling1D(), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


def ragged() -> dict[str, Any]:
    """Return sentences of numbered words of several lengths."""
    import tensorflow as tf

    rng = generator()
    y = rng.integers(0, 3, 96)
    rows = [rng.integers(10 * kind, 10 * kind + 9, rng.integers(2, 9)).tolist() for kind in y]
    x = tf.ragged.constant(rows)
    return {"x": x[:64], "y": y[:64], "validation_data": (x[64:], y[64:])}


def ragged_datasets() -> dict[str, Any]:
    """Return such sentences as datasets."""
    return in_datasets(ragged())


class Padded(kl.Layer):
    """Fill sentences up to one length."""

    def call(self, x: Any) -> Any:
        """Return a tensor of ten words a row."""
        return x.to_tensor(shape=(None, 10))

    def compute_output_spec(self, x: Any) -> Any:
        """Describe that tensor."""
        return keras.KerasTensor((None, 10), "int32")


def of_ragged(trial: Any) -> keras.Model:
    """Return a classifier of sentences of any length."""
    layers = [Padded(), kl.Embedding(40, 4), kl.GlobalAveragePooling1D()]
    return compiled(keras.Sequential([*layers, kl.Dense(3, activation="softmax")]), trial)


def windows() -> dict[str, Any]:
    """Return windows of a series, as Keras cuts them."""
    series_of = np.sin(np.arange(200.0) / 5).astype("float32")[:, None]
    cut = partial(keras.utils.timeseries_dataset_from_array, sequence_length=12, batch_size=16)
    targets = series_of[12:]
    return {
        "x": cut(series_of[:150], targets[:150]),
        "validation_data": cut(series_of[150:-12], targets[150:]),
    }


def forecasting(trial: Any) -> keras.Model:
    """Return a model that tells the next value of a series."""
    layers = [keras.Input((12, 1)), kl.LSTM(6), kl.Dense(1)]
    return compiled(keras.Sequential(layers), trial, "mse", ())


@cache
def folder_of_images() -> Path:
    """Write pictures into a folder for each class, once in each process."""
    folder = Path(tempfile.mkdtemp())
    data = images()
    for number, (picture, kind) in enumerate(zip(data["x"], data["y"], strict=True)):
        (folder / str(kind)).mkdir(exist_ok=True)
        keras.utils.save_img(folder / str(kind) / f"{number}.png", picture)
    return folder


def image_folder() -> dict[str, Any]:
    """Return the pictures of a folder, as Keras reads them."""
    options = {"image_size": (8, 8), "validation_split": 0.25, "seed": 3, "batch_size": 16}
    read = partial(keras.utils.image_dataset_from_directory, **options, verbose=False)
    folder = folder_of_images()
    return {
        "x": read(folder, subset="training", shuffle=False),
        "validation_data": read(folder, subset="validation", shuffle=False),
    }


def of_pictures(trial: Any) -> keras.Model:
    """Return a classifier of pictures whose pixels are bytes."""
    layers = [keras.Input((8, 8, 3)), kl.Rescaling(1 / 255), kl.Conv2D(4, 3), kl.Flatten()]
    return compiled(keras.Sequential([*layers, kl.Dense(3, activation="softmax")]), trial)


def bytes_of_pictures() -> dict[str, Any]:
    """Return pictures whose pixels are bytes."""
    return on_inputs(lambda x: np.clip(x * 40 + 100, 0, 255).astype("uint8"), images())


def lists() -> dict[str, Any]:
    """Return two arrays in a list."""
    data, others = table(), series()
    x, y = data["validation_data"]
    held_out = [x, others["validation_data"][0]]
    return {"x": [data["x"], others["x"]], "y": data["y"], "validation_data": (held_out, y)}


def of_lists(trial: Any) -> keras.Model:
    """Return a model that takes a list of two."""
    one, other = keras.Input((8,)), keras.Input((12, 4))
    seen = kl.Concatenate()([kl.Dense(6)(one), kl.GRU(6)(other)])
    return compiled(keras.Model([one, other], kl.Dense(3, activation="softmax")(seen)), trial)


def feature_space() -> dict[str, Any]:
    """Return rows that a FeatureSpace has encoded, as keras.io's example does."""
    import tensorflow as tf

    x, y = columns()
    kinds = keras.utils.FeatureSpace
    features = {
        "number": kinds.float_normalized(),
        "kind": kinds.string_categorical(num_oov_indices=0),
    }
    space = kinds(features, output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices(x))
    return split(np.asarray(space(x)), y)


def of_features(trial: Any) -> keras.Model:
    """Return a classifier whose inputs its data will tell."""
    layers = [kl.Dense(8, activation="relu"), kl.Dense(3, activation="softmax")]
    return compiled(keras.Sequential(layers), trial)


def sparse() -> dict[str, Any]:
    """Return the table as a sparse matrix of SciPy."""
    from scipy.sparse import csr_matrix

    return on_inputs(csr_matrix, table())


def validated_without_targets() -> dict[str, Any]:
    """Return rows alone, for a model that has its loss within."""
    data = table()
    return {"x": data["x"], "validation_data": (data["validation_data"][0],)}


class Small(kl.Layer):
    """Ask for small numbers."""

    def call(self, x: Any) -> Any:
        """Return what came."""
        self.add_loss(ops.mean(ops.square(x)))
        return x


def with_losses_alone(trial: Any) -> keras.Model:
    """Return a model that needs no targets."""
    model = keras.Sequential([keras.Input((8,)), kl.Dense(4), Small()])
    model.compile(keras.optimizers.Adam(rate(trial)))
    return model


ANIMALS: dict[str, Animal] = {
    "tf_data": Animal(small, datasets),
    "tf_data_unbuilt": Animal(small_unbuilt, datasets),
    "tf_data_shuffled": Animal(small, partial(datasets, True)),
    "tf_data_cached_shuffled": Animal(small, cached_and_shuffled),
    "tf_data_function": Animal(small, loaded_datasets),
    "tf_data_function_shuffled": Animal(small, partial(loaded_datasets, True)),
    "tf_data_endless": Animal(small, endless),
    "arrays_function": Animal(small, loaded),
    "generator_function": Animal(small, generators),
    "arrays_of_trial": Animal(small_unbuilt, tables_of_trial, evaluates=False),
    "tf_data_of_trial": Animal(small, datasets_of_trial, evaluates=False),
    "generator_of_trial": Animal(small, generators_of_trial),
    "py_dataset": Animal(small, py_datasets),
    "py_dataset_workers": Animal(small, partial(py_datasets, workers=2)),
    "torch_loader": Animal(small, partial(loaders, False)),
    "torch_loader_shuffled": Animal(small, partial(loaders, True)),
    "tensors": Animal(small, tensors),
    "frames": Animal(small, frames),
    "frames_with_holes": Animal(imputing, with_holes),
    "tf_data_of_columns": Animal(of_columns, datasets_of_columns),
    "list_of_arrays": Animal(of_lists, lists),
    "text_objects": Animal(of_text, texts),
    "text_tensors": Animal(of_text, text_tensors),
    "text_tf_data": Animal(of_text, text_datasets),
    "ragged": Animal(of_ragged, ragged),
    "ragged_tf_data": Animal(of_ragged, ragged_datasets),
    "time_series_windows": Animal(forecasting, windows),
    "image_folder": Animal(of_pictures, image_folder),
    "image_bytes": Animal(of_pictures, bytes_of_pictures),
    "feature_space": Animal(of_features, feature_space),
    "scipy_sparse": Animal(of_features, sparse),
    "losses_alone": Animal(with_losses_alone, validated_without_targets),
}

"""One animal for each form in which Keras takes data."""

import tempfile
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import layers as kl
from keras import ops
from scipy.sparse import csr_matrix

from tests.zoo.animal import (
    ROWS,
    Animal,
    classifier,
    generator,
    on_inputs,
    on_targets,
    sequential,
    split,
)
from tests.zoo.layers import images, table
from tests.zoo.models import OwnDense, beside, of_kind

BATCH = 16
WORDS = ["good", "bad", "film", "not", "so", "very"]
SENTENCES = ["a good film", "a bad film", "not so good", "very bad indeed", "good good", "so so"]
COLOURS = ["red", "green", "blue"]


class Imputer(kl.Layer):
    """Put a number where one is missing, and say where."""

    def call(self, x):
        """Return both side by side."""
        missing = ops.isnan(x)
        return ops.concatenate([ops.where(missing, 0.0, x), ops.cast(missing, x.dtype)], axis=-1)


class Padded(kl.Layer):
    """Fill sentences up to one length."""

    def call(self, x):
        """Return a tensor of ten words a row."""
        return x.to_tensor(shape=(None, 10))

    def compute_output_spec(self, x):
        """Describe that tensor."""
        return keras.KerasTensor((None, 10), "int32")


small = sequential(lambda: [kl.Dense(8, activation="relu")], (8,))
small_unbuilt = sequential(lambda: [kl.Dense(8, activation="relu"), kl.Dropout(0.3)])
imputing = sequential(lambda: [Imputer(), kl.Dense(8, "relu")], (8,))
of_features = sequential(lambda: [kl.Dense(8, activation="relu")])
of_ragged = sequential(lambda: [Padded(), kl.Embedding(40, 4), kl.GlobalAveragePooling1D()])
forecasting = of_kind(
    lambda: keras.Sequential([keras.Input((12, 1)), kl.LSTM(6), kl.Dense(1)]), "mse", ()
)
with_losses_alone = of_kind(lambda: keras.Sequential([keras.Input((8,)), OwnDense(4)]), None, ())
of_pictures = sequential(lambda: [kl.Rescaling(1 / 255), kl.Conv2D(4, 3), kl.Flatten()], (8, 8, 3))
of_text = sequential(
    lambda: [
        *[keras.Input((), dtype="string"), kl.TextVectorization(vocabulary=WORDS)],
        *[kl.Embedding(8, 4), kl.GlobalAveragePooling1D()],
    ]
)


def of_columns(trial):
    """Return a model that looks words up, as keras.io's structured data does."""
    number, kind = keras.Input((1,), name="number"), keras.Input((1,), name="kind", dtype="string")
    lookup = kl.StringLookup(vocabulary=COLOURS, output_mode="one_hot")
    seen = kl.Dense(8, activation="relu")(kl.Concatenate()([number, lookup(kind)]))
    return classifier(trial, {"number": number, "kind": kind}, seen)


def of_lists(trial):
    one, other = keras.Input((8,)), keras.Input((12, 4))
    return classifier(trial, [one, other], kl.Concatenate()([kl.Dense(6)(one), kl.GRU(6)(other)]))


def in_parts(part):
    """Return an animal whose inputs are nested as a function nests the columns of the table."""

    def build(trial):
        inputs = keras.tree.map_structure(lambda x: keras.Input(x.shape[1:]), part(table()["x"]))
        seen = kl.Concatenate()(keras.tree.flatten(inputs))
        return classifier(trial, inputs, kl.Dense(8, "relu")(seen))

    return Animal(build, lambda: on_inputs(part, table()))


def as_dataset(x, y, shuffled=False):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    if shuffled:
        keras.utils.set_random_seed(3)  # which the order depends on beside the seed of shuffle()
        dataset = dataset.shuffle(64, seed=3)
    return dataset.batch(BATCH)


shuffled_dataset = partial(as_dataset, shuffled=True)


def cached_dataset(x, y):
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    dataset = dataset.map(lambda x, y: (x * 2.0, y)).cache().shuffle(64, seed=5)
    return dataset.batch(BATCH).prefetch(2)


def each(train, validate, data=None):
    """Return what functions make of the rows to train on, and of those to validate with."""
    data = data or table()
    return {"x": train(data["x"], data["y"]), "validation_data": validate(*data["validation_data"])}


def of_table(train, validate=None, build=small, **options):
    """Return an animal with what functions make of the table."""
    return Animal(build, partial(each, train, validate or train), **options)


def later(make):
    """Return a function of rows that returns a function which makes something of them."""
    return lambda *rows: lambda: make(*rows)


def as_they_are(*rows):
    return rows


def in_datasets(data):
    return each(as_dataset, as_dataset, data)


def batches(x, y):
    """Yield batches for many epochs, as a user's own generator does."""
    for _ in range(1000):
        for begin in range(0, len(x), BATCH):
            yield x[begin : begin + BATCH], y[begin : begin + BATCH]


def batches_of_trial(x, y):
    return lambda trial: batches(trial.suggest_float("scale", 0.5, 2) * x, y)


def columns_of_trial(x, y):
    return lambda trial: (x[:, : trial.suggest_int("features", 4, 8, step=4)], y)


def dataset_of_trial(x, y, shuffled=False):
    def made(trial):
        scale = trial.suggest_categorical("scale", [0.5, 2.0])
        return as_dataset(x, y, shuffled).map(lambda x, y: (x * scale, y))

    return made


class Batches(keras.utils.PyDataset):
    """Give batches by their number."""

    def __init__(self, x, y, **options):
        super().__init__(**options)
        self.x, self.y = x, y

    def __len__(self):
        """Return how many batches there are."""
        return -(-len(self.x) // BATCH)

    def __getitem__(self, number):
        """Return a batch."""
        part = slice(number * BATCH, (number + 1) * BATCH)
        return self.x[part], self.y[part]


def loader(x, y, shuffle=False):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), BATCH, shuffle)


def grain_rows(x, y, shuffled=False, size=BATCH):
    import grain

    rows = grain.MapDataset.source(list(zip(x, y, strict=True)))
    return (rows.shuffle(seed=3) if shuffled else rows).batch(size)


def grain_read(x, y):
    """Return a dataset of Grain that is shuffled and can only be read in order."""
    return grain_rows(x, y, shuffled=True).to_iter_dataset()


def grain_loader(x, y):
    import grain

    sampler = grain.samplers.IndexSampler(len(x), shuffle=True, seed=3, num_epochs=1)
    rows, batch = list(zip(x, y, strict=True)), [grain.transforms.Batch(BATCH)]
    return grain.DataLoader(data_source=rows, sampler=sampler, operations=batch)


def frames():
    return on_targets(pd.Series, on_inputs(pd.DataFrame, table()))


def with_holes():
    """Return the table as frames, with a tenth of the numbers missing."""
    rng = generator()
    return on_inputs(lambda x: x.mask(rng.random(x.shape) < 0.1), frames())


def columns():
    """Return columns of numbers and of words, and the classes of their rows."""
    rng = generator()
    y = rng.integers(0, 3, ROWS)
    numbers = (rng.normal(size=ROWS) + y).astype("float32")
    return {"number": numbers, "kind": np.array(COLOURS)[(y + rng.integers(0, 2, ROWS)) % 3]}, y


def datasets_of_columns():
    x, y = columns()
    return in_datasets(split({name: column[:, None] for name, column in x.items()}, y))


def feature_space():
    """Return rows that a FeatureSpace has encoded, as keras.io's example does."""
    import tensorflow as tf

    x, y = columns()
    kinds = keras.utils.FeatureSpace
    kind = kinds.string_categorical(num_oov_indices=0)
    space = kinds({"number": kinds.float_normalized(), "kind": kind}, output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices(x))
    return split(np.asarray(space(x)), y)


def texts():
    places = generator().integers(0, len(SENTENCES), ROWS)
    return split(np.array(SENTENCES, dtype=object)[places], places % 3)


def text_tensors():
    import tensorflow as tf

    return on_inputs(lambda x: tf.constant(x.tolist()), texts())


def ragged():
    """Return sentences of numbered words of several lengths."""
    import tensorflow as tf

    rng = generator()
    y = rng.integers(0, 3, ROWS)
    rows = [rng.integers(10 * kind, 10 * kind + 9, rng.integers(2, 9)).tolist() for kind in y]
    x = tf.ragged.constant(rows)
    return {"x": x[:64], "y": y[:64], "validation_data": (x[64:], y[64:])}


def windows():
    """Return windows of a series, as Keras cuts them."""
    values = np.sin(np.arange(200.0) / 5).astype("float32")[:, None]
    cut = partial(keras.utils.timeseries_dataset_from_array, sequence_length=12, batch_size=BATCH)
    targets = values[12:]
    data = {"x": values[:150], "y": targets[:150]}
    return each(cut, cut, {**data, "validation_data": (values[150:-12], targets[150:])})


@cache
def folder_of_images():
    """Write pictures into a folder for each class, once in each process."""
    folder, data = Path(tempfile.mkdtemp()), images()
    for number, (picture, kind) in enumerate(zip(data["x"], data["y"], strict=True)):
        (folder / str(kind)).mkdir(exist_ok=True)
        keras.utils.save_img(folder / str(kind) / f"{number}.png", picture)
    return folder


def image_folder():
    """Return the pictures of a folder, as Keras reads them."""
    options = {"image_size": (8, 8), "validation_split": 0.25, "seed": 3, "batch_size": BATCH}
    options |= {"shuffle": False, "verbose": False}
    read = partial(keras.utils.image_dataset_from_directory, folder_of_images(), **options)
    return {"x": read(subset="training"), "validation_data": read(subset="validation")}


ANIMALS = {
    "tf_data": of_table(as_dataset),
    "tf_data_unbuilt": of_table(as_dataset, build=small_unbuilt),
    "tf_data_shuffled": of_table(shuffled_dataset, as_dataset),
    "tf_data_cached_shuffled": of_table(cached_dataset, as_dataset),
    "tf_data_function": of_table(later(as_dataset)),
    "tf_data_function_shuffled": of_table(later(shuffled_dataset), later(as_dataset)),
    "tf_data_endless": of_table(
        lambda *rows: as_dataset(*rows).repeat(), as_dataset, fit={"steps_per_epoch": 3}
    ),
    "generator_function": of_table(later(batches), as_they_are, fit={"steps_per_epoch": 4}),
    "arrays_of_trial": of_table(columns_of_trial, build=small_unbuilt, evaluates=False),
    "tf_data_of_trial": of_table(
        partial(dataset_of_trial, shuffled=True), dataset_of_trial, evaluates=False
    ),
    "generator_of_trial": of_table(batches_of_trial, as_they_are, fit={"steps_per_epoch": 4}),
    "py_dataset": of_table(Batches),
    "py_dataset_workers": of_table(partial(Batches, workers=2), Batches),
    "torch_loader": of_table(loader),
    "torch_loader_shuffled": of_table(partial(loader, shuffle=True), loader),
    "grain_map": of_table(partial(grain_rows, shuffled=True), grain_rows),
    "grain_iter": of_table(grain_read, build=small_unbuilt),
    "grain_loader": of_table(grain_loader),
    "grain_many_steps": of_table(
        partial(grain_rows, shuffled=True), grain_rows, fit={"epochs": 50}
    ),
    "grain_endless": of_table(
        lambda *rows: grain_rows(*rows, shuffled=True).repeat(),
        grain_rows,
        fit={"steps_per_epoch": 3},
    ),
    "grain_ending": of_table(
        lambda *rows: grain_rows(*rows, shuffled=True).repeat(2),
        grain_rows,
        fit={"steps_per_epoch": 3},
    ),  # in its last epoch
    "grain_function": of_table(later(grain_read), later(grain_loader)),
    "tensors": Animal(small, lambda: keras.tree.map_structure(ops.convert_to_tensor, table())),
    "frames": Animal(small, frames),
    "frames_with_holes": Animal(imputing, with_holes),
    "tf_data_of_columns": Animal(of_columns, datasets_of_columns),
    "list_of_arrays": Animal(of_lists, partial(beside, lambda *both: [*both])),
    "list_of_four_arrays": in_parts(lambda x: [x[:, place::4] for place in range(4)]),
    "list_of_dict_and_array": in_parts(lambda x: [{"one": x[:, :2]}, x[:, 2:]]),
    "text_objects": Animal(of_text, texts),
    "text_tensors": Animal(of_text, text_tensors),
    "text_tf_data": Animal(of_text, lambda: in_datasets(on_inputs(list, texts()))),
    "ragged": Animal(of_ragged, ragged),
    "ragged_tf_data": Animal(of_ragged, lambda: in_datasets(ragged())),
    "time_series_windows": Animal(forecasting, windows),
    "image_folder": Animal(of_pictures, image_folder),
    "image_bytes": Animal(
        of_pictures,
        lambda: on_inputs(lambda x: np.clip(x * 40 + 100, 0, 255).astype("uint8"), images()),
    ),
    "feature_space": Animal(of_features, feature_space),
    "scipy_sparse": Animal(of_features, lambda: on_inputs(csr_matrix, table())),
    "losses_alone": of_table(lambda x, y: x, lambda x, y: (x,), build=with_losses_alone),
}

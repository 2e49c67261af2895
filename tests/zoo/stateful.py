"""One animal for each way in which data or a model changes by being used."""

import keras
import numpy as np
from keras import layers as kl

from tests.zoo.animal import Animal, classifier
from tests.zoo.data import Batches, each, of_table, small
from tests.zoo.layers import table

NOISE, ORDER = keras.random.SeedGenerator(7), np.random.default_rng(7)
_FIRST = keras.ops.convert_to_numpy(NOISE.state), ORDER.bit_generator.state


class Shuffled(Batches):
    """Shuffle the rows after each epoch, as most users' datasets do."""

    def __init__(self, x, y, **options):
        super().__init__(x, y, **options)
        self.order = np.arange(len(x))

    def __getitem__(self, number):
        """Return a batch of the rows in their order."""
        x, y = self.x, self.y
        try:
            self.x, self.y = x[self.order], y[self.order]
            return super().__getitem__(number)
        finally:
            self.x, self.y = x, y

    def on_epoch_end(self):
        """Shuffle them in place."""
        np.random.shuffle(self.order)


class ShuffledByItself(Shuffled):
    """Shuffle with a generator of its own, and change the rows with another."""

    def __init__(self, x, y, **options):
        super().__init__(x, y, **options)
        self.chance, self.noise = np.random.default_rng(3), keras.random.SeedGenerator(3)

    def __getitem__(self, number):
        """Return a batch with noise."""
        x, y = super().__getitem__(number)
        return x + keras.ops.convert_to_numpy(keras.random.normal(x.shape, seed=self.noise)), y

    def on_epoch_end(self):
        """Make a new order."""
        self.order = self.chance.permutation(self.order)


class ShuffledByModule(Shuffled):
    """Shuffle with a generator of the module."""

    def on_epoch_end(self):
        """Shuffle in place."""
        ORDER.shuffle(self.order)


class Noise(kl.Layer):
    """Add noise from a generator of the module."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = NOISE

    def call(self, x):
        """Return the rows with noise."""
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


def _as_at_first(make):
    """Return a function that makes data in a module whose generators nobody has used."""

    def made():
        NOISE.state.assign(_FIRST[0])
        ORDER.bit_generator.state = _FIRST[1]
        return make()

    return made


def noisy(trial):
    """Return a model that draws its first weights, and noise, from a generator of the module."""
    inputs = keras.Input((8,))
    seen = kl.Dense(8, kernel_initializer=drawn)(Noise()(inputs))
    return classifier(trial, inputs, seen)


def drawn(shape, dtype=None):
    return keras.random.normal(shape, dtype=dtype, seed=NOISE)


ANIMALS = {
    "py_dataset_shuffled": of_table(Shuffled),
    "py_dataset_shuffled_by_itself": of_table(ShuffledByItself, Batches),
    "py_dataset_shuffled_by_module": Animal(
        small, _as_at_first(lambda: each(ShuffledByModule, Batches))
    ),
    "seed_generator_of_module": Animal(noisy, _as_at_first(table), evaluates=False),
}

"""A layer that samples."""

import keras


class Noise(keras.layers.Layer):
    """Add noise whether the model trains or not, as the sampling of an autoencoder does."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        """Add the noise."""
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)

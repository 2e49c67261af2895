"""Images of clothes with noise, and a small U-Net that takes the noise away.

Fashion-MNIST is in Debian's package `dataset-fashion-mnist`.
"""

import keras
import numpy as np
from keras import layers

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import fashion, optimizer

NOISE = 0.3


def load(seed):
    """Return images with noise, and the same without; of those for a test there are 2,000."""
    random = np.random.default_rng(seed)
    images = [x[:2_000] for x, _ in fashion.load(seed, (1_500, 500))]
    return [(x + NOISE * random.standard_normal(x.shape, "float32"), x) for x in images]


def convolved(x, filters):
    """Return what a convolution makes of images of the same size."""
    return layers.Conv2D(filters, 3, padding="same", activation="relu")(x)


def build_model(trial):
    """Return a U-Net of one or two levels, each with filters of its own."""
    x = image = keras.Input((28, 28, 1))
    depth, seen = trial.suggest_int("depth", 1, 2), []
    has_weights = trial.suggest_categorical("upsampling", ["transposed", "nearest"]) == "transposed"
    for level in range(depth):
        filters = trial.suggest_int(f"filters_{level}", 4, 16, step=4)
        seen.append(convolved(x, filters))
        x = layers.MaxPooling2D()(seen[-1])
    x = convolved(x, trial.suggest_int("filters_within", 8, 32, step=8))
    for skipped in reversed(seen):
        filters = skipped.shape[-1]
        up = layers.Conv2DTranspose(filters, 2, 2) if has_weights else layers.UpSampling2D()
        x = convolved(layers.Concatenate()([up(x), skipped]), filters)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(optimizer(trial), "mse")
    return model


JOB = Job(build_model, load, "val_loss", batch_size=32, direction="minimize")

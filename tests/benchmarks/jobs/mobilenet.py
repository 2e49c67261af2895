"""Images of clothes in ten classes, and a MobileNetV2 of which the last blocks are trained.

Fashion-MNIST is in Debian's package `dataset-fashion-mnist`. There are no pretrained weights: the
frozen convolutions are random, and their batch normalizations are trained.
"""

from functools import partial

import keras

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import fashion

LAST = 5  # the blocks after it see but four pixels of such images, and then one


def frozen_base(alpha, trained):
    """Return the blocks of a MobileNetV2, of which the last and all normalizations are trained."""
    base = keras.applications.MobileNetV2((32, 32, 1), alpha, include_top=False, weights=None)
    base = keras.Model(base.input, base.get_layer(f"block_{LAST}_add").output)
    is_last = False
    for layer in base.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        is_last = is_last or layer.name.startswith(f"block_{LAST - trained + 1}_")
        layer.trainable = is_last or is_norm
        if is_norm:
            layer.momentum = 0.9  # of 0.999, so few steps come to nothing
    return base


def build_model(trial):
    """Return the network for images that are padded to 32 times 32 pixels."""
    alpha = trial.suggest_categorical("alpha", [0.35, 0.5])
    base = frozen_base(alpha, trial.suggest_int("trained_blocks", 0, 4))
    padding = keras.layers.ZeroPadding2D(2)
    model = keras.Sequential([keras.Input((28, 28, 1)), padding, base])
    return fashion.with_head(trial, model)


JOB = Job(build_model, partial(fashion.load, sizes=(2_000, 1_000)), "val_accuracy", batch_size=64)

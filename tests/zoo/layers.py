"""One animal for each layer whose numbers a speed-up might change."""

import keras
import numpy as np
from keras import layers as kl

from tests.zoo.animal import ROWS, Animal, classifier, compiled, generator, sequential, split


def drawn(shape, centres):
    """Return rows of that shape in three classes, each around a centre of its own."""
    rng = generator()
    y = rng.integers(0, 3, ROWS)
    return split((rng.normal(size=(ROWS, *shape)) + centres[y]).astype("float32"), y)


def table():
    """Return rows of eight numbers in three classes."""
    return drawn((8,), np.eye(3, 8))


def images():
    """Return pictures of 8 by 8 pixels in three classes."""
    return drawn((8, 8, 3), np.arange(3)[:, None, None, None])


def series():
    """Return series of twelve steps in three classes."""
    return drawn((12, 4), np.arange(3)[:, None, None])


def words():
    """Return sentences of ten numbered words in three classes."""
    rng = generator()
    y = rng.integers(0, 3, ROWS)
    return split(rng.integers(0, 20, (ROWS, 10)) + 10 * y[:, None], y)


def normalized():
    """Return a layer that has learned the spread of the table, and a dense one."""
    layer = kl.Normalization()
    layer.adapt(table()["x"])
    return [layer, kl.Dense(8, activation="relu")]


def attention(trial):
    inputs = keras.Input((12, 4))
    seen = kl.MultiHeadAttention(2, 4, dropout=0.2)(inputs, inputs)
    seen = kl.LayerNormalization()(kl.Add()([inputs, seen]))
    seen = kl.Dropout(0.2)(kl.Dense(8, activation="gelu")(seen))
    return classifier(trial, inputs, kl.GlobalAveragePooling1D()(seen))


def in_half(policy, make):
    """Return a builder whose layers compute in half precision."""

    def build(trial):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            last = [kl.Dense(3), kl.Activation("softmax", dtype="float32")]
            return compiled(keras.Sequential([keras.Input((8,)), *make(), *last]), trial)
        finally:
            keras.config.set_dtype_policy(before)

    return build


TABLES = {
    "dense": lambda: [kl.Dense(8, activation="relu")],
    "dense_dropout": lambda: [kl.Dense(16, activation="relu"), kl.Dropout(0.3)],
    "dense_gelu_l2": lambda: [kl.Dense(16, activation="gelu", kernel_regularizer="l2")],
    "batch_norm": lambda: [kl.Dense(16), kl.BatchNormalization(), kl.ReLU()],
    "batch_norm_dropout": lambda: [kl.Dense(16), kl.BatchNormalization(), kl.Dropout(0.3)],
    "layer_norm": lambda: [kl.Dense(16), kl.LayerNormalization(), kl.ReLU()],
    "group_norm": lambda: [kl.Dense(16), kl.GroupNormalization(4), kl.ReLU()],
    "unit_norm_prelu": lambda: [kl.Dense(16), kl.UnitNormalization(), kl.PReLU()],
    "gaussian_noise": lambda: [kl.GaussianNoise(0.3), kl.Dense(16, activation="elu")],
    "alpha_dropout": lambda: [kl.Dense(16, activation="selu"), kl.AlphaDropout(0.2)],
    "spectral_norm": lambda: [kl.SpectralNormalization(kl.Dense(16, activation="relu"))],
    "normalization": normalized,
}
IMAGES = {
    "conv": lambda: [kl.Conv2D(8, 3, activation="relu"), kl.MaxPooling2D(), kl.Flatten()],
    "separable_conv": lambda: [kl.SeparableConv2D(8, 3, activation="relu"), kl.Flatten()],
    "depthwise_conv": lambda: [kl.DepthwiseConv2D(3, activation="relu"), kl.Flatten()],
    "conv_batch_norm": lambda: [
        *[kl.Conv2D(8, 3, use_bias=False), kl.BatchNormalization(), kl.ReLU()],
        kl.GlobalAveragePooling2D(),
    ],
    "conv_transpose": lambda: [kl.Conv2DTranspose(4, 3, strides=2), kl.GlobalMaxPooling2D()],
    "spatial_dropout": lambda: [kl.Conv2D(8, 3), kl.SpatialDropout2D(0.3), kl.Flatten()],
    "augmentation": lambda: [
        *[kl.RandomFlip(), kl.RandomRotation(0.2), kl.RandomZoom(0.2)],
        *[kl.Conv2D(4, 3, activation="relu"), kl.Flatten()],
    ],
}
SERIES = {
    "lstm": lambda: [kl.LSTM(6)],
    "lstm_dropout": lambda: [kl.LSTM(6, dropout=0.3)],
    "lstm_recurrent_dropout": lambda: [kl.LSTM(6, recurrent_dropout=0.3)],
    "gru_dropout": lambda: [kl.GRU(6, dropout=0.3, recurrent_dropout=0.3)],
    "bidirectional": lambda: [kl.Bidirectional(kl.LSTM(4, dropout=0.3))],
    "conv1d": lambda: [kl.Conv1D(8, 3, padding="causal", activation="relu"), kl.Flatten()],
    "time_distributed": lambda: [kl.TimeDistributed(kl.Dense(4)), kl.GlobalMaxPooling1D()],
}
WORDS = {
    "embedding": lambda: [kl.Embedding(40, 4), kl.GlobalAveragePooling1D()],
    "embedding_masked_gru": lambda: [kl.Embedding(40, 4, mask_zero=True), kl.GRU(4)],
}
ANIMALS = {
    **{name: Animal(sequential(make, (8,)), table) for name, make in TABLES.items()},
    **{name: Animal(sequential(make, (8, 8, 3)), images) for name, make in IMAGES.items()},
    **{name: Animal(sequential(make, (12, 4)), series) for name, make in SERIES.items()},
    **{name: Animal(sequential(make, (10,)), words) for name, make in WORDS.items()},
    "mixed_bfloat16": Animal(in_half("mixed_bfloat16", TABLES["batch_norm"]), table),
    "mixed_float16": Animal(in_half("mixed_float16", TABLES["dense_dropout"]), table),
    "attention": Animal(attention, series),
    # Without its inputs a model gets its variables, and their seeds, from its first batch.
    "unbuilt_dropout": Animal(sequential(TABLES["dense_dropout"]), table),
    "unbuilt_lstm_dropout": Animal(sequential(SERIES["lstm_dropout"]), series),
    "unbuilt_batch_norm": Animal(sequential(TABLES["batch_norm"]), table),
}

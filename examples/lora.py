"""Tune LoRA with KerasHub: the rank of the matrices beside a frozen base, and the learning rate.

Run it as `python examples/lora.py`, after `pip install keras-hub`. A real program loads a preset
that others trained, such as "bert_base_en_uncased". To do without a download, this one trains a
tiny base first, and saves it as a preset. lora.ipynb explains the same job step by step.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import keras_hub
import numpy as np

from kerastune_optuna import OptunaTuner

PRESET = Path("tuning", "base")
# What reviews are about, and the words for bad ones and for good ones.
FILMS = ["acting ending music plot", "boring clumsy dull loud", "clever fine funny lovely moving"]
FOOD = ["bread salad soup tea", "bitter bland burnt cold stale", "crisp fresh juicy tasty warm"]
WORDS = " ".join(["[PAD] [UNK] [CLS] [SEP] [MASK] the was and not", *FILMS, *FOOD]).split()


def reviews(kind: list[str], n: int, seed: int) -> tuple[dict, np.ndarray]:
    """Return made-up reviews as tokens, and whether they are good: two opinions that agree."""
    rng, (parts, *words) = np.random.default_rng(seed), [one.split() for one in kind]
    y, texts = rng.integers(2, size=n), []
    for good in y:
        negated = rng.integers(2, size=2)
        one, other = ("not " * no + rng.choice(words[good ^ no]) for no in negated)
        texts.append(f"the {rng.choice(parts)} was {one} and {other}")
    tokenizer = keras_hub.models.BertTokenizer(WORDS)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=12)
    return {name: np.asarray(tokens) for name, tokens in preprocessor(texts).items()}, y


def classifier(backbone: keras.Model, rate: float) -> keras.Model:
    """Return a compiled model: a backbone with a new head."""
    logits = keras.layers.Dense(2)(backbone(backbone.input)["pooled_output"])
    model = keras.Model(backbone.input, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def make_base() -> None:
    """Train a tiny base on reviews of films, and save it as a preset, whole or not at all."""
    keras.utils.set_random_seed(0)
    base = keras_hub.models.BertBackbone(
        len(WORDS), 2, 2, hidden_dim=32, intermediate_dim=64, max_sequence_length=12
    )
    classifier(base, 2e-3).fit(*reviews(FILMS, 2000, 0), epochs=4, verbose=0)
    base.save_to_preset(f"{PRESET}.new")
    Path(f"{PRESET}.new").rename(PRESET)


def build_model(trial) -> keras.Model:
    """Return the base, frozen, with matrices of a trial's rank beside its kernels, and a head."""
    backbone = keras_hub.models.Backbone.from_preset(str(PRESET))
    backbone.enable_lora(trial.suggest_int("rank", 1, 8, log=True))
    return classifier(backbone, trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True))


def main() -> None:
    """Make the base, search with two workers, and evaluate the best model."""
    if not PRESET.exists():
        make_base()
    (x, y), validation = reviews(FOOD, 300, 1), reviews(FOOD, 300, 2)
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=6, seed=0, study_name="lora")
    tuner.search(x, y, validation_data=validation, epochs=8, batch_size=16, n_workers=2)
    tuner.summary(3)
    model = tuner.best_model()
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    print(f"Trained weights: {trained} of {model.count_params()}")
    _, accuracy = model.evaluate(*validation, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()

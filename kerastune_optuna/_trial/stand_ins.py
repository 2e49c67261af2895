"""Models that are traced already, in which others of the same architecture are trained.

TensorFlow's trace of the training step takes up to a quarter of a small training, and holds the
variables of the model that was traced. So a model that differs from an earlier one in nothing but
the values of its variables may be trained in a clone of that one, which needs no further trace: the
clone takes these values over, is trained, and gives them back. Nobody but callbacks of Keras's own
and of ours sees it. tests/benchmarks/batches.py measures what that saves.

A config of Keras does not tell all that a trace holds: Huber's delta, say, is in none. So only what
is known to be told whole is shared, as listed below.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import keras

from kerastune_optuna._backend import begin_at, compiled_metrics, undisturbed
from kerastune_optuna._trial.architecture import PLAIN, numbered
from kerastune_optuna._trial.batches import trains_plainly
from kerastune_optuna._trial.recipe import Lesson
from kerastune_optuna._trial.rehearsal import rehearse

# Layers that hold no others, and whose configs tell all that they compute.
_LAYERS = (
    "Activation Add Average AveragePooling1D AveragePooling2D BatchNormalization Concatenate "
    "Conv1D Conv1DTranspose Conv2D Conv2DTranspose Cropping1D Cropping2D Dense DepthwiseConv2D "
    "Dropout ELU Embedding Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D InputLayer LSTM "
    "LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum Minimum Multiply PReLU Permute "
    "ReLU RepeatVector Rescaling Reshape SeparableConv2D SimpleRNN Softmax SpatialDropout1D "
    "SpatialDropout2D Subtract UpSampling1D UpSampling2D ZeroPadding1D ZeroPadding2D "
    "GRUCell LSTMCell SimpleRNNCell"
)
_OPTIMIZERS = "Adadelta Adagrad Adam Adamax Ftrl Lion Nadam RMSprop SGD"
_LOSSES = "BinaryCrossentropy CategoricalCrossentropy SparseCategoricalCrossentropy"
# Callbacks that keep no model, and call nothing of the user's.
_CALLBACKS = "CSVLogger EarlyStopping ReduceLROnPlateau TerminateOnNaN"
_MODELS = "Functional Sequential"
_FUNCTIONS = ("activation", "recurrent_activation")
_REPLACED = {"build", "loss", "quantize"}  # what Keras itself puts in the place of methods
_PLACES = {"input_layers", "keras_history", "name", "output_layers"}  # where configs name layers
_NAMES = {"name", "_path", "_parent_path"}
_OF_OPTIMIZER = {"learning_rate", "name"}  # the rate is a variable
_TENSOR = "__keras_tensor__"  # the class of a layer's argument in the config of its model
_MOST = 8  # stand-ins
_MOST_NUMBERS = 1e6  # in a model: a larger one trains longer than its trace takes


class _MayDifferError(Exception):
    """Say that a config may not tell all that a model computes."""


def fit(
    kept: MutableMapping[str, keras.Model | None],
    lesson: Lesson,
    model: keras.Model,
    keywords: Mapping[str, Any],
    *,
    is_repeated: bool,
) -> None:
    """Train a model by Model.fit, in an earlier trace where nothing can differ.

    Args:
        kept: What this process keeps: a stand-in for each architecture, in the order of their last
            use; None for one that was trained once.
        lesson: What the training gets.
        model: The compiled model.
        keywords: What Model.fit takes.
        is_repeated: Whether further trainings of the same architecture surely follow.
    """
    if (key := _key(lesson, model, keywords)) is None:
        model.fit(**keywords)
        return
    is_repeated = is_repeated or key in kept
    stand_in = kept.pop(key, None) or (_clone(lesson, model) if is_repeated else None)
    if stand_in is None:
        model.fit(**keywords)
    else:
        _fit_in(stand_in, model, keywords)
        for callback in lesson.callbacks:
            callback.set_model(model)
    # Where fit raises, the stand-in is not kept: it may hold what belongs to that training.
    kept[key] = stand_in
    for oldest in [key for key, one in kept.items() if one is not None][:-_MOST]:
        kept[oldest] = None


def _fit_in(stand_in: keras.Model, model: keras.Model, keywords: Mapping[str, Any]) -> None:
    """Train a stand-in in the place of a model, and give that one all that it came to."""
    _copy(model, stand_in)
    begin_at(stand_in, None)
    stand_in.history = None
    try:
        stand_in.fit(**keywords)
    finally:  # a training that broke off has learnt something too
        _copy(stand_in, model)
        model.stop_training = stand_in.stop_training
        if stand_in.history is not None:
            model.history = stand_in.history
            model.history.set_model(model)


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Give a model the values of all variables that another one trains with."""
    for one, other in zip(_variables(source), _variables(target), strict=True):
        other.assign(one)


def _variables(model: keras.Model) -> list[Any]:
    """Return the variables that a training changes: those of the metrics, too."""
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


def _clone(lesson: Lesson, model: keras.Model) -> keras.Model | None:
    """Return a clone that trains as a model does; None where there is none."""
    with undisturbed():
        clone = keras.models.clone_model(model)
        clone.compile_from_config(model.get_compile_config())
        clone.steps_per_execution = model.steps_per_execution
        rehearse(clone, lesson.fit.specification())
    return clone if _told(clone) == _told(model) else None


def _key(lesson: Lesson, model: keras.Model, keywords: Mapping[str, Any]) -> str | None:
    """Return what trainings have in common that may share a trace; None where some may differ."""
    specs = _specs(keywords)
    if specs is None or not trains_plainly(model):
        return None
    if not all(_is_one_of(one, _CALLBACKS) and _is_plain(one) for one in lesson.callbacks):
        return None
    if (told := _told(model)) is None:
        return None
    names = _names_of_inputs(model, specs[0])
    return hashlib.sha256(f"{told} {specs} {names}".encode()).hexdigest()


def _names_of_inputs(model: keras.Model, spec: Any) -> list[str] | None:
    """Return the names by which inputs are found in the data; None where there is one input."""
    x = spec[0] if isinstance(spec, tuple) else spec
    if not isinstance(x, Mapping) and len(model.inputs) == 1:
        return None
    configs = [one["config"] for one in model.get_config()["layers"]]
    return [one.name for one in model.inputs] + [one["name"] for one in configs]


def _specs(keywords: Mapping[str, Any]) -> list[Any] | None:
    """Return the forms of the data; None where they are no datasets, which alone tell theirs."""
    data = [keywords["x"], keywords.get("validation_data")]
    specs = [None if one is None else getattr(one, "element_spec", None) for one in data]
    are_told = all(one is None or spec is not None for one, spec in zip(data, specs, strict=True))
    return specs if are_told and not keywords.get("validation_split") else None


def _told(model: keras.Model) -> str | None:
    """Return all that a trace of a model's steps depends on; None where that may not be all."""
    with warnings.catch_warnings(action="ignore"):  # Keras's own, of functions in configs
        try:
            return json.dumps(list(_parts(model)))
        except Exception:  # what is not Keras's may raise anything where its config is asked for
            return None


def _parts(model: keras.Model) -> Iterator[Any]:
    """Yield all that a trace of a model's steps depends on.

    Raises:
        _MayDifferError: What configs tell may not be all.
    """
    _require(_is_one_of(model, _MODELS) and _is_plain(model) and model.built)
    _require(_is_one_of(model.optimizer, _OPTIMIZERS) and _is_plain(model.optimizer))
    _require(model.optimizer.built and len(model.outputs) == 1)
    variables = _variables(model)
    _require(sum(math.prod(one.shape) for one in variables) <= _MOST_NUMBERS)
    yield from map(_variable, variables)
    yield [keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()]
    yield [model.steps_per_execution, model.jit_compile]
    _require(len({id(layer) for layer in model.layers}) == len(model.layers))
    cells = [layer.cell for layer in model.layers if hasattr(layer, "cell")]  # of recurrent layers
    for layer in [*model.layers, *cells]:
        yield from _layer(layer)
    yield _loss(model.loss)
    yield _compiled(model)
    config = model.get_config()
    parts = [config, *(one["config"] for one in config["layers"])]
    yield _known(config, {one["name"]: number for number, one in enumerate(parts)})


def _require(is_so: bool) -> None:
    if not is_so:
        raise _MayDifferError


def _layer(layer: keras.Layer) -> Iterator[Any]:
    """Yield what a layer's config does not tell, or tells otherwise than the layer does.

    Configs tell activations by names that other functions may have too.
    """
    _require(_is_one_of(layer, _LAYERS) and _is_plain(layer))
    _require(not getattr(layer, "stateful", False))
    yield from (_function(getattr(layer, name, None)) for name in _FUNCTIONS)
    yield {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, PLAIN) and name not in _NAMES
    }
    yield [_object(layer.dtype_policy), _object(layer.activity_regularizer)]


def _variable(variable: Any) -> list[Any]:
    """Return what a variable is, but for its name and its value."""
    own = [getattr(variable, name, None) for name in ("regularizer", "constraint")]
    return [list(variable.shape), variable.dtype, variable.trainable, *map(_object, own)]


def _object(one: Any) -> Any:
    """Return the config of a regularizer, say."""
    return _known(keras.saving.serialize_keras_object(one), {})


def _function(function: Any) -> str | None:
    """Return where Keras has a function."""
    if function is None:
        return None
    _require(hasattr(function, "__qualname__") and function.__module__.startswith("keras."))
    return f"{function.__module__}.{function.__qualname__}"


def _loss(loss: Any) -> Any:
    if isinstance(loss, str):
        return _function(keras.losses.get(loss))
    _require(_is_one_of(loss, _LOSSES) and _is_plain(loss))
    return [repr(loss), loss.dtype]  # no config has these: the axis, which repr() tells, and dtype


def _compiled(model: keras.Model) -> Any:
    """Return what a model was compiled with, but for the learning rate, which is a variable."""
    _require(all(map(_is_name_of_keras, compiled_metrics(model))))
    config = model.get_compile_config()
    settings = model.optimizer.get_config()  # it may be another one than the model came with
    # Which variables are left out of the decay is in no config.
    _require(isinstance(settings["learning_rate"], float) and not settings["weight_decay"])
    others = {name: value for name, value in settings.items() if name not in _OF_OPTIMIZER}
    return _known({**config, "optimizer": [type(model.optimizer).__name__, others]}, {})


def _is_name_of_keras(metric: Any) -> bool:
    """Whether a metric is a name that stands for no function of the user's."""
    if not isinstance(metric, str):
        return False
    found = keras.metrics.get(metric)
    return getattr(found, "__module__", "").startswith("keras.")


def _known(config: Any, names: Mapping[str, int]) -> Any:
    """Return a config with numbers for the names of layers, which differ from build to build.

    Args:
        config: Any part of a config.
        names: The number of each layer by its name.
    """
    if isinstance(config, Mapping):
        if config.get("class_name", _TENSOR) != _TENSOR:
            _require(str(config.get("module")).split(".")[0] == "keras")
            _require(config.get("registered_name") is None)
        return {
            key: numbered(value, names) if key in _PLACES else _known(value, names)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [_known(one, names) for one in config]
    return config


def _is_one_of(thing: Any, names: str) -> bool:
    """Whether something is of one of Keras's own classes of these names, and of none below them."""
    kind = type(thing)
    return kind.__name__ in names.split() and kind.__module__.startswith("keras.src.")


def _is_plain(thing: Any) -> bool:
    """Whether something has its class's own methods."""
    replaced = {name for name in vars(thing) if callable(getattr(type(thing), name, None))}
    return replaced <= _REPLACED

"""Weights files that somebody else made do nothing but fill a model."""

import json
import pickle
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from inspect import signature

import h5py
import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf

from kerastune_optuna import TunerError, WeightsError, _architecture, _digest, open_study
from kerastune_optuna._rerun.from_files import _PLACES, check_config
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial import variables
from tests.support.models import in_classes
from tests.support.untrained import tuner_in
from tests.zoo import ANIMALS

kl = keras.layers
CONFIG, STATE = "kerastune_optuna:config", "kerastune_optuna:variables/0"


def build(trial):
    """Return a model with a generator, whose state Keras does not save."""
    model = keras.Sequential([keras.Input((4,)), kl.Dropout(0.1), kl.Dense(3)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Give the folder of a study with one trial."""
    folder = tmp_path_factory.mktemp("tuning")
    x, y = in_classes(8)
    data = {"x": x, "y": np.eye(3)[y], "validation_data": (x, np.eye(3)[y])}
    tuner_in(folder, build, "val_loss", n_trials=1).search(**data, verbose=0)
    return folder


@pytest.fixture
def forge(honest, tmp_path):
    """Give a function that opens a copy of the study whose weights file another one has changed."""

    def change(edit):
        folder = shutil.copytree(honest, tmp_path / "tuning")
        (path,) = (one for one in folder.glob("test/weights/*") if h5py.is_hdf5(one))
        with h5py.File(path, "a") as file:
            edit(file)
        with closing(sqlite3.connect(folder / "study.db")) as database, database:
            database.execute(
                "UPDATE trial_system_attributes SET value_json = ? WHERE key = ?",
                (json.dumps(_digest.of_file(path)), TrialRecord.weights),
            )
        return open_study(folder)

    return change


def put(place, value):
    """Return an edit that replaces a dataset of the file."""

    def edit(file):
        del file[place]
        file[place] = value

    return edit


def test_a_file_that_was_not_changed_is_read(forge):
    """So that the refusals below are those of what they change."""
    assert forge(lambda file: None).best_model().count_params() == 15


class Initialized(tf.saved_model.experimental.TrackableResource):
    """What TensorFlow initializes when it loads a SavedModel: here it writes a file."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.path, "written by a stranger")


@pytest.fixture
def saved_model(tmp_path):
    """Give a SavedModel that writes a file when it is loaded, and the path of that file."""
    folder, written = tmp_path / "saved", tmp_path / "written"
    module = tf.Module()
    module.resource = Initialized(str(written))
    module.serve = tf.function(lambda x: (module.resource.resource_handle, x)[1])
    module.serve.get_concrete_function(tf.TensorSpec([None, 4]))
    tf.saved_model.save(module, folder)
    written.unlink(missing_ok=True)
    tf.saved_model.load(folder)
    written.unlink()  # it was written
    return folder, written


def function(name, module="builtins"):
    return {"module": module, "class_name": "function", "config": name}


def named(path, registered=None, **config):
    """Return the config of what a public name of Keras leads to."""
    module, _, name = path.rpartition(".")
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def of_lambda(function, **call):
    """Return the config of a model with a Lambda, and what it is called with."""
    layer = named("keras.layers.Lambda", name="f", function=function)
    node = {"args": [], "kwargs": call}
    first = {**keras.saving.serialize_keras_object(keras.Input((4,), name="x")._keras_history[0])}
    layers = [{**first, "name": "x", "inbound_nodes": []}]
    layers += [{**layer, "name": "f", "inbound_nodes": [node]}]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["x", 0, 0]]}
    return named("keras.src.models.functional.Functional", name="m", layers=layers, **ends)


def test_no_saved_model_is_loaded(forge, saved_model):
    """Not even by a Lambda that calls a class, which Keras's safe mode lets pass."""
    folder, written = saved_model
    config = of_lambda(function("TFSMLayer", "keras.layers"), inputs=str(folder))
    with pytest.raises(TunerError) as got:
        forge(put(CONFIG, json.dumps(config))).best_model()
    assert not written.exists()
    assert "build_model of the search" in str(got.value)
    assert "its config names 'Lambda' of 'keras.layers'" in str(got.value)


def within(part):
    """Return the config of a model with a part somewhere in it."""
    return named("keras.Sequential", name="m", layers=[named("keras.layers.Wrapper", layer=part)])


HOSTILE = {
    "lambda": named("keras.layers.Lambda", function=function("relu")),
    "private lambda": named("keras.src.layers.core.lambda_layer.Lambda"),
    "bytecode": {"class_name": "__lambda__", "config": {"value": "4wAA"}},
    "type": {"class_name": "__typespec__", "spec_name": "Spec", "module": "keras", "config": []},
    **{
        name: named(f"keras.layers.{name}", filepath="saved")
        for name in ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
    },
    "where it is defined": named("keras.src.export.tfsm_layer.TFSMLayer", filepath="saved"),
    "where it is imported": named("keras.src.saving.saving_lib.H5IOStore", path_or_io="x"),
    "class as a function": function("Dense", "keras.layers"),
    "function as a class": named("keras.activations.relu"),
    "loader": function("load_model", "keras.models"),
    "deserializer": function("deserialize"),
    "deserializer of metrics": function("deserialize", "keras.metrics"),
    "download": function("get_file", "keras.utils"),
    "setting": function("enable_unsafe_deserialization", "keras.config"),
    "operation": function("map", "keras.ops"),
    "python": function("eval"),
    "other package": named("subprocess.Popen", args="true"),
    "not imported": named("antigravity.Dense"),
    "no module": {"class_name": "Dense", "config": {"units": 3}},
    "no text": {"class_name": ["Dense"], "module": "keras.layers", "config": {}},
    "dots": named("keras.layers.Dense.__init__"),
    "file": named("keras.layers.StringLookup", vocabulary="/etc/passwd"),
    "file in an array": named(
        "keras.layers.TextVectorization",
        vocabulary={"class_name": "__numpy__", "config": {"value": "/etc/passwd", "dtype": "str"}},
    ),
    "registered class": named("keras.layers.Dense", registered="mine>Mine"),
    "registered name": "mine>Mine",
}


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_of_keras_is_not_built(forge, part, monkeypatch):
    """Wherever in the config it is: it asks for the builder."""
    monkeypatch.setitem(keras.saving.get_custom_objects(), "mine>Mine", pytest.fail)
    opened = forge(put(CONFIG, json.dumps(within(part))))
    with pytest.raises(WeightsError, match=r"Make an OptunaTuner .*its config names"):
        opened.best_model()


def test_no_class_of_the_user_is_made(forge):
    """Which a scope would let a config name."""
    made = []

    class Mine(kl.Dense):
        @classmethod
        def from_config(cls, config):
            made.append(config)
            return cls(**config)

    layers = [named("keras.layers.Dense", registered="mine", units=3)]
    opened = forge(put(CONFIG, json.dumps(named("keras.Sequential", name="m", layers=layers))))
    with keras.saving.custom_object_scope({"mine": Mine}), pytest.raises(TunerError):
        opened.best_model()
    assert made == []


@pytest.mark.parametrize("text", ["[" * 100_000, "7", "null", "[]", '"relu"', "{"])
def test_what_is_no_model_is_not_built(forge, text):
    """But refused, in one line."""
    with pytest.raises(TunerError):
        forge(put(CONFIG, text)).best_model()


def test_no_class_of_keras_takes_a_file_or_function_unseen():
    """A new argument of that kind, in this version of Keras, is to be looked at."""
    suspicious = "file|path|dir|url|vocab|func|fn|load|source|module|pickle"
    known = "fn function source source_name drop_path_rate top_paths vocabulary vocabulary_dtype"
    found = {
        argument
        for module in [one for name, one in sys.modules.items() if name.startswith("keras.")]
        for one in vars(module).values()
        if isinstance(one, type) and one.__module__.startswith(_PLACES)
        for argument in signature(one.__init__).parameters
        if re.search(suspicious, argument)
    }
    assert found <= set(known.split())


def everything():
    """Return a model of many of Keras's ways to compute and to name something."""
    text = kl.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)
    words = keras.Input((1,), dtype="string")
    numbers = keras.Input((4, 2))
    weights = keras.initializers.Constant(np.ones((4, 2)))
    x = kl.Embedding(4, 2, embeddings_initializer=weights)(text(words)) + numbers[:, ::-1]
    x = kl.Bidirectional(kl.RNN(kl.StackedRNNCells([kl.GRUCell(3)]), return_sequences=True))(x)
    x = kl.MultiHeadAttention(1, 2)(x, x, use_causal_mask=True)
    x = kl.Dense(3, keras.activations.gelu, kernel_regularizer="l2", kernel_constraint="unit_norm")(
        keras.ops.mean(x, axis=1)
    )
    layers = [keras.Input((3,)), kl.Dropout(0.1, seed=1), kl.Dense(1, dtype="mixed_bfloat16")]
    model = keras.Model([words, numbers], keras.Sequential(layers)(x))
    rate = keras.optimizers.schedules.CosineDecay(0.1, 9)
    mean = keras.metrics.MeanMetricWrapper(keras.losses.log_cosh)
    metrics = [keras.metrics.mean_squared_error, mean]
    model.compile(keras.optimizers.AdamW(rate), keras.losses.Huber(), metrics=metrics)
    return model


def config_of(model):
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def test_all_parts_of_keras_are_built():
    """By classes and functions, operations, arrays, and lists of words."""
    config = config_of(everything())
    check_config(config)
    assert keras.saving.deserialize_keras_object(config).count_params() > 0
    check_config(named("keras.src.applications.convnext.LayerScale", projection_dim=3))
    quantized = kl.Dense(3)
    quantized.build((None, 4))
    quantized.quantize("int8")
    check_config(config_of(quantized))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_zoo_is_built_without_its_builders():
    """All of it but what has code of its own, and what Keras itself does not compile again."""
    built, left_out = 0, {"distiller", "orbax_checkpoint"}  # the latter's package may be missing
    for animal in (animal for name, animal in ANIMALS.items() if name not in left_out):
        made = animal.build(optuna.create_study().ask())
        model = made[0] if isinstance(made, tuple) else made
        if not _architecture.has_own_code(model):
            check_config(config_of(model))
            built += 1
    assert built > len(ANIMALS) / 2


SECRET = np.arange(100.0)


def external(place):
    def edit(file):
        secret = f"{file.filename}.secret"
        SECRET.tofile(secret)
        del file[place]
        file.create_dataset(place, (2,), "uint32", external=[(secret, 0, SECRET.nbytes)])

    return edit


def other_file(file):
    with h5py.File(f"{file.filename}.other", "w") as other:
        other["secret"] = SECRET.astype("uint32")[:2]
    return f"{file.filename}.other"


def virtual(file):
    layout = h5py.VirtualLayout((2,), "uint32")
    layout[:] = h5py.VirtualSource(other_file(file), "secret", (2,))
    del file[STATE]
    file.create_virtual_dataset(STATE, layout)


def bomb(place, **options):
    def edit(file):
        del file[place]
        file.create_dataset(place, (1 << 30,), "uint32", **options)

    return edit


def texts(file):
    """Let many elements refer to one text, which counts once in the file."""
    del file[CONFIG]
    file.create_dataset(CONFIG, (1 << 10,), h5py.ref_dtype, data=[file.ref] * (1 << 10))


def overlapping(file):
    """Claim the same place of the file for many attributes."""
    for number in range(9):
        file.create_dataset(f"more/{number}", (1 << 10,), "uint32")  # nothing is written


KERAS = "layers/dense/vars/0"
FORGED = {
    "external state": external(STATE),
    "external weights": external(KERAS),
    "external config": external(CONFIG),
    "link to a file": lambda file: put(STATE, h5py.ExternalLink(other_file(file), "secret"))(file),
    "link within": lambda file: put(STATE, h5py.SoftLink(f"/{KERAS}"))(file),
    "virtual": virtual,
    "compressed": bomb(CONFIG, compression="gzip"),
    "never written": bomb(STATE),
    "compressed weights": bomb(KERAS, chunks=True),
    "many of one": texts,
    "sum": overlapping,
    "type": lambda file: file.__setitem__("type", np.dtype("f8")),
}


@pytest.mark.parametrize("edit", FORGED.values(), ids=FORGED)
def test_nothing_but_arrays_of_the_file_is_read(forge, edit):
    """No other file, nothing that takes more room than the file, with any reader of Keras."""
    opened = forge(edit)
    for tuner in (opened, tuner_in(opened._home.directory, build, "val_loss")):
        with pytest.raises(WeightsError, match="not as a search saves them, so nothing of them"):
            tuner.best_model()


class Pickled:
    """Say when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_backup_is_unpickled(tmp_path, zipped):
    """A backup holds arrays of numbers alone."""
    path = tmp_path / "backup"
    with open(path, "wb") as file:
        np.savez(file, **{"now/0": np.array(Pickled())}) if zipped else pickle.dump(Pickled(), file)
    with pytest.raises(ValueError, match="allow_pickle="):
        variables.read_arrays(path, "now")


def test_groups_that_contain_each_other_end(forge):
    """A circle of hard links is followed once."""
    forge(lambda file: file.__setitem__("layers/again", file["layers"])).best_model()

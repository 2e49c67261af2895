"""A trial is plain Model.fit with its seed, digit by digit, in short and long trainings.

`python -m tests.benchmarks.zoo`, which .ci/nightly runs, trains models of all kinds so.
"""

import pytest

from tests.benchmarks import zoo

OF_LAYERS = ["conv_batch_norm", "augmentation", "attention", "unbuilt_batch_norm", "mixed_float16"]
OF_MODELS = ["swap_ema", "adamw_clipped", "batch_size", "vae_add_loss", "diffusion"]
OF_MODELS += ["subclassed_says_built", "dict_subclassed", "schedule_free"]
OF_DATA = ["text_objects", "tf_data_of_trial", "generator_function", "grain_map", "grain_iter"]
OF_DATA += ["grain_loader", "grain_endless", "grain_function"]
OF_DATA += ["list_of_four_arrays", "list_of_dict_and_array"]
OF_SHAPES = ["flat_columns_to_classes_tf_data", "two_ids_to_classes_arrays"]
LONG = ["many_steps_a_call", "many_steps_dropout", "many_steps_lstm", "many_steps_sampling"]
LONG += ["grain_many_steps"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, of some data
@pytest.mark.parametrize("name", [*OF_LAYERS, *OF_MODELS, *OF_DATA, *OF_SHAPES, *LONG])
def test_a_trial_is_plain_fit(name, monkeypatch, tmp_path):
    """Its epochs are those of Model.fit, and its best model has their weights and its value."""
    monkeypatch.setattr(zoo, "N_TRIALS", 1)
    came = [step([name], 1, tmp_path)[name] for step in (zoo.searched, zoo.compared)]
    assert zoo.verdict(*came) == (zoo.EQUAL, "")

"""Tests of kerastune_optuna/_keras_tuner."""

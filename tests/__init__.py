"""Tests of kerastune_optuna, on real Keras models, real studies and real processes."""

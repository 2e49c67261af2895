"""Tests of kerastune_optuna/_study."""

"""Tests of kerastune_optuna/_data."""

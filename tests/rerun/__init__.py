"""Tests of kerastune_optuna/_rerun."""

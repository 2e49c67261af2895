"""Tests of kerastune_optuna/_trial."""

"""Tests of kerastune_optuna/_storage."""

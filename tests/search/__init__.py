"""Tests of kerastune_optuna/_search."""

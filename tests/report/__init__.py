"""Tests of kerastune_optuna/_report."""

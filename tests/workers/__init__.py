"""Tests of kerastune_optuna/_workers."""

"""The cards of a study: what its searches wrote down of what their trials ran with."""

from __future__ import annotations


def card(study, number=None):
    """Return the card of a trial, or of the latest one that has one."""
    keys = {one.number: one.user_attrs["card"] for one in study.trials if "card" in one.user_attrs}
    return study.user_attrs[f"card:{keys[max(keys) if number is None else number]}"]

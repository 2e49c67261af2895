"""Where trials run."""

from kerastune_optuna._workers import card, comparable
from kerastune_optuna._workers.card import Card
from kerastune_optuna._workers.plan import Run, guarded, prepared, search
from kerastune_optuna._workers.warnings import shown_once

__all__ = [
    "Card",
    "Run",
    "card",
    "comparable",
    "guarded",
    "prepared",
    "search",
    "shown_once",
]

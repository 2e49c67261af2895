"""Where trials run."""

from kerastune_optuna._workers import bundle, card, comparable
from kerastune_optuna._workers.card import Card
from kerastune_optuna._workers.loop import Job
from kerastune_optuna._workers.runners import Crew
from kerastune_optuna._workers.warnings import shown_once

__all__ = [
    "Card",
    "Crew",
    "Job",
    "bundle",
    "card",
    "comparable",
    "shown_once",
]

"""What a study has come to: as a table for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kerastune_optuna._check import count, integer
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints
from kerastune_optuna._study import TrialRecord

_COLORS = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "cyan"}


def summary(study: optuna.Study, n: int) -> str:
    """Return the table of the best `n` trials, ready to print."""
    integer("n", n, least=1, instead="Pass how many trials to list.")
    return _text.drawn(Group(*_parts(Facts(study), n)))


def summary_html(study: optuna.Study, n: int) -> str:
    """Return the table as HTML for a notebook."""
    return _text.for_notebook(Group(*_parts(Facts(study), n)))["text/html"]


def _parts(facts: Facts, n: int) -> Iterator[RenderableType]:
    """Yield the title, the table, and the lines below it: states, epochs, time, and hints."""
    yield Text(f" Study {facts.name!r}: {facts.objectives.aim}", style="bold")
    if not facts.rows:
        yield Text(" No trial has begun yet.")
        return
    yield _table(facts, n)
    for line in _lines(facts):
        text = Text(f" {line}")
        for state, color in _COLORS.items():
            text.highlight_words([state], color)
        yield text
    for sentence in hints(facts):
        yield Padding(Text(sentence), (0, 0, 0, 1))
    spread = "value: mean ± standard deviation of a trial's trainings; " * facts.has_spread
    yield Text(f" ({spread}epoch: the best one / how many were run)", style="dim")


def _table(facts: Facts, n: int) -> Table:
    values = [heading.replace("_", "_\n") for heading in facts.headings]
    table = _text.table_of_trials("rank", "trial", *values, "epoch", "seconds")
    table.add_column("state", no_wrap=True)
    for row in facts.rows[:n]:
        spread = "" if row.std is None else f" ± {row.std:.2g}"
        table.add_row(
            Text("" if row.rank is None else str(row.rank), "bold"),
            Text(str(row.number), "cyan"),
            Text(f"{_text.number(row.value)}{spread}", "bold"),
            *(Text(_text.number(value), "bold") for value in row.others),
            row.epochs,
            Text("" if row.seconds is None else f"{row.seconds:.1f}", "dim"),
            " ".join(_text.params(row.trial.params)),
            Text(row.state, _COLORS.get(row.state, "")),
        )
    return table


def _lines(facts: Facts) -> Iterator[str]:
    if facts.objectives.are_several:
        of_rank = "which has" if len(facts.front) == 1 else "which have"
        yield f"Front: {count(len(facts.front), 'trial')}, {of_rank} rank 1"
    states = " ".join(f"{count} {state}" for state, count in facts.states.items())
    yield f"Trials: {len(facts.trials)}: {states}"
    told = ((one, TrialRecord(one).excluded) for one in facts.trials)
    if excluded := [f"trial {one.number} ({why})" for one, why in told if why is not None]:
        yield f"Excluded: {', '.join(excluded)}"
    yield f"Epochs: {facts.epochs_run} run{f', {facts.saved}' if facts.saved else ''}"
    yield f"Training time: {_text.duration(facts.seconds)}"
    for gain in TrialRecord.latest_gains(facts.trials, 1):
        yield f"Another trial is expected to gain {gain:.1g}"

"""The best trials of a study as a table, for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kerastune_optuna._check import count, integer
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._report.hints import hints

_COLORS = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "cyan"}
_LEGEND = "epoch: the best one / how many were run"
_SPREAD = "value: mean ± standard deviation of a trial's trainings; "


def summary(study: optuna.Study, n: int) -> str:
    """Return the table of the best `n` trials, ready to print."""
    integer("n", n, least=1, instead="Pass how many trials to list.")
    return _text.drawn(Group(*_parts(Facts(study), n)))


def summary_html(study: optuna.Study, n: int) -> str:
    """Return the table as HTML for a notebook."""
    return _text.for_notebook(Group(*_parts(Facts(study), n)))["text/html"]


def _parts(facts: Facts, n: int) -> Iterator[RenderableType]:
    """Yield the title, the table, and the lines below it: states, epochs, time, and hints."""
    yield Text(f" Study {facts.name!r}: {facts.aim}", style="bold")
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
    yield Text(f" ({_SPREAD if facts.has_spread else ''}{_LEGEND})", style="dim")


def _table(facts: Facts, n: int) -> Table:
    # Without lines between columns, so that parameters have room in 80 characters.
    table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0), pad_edge=False)
    values = [facts.metric, *facts.other_metrics] if facts.are_several else ["value"]
    for heading in ("rank", "trial", *values, "epoch", "seconds"):
        table.add_column(heading.replace("_", "_\n"), justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    table.add_column("state", no_wrap=True)
    for row in facts.rows[:n]:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> Iterator[Text]:
    """Yield the cells of a trial as Text, since rich would read brackets in a str as markup."""
    yield Text("" if row.rank is None else str(row.rank), "bold")
    yield Text(str(row.number), "cyan")
    spread = "" if row.std is None else f" ± {row.std:.2g}"
    yield Text(f"{_text.number(row.value)}{spread}", "bold")
    for value in row.others:
        yield Text(_text.number(value), "bold")
    yield Text(row.epochs)
    yield Text("" if row.seconds is None else f"{row.seconds:.1f}", "dim")
    yield Text(" ".join(_text.params(row.trial.params)))
    yield Text(row.state, _COLORS.get(row.state, ""))


def _lines(facts: Facts) -> Iterator[str]:
    if facts.are_several:
        of_rank = "which has" if len(facts.front) == 1 else "which have"
        yield f"Front: {count(len(facts.front), 'trial')}, {of_rank} rank 1"
    states = " ".join(f"{count} {state}" for state, count in facts.states.items())
    yield f"Trials: {len(facts.trials)}: {states}"
    if facts.excluded:
        yield f"Excluded: {facts.excluded}"
    yield f"Epochs: {facts.epochs_run} run{f', {facts.saved}' if facts.saved else ''}"
    yield f"Training time: {_text.duration(facts.seconds)}"

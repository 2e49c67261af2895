"""The best trials of a study as a table: for a terminal, and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain

import optuna
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kerastune_optuna._check import count, integer
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._report.hints import hints

_COLORS = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "cyan"}
_LEGEND = "epoch: the best one / how many were run"
_WIDEST = 10_000  # columns: as good as no limit
_SPREAD = "value: mean ± standard deviation of a trial's trainings"


def summary(study: optuna.Study, n: int) -> str:
    """Return the table of the best `n` trials, ready to print."""
    integer("n", n, least=1, instead="Pass how many trials to list.")
    # rich would draw into a notebook at once, where we want the text.
    console = Console(highlight=False, force_jupyter=False)
    facts = Facts(study)
    with console.capture() as captured:
        console.print(Text(f' Study "{facts.name}": {facts.aim}', style="bold"))
        if facts.rows:
            console.print(_fitting_table(facts, n, console))
        for line in _lines(facts):
            text = Text(f" {line}")
            for state, color in _COLORS.items():
                text.highlight_words([state], color)
            console.print(text)
        for sentence in hints(facts):
            console.print(Padding(Text(sentence), (0, 0, 0, 1)))
        if facts.rows:
            console.print(Text(f" ({_legend(facts)})", style="dim"))
    return captured.get()


def _fitting_table(facts: Facts, n: int, console: Console) -> Table:
    """Return a table that breaks no value, for a console that is made wider where it must be.

    In a table that is too wide, a long parameter takes two lines, with a break before its value.
    Where that is not enough, rich breaks names too; where values do not fit even so, lines are
    longer than the terminal is wide.
    """
    table = _table(facts, n)
    needed = console.measure(table, options=console.options.update(width=_WIDEST)).minimum
    if needed <= console.width:
        return table
    chosen = [row.trial.params for row in facts.rows[:n]]
    of_others = needed - _longest(chain.from_iterable(map(_text.params, chosen)))
    values = (_text.short(value) for params in chosen for value in params.values())
    console.width = max(console.width, of_others + _longest(values))
    return _table(facts, n, console.width - of_others)


def _longest(texts: Iterable[str]) -> int:
    """Return how many characters the longest word has."""
    return max(map(len, " ".join(texts).split()), default=0)


def _legend(facts: Facts) -> str:
    """Return a line that explains the columns of the table."""
    return f"{_SPREAD}; {_LEGEND}" if facts.has_spread else _LEGEND


def _table(facts: Facts, n: int, room: int = _WIDEST) -> Table:
    # Without lines between columns, so that parameters have room on 80 of them.
    table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in _headings(facts):
        left = heading in ("parameters", "state")
        table.add_column(
            heading.replace("_", "_\n"),
            justify="left" if left else "right",
            no_wrap=not left,
            overflow="fold",
        )
    rows = facts.rows[:n]
    others = ("bold",) * len(facts.other_metrics)
    for row, cells in zip(rows, _cells(facts, rows, room), strict=True):
        styles = ("bold", "cyan", "bold", *others, "", "dim", "", _COLORS.get(row.state, ""))
        # Text, not str: rich would take brackets in a parameter for its markup.
        table.add_row(*(Text(cell, style) for cell, style in zip(cells, styles, strict=True)))
    return table


def _headings(facts: Facts) -> list[str]:
    """Return what stands above the columns."""
    values = [facts.metric, *facts.other_metrics] if facts.are_several else ["value"]
    return ["rank", "trial", *values, "epoch", "seconds", "parameters", "state"]


def _cells(facts: Facts, rows: Sequence[Row], room: int = _WIDEST) -> list[list[str]]:
    """Return the texts of the table, in the order of its headings.

    Args:
        facts: What is known of the study.
        rows: The trials.
        room: A parameter with more characters has a space before its value, to break there.
    """
    columns = [[row.value for row in rows]]
    for place in range(len(facts.other_metrics)):
        columns.append([_rounded(row.others[place]) for row in rows])
    values = zip(*map(_text.aligned, columns), strict=True)
    return [
        [
            "" if row.rank is None else str(row.rank),
            str(row.number),
            texts[0] if row.std is None else f"{texts[0]} ± {row.std:.2g}",
            *texts[1:],
            row.epochs,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            " ".join(_breakable(one, room) for one in _text.params(row.trial.params)),
            row.state,
        ]
        for row, texts in zip(rows, values, strict=True)
    ]


def _breakable(param: str, room: int) -> str:
    return param if len(param) <= room else param.replace("=", "= ", 1)


def _rounded(value: float | None) -> float | None:
    """Return a measured value with four digits, since it is no more exact; a count as it is."""
    return value if value is None or float(value).is_integer() else float(f"{value:.4g}")


def _lines(facts: Facts) -> list[str]:
    """Return the lines below the table: states, epochs, time."""
    if not facts.trials:
        return ["No trial has begun yet."]
    states = " ".join(f"{count} {state.name}" for state, count in facts.counts.items())
    saved = f", {facts.saved}" if facts.saved else ""
    of_rank = "which has" if len(facts.front) == 1 else "which have"
    front = f"Front: {count(len(facts.front), 'trial')}, {of_rank} rank 1"
    return [
        *([front] if facts.are_several else []),
        f"Trials: {len(facts.trials)}: {states}",
        f"Epochs: {facts.epochs_run} run{saved}",
        f"Training time: {_text.duration(facts.seconds)}",
    ]


def summary_html(study: optuna.Study, n: int) -> str:
    """Return the table as HTML for a notebook; one short line where no trial has begun."""
    facts = Facts(study)
    title = f"Study <b>{escape(facts.name)}</b>: {escape(facts.aim)}"
    lines = "<br>".join(escape(line) for line in [*_lines(facts), *hints(facts)])
    if not facts.trials:
        return f"<p>{title}. {lines}</p>"
    head = "".join(f"<th>{escape(heading)}</th>" for heading in _headings(facts))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in _cells(facts, facts.rows[:n])
    )
    return (
        f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{lines}<br><small>{_legend(facts)}</small></p>"
    )

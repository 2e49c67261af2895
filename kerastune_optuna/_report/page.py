"""The page: the facts, the figures and the table, in one HTML file that needs no network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import jinja2
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from kerastune_optuna._report import figures, style
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints
from kerastune_optuna._report.importances import by_importance


def write(facts: Facts, path: Path) -> Path:
    """Write the page and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # With these, the filter `tojson` writes figures, and escapes what would end their <script>.
    environment.policies["json.dumps_function"] = to_json
    environment.policies["json.dumps_kwargs"] = {"validate": False}
    sections = {
        name: section
        for name, section in figures.FIGURES.items()
        if name != "front" or facts.are_several
    }
    slices = {
        f"slice-{place}": figures.slices(facts, name)
        for place, name in enumerate(by_importance(facts))
    }
    parts = {name: section.draw(facts) for name, section in sections.items()} | slices
    for figure in parts.values():
        # The page has each label of a trial once, and page.js puts it into the figures.
        figure.update_traces(hovertext=None, selector=lambda trace: trace.customdata is not None)
    page = environment.get_template("page.html").render(
        plotly=get_plotlyjs(),
        facts=facts,
        text=_text,
        hints=hints(facts),
        labels={row.number: style.label(row) for row in facts.rows},
        parts=parts,
        sections=sections,
        slices=list(slices),
        now=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    path.write_text(page, encoding="utf-8")
    return path

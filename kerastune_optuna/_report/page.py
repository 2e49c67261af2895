"""The page: the facts, the figures and the table, in one HTML file that needs no network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from kerastune_optuna._report import figures, param_figures, style
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints
from kerastune_optuna._report.importances import by_importance
from kerastune_optuna._study import record

_FOLDER = Path(__file__).parent
_PACKAGES = ("kerastune_optuna", "keras", "tensorflow", "optuna", "numpy")


@dataclass(frozen=True)
class _Part:
    """Hold one figure of the page, as the JSON of plotly; None where there is nothing to draw."""

    name: str
    json: Markup | None


def write(facts: Facts, path: Path) -> Path:
    """Write the page and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # Scripts of ours and plotly's, which need no escaping: nothing in them comes from a study.
    scripts = {"plotly": get_plotlyjs(), "script": _read("page.js"), "style": _read("page.css")}
    page = environment.get_template("page.html").render(
        **{name: Markup(text) for name, text in scripts.items()},
        facts=facts,
        text=_text,
        hints=hints(facts),
        labels=_as_json({row.number: style.label(row) for row in facts.rows}),
        parts={name: _part(name, draw(facts)) for name, draw in figures.FIGURES.items()},
        slices=_slices(facts),
        code=_code(facts),
        versions=_versions(),
        now=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _slices(facts: Facts) -> list[_Part]:
    return [
        _part(f"slice-{place}", param_figures.slices(facts, name))
        for place, name in enumerate(by_importance(facts))
    ]


def _part(name: str, figure: go.Figure) -> _Part:
    if not figure.data:
        return _Part(name, None)
    for trace in figure.data:
        if trace.customdata is not None:
            trace.hovertext = None  # page.js puts it back; each label is in the page once
    return _Part(name, _in_script(to_json(figure, validate=False)))


def _as_json(value: Any) -> Markup:
    return _in_script(to_json(value, validate=False))


def _in_script(text: str) -> Markup:
    """Return JSON that cannot end the <script> around it, whatever a study's names are."""
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _code(facts: Facts) -> str | None:
    """Return Python code with the best parameters, and how to train them once more."""
    if facts.best is None:
        return None
    params = [f"    {name!r}: {value!r}," for name, value in facts.best.trial.params.items()]
    lines = ["import keras", "import optuna", "", "best_params = {", *params, "}"]
    seed = _seed(facts, facts.best.trial.user_attrs)
    if isinstance(seed, int):
        lines.append(f"keras.utils.set_random_seed({seed})")
    return "\n".join([*lines, "model = build_model(optuna.trial.FixedTrial(best_params))"])


def _seed(facts: Facts, attrs: Mapping[str, Any]) -> Any:
    """Return the seed of a trial; of several trainings that of the best, whose weights are kept."""
    values, seeds = attrs.get(record.VALUES), attrs.get(record.SEEDS)
    if not values or not seeds:
        return attrs.get(record.SEED)
    return seeds[values.index(min(values, key=facts.cost))]


def _versions() -> dict[str, str]:
    """Return the versions that are installed here."""
    found = {"Python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

"""The command line: look into a study without its code."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import optuna
import typer
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _dashboard, _report, _storage, _url
from kerastune_optuna._exceptions import ArgumentError, NoTrialsError, StorageError, TunerError
from kerastune_optuna._store import WholeFileStore

_PASSWORDS = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*(?=@)|((?:pass\w*|pwd)=)[^&\s'\"]+", re.I)

app = typer.Typer(
    help="Look into the studies that kerastune_optuna has made.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="The directory= of the search, or the URL of its storage."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--study", metavar="NAME", help="The study, where there are several.", show_default=False
    ),
]


@app.command(epilog="Example: kerastune-optuna status tuning --study iris")
def status(source: Source = "tuning", study: Name = None) -> None:
    """Print how far a search is, its best trial, and what is running."""
    for line in _status(_load(source, study)):
        typer.echo(line)


@app.command(epilog="Example: kerastune-optuna best tuning > best.json")
def best(source: Source = "tuning", study: Name = None) -> None:
    """Print the parameters of the best trial as JSON; of several objectives, a list of the best."""
    found = _load(source, study)
    front = _front(found)
    is_one = len(found.directions) == 1
    told = front[0].params if is_one else [_told(found, trial) for trial in front]
    typer.echo(json.dumps(told, indent=2))


@app.command(epilog="Example: kerastune-optuna report tuning --output report.html")
def report(
    source: Source = "tuning",
    study: Name = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")
    ] = Path("report.html"),
) -> None:
    """Write the report of a study: one page that needs no network."""
    typer.echo(f"Wrote {_report.write_page(_load(source, study), output)}")


@app.command(epilog="Example: kerastune-optuna dashboard tuning --port 8080")
def dashboard(
    source: Source = "tuning",
    study: Name = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Where to listen: else on a port that is free."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The directory= of the search, where SOURCE is a URL."),
    ] = None,
) -> None:
    """Serve optuna-dashboard to this machine until Ctrl-C."""
    found = _load(source, study)
    folder = directory or (None if "://" in source else Path(source))
    # Artifacts are there where the search was given no artifact_store= of its own.
    store = None if folder is None else WholeFileStore(folder / found.study_name / "weights")
    with _dashboard.serve(found, store, port) as served:
        typer.echo(f"Study {found.study_name!r} is at {served.url} until Ctrl-C")
        try:
            served.wait()
        except KeyboardInterrupt:
            typer.echo("Stopped")


@app.command(epilog="Example: kerastune-optuna export tuning --output trials.csv")
def export(
    source: Source = "tuning",
    study: Name = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write: else standard output."
        ),
    ] = None,
) -> None:
    """Write all trials as CSV, a row a trial."""
    _report.results(_load(source, study)).to_csv(output or sys.stdout, index=False)


def main() -> NoReturn:
    """Run the command; an error is one line on standard error."""
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
    except (TunerError, OSError) as error:
        _fail(str(error), 1)
    except Exception as error:
        # Typers have click as a package or as a part, and the errors of both have this alone.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message().rstrip('.')}. Try --help.", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, code: int) -> NoReturn:
    line = _PASSWORDS.sub(r"\1\2:***" if "://" in text else r"\2***", " ".join(text.split()))
    print(f"Error: {line}", file=sys.stderr)
    sys.exit(code)


def _load(source: str, name: str | None) -> optuna.Study:
    """Return a study that exists; nothing is made or written.

    Raises:
        ArgumentError: Several studies are there, or none of that name.
        StorageError: There is no database, or it cannot be opened.
    """
    url = source if "://" in source else _storage.in_directory(Path(source))
    _check_file(source, url)
    storage = _storage.connect(url, make=False)
    names = sorted(optuna.get_all_study_names(storage))
    if name is None and len(names) == 1:
        name = names[0]
    if not names:
        raise StorageError(f"{_shown(source)} holds no study: no search has begun there.")
    if name not in names:
        came = "holds several studies" if name is None else f"holds no study {name!r}"
        raise ArgumentError(
            f"{_shown(source)} {came}. Pass --study with one of: {', '.join(names)}."
        )
    return optuna.load_study(study_name=name, storage=storage)


def _check_file(source: str, url: str) -> None:
    """Refuse a database file that does not exist, which SQLite would make."""
    parsed = _url.parse(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise StorageError(
            f"{_shown(source)} holds no study: there is no file {parsed.database!r}. Pass the "
            "directory= of a search that has begun, or the URL of its storage."
        )


def _shown(source: str) -> str:
    return repr(_url.masked(_url.parse(source)) if "://" in source else source)


def _status(study: optuna.Study) -> Iterator[str]:
    yield f"Study {study.study_name!r}: {_report.aim(study)}"
    # A WAITING trial is a place for one to come.
    trials = [one for one in study.get_trials(deepcopy=False) if one.state != TrialState.WAITING]
    counts = Counter(trial.state.name for trial in trials)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    yield f"{len(trials)} trials: {states}" if trials else "No trial has begun"
    is_one = len(study.directions) == 1
    for found in _report.front(study):
        values = ", ".join(f"{value:.6g}" for value in found.values)
        what = "Best" if is_one else "On the front"
        yield f"{what}: {values} in trial {found.number} ({_report.params(found)})"
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            yield f"Trial {trial.number} is running: {_progress(trial)} ({_report.params(trial)})"


def _progress(trial: FrozenTrial) -> str:
    if trial.last_step is None:
        return "first epoch"
    return f"{trial.intermediate_values[trial.last_step]:.6g} after epoch {trial.last_step + 1}"


def _told(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """Return what there is to tell of a trial on the front."""
    values = dict(zip(_report.metrics(study), trial.values, strict=True))
    return {"trial": trial.number, "values": values, "params": trial.params}


def _front(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that no other one dominates: of one objective, the best trial alone.

    Raises:
        NoTrialsError: No trial is COMPLETE.
    """
    found = _report.front(study)
    if not found:
        raise NoTrialsError(
            f"Study {study.study_name!r} has no COMPLETE trial yet. Search on, or wait for it."
        )
    return found


if __name__ == "__main__":
    main()

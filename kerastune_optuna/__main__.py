"""The command line: look into a study without its code, or import a project of KerasTuner."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kerastune_optuna import _check, _report
from kerastune_optuna._exceptions import TunerError
from kerastune_optuna._keras_tuner import Imported, import_project
from kerastune_optuna._storage import WholeFileStore
from kerastune_optuna._storage import url as _url
from kerastune_optuna._study import find, load, opening

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

_HOW = "--study with one of"  # how to pass the name of a study


@app.command(epilog="Example: kerastune-optuna status tuning --study iris")
def status(source: Source = "tuning", study: Name = None) -> None:
    """Print how far a search is, its best trial, and what is running."""
    for line in _report.status(load(source, study, _HOW)):
        typer.echo(line)


@app.command(epilog="Example: kerastune-optuna best tuning > best.json")
def best(source: Source = "tuning", study: Name = None) -> None:
    """Print the parameters of the best trial as JSON; of several objectives, a list of the best."""
    typer.echo(json.dumps(_report.best(load(source, study, _HOW)), indent=2))


@app.command(epilog="Example: kerastune-optuna report tuning --output report.html")
def report(
    source: Source = "tuning",
    study: Name = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")
    ] = Path("report.html"),
) -> None:
    """Write the report of a study: one page that needs no network."""
    typer.echo(f"Wrote {_report.write_page(load(source, study, _HOW), output)}")


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
    storage, name = find(source, study, _HOW)
    folder = directory or (None if "://" in source else Path(source))
    # A search without artifact_store= keeps its weights there.
    store = None if folder is None else WholeFileStore(folder / name / "weights")
    with _report.serve(storage, name, store, port) as served:
        typer.echo(f"Study {name!r} is at {served.url} until Ctrl-C")
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
    _report.results(load(source, study, _HOW)).to_csv(output or sys.stdout, index=False)


@app.command("import", epilog="Example: kerastune-optuna import my_dir/my_project --study mine")
def import_(
    project: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="The project: the folder with its oracle.json."),
    ],
    directory: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The directory= of the search to come.")
    ] = Path("tuning"),
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Its storage=, where the directory has no database."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its study_name=: else the name of the project."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="The objective, where the project leaves it open; may be repeated."
        ),
    ] = None,
) -> None:
    """Read a KerasTuner project into a study, which a search then goes on with."""
    with opening.quiet_optuna():
        imported = import_project(project, directory, storage, study, objective or ())
    for line in (*imported.notes, _line_on_import(imported)):
        typer.echo(line)


@app.command(epilog="Example: kerastune-optuna card tuning --trial 3")
def card(
    source: Source = "tuning",
    study: Name = None,
    trial: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="A trial: else the latest that has a card.", show_default=False
        ),
    ] = None,
) -> None:
    """Print as JSON what a trial ran with: versions, devices, seeds, data, arguments."""
    typer.echo(json.dumps(_report.card(load(source, study, _HOW), trial), indent=2))


def main() -> NoReturn:
    """Run the command; an error is one line on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # whose encoding may lack some letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
    except (TunerError, OSError) as error:
        _fail(str(error), 1)
    except Exception as error:
        # Older versions of Typer import click, and newer ones hold a copy of it: the errors of the
        # two have no class in common, only this method.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message().rstrip('.')}. Try --help.", 2)
    sys.exit(code or 0)


def _fail(text: str, code: int) -> NoReturn:
    print(f"Error: {_url.without_passwords(' '.join(text.split()))}", file=sys.stderr)
    sys.exit(code)


def _line_on_import(imported: Imported) -> str:
    """Return a line on what was imported, and how to go on with it."""
    study, goals = imported.study, imported.objectives
    states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    names = goals.names if goals.are_several else goals.names[0]
    directions = goals.directions if goals.are_several else goals.directions[0]
    return (
        f"Added {_check.count(imported.added, 'trial')}, and left out {imported.left_out} that "
        f"were unfinished or there; {imported.with_weights} brought weights. Study "
        f"{study.study_name!r} has {states['COMPLETE']} COMPLETE and {states['FAIL']} FAIL; the "
        f"first count towards n_trials. Go on with: OptunaTuner(from_keras_tuner(...), {names!r}, "
        f"direction={directions!r}, study_name={study.study_name!r})"
    )


if __name__ == "__main__":
    main()

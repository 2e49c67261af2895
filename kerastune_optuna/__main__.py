"""The command line: look at a study, or stop its searches, without their code."""

from __future__ import annotations

import io
import sys
from typing import Annotated, NoReturn

import typer
from optuna.trial import TrialState

from kerastune_optuna import _report
from kerastune_optuna._check import count
from kerastune_optuna._exceptions import TunerError
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import without_passwords
from kerastune_optuna._study import Home, StudyRecord

app = typer.Typer(
    help="Look at the studies that kerastune_optuna has made, and stop their searches.",
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
        "--study", metavar="NAME", help="The study, if there are several.", show_default=False
    ),
]

_HOW = "--study with one of"  # how to pass the name of a study


@app.command(epilog="Example: kerastune-optuna status tuning --study iris")
def status(source: Source = "tuning", study: Name = None) -> None:
    """Print the best trials of a study, and how many have ended or are running."""
    typer.echo(_report.summary(Home.load_study(source, study, _HOW), 10), nl=False)


@app.command(epilog="Example: kerastune-optuna stop tuning --study iris")
def stop(source: Source = "tuning", study: Name = None) -> None:
    """End the searches of a study: each worker begins no further trial."""
    found = Home.load_study(source, study, _HOW)
    record = StudyRecord(found)
    record.asked_to_stop = (record.asked_to_stop or 0) + 1
    running = found.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    told = f"{count(len(running), 'running trial')} will end first"
    told = told if running else "no trial is running, so perhaps no search is"
    typer.echo(f"Told the searches of study {found.study_name!r} to stop; {told}")


def main() -> NoReturn:
    """Run the command; print an error as one line on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # its encoding may lack some letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
    except (TunerError, OSError) as error:
        _fail(str(error), 1)
    except Exception as error:
        # Older versions of Typer import click, and newer ones contain a copy of it. The errors of
        # the two have no common class, only this method in common.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message().rstrip('.')}. Try --help.", 2)
    sys.exit(code or 0)


def _fail(text: str, code: int) -> NoReturn:
    print(f"Error: {without_passwords(readable(' '.join(text.split())))}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""What a study came to, as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._report.facts import Facts
from kerastune_optuna._storage import WORKER
from kerastune_optuna._study import liveness, record

if TYPE_CHECKING:
    import pandas

# The user attrs of a trial that a reader looks for.
_ATTRS = (
    record.BEST_VALUE,
    record.BEST_EPOCH,
    record.EPOCHS,
    record.EPOCHS_RUN,
    record.SECONDS_RUN,
    record.SEED,
    record.STOP_REASON,
    "n_params",
    WORKER,
)
# The further user attrs of a trial that takes another's place, or has several trainings.
_OF_SOME = (record.RETRY_OF, record.STD, record.VALUES, record.SEEDS, record.BEST_EPOCHS)


def results(study: optuna.Study) -> pandas.DataFrame:
    """Return a table with one row for each trial that began, in the order of their numbers.

    Columns: number, state, value (of several objectives a `values_...` for each), a `params_...`
    for each parameter, and the user attrs of trials.
    """
    import pandas  # takes half a second to import, and only results() needs it

    facts = Facts(study)
    trials = facts.trials
    names = sorted({name for trial in trials for name in trial.params})
    values = [f"values_{name}" for name in facts.metrics] if facts.are_several else ["value"]
    known = {attr for trial in trials for attr in trial.user_attrs}
    attrs = [*_ATTRS, *(attr for attr in _OF_SOME if attr in known)]
    rows = [_row(trial, names, values, attrs) for trial in trials]
    columns = ["number", "state", *values, *(f"params_{name}" for name in names), *attrs]
    table = pandas.DataFrame(rows, columns=columns)
    # warm_start= compares trials by this; pandas keeps it where columns are renamed or added.
    table.attrs[record.GIVEN] = {
        "objectives": facts.metrics,
        "directions": facts.directions,
        **study.user_attrs.get(record.GIVEN, {}),
    }
    return table


def _row(
    trial: FrozenTrial, names: Sequence[str], values: Sequence[str], attrs: Sequence[str]
) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        **dict(zip(values, trial.values or [None] * len(values), strict=True)),
        **{f"params_{name}": trial.params.get(name) for name in names},
        **{attr: trial.user_attrs.get(attr) for attr in attrs},
        WORKER: liveness.worker_of(trial),
    }

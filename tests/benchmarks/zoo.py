"""Compare searches with plain Keras, for all kinds of models: `python -m tests.benchmarks.zoo`.

Each animal of `tests/zoo` is searched with 3 trials and all defaults, with 1 and with 2 workers.
Then a process that has seen none of this trains each trial plainly, from its parameters and its
seed, and opens the study again. A row is *equal* where each epoch of each trial is plain Keras's to
the last digit, and `best_model()` has the weights of the best epoch, in both processes, and
evaluates to `best_value`. It is *refused* where one line said why before anything was trained, and
*wrong* otherwise.

KERAS_BACKEND=jax or torch does the same there, as far as plain Keras trains a model on it.
"""

import hashlib
import math
import os
import sys
import tempfile
import warnings
from contextlib import suppress

from tests.benchmarks._sides import command_line, report, timed

N_TRIALS = 3
EQUAL, REFUSED, WRONG, UNKNOWN = "equal", "refused", "wrong", "not trained by plain Keras"
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "PJRT_NPROC")
_AT_ONCE = 8  # animals that one process trains
_TRIES = 40  # plain trainings, until one is as the trial was: of some models Keras has two outcomes


def searched(names, n_workers, folder):
    """Search each animal; return what its best model came to, or why there is none."""
    from tests.zoo import ANIMALS

    return {name: _searched(name, ANIMALS[name], n_workers, folder) for name in names}


def _searched(name, animal, n_workers, folder):
    from kerastune_optuna import TunerError

    tuner = tuner_of(name, animal, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.search(**animal.arguments, n_workers=n_workers, verbose=0)
        return best_of(tuner, animal)
    except Exception as error:  # which the table shows
        kind = REFUSED if isinstance(error, TunerError) and not _trained(tuner) else WRONG
        return {kind: f"{type(error).__name__}: {error}"}


def _trained(tuner):
    """Return the trials of a study that count, where any epoch was trained."""
    from kerastune_optuna import TunerError
    from tests.support.faults import trials_of

    with suppress(TunerError):  # there is no study yet
        trials = trials_of(tuner)
        return trials if any(trial.intermediate_values for trial in trials) else []
    return []


def tuner_of(name, animal, folder):
    """Return the tuner of an animal, whose study may be there already."""
    from kerastune_optuna import OptunaTuner

    options = {"n_trials": N_TRIALS, "seed": 1, "directory": folder, "study_name": name}
    return OptunaTuner(animal.build, animal.objective, direction="minimize", **options)


def best_of(tuner, animal):
    """Return the best value of a study, what its model evaluates to, and its weights."""
    model = tuner.best_model()
    found = {"value": tuner.best_value, "weights": digest(model.get_weights())}
    if animal.evaluates:
        found["evaluated"] = evaluated(model, animal)
    return found


def evaluated(model, animal):
    """Return the objective of a model by the validation data."""
    import keras

    from tests.zoo.animal import opened

    data = opened(animal.arguments["validation_data"])
    x, y, weights = (data, None, None)
    if isinstance(data, tuple):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    return float(logs[animal.objective.removeprefix("val_")])


def digest(weights):
    """Return a digest of weights, to the last bit."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()[:16]


def compared(names, n_workers, folder):
    """Train the trials of each study plainly and open it again; return what is not the same.

    Plain Keras has as many threads as the trials had: how a sum is split decides its last digit.
    """
    if n_workers > 1:  # each of which has its share of the cores
        share = str(max(1, len(os.sched_getaffinity(0)) // n_workers))
        os.environ.update(dict.fromkeys(_THREADS, share))  # before TensorFlow is imported
    from tests.zoo import ANIMALS

    return {name: _compared(name, ANIMALS[name], folder) for name in names}


def _compared(name, animal, folder):
    import optuna

    from tests.support.models import history
    from tests.zoo import trained_plainly

    tuner = tuner_of(name, animal, folder)
    trials = _trained(tuner)
    rows = [history(tuner, trial.number) for trial in trials]
    try:
        pairs = zip(trials, rows, strict=True)
        plain = {trial.number: _nearest(animal, trial, logs) for trial, logs in pairs}
        if not trials:
            trained_plainly(animal, optuna.create_study().ask(), seed=0)
    except Exception as error:  # of Keras, which does not train everything on each backend
        return {UNKNOWN: _told(error)}
    try:
        weights = digest(plain[tuner.best_trial.number][0].weights)
        differences = [told for _, told in plain.values() if told is not None]
        return {**best_of(tuner, animal), "differences": differences, "plain": weights}
    except Exception as error:  # which the table shows
        return {WRONG: _told(error)}


def _told(error):
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0][:300]


def _nearest(animal, trial, rows):
    """Return a plain training of a trial, and what is not the same in it, if anything.

    Plain Keras does not always train a model to the same last digit: of 25 trainings of the VAE, 4
    had another loss in the first epoch. A trial is the same where it is one of these trainings.
    """
    import optuna

    from tests.zoo import trained_plainly

    asked = optuna.trial.FixedTrial(trial.params)
    for _ in range(_TRIES):
        plain = trained_plainly(animal, asked, trial.user_attrs["seed"])
        difference = _difference(trial.number, rows, plain.rows)
        if difference is None:
            break
    return plain, difference


def _difference(number, rows, plain):
    """Return where a trial left the path of a plain training, if it did."""
    if len(rows) > len(plain):
        return f"trial {number} has {len(rows)} epochs, and plain Keras {len(plain)}"
    for epoch, (ours, theirs) in enumerate(zip(rows, plain, strict=False)):
        for metric, value in theirs.items():
            one, other = float(ours[metric]), float(value)
            if one != other and not (math.isnan(one) and math.isnan(other)):
                return f"trial {number}: {metric} of epoch {epoch} is {abs(one - other):.1e} apart"
    return None


def verdict(found, again):
    """Return what a row says of an animal, and why."""
    if UNKNOWN in again:
        return UNKNOWN, again[UNKNOWN]
    for known in (found, again):
        for kind in (REFUSED, WRONG):
            if kind in known:
                is_line = kind == REFUSED and "\n" not in known[kind]
                return (REFUSED if is_line else WRONG), known[kind]
    wrong = [*again["differences"], *_wrong_models(found, again)]
    return (WRONG, "; ".join(wrong)) if wrong else (EQUAL, "")


def _wrong_models(found, again):
    """Say which of the best models is not the one that the study reports."""
    wrong = []
    for where, best in (("here", found), ("in a fresh process", again)):
        if best["weights"] != again["plain"]:
            wrong.append(f"best_model() {where} has other weights than the best epoch had")
        value = best.get("evaluated", best["value"])
        if not math.isclose(value, best["value"], rel_tol=1e-5, abs_tol=1e-6):
            wrong.append(f"best_model() {where} evaluates to {value}, not {best['value']}")
    return wrong


def rows_of(names, workers):
    """Yield the rows of the table as they come."""
    for begin in range(0, len(names), _AT_ONCE):
        part = list(names[begin : begin + _AT_ONCE])
        for n_workers in workers:
            with tempfile.TemporaryDirectory() as folder:
                found = timed(("zoo:searched", part, n_workers, folder)).answers[0]
                again = timed(("zoo:compared", part, n_workers, folder)).answers[0]
            for name in part:
                kind, why = verdict(found[name], again[name])
                print(f"{name}, {n_workers} workers: {kind} {why}", flush=True)
                yield name, n_workers, kind, why[:120].replace("\n", " ").replace("|", "/")


def main():
    """Compare the animals that were asked for, and exit with 1 where a row is wrong."""
    from tests.zoo import ANIMALS

    parser = command_line(__doc__, ANIMALS)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    arguments = parser.parse_args()
    rows = list(rows_of(arguments.only, arguments.workers))
    report(("keras", "tensorflow", "optuna"), ("animal", "workers", "result", "why"), rows)
    for kind in (EQUAL, REFUSED, UNKNOWN, WRONG):
        print(f"{kind}: {sum(row[2] == kind for row in rows)}")
    sys.exit(any(row[2] == WRONG for row in rows))


if __name__ == "__main__":
    main()

"""Search the network of iris.py with two processes on this machine that share one study.

Run it as `python examples/parallel.py`. With a database URL as argument, any number of copies, on
any machines that reach the database, work on the same study:
`python examples/parallel.py postgresql://user:password@host/database`.
"""

from __future__ import annotations

import sys

from iris import EPOCHS, build_model, load_iris

from kerastune_optuna import OptunaTuner


def main() -> None:
    """Search with two workers, and say how many trials each of them ran."""
    ds_train, ds_test = load_iris()
    tuner = OptunaTuner(
        build_model,
        objective="val_categorical_accuracy",
        n_trials=12,
        study_name="iris-parallel",
        storage=sys.argv[1] if len(sys.argv) > 1 else None,
    )
    tuner.search(ds_train, validation_data=ds_test, epochs=EPOCHS, n_workers=2)
    tuner.summary(5)
    print(tuner.results()["worker"].value_counts().to_string())
    _, accuracy = tuner.best_model().evaluate(ds_test, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()

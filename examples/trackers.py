"""Write each trial of the iris search into MLflow or Weights & Biases, as a run of its own.

Run it as `python examples/trackers.py mlflow` or `python examples/trackers.py wandb`, after
`pip install "kerastune_optuna[examples,mlflow]"` or `pip install wandb`. Set `MLFLOW_TRACKING_URI`
to the address of your server, or to `sqlite:///mlflow.db` for a file. W&B writes into `wandb/`
where `WANDB_MODE=offline` is set, and `wandb sync` sends that folder later.

A tracker is a function that `search(on_trial_end=...)` calls with the study and each trial that
ended, whichever worker ran it. The curve is that of the objective. Where copies of a script share a
study, give the tracker to one of them alone, since each copy hears of all trials. Trials that ended
before a search began are not told again: a tracker that was added late has those that come.
"""

from __future__ import annotations

import sys
from math import nan

import optuna
from iris import EPOCHS, build_model, load_iris
from optuna.trial import FrozenTrial

from kerastune_optuna import OptunaTuner

OBJECTIVE = "val_categorical_accuracy"
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}  # MLflow's words


def to_mlflow(study: optuna.Study, trial: FrozenTrial) -> None:
    """Write a trial into MLflow, as a run within the one that is active."""
    import mlflow

    tags = {"study": study.study_name, "state": trial.state.name}
    mlflow.start_run(run_name=f"trial_{trial.number:04d}", nested=True, tags=tags)
    mlflow.log_params(trial.params)
    for epoch, value in trial.intermediate_values.items():
        mlflow.log_metric(OBJECTIVE, value, step=epoch)
    if "best_value" in trial.user_attrs:  # a trial that failed may have none
        mlflow.log_metric("best_value", trial.user_attrs["best_value"])
    mlflow.end_run(STATUS[trial.state.name])


def to_wandb(study: optuna.Study, trial: FrozenTrial) -> None:
    """Write a trial into W&B, as a run of the study's group; W&B has no parents."""
    import wandb

    run = wandb.init(
        project="iris",
        group=study.study_name,
        name=f"trial_{trial.number:04d}",
        tags=[trial.state.name],
        config=trial.params,
        settings=wandb.Settings(silent=True, console="off"),  # the search's own display stays whole
    )
    for epoch, value in trial.intermediate_values.items():
        run.log({OBJECTIVE: value}, step=epoch)
    run.summary["best_value"] = trial.user_attrs.get("best_value")
    run.finish(exit_code=int(trial.state.name == "FAIL"))


def search(name: str) -> OptunaTuner:
    """Search, and tell the tracker of that name of each trial."""
    ds_train, ds_test = load_iris()
    tuner = OptunaTuner(build_model, OBJECTIVE, n_trials=12, seed=0, study_name=f"iris-{name}")
    tracker = {"mlflow": to_mlflow, "wandb": to_wandb}[name]
    return tuner.search(ds_train, validation_data=ds_test, epochs=EPOCHS, on_trial_end=[tracker])


def search_in_mlflow() -> OptunaTuner:
    """Search within a run of MLflow, the parent of all others, and print what it has of them."""
    import mlflow

    mlflow.set_experiment("iris")
    with mlflow.start_run(run_name="search") as parent:
        tuner = search("mlflow")
        mlflow.log_params(tuner.best_params)
        mlflow.log_metric("best_value", tuner.best_value)
    children = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    for run in mlflow.search_runs(filter_string=children, output_format="list")[::-1]:
        epochs = mlflow.MlflowClient().get_metric_history(run.info.run_id, OBJECTIVE)
        print(
            f"{run.info.run_name}: {run.info.status}, {run.data.tags['state']}, "
            f"{run.data.metrics.get('best_value', nan):.4f} in {len(epochs)} epochs, "
            f"{run.data.params}"
        )
    return tuner


def main(name: str = "mlflow") -> None:
    """Search with a tracker."""
    tuner = search_in_mlflow() if name == "mlflow" else search(name)
    print(f"Best value of the study: {tuner.best_value:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

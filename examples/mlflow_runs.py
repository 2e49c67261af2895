"""Write each trial of the iris search into MLflow, as a run with its parameters and metrics.

Run it as `python examples/mlflow_runs.py` after `pip install "kerastune_optuna[examples,mlflow]"`.
A function among the callbacks is called with each trial, and returns the callback for its training:
any tracker can be fed so. The runs lie in `mlflow.db`; `mlflow ui --backend-store-uri
sqlite:///mlflow.db` shows them where the whole of MLflow is installed.
"""

from __future__ import annotations

import time

import keras
import optuna
from iris import build_model, load_iris
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from kerastune_optuna import OptunaTuner

STORE = "sqlite:///mlflow.db"
OBJECTIVE = "val_categorical_accuracy"


class MlflowRun(keras.callbacks.Callback):
    """Write one training into a run of MLflow.

    Args:
        trial: The trial that is trained.
        client: Where to write.
        experiment: The id of MLflow's experiment.
    """

    def __init__(self, trial: optuna.Trial, client: MlflowClient, experiment: str) -> None:
        super().__init__()
        self.trial = trial
        self.client = client
        self.experiment = experiment

    def on_train_begin(self, logs=None):
        """Begin a run, and write the trial's parameters."""
        name = f"trial_{self.trial.number:04d}"
        self.run = self.client.create_run(self.experiment, run_name=name).info.run_id
        params = [Param(key, str(value)) for key, value in self.trial.params.items()]
        self.client.log_batch(self.run, params=params)

    def on_epoch_end(self, epoch, logs=None):
        """Write the metrics of the epoch."""
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, epoch) for key, value in logs.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def on_train_end(self, logs=None):
        """End the run; a trial that is pruned ends its training so too."""
        self.client.set_terminated(self.run)


def main() -> None:
    """Search, and print what MLflow has of it."""
    client = MlflowClient(tracking_uri=STORE)
    known = client.get_experiment_by_name("iris")
    experiment = known.experiment_id if known else client.create_experiment("iris")
    ds_train, ds_test = load_iris()
    tuner = OptunaTuner(build_model, OBJECTIVE, n_trials=3, seed=0, study_name="iris-mlflow")
    tuner.search(
        ds_train,
        validation_data=ds_test,
        epochs=5,
        callbacks=[lambda trial: MlflowRun(trial, client, experiment)],
    )
    for run in client.search_runs([experiment], order_by=["attributes.start_time"]):
        epochs = client.get_metric_history(run.info.run_id, OBJECTIVE)
        best = max(metric.value for metric in epochs)
        print(f"{run.info.run_name}: {best:.4f} in {len(epochs)} epochs, {run.data.params}")
    print(f"Best value of the study: {tuner.best_value:.4f}")


if __name__ == "__main__":
    main()

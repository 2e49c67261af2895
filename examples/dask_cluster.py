"""Search the network of iris.py on a Dask cluster, here one of two processes on this machine.

Run it as `python examples/dask_cluster.py`, after `pip install "kerastune_optuna[dask]"`. On a real
cluster, pass its scheduler's address to `Client`, and a database URL and an artifact store that all
machines reach to `OptunaTuner`.
"""

from __future__ import annotations

from dask.distributed import Client, LocalCluster
from iris import EPOCHS, build_model, load_iris

from kerastune_optuna import OptunaTuner


def main() -> None:
    """Search as two tasks of the cluster."""
    tuner = OptunaTuner(
        build_model, objective="val_categorical_accuracy", n_trials=12, study_name="iris-dask"
    )
    # One thread a worker: Keras's seeds and sessions belong to a process.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        ds_train, ds_test = load_iris()
        tuner.search(
            ds_train,
            validation_data=ds_test,
            epochs=EPOCHS,
            executor=client.get_executor(pure=False),
            n_workers=2,
        )
    tuner.summary(5)
    _, accuracy = tuner.best_model().evaluate(ds_test, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()

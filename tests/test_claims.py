"""Whose a trial is: claimed by one worker alone, and nobody's for ever."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager

import optuna
import pytest

from kerastune_optuna._retry import lay_out
from tests.faults import ROOT

PROXY = """
import sys
import optuna
storage = optuna.storages.RDBStorage(f"sqlite:///{sys.argv[1]}/proxied.db")
optuna.create_study(storage=storage, study_name="test")
print("serving", flush=True)
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""
CLAIMERS = """
import multiprocessing, os, sys, warnings
import optuna
from kerastune_optuna._budget import Budget
from kerastune_optuna._ending import Ending
from kerastune_optuna._lease import Watch
from kerastune_optuna._storage import connect
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
fork = multiprocessing.get_context("fork")  # of what was imported and not used yet
together = fork.Barrier(4)
def claim():
    storage = connect(optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=int(sys.argv[1])), 60)
    study = optuna.load_study(study_name="test", storage=storage)
    budget, watch = Budget(40, None, 10, ending=Ending(train_repeats=True)), Watch()
    together.wait()
    while (trial := budget.claim(study, watch)) is not None:
        os.write(1, f"{trial.number}\\n".encode())  # at once, as print does not
        study.tell(trial, 0.0)
claimers = [fork.Process(target=claim) for _ in range(4)]
for claimer in claimers:
    claimer.start()
for claimer in claimers:
    claimer.join()
sys.exit(sum(claimer.exitcode != 0 for claimer in claimers))
"""


@contextmanager
def proxied_sqlite(folder):
    """Give the port of Optuna's gRPC server in front of SQLite as it comes, with a study."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROXY, str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as proxy:
        try:
            assert proxy.stdout.readline() == b"serving\n"
            yield port
        finally:
            proxy.kill()


@pytest.mark.filterwarnings("ignore:GrpcStorageProxy is experimental")  # as Optuna marks it
def test_a_proxy_in_front_of_sqlite_gives_no_trial_to_two(tmp_path):
    """Four workers claim forty trials whose database lets two of them take one: each is one's."""
    with proxied_sqlite(tmp_path) as port:
        storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
        storage.wait_server_ready(timeout=30)
        study = optuna.load_study(study_name="test", storage=storage)
        for _ in range(40):
            lay_out(study)
        claimers = subprocess.run(
            [sys.executable, "-c", CLAIMERS, str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        storage.close()
    assert claimers.returncode == 0, claimers.stderr
    assert sorted(map(int, claimers.stdout.split())) == list(range(40))

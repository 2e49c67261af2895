"""The environment of a worker process: the parent's backend, a share of its cores, one GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

import keras

# How many threads TensorFlow, PyTorch and JAX start; each reads its own when it is imported.
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "PJRT_NPROC")
# Without these the first worker on a GPU takes all of its memory; PyTorch takes what it needs.
_GROWING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def environment(number: int, n_workers: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker's environment has beside the user's, or in its place.

    Args:
        number: Which of the workers it is.
        n_workers: How many there are.
        given: The environment of this process.
    """
    share = str(max(1, cores() // n_workers))
    # The variable may be unset here, or have changed since Keras read it.
    added = {"KERAS_BACKEND": keras.backend.backend()}
    added |= {name: share for name in THREADS if name not in given}
    if gpus := _gpus(given):
        added["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        added |= {name: value for name, value in _GROWING.items() if name not in given}
    return added


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(given: Mapping[str, str]) -> list[str]:
    """Return the GPUs that workers may use, without waking them in this process."""
    if "CUDA_VISIBLE_DEVICES" in given:
        return [gpu for gpu in given["CUDA_VISIBLE_DEVICES"].split(",") if gpu not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []

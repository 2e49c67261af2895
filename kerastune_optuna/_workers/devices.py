"""The cores and GPUs of this machine, and which of them each worker gets; and TPUs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from glob import glob
from importlib.util import find_spec
from itertools import takewhile

import keras

from kerastune_optuna import _signals
from kerastune_optuna._backend import cores
from kerastune_optuna._exceptions import ArgumentError

_NAMED = "CUDA_VISIBLE_DEVICES"  # HIP reads it too, for GPUs of AMD
_LITTLE = 0.1  # a GPU is full if less than this share of its memory is free
# MiB of one GPU that a process may well hold which takes what it needs: its context alone takes
# some hundreds.
_HELD = 2048
# What processes of JAX that share a GPU may take of its memory together; the rest is for contexts.
_SHARED = 0.9
# The old name, which all versions of JAX know, and the new one. JAX refuses both at once.
_FRACTIONS = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION")
# The variables that set how many threads TensorFlow, PyTorch and JAX start; each reads its own when
# it is imported.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "PJRT_NPROC")
_BETWEEN = "TF_NUM_INTEROP_THREADS"  # those for operations at a time, which tf.data uses too
# A line of `nvidia-smi -L` that names a GPU, or one of the slices (MIG) of the GPU above it.
_LISTED = re.compile(r"^\s*(GPU|MIG) .*\(UUID: (\S+)\)", re.MULTILINE)


def environment(
    number: int, n_workers: int, given: Mapping[str, str], gpus: Sequence[str]
) -> dict[str, str]:
    """Return environment variables for a worker, which add to or replace those of the user.

    Args:
        number: The number of the worker, counted from 0.
        n_workers: How many workers there are.
        given: The environment of this process.
        gpus: Those that the workers share, as `usable_gpus` returns them.
    """
    share = max(1, cores() // n_workers)
    # A function of Python's in a tf.data pipeline keeps one of these threads waiting for another.
    threads = {**dict.fromkeys(_THREADS, share), _BETWEEN: max(2, share)}
    # The variable may be unset here, or have changed since Keras read it.
    added = {"KERAS_BACKEND": keras.backend.backend()}
    added |= {name: str(count) for name, count in threads.items() if name not in given}
    if gpus:
        own = gpus[number % len(gpus) :: n_workers]
        whole = [gpu for gpu in own if not gpu.startswith("MIG-")]
        added[_NAMED] = ",".join(whole or own[:1])  # of slices, a process sees only one
        on_one = len(range(number % len(gpus), n_workers, len(gpus)))
        if on_one > 1 and not any(name in given for name in _FRACTIONS):
            added[_FRACTIONS[0]] = f"{_SHARED / on_one:.3f}"
    return added


def usable_gpus(given: Mapping[str, str]) -> list[str]:
    """Return the GPUs that workers may use, without starting a backend in this process.

    Those that the user named come in the user's order. Otherwise, they are all GPUs of NVIDIA's,
    those with the most free memory first, but for full ones, which a line names.

    Args:
        given: The environment of this process.
    """
    names = map(str.strip, given.get(_NAMED, "").split(","))
    named = list(takewhile(lambda gpu: gpu not in ("", "-1"), names))  # as CUDA reads them
    if (_NAMED in given and not named) or shutil.which("nvidia-smi") is None:
        return named
    _tell_what_is_held()
    return named or _free_gpus()


def _free_gpus() -> list[str]:
    """Return the UUIDs of all GPUs that are not full, or else of all, or of their slices."""
    rows = _rows("gpu=index,uuid,memory.free,memory.total")
    full = [row for row in rows if _mib(row[2]) < _LITTLE * _mib(row[3])]
    if 0 < len(full) < len(rows):
        _signals.print_line(
            f"No worker uses GPU {', '.join(row[0] for row in full)}, whose memory is full. To "
            f"choose the GPUs yourself, set {_NAMED}."
        )
        rows = [row for row in rows if row not in full]
    rows.sort(key=lambda row: -_mib(row[2]))
    slices: dict[str, list[str]] = {}
    for kind, uuid in _LISTED.findall(_said("-L")):
        if kind == "GPU":
            own = slices[uuid] = []
        else:
            own.append(uuid)
    return [one for _, uuid, *_ in rows for one in slices.get(uuid) or [uuid]]


def _tell_what_is_held() -> None:
    """Print a line if this process has much of a GPU; some containers hide it from nvidia-smi."""
    rows = _rows("compute-apps=pid,used_memory")
    held = max((_mib(used) for pid, used in rows if pid == str(os.getpid())), default=0)
    if held > _HELD:
        _signals.print_line(
            f"This process holds {held:,} MiB of a GPU's memory, which its workers lack. Restart "
            "it with TF_FORCE_GPU_ALLOW_GROWTH=true and XLA_PYTHON_CLIENT_PREALLOCATE=false, or "
            "call search() before anything else uses a GPU."
        )


def _rows(query: str) -> list[list[str]]:
    """Return the rows that nvidia-smi gives for a query; none if it fails."""
    said = _said(f"--query-{query}", "--format=csv,noheader,nounits").splitlines()
    rows = [[cell.strip() for cell in line.split(",")] for line in said]
    return [row for row in rows if len(row) == query.count(",") + 1]  # others are messages


def _said(*arguments: str) -> str:
    """Return what nvidia-smi prints; nothing if it fails."""
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def _mib(cell: str) -> int:
    """Return a number of MiB, for which nvidia-smi may print "[N/A]"; 0 if it does."""
    return int(cell) if cell.isdigit() else 0


def check_tpu(n_workers: int) -> None:
    """Refuse several workers where JAX would give the first of them all chips of a TPU.

    Raises:
        ArgumentError: Says how several processes can train.
    """
    is_wanted = "tpu" in (os.environ.get("JAX_PLATFORMS") or "tpu")
    if keras.backend.backend() != "jax" or not is_wanted:
        return
    chips = glob("/dev/accel[0-9]*") or glob("/dev/vfio/[0-9]*")
    if chips and find_spec("libtpu") is not None:
        raise ArgumentError(
            f"n_workers={n_workers} on a TPU, of which one process takes all chips. Pass "
            "n_workers=1, or start a copy of the script for each chip, with TPU_VISIBLE_CHIPS=0 "
            "(1, 2, ...), TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 and TPU_PROCESS_BOUNDS=1,1,1."
        )

"""What workers get of the cores and GPUs of a machine, by a stand-in for nvidia-smi."""

import os

import keras
import pytest

from kerastune_optuna import ArgumentError
from kerastune_optuna._backend import cores, let_memory_grow
from kerastune_optuna._workers import devices
from kerastune_optuna._workers.devices import environment, usable_gpus
from kerastune_optuna._workers.runners import Crew
from tests.support.faults import meet, trials_of
from tests.support.hosts import needs_posix
from tests.support.untrained import build, run, tuner_in

GROWING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
SCRIPT = """#!/bin/sh
case "$1" in
  --query-gpu=index,uuid,memory.free,memory.total) cat '{0}/cards';;
  --query-compute-apps=pid,used_memory) cat '{0}/apps';;
  -L) cat '{0}/listed';;
  *) exit 2;;
esac
"""
FOUR = """0, GPU-a, 70000, 81559
1, GPU-b, 81000, 81559
2, GPU-c, 81000, 81559
3, GPU-d, 60000, 81559
"""
SLICED = """0, GPU-a, 40000, 40960
1, GPU-b, 39000, 40960
"""
SLICES = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-a)
  MIG 3g.20gb     Device  0: (UUID: MIG-a0)
  MIG 3g.20gb     Device  1: (UUID: MIG-a1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-b)
"""
FOREIGN = """0, GPU-a, 300, 81559
1, GPU-b, 81000, 81559
"""
MACHINES = {
    "four": {"cards": FOUR},
    "sliced": {"cards": SLICED, "listed": SLICES},
    "foreign": {"cards": FOREIGN, "apps": "1, 80000\n"},
    "all full": {"cards": "0, GPU-a, 300, 81559\n"},
    "unknown": {"cards": "0, GPU-a, [N/A], [N/A]\n"},
    "broken": {"cards": "No devices were found\n"},
    "none": None,
}
# What the workers of a search see of each machine, by how many workers there are. Of slices, a
# process sees only one, so that a share with a whole GPU is that GPU.
SEEN = {
    ("four", 1): ["GPU-b,GPU-c,GPU-a,GPU-d"],
    ("four", 2): ["GPU-b,GPU-a", "GPU-c,GPU-d"],
    ("four", 3): ["GPU-b,GPU-d", "GPU-c", "GPU-a"],
    ("four", 4): ["GPU-b", "GPU-c", "GPU-a", "GPU-d"],
    ("four", 8): ["GPU-b", "GPU-c", "GPU-a", "GPU-d"] * 2,
    ("sliced", 1): ["GPU-b"],
    ("sliced", 2): ["GPU-b", "MIG-a1"],
    ("sliced", 4): ["MIG-a0", "MIG-a1", "GPU-b", "MIG-a0"],
    ("sliced", 8): ["MIG-a0", "MIG-a1", "GPU-b"] * 2 + ["MIG-a0", "MIG-a1"],
    **{("foreign", count): ["GPU-b"] * count for count in (1, 2, 4, 8)},
    **{("none", count): [None] * count for count in (1, 2, 4, 8)},
    ("all full", 2): ["GPU-a"] * 2,
    ("unknown", 2): ["GPU-a"] * 2,
    ("broken", 2): [None] * 2,
}


@pytest.fixture
def on(tmp_path, monkeypatch):
    """Give a function that lets this process be on a machine with GPUs, or without nvidia-smi."""

    def made(cards="", apps="", listed=""):
        for name, text in {"cards": cards, "apps": apps, "listed": listed}.items():
            (tmp_path / name).write_text(text)
        script = tmp_path / "bin" / "nvidia-smi"
        script.write_text(SCRIPT.format(tmp_path))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    def be_on(machine):
        (tmp_path / "bin").mkdir()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if machine is None:
            monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        else:
            made(**machine)

    return be_on


@pytest.fixture
def unset(monkeypatch):
    """Take the variables for growing memory from this process until the test ends."""
    for name in GROWING:
        monkeypatch.setenv(name, "as it was")  # so that it is restored though it is not set
        monkeypatch.delenv(name)


@needs_posix
@pytest.mark.parametrize(("machine", "n_workers"), SEEN, ids=str)
def test_each_worker_has_its_share_of_the_gpus(on, machine, n_workers):
    """Each has some of its own, or shares one with as few as can be."""
    on(MACHINES[machine])
    gpus = usable_gpus({})
    added = [environment(number, n_workers, {}, gpus) for number in range(n_workers)]
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in added] == SEEN[machine, n_workers]


@needs_posix
@pytest.mark.parametrize(("machine", "n_workers"), SEEN, ids=str)
def test_workers_that_share_a_gpu_share_nine_tenths_of_its_memory(on, machine, n_workers):
    """JAX takes no more of it; who has a GPU alone may take all."""
    on(MACHINES[machine])
    seen, gpus = SEEN[machine, n_workers], usable_gpus({})
    for number, own in enumerate(seen):
        added = environment(number, n_workers, {}, gpus)
        many = 1 if own is None else seen.count(own)
        fraction = float(added.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.9))
        assert fraction * many == pytest.approx(0.9, abs=0.005)


NAMED = {"": [], "-1": [], "2, 5": ["2", "5"], "0,2,-1,1": ["0", "2"], "MIG-x": ["MIG-x"]}


@needs_posix
@pytest.mark.parametrize("machine", ["four", "none"])
@pytest.mark.parametrize(("named", "gpus"), NAMED.items(), ids=str)
def test_the_gpus_that_a_user_named_are_taken(on, capsys, machine, named, gpus):
    """They are read as CUDA reads them, and stay in their order."""
    on(MACHINES[machine])
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": named}) == gpus
    assert capsys.readouterr().err == ""


def test_threads_are_shared_out_and_what_the_user_set_stays():
    """What runs at a time has two threads at least, since one may wait for another."""
    names = ["TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "PJRT_NPROC"]
    alone = {**dict.fromkeys(names, str(cores())), "TF_NUM_INTEROP_THREADS": str(max(2, cores()))}
    assert environment(0, 1, {}, []) == {"KERAS_BACKEND": keras.backend.backend(), **alone}
    given = {"OMP_NUM_THREADS": "3", "XLA_CLIENT_MEM_FRACTION": ".3"}
    assert environment(0, 1000, given, ["GPU-a"]) == {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "2",
        "PJRT_NPROC": "1",
        "CUDA_VISIBLE_DEVICES": "GPU-a",
    }


TOLD = {
    "a full GPU": (MACHINES["foreign"], "No worker uses GPU 0, whose memory is full."),
    "no full GPU": (MACHINES["four"], ""),
    "much is ours": ({"cards": FOUR, "apps": "{pid}, 70000\n"}, "This process holds 70,000 MiB of"),
    "little is ours": ({"cards": FOUR, "apps": "{pid}, 500\n1, 9000\n"}, ""),
    "unknown": ({"cards": FOUR, "apps": "{pid}, [N/A]\n"}, ""),
}


@needs_posix
@pytest.mark.parametrize(("machine", "told"), TOLD.values(), ids=TOLD)
def test_a_line_says_what_workers_will_lack(on, capsys, machine, told):
    """GPUs that others have filled are left out, and what this process has filled is named."""
    on({name: text.format(pid=os.getpid()) for name, text in machine.items()})
    assert usable_gpus({})
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == bool(told)


def test_memory_grows_unless_the_user_said_otherwise(unset, monkeypatch):
    """What was set stays."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    let_memory_grow()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"


def set_here():
    return {name: os.environ[name] for name in GROWING if name in os.environ}


def test_this_process_takes_no_gpu_before_it_calls_a_builder(unset, quick, monkeypatch):
    """space() and enqueue() set the variables before; a search that trains here sets none."""
    seen = []

    def seeing(trial):
        seen.append(set_here())
        return build(trial)

    tuner = quick(seeing, n_trials=1)
    run(tuner)
    assert seen
    assert set_here() == {}
    for call in (tuner.space, tuner.enqueue):
        for name in GROWING:
            monkeypatch.delenv(name, raising=False)
        seen.clear()
        call()
        assert seen
        assert all(one == GROWING for one in seen)


@needs_posix
@pytest.mark.slow
def test_workers_of_a_search_see_their_gpus(on, unset, tmp_path):
    """Two workers have half of four GPUs each, and let memory grow, as this process does."""
    on(MACHINES["four"])
    names = ["CUDA_VISIBLE_DEVICES", "TF_NUM_INTEROP_THREADS", *GROWING]
    (meeting := tmp_path / "meeting").mkdir()

    def noting(trial):
        meet(meeting, 2)
        trial.set_user_attr("seen", {name: os.environ.get(name) for name in names})
        return build(trial)

    tuner = run(tuner_in(tmp_path, noting, n_trials=2), n_workers=2)
    seen = [trial.user_attrs["seen"] for trial in trials_of(tuner)]
    assert {one.pop("CUDA_VISIBLE_DEVICES") for one in seen} == {"GPU-b,GPU-a", "GPU-c,GPU-d"}
    assert {one.pop("TF_NUM_INTEROP_THREADS") for one in seen} == {str(max(2, cores() // 2))}
    assert seen == [GROWING, GROWING]
    assert set_here() == GROWING
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("backend", "platforms", "package", "refused"),
    [
        ("jax", None, True, True),
        ("jax", "tpu,cpu", True, True),
        ("jax", "cpu", True, False),
        ("jax", None, False, False),
        ("tensorflow", None, True, False),
    ],
)
def test_a_tpu_is_for_one_process(monkeypatch, backend, platforms, package, refused):
    """One line says before the search how each of several processes has a chip."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(devices, "glob", lambda _: ["/dev/accel0"])
    monkeypatch.setattr(devices, "find_spec", lambda _: package or None)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if platforms is not None:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    Crew(1, None)
    if not refused:
        Crew(2, None)
        return
    with pytest.raises(ArgumentError, match=r"n_workers=2 on a TPU.*TPU_VISIBLE_CHIPS=0"):
        Crew(2, None)

"""Members on several hosts train one trial, and the death of one of them fails it once."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.test_examples import BEST, INDEX

pytest.importorskip("jax", reason="JAX is not installed; .ci/run installs it last")

SCRIPT = INDEX.parent / "several_hosts.py"


def kill_one(parent, rank, killed):
    """Kill the member of this rank that is seen first, in the middle of its start or training."""
    while not killed and parent.poll() is None:
        for child in psutil.Process(parent.pid).children():
            if rank in child.cmdline():
                time.sleep(3)
                child.kill()
                killed.append(child.pid)
                return
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_member_that_dies_fails_its_trial_once(tmp_path, rank):
    """Two processes train each trial; one is killed: that trial is FAIL, and two others end."""
    killed = []
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as script:
        killer = threading.Thread(target=kill_one, args=(script, rank, killed))
        killer.start()
        printed, _ = script.communicate(timeout=900)
        killer.join()
    assert script.returncode == 0, printed
    assert len(killed) == 1
    assert re.findall(
        r"^Trial (\d+): failed: .* member on host \d died", printed, re.MULTILINE
    ) == ["0"]
    ended = re.findall(r"^Trial (\d+): val_accuracy ", printed, re.MULTILINE)
    assert sorted(map(int, ended)) == [1, 2]
    accuracy = re.search(r"Accuracy of the best model: (\S+), as the hosts found: (\S+)", printed)
    assert accuracy[1] == accuracy[2]
    assert float(BEST.search(printed)[1]) == pytest.approx(float(accuracy[1]), abs=1e-4)

"""The stand-in for Windows takes away what it says; and searches do without that."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from kerastune_optuna._study.retry import INTERRUPTED
from tests.support.faults import ROOT, WATCHDOG

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in reads /proc")
_STAND_IN = str(Path(__file__).parent / "windows")
TRY = """
import json, sys
used = open("used", "w")
def tried(code):
    try:
        exec(code)
    except Exception as error:
        return type(error).__name__
print(json.dumps([tried(code) for code in json.loads(sys.argv[1])]))
"""
REFUSED = {
    "import fcntl": "ModuleNotFoundError",
    "from signal import SIGKILL": "ImportError",
    "import os; os.fork": "AttributeError",
    "import multiprocessing as m; m.get_context('fork')": "ValueError",
    "import signal; signal.signal(1, signal.SIG_IGN)": "ValueError",
    "import os; os.kill(os.getpid(), 0)": "OSError",
    "import subprocess as s, sys; s.Popen([sys.executable]).send_signal(1)": "ValueError",
    "from pathlib import Path; Path('/proc/self/stat').read_text()": "FileNotFoundError",
    "import os; os.listdir('/proc/self')": "FileNotFoundError",
    "import os; os.open('.', os.O_RDONLY)": "PermissionError",
    "open('a:b', 'w')": "OSError",
    "import os; os.makedirs('a?/b')": "OSError",
    "import os; os.remove('used')": "PermissionError",
    "import os; os.replace('used', 'other')": "PermissionError",
    "from pathlib import Path; Path('used').rename('other')": "PermissionError",
    "import os, psutil; psutil.Process().create_time(); os.name == sys.platform == 'x'": None,
}


def _on_windows(folder, *arguments, **options):
    """Start a process of ours as on Windows; what it leaves in the temporary folder is seen."""
    path = os.pathsep.join([_STAND_IN, str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)}
    arguments = [sys.executable, "-c", *map(str, arguments)]
    return subprocess.Popen(arguments, env=env, cwd=folder, text=True, **options)


def test_our_code_lacks_what_windows_lacks(tmp_path):
    """Names, signals, forks, /proc, and the right to delete an open file; psutil has them still."""
    with _on_windows(tmp_path, TRY, json.dumps([*REFUSED]), stdout=subprocess.PIPE) as process:
        got = json.loads(process.stdout.read())
    assert dict(zip(REFUSED, got, strict=True)) == REFUSED


SEARCH = """
import sys, time
from pathlib import Path
import keras, numpy as np
from kerastune_optuna import OptunaTuner
from tests.support.models import build_model
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if not (folder / "may-be-fast").exists():
            (folder / "begun").touch()
            time.sleep(0.3)
data = {"x": np.zeros((8, 4)), "y": np.zeros(8)}
tuner = OptunaTuner(build_model, "val_loss", n_trials=2, seed=0, directory=folder / "tuning")
options = {"epochs": 40, "verbose": 0, "callbacks": [lambda trial: Slow()]}
tuner.search(**data, validation_data=tuple(data.values()), n_workers=workers, **options)
assert tuner.best_model().evaluate(**data, verbose=0)[0] == tuner.best_value
"""


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_is_interrupted_and_goes_on(tmp_path, workers):
    """Ctrl-C ends it in good order, with workers too, and the same call resumes what it ran."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    first = _on_windows(temporary, SEARCH, tmp_path, workers, stderr=subprocess.PIPE)
    while not (tmp_path / "begun").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert "with the same arguments to continue" in first.communicate(timeout=WATCHDOG)[1]
    url = f"sqlite:///{tmp_path}/tuning/study.db"
    trials = optuna.load_study(study_name="build_model", storage=url).trials
    cut_off = [one.user_attrs["stop_reason"] for one in trials if one.state.name == "FAIL"]
    assert cut_off
    assert set(cut_off) == {INTERRUPTED}
    (tmp_path / "may-be-fast").touch()
    again = _on_windows(temporary, SEARCH, tmp_path, workers, stderr=subprocess.PIPE)
    told = again.communicate(timeout=WATCHDOG)[1]
    assert again.returncode == 0, told
    trials = optuna.load_study(study_name="build_model", storage=url).trials
    assert [one.state.name for one in trials].count("COMPLETE") == 2
    assert not list(temporary.iterdir())

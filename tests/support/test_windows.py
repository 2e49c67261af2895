"""The stand-in for Windows takes away what it says; and searches do without that."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from tests.support import searching
from tests.support.faults import ROOT, WATCHDOG, wait_for_epochs

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
    arguments = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(arguments, env=env, cwd=folder, text=True, **options)


def test_our_code_lacks_what_windows_lacks(tmp_path):
    """Names, signals, forks, /proc, and the right to delete an open file; psutil has them still."""
    command = [tmp_path, "-c", TRY, json.dumps([*REFUSED])]
    with _on_windows(*command, stdout=subprocess.PIPE) as process:
        got = json.loads(process.stdout.read())
    assert dict(zip(REFUSED, got, strict=True)) == REFUSED


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_is_interrupted_and_goes_on(tmp_path, workers):
    """Ctrl-C ends it in good order, with workers too, and the same call resumes what it ran."""
    (temporary := tmp_path / "temporary").mkdir()
    (slow := tmp_path / "slow").touch()
    command = [temporary, searching.__file__, tmp_path, workers, "", 2]
    first = _on_windows(*command, stderr=subprocess.PIPE)
    wait_for_epochs(tmp_path, workers)
    first.send_signal(signal.SIGINT)
    assert "with the same arguments to continue" in first.communicate(timeout=WATCHDOG)[1]
    url = f"sqlite:///{tmp_path}/study.db"
    trials = optuna.load_study(study_name="test", storage=url).trials
    failed = {one.user_attrs["ending"] for one in trials if one.state.name == "FAIL"}
    assert failed <= {"CUT_OFF", "WITHDRAWN"}
    assert "CUT_OFF" in failed
    slow.unlink()
    again = _on_windows(*command, stderr=subprocess.PIPE)
    told = again.communicate(timeout=WATCHDOG)[1]
    assert again.returncode == 0, told
    trials = optuna.load_study(study_name="test", storage=url).trials
    assert sum(one.state.name in ("COMPLETE", "PRUNED") for one in trials) == 2
    assert not list(temporary.iterdir())

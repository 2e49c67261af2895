"""A terminal in which a search is killed and started again: what it showed, and when.

The recording has the format of asciinema (version 2), with a marker ("m") where a part begins.
"""

import json
import os
import pty
import re
import signal
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
COLUMNS, ROWS = 80, 17
COMMAND = "python search.py 2>log.txt"  # where TensorFlow's lines go
ROW = re.compile(r"^trial (\d+) .*epoch +(\d+)/(\d+)", re.MULTILINE)
FEWEST = 7, 9  # trials of the search, and epochs of the running one, when it is killed
PROMPT = "$ "


def new_screen(rows=ROWS):
    import pyte  # of the extra "benchmarks"

    return (screen := pyte.Screen(COLUMNS, rows)), pyte.Stream(screen)


def wait_until(is_so, seconds=1200):
    """Wait until a function returns something true; fail in the end."""
    gives_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < gives_up, "what was waited for did not come"
        time.sleep(0.02)


def trial_in(text):
    """Return the number, the epoch and all epochs of the trial that the display shows."""
    shown = ROW.findall(text)
    return tuple(map(int, shown[-1])) if shown else (-1, 0, 0)


class Terminal:
    """A shell in a pseudo-terminal, whose output is recorded with its times.

    Args:
        folder: The working directory of the shell.
    """

    def __init__(self, folder):
        self.events, self._began = [], time.monotonic()
        self._screen, self._stream = new_screen()
        bin_first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "examples")))
        env = {**os.environ, "PATH": bin_first, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
        env |= {"PS1": PROMPT, "TERM": "xterm-256color", "COLUMNS": "", "FORCE_COLOR": ""}
        env = {name: value for name, value in env.items() if value}
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            shell = ["bash", "--norc", "--noprofile", "-i"]
            os.execvpe(shell[0], shell, env)
        termios.tcsetwinsize(self._end, (ROWS, COLUMNS))
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: self.text().endswith(PROMPT.strip()))

    def _read(self):
        with suppress(OSError):  # which Linux raises once the shell has ended
            while chunk := os.read(self._end, 1 << 16):
                text = chunk.decode(errors="replace")
                self._note("o", re.sub(r"\x1b\[\?2004[hl]", "", text))
                self._stream.feed(text)

    def _note(self, kind, text):
        self.events.append((round(time.monotonic() - self._began, 3), kind, text))

    def mark(self, caption):
        """Begin a part of the recording, with a line that says what happens in it."""
        self._note("m", caption)

    def text(self):
        """Return what the screen shows."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, line):
        """Press one key after another, and Enter."""
        for key in f"{line}\n":
            os.write(self._end, key.encode())
            time.sleep(0.04)

    def trial(self):
        """Return what trial_in() finds on the screen."""
        return trial_in(self.text())


def record(folder):
    """Search, kill the search in the middle of a trial, start it again, and wait for its end."""
    shell = Terminal(folder)
    shell.mark("A search of 30 trials")
    shell.type("tail -n 2 search.py")
    shell.type(COMMAND)
    shell.mark("A search runs")
    wait_until(lambda: shell.trial() >= FEWEST and shell.trial()[1] >= FEWEST[1])
    ((search,), (killed, *_)) = psutil.Process(shell.pid).children(), shell.trial()
    shell.mark(f"kill -9 in the middle of trial {killed}")
    search.send_signal(signal.SIGKILL)
    wait_until(lambda: shell.text().endswith(f"Killed\n{PROMPT.strip()}"))
    time.sleep(1)
    shell.mark("The same command again")
    shell.type(COMMAND)
    wait_until(lambda: shell.trial()[1] and shell.trial()[0] > killed)
    number, epoch, epochs = shell.trial()
    shell.mark(f"Trial {number} continues trial {killed} after epoch {epoch} of {epochs}")
    wait_until(lambda: shell.trial()[0] != number)
    shell.mark("… and the search runs to its last trial")
    wait_until(lambda: shell.text().endswith(f"pruned\n{PROMPT.strip()}"))
    os.write(shell._end, b"\x04")
    head = {"version": 2, "width": COLUMNS, "height": ROWS}
    return "\n".join(map(json.dumps, [head, *shell.events]))

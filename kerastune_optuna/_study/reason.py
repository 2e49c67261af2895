"""Why a trial failed: its error in one line, and whether another error has the same cause."""

from __future__ import annotations

import hashlib
import re
import traceback

from kerastune_optuna._exceptions import is_of_one_trial

_LONGEST = 300  # characters
# Keras prints in bold what went wrong, between the name of the layer and the arguments of its call.
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_BEFORE_CAUSE = "Error encountered:\n"
# TensorFlow's texts begin with where the failed node was made, and end with names of nodes.
_STACK = re.compile(r'.*^ *File "[^\n]*$', re.DOTALL | re.MULTILINE)
_NODES = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces unavailable>"
    r"|\d+ root error\(s\) found\.|[ \t]+\[\[.*|    .*)$"
    r"|\{\{function_node .*?\}\}|\[Op:[^\]]*\]( name: ?)?",
    re.MULTILINE,
)
# Errors for want of memory: smaller configurations may fit, however many did not.
_NO_ROOM = re.compile(r"MemoryError|out of memory|\bOOM\b|RESOURCE_?EXHAUSTED|allocate", re.I)
_NUMBERS = re.compile(r"[_-]?\d+(?:[\s.,-]*\d+)*")


def told(error: BaseException) -> str:
    """Return the kind of an error and what it says, in one line of 300 characters at most."""
    return shortened(_line(error))


def shortened(line: str) -> str:
    """Return the beginning and the end of a line that is too long for a study."""
    if len(line) <= _LONGEST:
        return line
    # Errors of Keras say at their end what came, after what was wanted.
    end = _LONGEST // 3
    return f"{line[: _LONGEST - end - 3]} … {line[-end:]}"


def sameness(error: BaseException) -> str | None:
    """Return a text that errors of one cause share; None where each may have a cause of its own."""
    line = _line(error)
    if _NO_ROOM.search(line) or is_of_one_trial(error):
        return None
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    file = frame.f_code.co_filename
    # Raised in a library: the numbers are Keras's own, as in dense_1, or values of the data.
    if "-packages" in file:
        line = _NUMBERS.sub("", line)
    return hashlib.sha256(f"{file}:{number} {line}".encode()).hexdigest()[:16]


def _line(error: BaseException) -> str:
    text = str(error)
    text = _BOLD.findall(text)[-1] if _BOLD.search(text) else text
    text = text.rpartition(_BEFORE_CAUSE)[2]
    if "most recent call last" in text:
        text = _STACK.sub("", text)
    words = " ".join(_NODES.sub("", text).split())
    return f"{type(error).__name__}: {words}".rstrip(": ")

"""Why a trial failed: its error in one line, and whether another error has the same cause."""

from __future__ import annotations

import hashlib
import re
import traceback

import optuna

from kerastune_optuna._exceptions import TunerError, is_fatal, is_of_one_trial

_LONGEST = 300  # characters
# Keras prints in bold what went wrong, between the name of the layer and the arguments of its call.
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_BEFORE_CAUSE = re.compile(r"(?:Error|Exception) encountered:\n")
# TensorFlow's texts begin with where the failed node was made, and end with names of nodes.
_STACK = re.compile(r'.*^ *File "[^\n]*$', re.DOTALL | re.MULTILINE)
_NODES = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces unavailable>"
    r"|\d+ root error\(s\) found\.|[ \t]+\[\[.*|    .*)$"
    r"|\{\{function_node .*?\}\}|\[Op:[^\]]*\]( name: ?)?",
    re.MULTILINE,
)
# How Python, NumPy, the backends, CUDA and the system say that memory is short. TensorFlow, where
# it is short on a GPU, may say only that the copy of a batch there is not initialized.
_NO_ROOM = re.compile(
    r"MemoryError|out.of.memory|not enough memory|\bOOM\b|RESOURCE_?EXHAUSTED|ALLOC_FAILED"
    r"|allocate memory|(?:unable|failed|trying) to allocate|Dst tensor is not initialized",
    re.I,
)
# TensorFlow says of a full disk, too, that a resource is exhausted.
_NO_DISK = re.compile(r"No space left|Disk quota exceeded", re.I)
# What ends the line of a trial that ran out of memory.
_SMALLER = (
    "; memory ran out: take a smaller batch_size= or smaller models (max_params=, constraints=), "
    "or, where several train, fewer n_workers="
)
_NUMBERS = re.compile(r"[_-]?\d+(?:[\s.,-]*\d+)*")


def told(error: BaseException) -> str:
    """Return the kind of an error and what it says, in one line of 300 characters at most."""
    if is_of_memory(error):
        return shortened(_line(error), _LONGEST - len(_SMALLER)) + _SMALLER
    return shortened(_line(error))


def of_pruned(error: optuna.TrialPruned) -> str:
    """Return why the user's code pruned a trial, in one line."""
    return shortened(" ".join(str(error).split())) or "pruned by its own code"


def shortened(line: str, longest: int = _LONGEST) -> str:
    """Return the beginning and the end of a line that is too long for a study."""
    if len(line) <= longest:
        return line
    # Errors of Keras say at their end what came, after what was wanted.
    end = longest // 3
    return f"{line[: longest - end - 3]} … {line[-end:]}"


def is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of this process or of a GPU, under any backend."""
    if isinstance(error, TunerError) or is_of_one_trial(error) or is_fatal(error):
        return False  # whoever raised it has decided what is to become of the trial
    line = _line(error)
    is_told = _NO_ROOM.search(line) is not None and _NO_DISK.search(line) is None
    return is_told or isinstance(error, MemoryError)  # whose subclasses may have other names


def sameness(error: BaseException) -> str | None:
    """Return a text that errors of one cause share; None where each may have a cause of its own."""
    # Where memory ran out, smaller configurations may fit, however many did not.
    if is_of_memory(error) or is_of_one_trial(error):
        return None
    line = _line(error)
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    file = frame.f_code.co_filename
    # Raised in a library: the numbers are Keras's own, as in dense_1, or values of the data.
    if "-packages" in file:
        line = _NUMBERS.sub("", line)
    return hashlib.sha256(f"{file}:{number} {line}".encode()).hexdigest()[:16]


def _line(error: BaseException) -> str:
    text = str(error)
    text = _BOLD.findall(text)[-1] if _BOLD.search(text) else text
    text = _BEFORE_CAUSE.split(text)[-1]
    if "most recent call last" in text:
        text = _STACK.sub("", text)
    words = " ".join(_NODES.sub("", text).split())
    return f"{type(error).__name__}: {words}".rstrip(": ")

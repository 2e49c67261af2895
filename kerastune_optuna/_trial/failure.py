"""Why a trial failed: its error in one line, and whether another error has the same cause."""

from __future__ import annotations

import re
import traceback

import optuna

from kerastune_optuna._digest import digest
from kerastune_optuna._exceptions import TunerError
from kerastune_optuna._keras_tuner import is_fatal, is_of_one_trial

_LONGEST = 300  # characters
# Keras prints the cause in bold, between the name of the layer and the arguments of its call.
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_BEFORE_CAUSE = re.compile(r"(?:Error|Exception) encountered:\n")
# TensorFlow's texts begin with the place where the failed node was made, and end with node names.
_STACK = re.compile(r'.*^ *File "[^\n]*$', re.DOTALL | re.MULTILINE)
_NODES = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces unavailable>"
    r"|\d+ root error\(s\) found\.|[ \t]+\[\[.*|    .*)$"
    r"|\{\{function_node .*?\}\}|\[Op:[^\]]*\]( name: ?)?",
    re.MULTILINE,
)
# How Python, NumPy, the backends, CUDA and the system say that memory ran out. If a GPU's memory
# ran out, TensorFlow may only say that the copy of a batch ("Dst tensor") is not initialized.
_NO_ROOM = re.compile(
    r"MemoryError|out.of.memory|not enough memory|\bOOM\b|RESOURCE_?EXHAUSTED|ALLOC_FAILED"
    r"|allocate memory|(?:unable|failed|trying) to allocate|Dst tensor is not initialized",
    re.I,
)
# TensorFlow also says of a full disk that a resource is exhausted.
_NO_DISK = re.compile(r"No space left|Disk quota exceeded", re.I)
# The end of the line about a trial that ran out of memory.
_SMALLER = (
    "; memory ran out: take a smaller batch_size= or smaller models (max_params=, constraints=), "
    "or, where several train, fewer n_workers="
)
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")  # in Python's texts of objects and functions
_NUMBERS = re.compile(r"[_-]?\d+(?:[\s.,-]*\d+)*")


def told(error: BaseException) -> str:
    """Return the class and the message of an error in one line of at most 300 characters."""
    if is_of_memory(error):
        return shortened(_line(error), _LONGEST - len(_SMALLER)) + _SMALLER
    return shortened(_line(error))


def of_pruned(error: optuna.TrialPruned) -> str:
    """Return why the user's code pruned a trial, in one line."""
    return shortened(" ".join(str(error).split())) or "pruned by its own code"


def shortened(line: str, longest: int = _LONGEST) -> str:
    """Return a line, or only its beginning and its end if it is too long for a study."""
    if len(line) <= longest:
        return line
    # Errors of Keras first say what was expected, and at their end what was received.
    end = longest // 3
    return f"{line[: longest - end - 3]} … {line[-end:]}"


def is_of_memory(error: BaseException) -> bool:
    """Whether this process or a GPU ran out of memory, with any backend."""
    if isinstance(error, TunerError) or is_of_one_trial(error) or is_fatal(error):
        return False  # the class of such an error decides what happens to the trial
    line = _line(error)
    is_told = _NO_ROOM.search(line) is not None and _NO_DISK.search(line) is None
    return is_told or isinstance(error, MemoryError)  # a subclass may have another name


def sameness(error: BaseException) -> str | None:
    """Return a text that errors with the same cause share; None if each may have another cause."""
    # If memory ran out, smaller configurations may still fit, however many did not.
    if is_of_memory(error) or is_of_one_trial(error):
        return None
    line = _ADDRESS.sub("", _line(error))
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    file = frame.f_code.co_filename
    # Raised in a library: the numbers come from Keras's names, such as dense_1, or from the data.
    if "-packages" in file:
        line = _NUMBERS.sub("", line)
    return digest(f"{file}:{number} {line}")


def _line(error: BaseException) -> str:
    text = str(error)
    text = _BOLD.findall(text)[-1] if _BOLD.search(text) else text
    text = _BEFORE_CAUSE.split(text)[-1]
    if "most recent call last" in text:
        text = _STACK.sub("", text)
    words = " ".join(_NODES.sub("", text).split())
    return f"{type(error).__name__}: {words}".rstrip(": ")

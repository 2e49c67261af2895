"""Let JAX compile no computation twice in a search, whichever worker meets it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerastune_optuna._scratch import scratch

_FOLDER = "jax_compilation_cache_dir"
_FROM = "jax_persistent_cache_min_compile_time_secs"
_NAMES = ("jax_enable_compilation_cache", _FOLDER, _FROM)
_SECONDS = 0.1  # JAX itself keeps only what takes a second
# In earlier versions, loading a computation from the cache could end the process (on some Macs), or
# print an error each time (jax-ml/jax#38445, on some processors of Intel).
_SINCE = (0, 10, 2)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let JAX keep what it compiles in a block in a temporary folder.

    Each model of Keras has functions of its own, which JAX would compile for each trial, whether it
    knows their shapes or not. A cache of the user's own stays in use.
    """
    before = _settings()
    if not before or before[_FOLDER]:
        yield
        return
    with scratch() as folder:
        _set({_FOLDER: str(folder), _FROM: _SECONDS})
        try:
            yield
        finally:
            _set(before)


def environment() -> dict[str, str]:
    """Return the environment variables by which workers have the settings of this process."""
    return {name.upper(): str(value) for name, value in _settings().items() if value is not None}


def _settings() -> dict[str, Any]:
    """Return what JAX's cache is set to; nothing if JAX is not the backend, or too old."""
    if keras.backend.backend() != "jax":
        return {}
    import jax  # users of other backends may not have it installed

    is_new = jax.__version_info__ >= _SINCE
    return {name: getattr(jax.config, name) for name in _NAMES} if is_new else {}


def _set(settings: dict[str, Any]) -> None:
    """Change settings of JAX's cache."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the settings of its cache only once

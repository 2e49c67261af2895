"""Let JAX compile no shape twice in a search, whichever worker meets it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerastune_optuna._scratch import scratch

_FOLDER = "jax_compilation_cache_dir"
_FROM = "jax_persistent_cache_min_compile_time_secs"  # JAX keeps only what takes a second


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let JAX keep what it compiles in a block in a temporary folder.

    Each model of Keras has functions of its own, which JAX would compile for each trial, whether it
    knows their shapes or not. A cache of the user's own stays in use.
    """
    settings = _settings()
    if not settings or settings[_FOLDER]:
        yield
        return
    with scratch() as folder, _set({_FOLDER: str(folder), _FROM: 0.0}):
        yield


def environment() -> dict[str, str]:
    """Return the environment variables by which workers share the folder."""
    return {name.upper(): str(value) for name, value in _settings().items() if value is not None}


def _settings() -> dict[str, Any]:
    """Return what JAX's cache is set to; nothing if JAX is not the backend."""
    if keras.backend.backend() != "jax":
        return {}
    import jax  # users of other backends may not have it installed

    return {name: getattr(jax.config, name) for name in (_FOLDER, _FROM)}


@contextmanager
def _set(settings: dict[str, Any]) -> Iterator[None]:
    """Change settings of JAX for a block."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    def update(values: dict[str, Any]) -> None:
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX looks at the settings of its cache only once

    before = _settings()
    update(settings)
    try:
        yield
    finally:
        update(before)

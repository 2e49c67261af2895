"""Keep a small study that this version writes, for the tests of later ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.studies import keep

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        keep(Path(folder) / "tuning")

"""Find a Chromium that is installed here."""

from __future__ import annotations

import shutil


def chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)

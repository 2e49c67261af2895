"""A Chromium that is installed here, for tests and for pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright


def chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Give that browser, without a window."""
    arguments = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page(
    width: int, height: int, scheme: Literal["light", "dark"], scale: float = 1
) -> Iterator[Page]:
    """Give a page of that browser, of which pictures can be taken."""
    size: ViewportSize = {"width": width, "height": height}
    with launched() as browser:
        shown = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=scale)
        shown.set_default_timeout(600_000)  # milliseconds: the machine may be busy
        yield shown


def photograph(path: Path, html: str, selector: str) -> None:
    """Write what a selector finds on a page as a PNG that is sharp on phones too."""
    with page(1300, 1000, "light", scale=1.5) as shown:
        shown.set_content(html)
        shown.locator(selector).first.screenshot(path=path, omit_background=True)

"""The picture of the dashboard: the curves of a study, and the history of its best trial."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from playwright.sync_api import Page

from kerastune_optuna import OptunaTuner
from tests.support.browser import launched

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDTH, HEIGHT = 1200, 780
SHOWN = 440  # pixels, the height of the picture


def search(directory: str) -> OptunaTuner:
    """Search the lecture's network."""
    sys.path.insert(0, str(EXAMPLES))
    from iris import EPOCHS, build_model, load_iris

    train, test = load_iris()
    tuner = OptunaTuner(
        build_model, "val_categorical_accuracy", seed=0, study_name="iris", directory=directory
    )
    return tuner.search(train, validation_data=test, epochs=EPOCHS)


def shots(page: Page, url: str, best: int) -> list[bytes]:
    """Return pictures of the curves, and of the best trial's page with its table open."""
    page.goto(url)
    card = page.locator(".MuiCard-root", has_text="Intermediate values")
    card.locator(".trace").first.wait_for(state="attached")
    page.wait_for_timeout(1000)  # plotly draws in several steps
    first = card.screenshot()
    page.goto(f"{url}/trials?numbers={best}")
    page.get_by_label("show artifact table").click()
    page.locator("table tbody tr").nth(9).wait_for()
    page.wait_for_timeout(500)  # the table fades in
    return [first, page.screenshot()]


def dashboard(folder: Path) -> None:
    """Search, serve, and write the picture."""
    with tempfile.TemporaryDirectory() as directory, launched() as browser:
        tuner = search(directory)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        with tuner.dashboard() as served:
            taken = shots(page, served.url, tuner.best_trial.number)
        coded = [base64.b64encode(shot).decode() for shot in taken]
        images = "".join(
            f'<img height="{SHOWN}" src="data:image/png;base64,{one}">' for one in coded
        )
        page.set_content(f'<div style="display:inline-flex;gap:8px">{images}</div>')
        page.set_viewport_size({"width": 2 * WIDTH, "height": HEIGHT})
        page.locator("div").screenshot(path=folder / "dashboard.png")

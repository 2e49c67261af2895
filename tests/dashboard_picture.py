"""Make the picture of the dashboard: the curves of a study, and the history of its best trial.

Run it from the repository: `python -m tests.dashboard_picture`.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from playwright.sync_api import Page, sync_playwright

from kerastune_optuna import OptunaTuner
from tests.browser import chromium

EXAMPLES = Path(__file__).parents[1] / "examples"
WIDTH, HEIGHT = 1000, 680


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
    curves = page.locator("#graph-intermediate-values")
    curves.locator(".trace").first.wait_for(state="attached")
    page.wait_for_timeout(1000)  # plotly draws in several steps
    curves.evaluate("one => one.scrollIntoView({block: 'end'})")
    first = page.screenshot()
    page.goto(f"{url}/trials?numbers={best}")
    page.get_by_label("show artifact table").click()
    page.locator("table tbody tr").nth(9).wait_for()
    page.wait_for_timeout(500)  # the table fades in
    return [first, page.screenshot()]


def main() -> None:
    """Search, serve, and write the picture."""
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        tuner = search(directory)
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        with tuner.dashboard() as dashboard:
            taken = shots(page, dashboard.url, tuner.best_trial.number)
        coded = [base64.b64encode(shot).decode() for shot in taken]
        images = "".join(f'<img src="data:image/png;base64,{one}">' for one in coded)
        page.set_content(f'<body style="margin:0;display:grid;gap:8px">{images}</body>')
        (EXAMPLES / "pictures").mkdir(exist_ok=True)
        page.screenshot(path=EXAMPLES / "pictures" / "dashboard.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()

"""Run notebooks of examples, and store their output, in which figures are pictures.

Run it from the repository: `python -m tests.pictures.notebooks tutorial`.
"""

import base64
import sys
from pathlib import Path

import nbclient
import nbformat
import plotly.io

from tests.support.browser import page

EXAMPLES = Path(__file__).parents[2] / "examples"
FIGURE = "application/vnd.plotly.v1+json"
SIZE = (760, 400)


def picture(figure):
    """Return a figure as a PNG in base64; the page of a notebook cannot run plotly's script."""
    given = plotly.io.from_json(plotly.io.json.to_json_plotly(figure), skip_invalid=True)
    given.update_layout(width=SIZE[0], height=SIZE[1])
    with page(*SIZE, "light") as shown:
        shown.set_content(given.to_html(include_plotlyjs=True, config={"staticPlot": True}))
        return base64.b64encode(shown.locator(".plotly-graph-div").screenshot()).decode()


def store(path):
    """Run a notebook in its folder, and write it with its output, but without TensorFlow's log."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": path.parent}}).execute()
    for cell in (one for one in notebook.cells if one.cell_type == "code"):
        cell.metadata.pop("execution", None)  # when it ran
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            if figure := output.get("data", {}).pop(FIGURE, None):
                output.data = {"image/png": picture(figure)}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        store(EXAMPLES / f"{name}.ipynb")

"""Settings of the site, for Sphinx. .github/CONTRIBUTING.md has the command that builds it."""

from pathlib import Path
from typing import Any

import kerastune_optuna

project = "kerastune_optuna"
release = kerastune_optuna.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["sphinx_copybutton", "sphinxcontrib.typer"]

# The pages stay where GitHub shows them: their links lead to the same places here and there.
root_doc = "examples/site"
include_patterns = ["README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"]
include_patterns += ["examples/*.md", "examples/*.ipynb", "examples/guides/*.md"]
include_patterns += ["tests/benchmarks/**.md"]
myst_heading_anchors = 3  # headings are named as on GitHub, and so links to them resolve
nb_execution_mode = "off"  # the notebooks hold their output

default_role = "code"  # docstrings have single backticks around code, like Markdown
autodoc_typehints = "description"  # the signature of OptunaTuner is long without types
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # those of Optuna and Keras refer to pages of theirs
python_maximum_signature_line_length = 80
add_module_names = False  # the private modules of what kerastune_optuna shows
# Types of other packages, and aliases: without a network no inventory says where their pages are.
nitpick_ignore_regex = [("py:.*", r"(?!kerastune_optuna\.[A-Z]|\w+Error$).*")]

smartquotes = False  # what stands in quotes is code more often than not
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = html_css_files = ["site.css"]
html_copy_source = False  # a button at the top of each page would show its Markdown
html_show_copyright = False  # the footer would say it without a year or a name
copybutton_exclude = ".linenos, .gp, .go"  # prompts and output


def setup(app: Any) -> None:
    """Connect the functions below with what they act on."""
    app.connect("build-finished", lead_to_start)
    app.connect("autodoc-process-docstring", without_module)


def lead_to_start(app: Any, error: Exception | None) -> None:
    """Let the address of the site itself lead to the start page, which is not at the top."""
    if app.builder.name == "html" and error is None:
        to = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">'
        Path(app.outdir, "index.html").write_text(f"<!doctype html><title>{project}</title>{to}\n")


def without_module(_: Any, what: str, *others: Any) -> None:
    """Leave out the sentence about the package, which stands among the errors in api.md."""
    if what == "module":
        others[-1].clear()

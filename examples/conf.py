"""Settings of the site, for Sphinx. .github/CONTRIBUTING.md has the command that builds it."""

import json
import os
import re
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import urlparse

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder

import kerastune_optuna

project = "kerastune_optuna"
release = kerastune_optuna.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
extensions += ["sphinx.ext.viewcode", "notfound.extension", "sphinx_copybutton"]
extensions += ["sphinxcontrib.typer"]

# The pages stay where GitHub shows them: their links lead to the same places here and there.
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"]
include_patterns += [
    "examples/*.md",
    "examples/*.ipynb",
    "examples/guides/*.md",
    "examples/api/*.md",
]
include_patterns += ["tests/benchmarks/**.md"]
exclude_patterns = ["examples/site.md"]  # the navigation, which add_navigation() reads
myst_heading_anchors = 3  # headings are named as on GitHub, and so links to them resolve
nb_execution_mode = "off"  # the notebooks hold their output
# Pages that have the words of every question and the answer to none: the search leaves them out.
NOT_SEARCHED = ("CHANGELOG", "tests/")

default_role = "code"  # docstrings have single backticks around code, like Markdown
autodoc_typehints = "description"  # the signature of OptunaTuner is long without types
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # those of Optuna and Keras refer to pages of theirs
autosummary_generate = False  # examples/api/ has the pages
python_maximum_signature_line_length = 80
add_module_names = False  # the private modules of what kerastune_optuna shows
# Types of other packages, and aliases; link_to_others() knows the pages of some.
nitpick_ignore_regex = [("py:.*", r"(?!kerastune_optuna\.[A-Z]|\w+Error$).*")]

smartquotes_action = "D"  # dashes, and not quotes, which are code more often than not
html_theme = "furo"
html_title = project
html_favicon = "favicon.svg"
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_static_path = ["site.css", "pictures/fashion.png"]
html_css_files = ["site.css"]
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_copy_source = False  # a button at the top of each page would show its Markdown
html_show_copyright = False  # the footer would say it without a year or a name
copybutton_exclude = ".linenos, .gp, .go"  # prompts and output
notfound_urls_prefix = urlparse(html_baseurl).path or "/"
notfound_context = {
    "title": "Page not found",
    "body": f"""<h1>Page not found</h1>
<p><a href="{notfound_urls_prefix}search.html">Search</a> for it,
or start with the <a href="{notfound_urls_prefix}index.html">overview</a>.</p>""",
}

# Pages of others, by what Sphinx calls their classes. Where it runs, there may be no network.
OTHERS = {
    "docs.python.org/3/library/concurrent.futures.html": "concurrent.futures._base.Executor",
    "docs.python.org/3/library/pathlib.html": "Path pathlib.Path",
    "keras.io/api/models/model/": "keras.Model keras.src.models.model.Model",
    "optuna.readthedocs.io/en/stable/reference/exceptions.html": "optuna.TrialPruned",
    "optuna.readthedocs.io/en/stable/reference/pruners.html": "BasePruner",
    "optuna.readthedocs.io/en/stable/reference/samplers/index.html": "BaseSampler",
    "optuna.readthedocs.io/en/stable/reference/storages.html": "BaseStorage",
    "optuna.readthedocs.io/en/stable/reference/study.html": "optuna.study.study.Study",
    "optuna.readthedocs.io/en/stable/reference/trial.html": (
        "BaseTrial FrozenTrial optuna.trial.BaseTrial optuna.trial._base.BaseTrial "
        "optuna.trial._frozen.FrozenTrial"
    ),
    "pandas.pydata.org/docs/reference/frame.html": "pandas.DataFrame",
    "plotly.com/python-api-reference/generated/plotly.graph_objects.Figure.html": "go.Figure",
}
PAGES = {name: f"https://{page}" for page, names in OTHERS.items() for name in names.split()}


class Plain(StandaloneHTMLBuilder):
    """Build pages whose addresses leave out the folders of the repository."""

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        """Return the address of a page."""
        return super().get_target_uri(address(docname), typ)

    def get_output_path(self, page_name: str, /) -> Path:
        """Return the path of its file."""
        return super().get_output_path(address(page_name))

    def load_indexer(self, docnames: set[str]) -> None:
        """Read the search index of the build before, in which pages have their addresses."""
        _rename_found(self.outdir, {address(page): page for page in self.env.found_docs})
        super().load_indexer(docnames)


def address(page: str) -> str:
    """Return the address of a page, without its ending."""
    if page in ("README", "examples/README"):
        return {"README": "index"}.get(page, "guides/index")
    return re.sub(r"^(examples|tests|\.github)/|README$", _short, page).lower()


def _short(part: re.Match[str]) -> str:
    return "index" if part[0] == "README" else ""


def setup(app: Any) -> None:
    """Connect the functions below with what they act on."""
    app.add_builder(Plain, override=True)
    app.connect("source-read", add_navigation)
    app.connect("env-updated", leave_out)
    app.connect("missing-reference", link_to_others)
    app.connect("autodoc-process-docstring", without_module)
    app.connect("html-page-context", describe)
    app.connect("build-finished", rename_found)


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Put the lists of examples/site.md on the start page, where only the sidebar shows them."""
    if page == root_doc:
        text = Path(app.srcdir, "examples", "site.md").read_text()
        lists = re.findall(r"^(```{toctree}\n)(.*?^```\n)", text, re.MULTILINE | re.DOTALL)
        for begin, entries in lists:
            lines = [_from_root(line) for line in entries.splitlines() if "/README>" not in line]
            source[0] += "\n".join(["\n" + begin + ":hidden:", *lines]) + "\n"


def _from_root(entry: str) -> str:
    """Return an entry of a list in examples/ as it is for a page at the top."""
    return (
        entry
        if entry.startswith((":", "`"))
        else re.sub(r"(^|<)(?=[^<>]+>?$)(?!/)", r"\1/examples/", entry)
    )


def leave_out(_: Any, env: Any) -> None:
    """Keep pages out of the search."""
    for page in env.found_docs:
        if page.startswith(NOT_SEARCHED):
            env.metadata[page]["nosearch"] = True


def link_to_others(_: Any, __: Any, node: Any, text: Any) -> Any:
    """Link a class of another package to its page."""
    page = PAGES.get(node["reftarget"])
    return page and nodes.reference("", "", text, internal=False, refuri=page)


def without_module(_: Any, what: str, *others: Any) -> None:
    """Leave out the sentence about the package, which stands among the errors of the reference."""
    if what == "module":
        others[-1].clear()


def describe(app: Any, page: str, _: str, context: dict[str, Any], tree: Any) -> None:
    """Tell search engines, and chats that show links, what a page is about."""
    if tree is None:
        return
    first = next(tree.findall(nodes.paragraph), None)
    about = "" if first is None else shorten(first.astext(), 200, placeholder=" ...")
    told = {"og:title": context["title"], "og:site_name": project, "og:type": "website"}
    told["og:description"] = about
    if html_baseurl:
        told["og:url"] = html_baseurl + app.builder.get_target_uri(page)
        told["og:image"] = f"{html_baseurl}_static/fashion.png"
    tags = [f'<meta property="{name}" content="{escape(one)}">' for name, one in told.items()]
    context["metatags"] += "\n".join(
        ["", f'<meta name="description" content="{escape(about)}">', *tags]
    )


def rename_found(app: Any, error: Exception | None) -> None:
    """Let the search lead to the addresses of pages."""
    if error is None and app.builder.name == "html":
        _rename_found(app.outdir, {page: address(page) for page in app.env.found_docs})


def _rename_found(folder: Path, names: dict[str, str]) -> None:
    path = Path(folder, "searchindex.js")
    if path.exists():
        before, after = "Search.setIndex(", ")"
        index = json.loads(path.read_text().removeprefix(before).removesuffix(after))
        index["docnames"] = [names.get(page, page) for page in index["docnames"]]
        path.write_text(before + json.dumps(index, separators=(",", ":")) + after)

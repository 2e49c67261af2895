"""The package has one door, and its modules stand in order."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

import kerastune_optuna

PACKAGE = Path(kerastune_optuna.__file__).parent
# Each module imports only from those before it; a folder's door is the last of its own.
ORDER = [
    "_exceptions",
    "_reason",
    "_source",
    "_choice",
    "_check",
    "_seeds",
    "_memory",
    "_space",
    "_asked",
    "_environment",
    "_monitor",
    "_objectives",
    "_one_objective",
    "_inference",
    "_constraints",
    "_divergence",
    "_interrupt",
    "_scratch",
    "_liveness",
    "_patience",
    "_pruner",
    "_stop",
    "_state",
    "_series",
    "_callbacks",
    "_stopwatch",
    "_fits",
    "_own_fit",
    "_hparams",
    "_user_callbacks",
    "_pick",
    "_data",
    "_specs",
    "_variables",
    "_graphs",
    "_fingerprint",
    "_digest",
    "_rows",
    "_fit",
    "_kinds",
    "_not_finite",
    "_folds",
    "_steps",
    "_rehearsal",
    "_parcels",
    "_journal",
    "_disks",
    "_url",
    "_mysql",
    "_storage",
    "_store",
    "_architecture",
    "_weights",
    "_history",
    "_lease",
    "_claim",
    "_retry",
    "_points",
    "_grid",
    "_archive",
    "_backup",
    "_parts",
    "_deletion",
    "_study",
    "_overwrite",
    "_executions",
    "_keras_tuner._conditions",
    "_keras_tuner._ranges",
    "_keras_tuner._hyperparameters",
    "_keras_tuner._builder",
    "_keras_tuner._project",
    "_keras_tuner",
    "_repeats",
    "_ending",
    "_sampler",
    "_budget",
    "_shared",
    "_recipe",
    "_comparable",
    "_score",
    "_kept",
    "_training",
    "_trial",
    "_card",
    "_refit",
    "_workers",
    "_bundle",
    "_reproduction",
    "_reproduce",
    "_once",
    "_progress",
    "_report._text",
    "_report._ranks",
    "_report._facts",
    "_report._frame",
    "_report._lines",
    "_report._summary",
    "_report._style",
    "_report._figures",
    "_report._param_figures",
    "_report._timeline",
    "_report._pareto",
    "_report._page",
    "_report",
    "_frame",
    "_terminal",
    "_live",
    "_launch",
    "_crew",
    "_confirmation",
    "_dashboard",
    "_short_names",
    "_plots",
    "_results",
    "_queue",
    "_again",
    "_confirmed",
    "_trainer",
    "_confirm",
    "_arguments",
    "_tuner",
    "__init__",
    "__main__",
]
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)
FOLDERS = {name for name, path in FILES.items() if path.name == "__init__.py"} - {"__init__"}


def imported(module: str) -> set[str]:
    """Return the modules of ours that a module imports when it runs."""
    tree = ast.parse(FILES[module].read_text())
    only_for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in only_for_types:
            package, _, name = (node.module or "").partition(".")
            if package == "kerastune_optuna":
                found |= names_of(name, [alias.name for alias in node.names])
    return found


def names_of(module: str, names: list[str]) -> set[str]:
    """Return the modules that `from module import names` imports."""
    within = {f"{module}.{name}".removeprefix(".") for name in names}
    modules = within & set(MODULES)
    return modules | ({module} if within - modules and module else within - modules)


def folder_of(module: str) -> str:
    """Return the folder in which a module stands; for a door, its own."""
    return module if module in FOLDERS else module.rpartition(".")[0]


def test_all_is_sorted_and_complete():
    """`__all__` is sorted and names just what is visible."""
    visible = {name for name in dir(kerastune_optuna) if not name.startswith("_")}
    assert kerastune_optuna.__all__ == sorted(kerastune_optuna.__all__)
    assert visible | {"__version__"} == set(kerastune_optuna.__all__)


def test_modules_are_private():
    """Every module but the door starts with an underscore."""
    assert [n for name in MODULES for n in name.split(".") if not n.startswith("_")] == []


def test_the_order_names_every_module():
    """The order below which imports point covers the whole package."""
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down(module):
    """A module imports only from the modules before it in the order."""
    assert imported(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", ORDER)
def test_a_folder_has_one_door(module):
    """What stands in a folder is imported by what stands there too; others use its door."""
    inner = {name for name in imported(module) if "." in name}
    assert {folder_of(name) for name in inner} <= {folder_of(module)}


def lines_of_code(text):
    """Return the numbers of the lines that hold more than a comment or a docstring."""
    tree, quiet = ast.parse(text), {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    quiet |= {tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.start[0] for token in tokens if token.type not in quiet} - docstrings


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_small(module):
    """A module has fewer than 300 lines of code and says in its first one what it does."""
    text = FILES[module].read_text()
    assert len(lines_of_code(text)) < 300
    assert ast.get_docstring(ast.parse(text))


def test_the_package_ships_its_types():
    """`py.typed` is there for mypy."""
    assert (PACKAGE / "py.typed").exists()

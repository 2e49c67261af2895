"""The package has one door, and its modules stand in order."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kerastune_optuna

PACKAGE = Path(kerastune_optuna.__file__).parent
# Each module imports only from those before it.
ORDER = [
    "_exceptions",
    "_check",
    "_seeds",
    "_memory",
    "_monitor",
    "_interrupt",
    "_patience",
    "_stop",
    "_callbacks",
    "_hparams",
    "_user_callbacks",
    "_data",
    "_graphs",
    "_fit",
    "_steps",
    "_parcels",
    "_journal",
    "_url",
    "_storage",
    "_store",
    "_weights",
    "_history",
    "_liveness",
    "_lease",
    "_retry",
    "_backup",
    "_study",
    "_sampler",
    "_budget",
    "_trial",
    "_workers",
    "_progress",
    "_launch",
    "_crew",
    "_report",
    "_dashboard",
    "_results",
    "_arguments",
    "_tuner",
    "__init__",
    "__main__",
]
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imported(module: str) -> set[str]:
    """Return the modules of ours that a module imports when it runs."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
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
                found |= {name} if name else {alias.name for alias in node.names}
    return found


def test_all_is_sorted_and_complete():
    """`__all__` is sorted and names just what is visible."""
    visible = {name for name in dir(kerastune_optuna) if not name.startswith("_")}
    assert kerastune_optuna.__all__ == sorted(kerastune_optuna.__all__)
    assert visible | {"__version__"} == set(kerastune_optuna.__all__)


def test_modules_are_private():
    """Every module starts with an underscore, the door and the command line too."""
    assert [name for name in MODULES if not name.startswith("_")] == []


def test_the_order_names_every_module():
    """The order below which imports point covers the whole package."""
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down(module):
    """A module imports only from the modules before it in the order."""
    assert imported(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_small(module):
    """A module has fewer than 300 lines and says in its first one what it does."""
    text = (PACKAGE / f"{module}.py").read_text()
    assert len(text.splitlines()) < 300
    assert ast.get_docstring(ast.parse(text))


def test_the_package_ships_its_types():
    """`py.typed` is there for mypy."""
    assert (PACKAGE / "py.typed").exists()

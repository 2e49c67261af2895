"""Pack GaussianProcessSampler as a package of OptunaHub's registry, without the rest of ours.

    python -m tests.optunahub.pack FOLDER

FOLDER is the folder `package` of a clone of github.com/optuna/optunahub-registry. Nothing is
written twice: the package gets those functions and classes of our modules without which the sampler
cannot do. Its example is the one in README.md here, and its tests are those of
tests/search/test_conformance.py.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.test_door import FILES, PACKAGE, imports

NAME = "samplers/conditional_gp"
SAMPLER = "_search.gaussian_process", "GaussianProcessSampler"
# In a plain study, whose trials are not ours, the sampler waits for none, and no signal ends that.
INSTEAD = {
    ("_signals", "requested"): '''def requested() -> bool:
    """Whether a signal asked this process to end its search."""
    return False'''
}
HERE, ROOT = Path(__file__).parent, PACKAGE.parent
# What the registry's checks ask for: see pyproject.toml there.
_STYLE = [
    "line-length=99",
    "lint.isort.force-single-line=true",
    "lint.isort.force-sort-within-sections=true",
    "lint.isort.lines-after-imports=2",
    "lint.isort.order-by-type=false",
]


def pack(folder: Path) -> Path:
    """Write the package into the folder `package` of the registry, and return its own folder."""
    target = folder / NAME
    (target / "tests").mkdir(parents=True, exist_ok=True)
    names = _needed(*SAMPLER)
    for module in names:
        (target / f"{_flat(module)}.py").write_text(_packed(module, names))
    module, sampler = SAMPLER
    door = f'from .{_flat(module)} import {sampler}\n__all__ = ["{sampler}"]\n'
    (target / "__init__.py").write_text(door)
    readme = (HERE / "README.md").read_text()
    (target / "README.md").write_text(readme)
    (target / "example.py").write_text(readme.partition("```python\n")[2].partition("```")[0])
    (target / "requirements.txt").write_text(_requirements(target))
    shutil.copy(ROOT / "LICENSE", target)
    tests = (ROOT / "tests" / "search" / "test_conformance.py").read_text()
    local = f'load_local_module("{NAME}", registry_root="package/")'
    (target / "tests" / "test_sampler.py").write_text(_loading(tests, local))
    _style(target)
    return target


def _needed(module: str, name: str) -> dict[str, set[str]]:
    """Return the names in our modules without which one of them cannot do, by their modules."""
    found, left = defaultdict(set), [(module, name)]
    while left:
        module, name = left.pop()
        if name not in found[module]:
            found[module].add(name)
            left += _uses(module, name)
    return dict(found)


def _uses(module: str, name: str) -> list[tuple[str, str]]:
    """Return the names of ours that a definition names itself, each with its module."""
    if (module, name) in INSTEAD:
        return []
    own, others = _definitions(module), _origins(module)
    found = []
    for node in ast.walk(own[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            other, whole = others.get(node.value.id, ("", "is no module"))
            found += [] if whole else [(other, node.attr)]
        elif isinstance(node, ast.Name) and node.id in own:
            found.append((module, node.id))
        elif isinstance(node, ast.Name) and others.get(node.id, ("", ""))[1]:
            found.append(others[node.id])
    return found


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """Return the statements at the top of a module that define something, by its names."""
    found = {}
    for statement in ast.parse(FILES[module].read_text()).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = getattr(statement, "targets", None) or [statement.target]
            names = [node for target in targets for node in ast.walk(target)]
            found |= {node.id: statement for node in names if isinstance(node, ast.Name)}
    return found


@cache
def _origins(module: str) -> dict[str, tuple[str, str]]:
    """Return where the names come from that a module imports of ours; of modules, no name."""
    found = {}
    for other, name in imports(module):
        within = f"{other}.{name}".removeprefix(".")
        found[name] = (within, "") if within in FILES else _origins(other).get(name, (other, name))
    return found


def _packed(module: str, names: dict[str, set[str]]) -> str:
    """Return the text of a module with these names alone; each import may be one too many."""
    lines = FILES[module].read_text().splitlines()
    docstring, *body = ast.parse("\n".join(lines)).body
    is_whole = names[module] == _definitions(module).keys()
    texts = [_text(lines, docstring)] if is_whole else []  # else it speaks of what is not there
    for one in body:
        is_own = isinstance(one, ast.ImportFrom) and (one.module or "").startswith(PACKAGE.name)
        if isinstance(one, ast.Import | ast.ImportFrom) and not is_own:
            texts.append(_text(lines, one))
    for name, (other, whole) in _origins(module).items():
        if whole in names.get(other, ()):
            texts.append(f"from .{_flat(other)} import {name}")
        elif not whole and other in names:
            texts.append(f"from . import {name}")
    kept = {_definitions(module)[name]: name for name in names[module]}  # some define several
    for one in sorted(kept, key=lambda one: one.lineno):
        texts.append(INSTEAD.get((module, kept[one])) or _text(lines, one))
    return _loading("\n".join(texts) + "\n", f'load_module("{NAME}")')


def _text(lines: list[str], statement: ast.stmt) -> str:
    """Return a statement with its decorators and the comments above it."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : statement.end_lineno])


def _flat(module: str) -> str:
    """Return the name of a module in the package, which has no rooms."""
    return module.rpartition(".")[2]


def _loading(text: str, call: str) -> str:
    """Return a text that loads from the registry what it imports from our package."""
    line = re.compile(rf"^([ >]*)from {PACKAGE.name} import (\w+)$", re.MULTILINE)
    return line.sub(rf"\1import optunahub\n\1hub = optunahub.{call}\n\1\2 = hub.\2", text)


def _requirements(folder: Path) -> str:
    """Return the lines of pyproject.toml for what modules import beside Optuna and its NumPy."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "\n".join(path.read_text() for path in folder.glob("*.py"))
    found = []
    for line in project["dependencies"]:
        name = re.match(r"\w+", line)[0]
        if re.search(rf"^(import|from) {name}\b", text, re.MULTILINE) and name != "numpy":
            found += [] if name == "optuna" else [f"{line}\n"]
    return "".join(found)


def _style(folder: Path) -> None:
    """Remove imports that are not used, and format all as the registry does."""
    options = ["--isolated", "--quiet", *(f"--config={one}" for one in _STYLE), folder]
    for command in (["check", "--fix", "--select=F,I"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *options], check=True)


if __name__ == "__main__":
    print(pack(Path(sys.argv[1])))

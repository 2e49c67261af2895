"""The package has one door, and its rooms stand in order."""

import ast
import importlib
import io
import re
import tokenize
from functools import cache
from graphlib import TopologicalSorter
from operator import attrgetter
from pathlib import Path

import kerastune_optuna

PACKAGE = Path(kerastune_optuna.__file__).parent
GROUND, TOP = "ground", "top"
# Each room imports only from those before it: the files on the ground, the folders, the top.
ORDER = [GROUND, "_keras_tuner", "_storage", "_study", "_search", "_data", "_trial", "_report"]
ORDER += ["_workers", "_rerun", TOP]
ON_TOP = {"", "__main__", "_tuner", "_arguments", "_open_study"}
# Rooms that look at studies alone.
ONLY_LOOK = {"_report"}
# Files of tests that have the name of no module of their room and of no public name, and why.
OF_NO_MODULE = {
    "data/grain": "a library whose data passes through several modules",
    "keras_tuner/errors": "what users of KerasTuner do wrong, in whatever module",
    "keras_tuner/guides": "programs of others as they stand",
    "keras_tuner/own_fit": "HyperModel.fit passes through several modules",
    "keras_tuner/project": "a whole search that moves from KerasTuner",
    "benchmarks": "tests/benchmarks/",
    "ci": ".ci/",
    "door": "the order of all modules",
    "examples": "README.md and examples/",
    "jax": "a backend of Keras",
    "memory": "what a whole search leaves in the process",
    "reading": "all that reads a study and makes none",
    "support/windows": "tests/support/windows, which a process runs in",
    "torch": "a backend of Keras",
    "search/waiting": "the wait of samplers for each other, in gaussian_process.py",
    "search/conformance": "what Optuna asks of samplers, and tests itself",
    "storage/mysql": "a server, whose names and texts are its own",
    "trial/batches": "the batches of fast.py, which are made once",
    "trial/steps": "the steps of fast.py, of which one call makes many",
    "trial/untrusted": "what a study of somebody else may hold, above all a file of weights",
    "trial/plain_fit": "a trial beside Model.fit, through all modules",
    "workers/distribution": "keras.distribution and tf.distribute, through several modules",
    "report/dashboard": "Optuna's own, which a guide starts",
    "trial/out_of_memory": "the memory of a process or a GPU, which several modules look at",
}


def name_of(path: Path) -> str:
    """Return a module's name within the package; of the package's door, nothing."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__")


TESTS = Path(__file__).parent
FILES = {name_of(path).rstrip("."): path for path in PACKAGE.rglob("*.py")}
MODULES = sorted(FILES)


@cache
def imports(module: str) -> list[tuple[str, str]]:
    """Return what a module imports of ours, for types alone too, each as (module, name)."""
    found = []
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            package, _, name = (node.module or "").partition(".")
            if package == "kerastune_optuna":
                found += [(name, alias.name) for alias in node.names]
    return found


def imported(module: str) -> set[str]:
    found = [(other, f"{other}.{name}".removeprefix(".")) for other, name in imports(module)]
    return {within if within in FILES else other for other, within in found}


def room_of(module: str) -> str:
    folder = module.partition(".")[0]
    return folder if folder in ORDER else TOP if folder in ON_TOP else GROUND


def test_all_is_sorted_and_complete():
    """`__all__` is sorted and names just what is visible."""
    visible = {name for name in dir(kerastune_optuna) if not name.startswith("_")}
    assert kerastune_optuna.__all__ == sorted(kerastune_optuna.__all__)
    assert visible | {"__version__"} == set(kerastune_optuna.__all__)


def test_errors_are_named_as_users_import_them():
    """A traceback names no private module."""
    errors = [name for name in kerastune_optuna.__all__ if name.endswith("Error")]
    assert {getattr(kerastune_optuna, name).__module__ for name in errors} == {"kerastune_optuna"}


def test_the_names_that_users_import_stay():
    """Whatever moves within the package, these are where they were."""
    errors = "Argument ArgumentType Builder Fatal MetricNotFound MissingExtra NoTrials Storage"
    errors += " StudyMismatch TooManyFailures Tuner Weights Worker"
    names = "HyperParameters OptunaTuner PruningCallback __version__ choice from_keras_tuner"
    assert {f"{name}Error" for name in errors.split()} <= set(kerastune_optuna.__all__)
    assert set(names.split()) <= set(kerastune_optuna.__all__)


def test_names_say_what_is_private():
    """Every file and folder but the door starts with an underscore, and none within a folder."""
    assert [name for name in MODULES if name and not name.startswith("_")] == []
    assert [name for name in MODULES if "._" in name] == []


def allowed_in(room: str) -> set[str]:
    if room in ONLY_LOOK:
        return {GROUND, "_storage", "_study", room}
    return set(ORDER[: ORDER.index(room) + 1])


def test_imports_point_down():
    """A module imports from its own room and from those before it, for types too."""
    up = [
        (module, other)
        for module in MODULES
        for other in imported(module)
        if room_of(other) not in allowed_in(room_of(module))
    ]
    assert up == []


def test_no_imports_go_round_within_a_room():
    """Nor do imports within a room, or on the ground, form a circle."""
    for room in ORDER:
        within = [one for one in MODULES if room_of(one) == room and one != room]
        TopologicalSorter({one: imported(one) & set(within) for one in within}).prepare()


def test_a_room_has_one_door():
    """What stands in a room is imported by its own, or under a name that its door shows."""
    beside = [
        (module, name, imported_name)
        for module in MODULES
        for name, imported_name in imports(module)
        if (room := name.partition(".")[0]) in ORDER and room != room_of(module)
        if name not in ORDER or imported_name not in names_at_the_door(name)
    ]
    assert beside == []


def test_a_door_is_narrow():
    """It shows 20 names at most: a room that needs more is two, or its callers know too much."""
    wide = {room: len(names_at_the_door(room)) for room in ORDER if room in FILES}
    assert {room: count for room, count in wide.items() if count > 20} == {}


def test_no_module_passes_through_a_door():
    """It would bring all of its names, which the test above does not count."""
    for room in ORDER:
        if room in FILES:
            passing = {name for module, name in imports(room) if module == room}
            assert not passing, f"{room}: a module brings all of its names"


@cache
def names_at_the_door(room: str) -> set[str]:
    """Return the names that a door shows: those that it imports under their own names."""
    found = set()
    for node in ast.walk(ast.parse(FILES[room].read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname == alias.name}
    return found


def public_names() -> set[str]:
    """Return what `__all__` names, the methods of OptunaTuner and the arguments of these."""
    found = set(kerastune_optuna.__all__)
    for node in ast.walk(ast.parse(FILES["_tuner"].read_text())):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args.args + node.args.kwonlyargs
            found |= {node.name, *(argument.arg for argument in arguments)}
    return {name for name in found if not name.startswith("_")}


def modules_in(room: str) -> set[str]:
    """Return the names of the modules of a room without its underscore, or of a folder here."""
    folder = PACKAGE / f"_{room}" if room else PACKAGE
    modules = folder if folder.exists() else TESTS / room
    return {path.stem.strip("_") for path in modules.glob("*.py")}


def test_a_file_of_tests_has_the_name_of_what_it_tests():
    """It is that of a module of its room or a public name, or the table above says why not."""
    public = {name.lower().replace("_", "") for name in public_names()}
    unnamed = set()
    for path in TESTS.rglob("test_*.py"):
        room = "" if path.parent == TESTS else path.parent.name
        name = path.stem.removeprefix("test_")
        if name not in modules_in(room) and name.replace("_", "") not in public:
            unnamed.add(f"{room}/{name}".strip("/"))
    assert unnamed == set(OF_NO_MODULE)


def test_the_way_of_one_trial_exists():
    """CONTRIBUTING names each function that decides something on the way, with its file."""
    text = (PACKAGE.parent / ".github" / "CONTRIBUTING.md").read_text()
    way = re.findall(r"\| \d+ \| `(\S+)\.py` `(\S+)`", text)
    assert len(way) >= 20
    for file, name in way:
        module = importlib.import_module(f"kerastune_optuna.{file.replace('/', '.')}")
        assert callable(attrgetter(name)(module)), f"{file}: {name}"


def lines_of_code(text: str) -> int:
    """Return how many lines hold more than a comment or a docstring."""
    found, begins = set(), True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_quiet = token.type == tokenize.COMMENT or not token.string.strip()
        if not (is_quiet or (begins and token.type == tokenize.STRING)):
            found.add(token.start[0])
        begins = is_quiet and (begins or token.type == tokenize.NEWLINE)
    return len(found)


if __name__ == "__main__":
    shown = {one: one if room_of(one) in (GROUND, TOP) else room_of(one) for one in MODULES}
    arrows = {(shown[one], shown[other]) for one in MODULES for other in imported(one)}
    for one, other in sorted(arrows):
        if one != other:
            print(f"{one or '__init__'} -> {other}")
    code = sum(lines_of_code(path.read_text()) for path in FILES.values())
    print(f"{code} lines of code in {len(FILES)} modules")

"""The examples run as a newcomer would run them, and pages tell of what there is."""

import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from kerastune_optuna import OptunaTuner
from kerastune_optuna.__main__ import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
INDEX = ROOT / "examples" / "README.md"
NAMES = ROOT / "examples" / "keras_tuner_names.md"
GLOSSARY = ROOT / "examples" / "glossary.md"
INSTALLATION = ROOT / "examples" / "installation.md"
BENCHMARKS = ROOT / "tests" / "benchmarks"
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
CLUSTERS = INDEX.parent / "guides" / "clusters.md"
BEST = re.compile(r"^ +1 +\d+ +(\S+) ", re.MULTILINE)  # the value in the first row of a summary


# Python imports it when it starts, and so do the workers of an example.
OFFLINE = """
import re, sys

def refuse(event, arguments):
    # Names of this machine have no dot, and addresses in numbers none of these letters.
    if event == "socket.getaddrinfo" and re.search(r"[g-z].*[.]", str(arguments[0])):
        raise RuntimeError(f"an example asks for {arguments[0]!r}")

sys.addaudithook(refuse)
"""


def blocks(page, language="python", start=""):
    """Return the blocks of a page that are in a language and start so."""
    wanted = rf"```{language}\n({re.escape(start)}.*?)```"
    return re.findall(wanted, page.read_text(), re.DOTALL)


def said(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(name, folder, *arguments):
    """Run an example, or a file, in a folder where no host is found; return what it printed."""
    (offline := folder / "offline").mkdir(exist_ok=True)
    (offline / "sitecustomize.py").write_text(OFFLINE)
    env = {**os.environ, "PYTHONPATH": f"{offline}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    printed = said(command, cwd=folder, env=env)
    assert "\x1b" not in printed  # which is a pipe
    return printed


@pytest.mark.nightly
def test_iris_finds_a_better_network(tmp_path):
    """The script runs 30 trials without a download, prunes some, and gives the best."""
    printed = run("iris.py", tmp_path)
    pruned = int(re.search(r"'PRUNED': (\d+)", printed)[1])
    assert pruned > 0
    assert pruned + int(re.search(r"'COMPLETE': (\d+)", printed)[1]) == 30
    by_hand, tuned = map(float, re.search(r"by hand (\S+), tuned (\S+)", printed).groups())
    best = float(BEST.search(printed)[1])
    assert tuned == round(best, 4)
    assert tuned > by_hand


@pytest.mark.nightly
def test_digits_goes_on_where_it_stopped(tmp_path):
    """The second run trains nothing more and hands back the same model."""
    first, second = run("digits.py", tmp_path), run("digits.py", tmp_path)
    assert "Study 'digits' has 15 of 15 trials done" in second
    accuracy = re.compile(r"Accuracy of the best model: (\S+)")
    best = float(BEST.search(first)[1])
    assert round(best, 4) == float(accuracy.search(first)[1]) == float(accuracy.search(second)[1])


@pytest.mark.nightly
@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").exists(),
    reason="Fashion-MNIST is Debian's package dataset-fashion-mnist, which is not installed",
)
def test_clothes_are_split_in_three(tmp_path, monkeypatch):
    """The example's parts share no image, and its builder and rows are those of a search."""
    monkeypatch.syspath_prepend(INDEX.parent)
    clothes = importlib.import_module("fashion_mnist")
    train, validation, test = clothes.load(200, 100)
    assert [len(x) for x, _ in (train, validation, test)] == [200, 100, 10_000]
    assert len({image.tobytes() for x, _ in (train, validation) for image in x}) == 300
    tuner = OptunaTuner(clothes.build_model, "val_accuracy", n_trials=1, directory=tmp_path, seed=0)
    tuner.search(*train, validation_data=validation, epochs=2, verbose=0)
    assert tuner.best_model().evaluate(*validation, verbose=0)[1] == tuner.best_value > 0.1


@pytest.mark.nightly
def test_mlflow_has_a_run_for_each_trial(tmp_path, monkeypatch):
    """The search's run has one for each trial, with its parameters, its curve and how it ended."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    printed = run("trackers.py", tmp_path)
    line = r"^trial_(\d+): (\w+, \w+), (\S+) in (\d+) epochs, (.+)$"
    runs = re.findall(line, printed, re.MULTILINE)
    assert [int(number) for number, *_ in runs] == list(range(12))
    pruned = [int(epochs) for _, ended, _, epochs, _ in runs if ended == "KILLED, PRUNED"]
    whole = [epochs for _, ended, _, epochs, _ in runs if ended == "FINISHED, COMPLETE"]
    assert max(pruned) < 10
    assert whole == ["10"] * (12 - len(pruned))
    best = float(re.search(r"Best value of the study: (\S+)", printed)[1])
    assert best == max(float(value) for _, _, value, *_ in runs)
    assert all("learning_rate" in params for *_, params in runs)


@pytest.mark.nightly
def test_wandb_has_a_run_for_each_trial(tmp_path, monkeypatch):
    """Without a network each trial has a folder."""
    pytest.importorskip("wandb", reason="wandb is not installed; .ci/nightly installs it")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run("trackers.py", tmp_path, "wandb")
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 12


@pytest.mark.nightly
def test_confirm_says_what_was_luck(tmp_path):
    """The confirmed winner's model is that of the line that names it, and luck is told."""
    printed = run("confirm.py", tmp_path)
    assert re.search(r"^ The search's best value, \S+ of trial \d+, was ", printed, re.MULTILINE)
    told = float(re.search(r"which won confirm\(\), with val_accuracy (\S+)", printed)[1])
    assert round(told, 4) == float(re.search(r"Accuracy on the held-out rows: (\S+)", printed)[1])


@pytest.mark.nightly
def test_outer_folds_are_scored_alike_however_many_run_at_a_time(tmp_path):
    """Two at a time, one at a time, and again without a trial: each run prints the same scores."""
    printed = run("nested_cv.py", tmp_path)
    (alone := tmp_path / "alone").mkdir()
    assert run("nested_cv.py", alone, "1") == run("nested_cv.py", alone) == printed
    scores = re.findall(r"^Fold \d: inner \S+, outer (\S+) with units=", printed, re.MULTILINE)
    assert len(scores) == 5
    mean = float(re.search(r"no search saw: (\S+) ± ", printed)[1])
    assert mean == pytest.approx(sum(map(float, scores)) / 5, abs=1e-4)
    assert mean > 0.9


@pytest.mark.slow
def test_the_readmes_example_runs(tmp_path):
    """The program in the README runs as it stands, and ends with equal numbers."""
    (program := tmp_path / "search.py").write_text(blocks(README)[0])
    value, accuracy = (float(line.split()[-1]) for line in run(program, tmp_path).splitlines()[-2:])
    assert abs(value - accuracy) < 1e-6


@pytest.mark.nightly
@pytest.mark.parametrize("guide", [*filter(blocks, GUIDES)], ids=lambda guide: guide.stem)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, of all data of Grain
def test_the_code_of_a_guide_runs(guide, tmp_path, monkeypatch):
    """All Python blocks of a guide, one after the other, are a program that ends well."""
    program = "\n".join(blocks(guide))
    for needs_a_server in blocks(guide, "py"):
        compile(needs_a_server, str(guide), "exec")
    monkeypatch.chdir(tmp_path)
    # In this process, which has imported TensorFlow already.
    exec(compile(program, str(guide), "exec"), {"__name__": "__main__"})


def lacks(page, link):
    """Whether a relative link of a page leads to no file, or to a heading that the file has not."""
    name, _, heading = link.partition("#")
    target = page.parent / name
    if not heading or not target.exists():
        return not target.exists()
    titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    names = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    return heading not in names  # as GitHub makes them


def test_what_a_page_points_to_is_there():
    """Each page has relative links, which lead to files and, where they name one, to a heading."""
    pages = [README, INDEX, NAMES, GLOSSARY, INSTALLATION, *GUIDES, *BENCHMARKS.glob("*.md")]
    links = {page: re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()) for page in pages}
    assert [page.stem for page in pages if not links[page]] == []
    assert [(page.stem, one) for page in pages for one in links[page] if lacks(page, one)] == []


def test_the_commands_of_a_page_exist():
    """The command line knows each command of a page, and takes its options."""
    commands = typer.main.get_command(app).commands
    text = "\n".join(page.read_text() for page in (README, *GUIDES))
    lines = re.findall(r"^kerastune-optuna ([^>\n]+)", text, re.MULTILINE)
    assert lines
    for line in lines:
        name, *arguments = shlex.split(line)
        assert commands[name].make_context(name, arguments)


def test_each_benchmark_is_told_of():
    """The table of the benchmarks' notebook says what each script there measures."""
    table, _, _ = (BENCHMARKS / "NOTEBOOK.md").read_text().partition("\n## ")
    told = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)
    scripts = [file for file in BENCHMARKS.glob("[!_]*.py") if "__main__" in file.read_text()]
    folders = [file.parent for file in BENCHMARKS.glob("*/__main__.py")]
    assert sorted(told) == sorted(path.stem for path in (*scripts, *folders))


def figures(page):
    """Return each row of a page that has figures alone behind its name, as the name and cells."""
    cell = r"\| (?:-?[\d,]*\.?\d+%?(?: ± [\d.]+)?|never) "
    rows = re.findall(rf"(?m)^\| ([^|]+) ((?:{cell})+)\|$", page.read_text())
    return [(name, re.findall(r"[^| ][^|]*(?= )", cells)) for name, cells in rows]


def is_rounded(cell, measured):
    """Whether a cell is what was measured, with as many digits or fewer."""
    short, exact = (
        [Decimal(one) for one in re.findall(r"-?\d*\.?\d+", text.replace(",", ""))]
        for text in (cell, measured)
    )
    if not short or len(short) != len(exact):
        return cell == measured
    return [one.quantize(to, ROUND_HALF_UP) for one, to in zip(exact, short, strict=True)] == short


def test_the_figures_of_a_page_are_those_that_were_measured():
    """Each row of figures in the README and in the guides is part of one of the results' rows."""
    measured = figures(BENCHMARKS / "README.md")

    def is_told_of(name, cells):
        runs = [
            row[start : start + len(cells)]
            for called, row in measured
            for start in range(len(row) - len(cells) + 1)
            if called == name
        ]
        return any(all(map(is_rounded, cells, run)) for run in runs)

    told = [row for page in (README, *GUIDES) for row in figures(page)]
    assert len(told) >= 6, "the README's table alone has so many"
    assert [row for row in told if not is_told_of(*row)] == []


def test_the_reference_has_the_defaults_of_the_signature():
    """Where its table names a default, the constructor has that one."""
    arguments = inspect.signature(OptunaTuner).parameters
    table = (GUIDES[0].parent / "arguments-and-results.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))
    assert len(told) > 20
    assert {n: repr(arguments[n].default).replace("'", '"') for n in told} == told


def test_the_index_names_each_guide_and_example():
    """A guide or an example that is added has a line in examples/README.md."""
    files = [*GUIDES, *INDEX.parent.glob("*.py"), *INDEX.parent.glob("*.ipynb")]
    index = INDEX.read_text()
    unnamed = [file.name for file in files if f"{file.name})" not in index]
    assert unnamed == ["conf.py"]  # which has the settings of the site


TWELVE = [rf"(?m)^Trial {number}: .* s$" for number in range(12)]
SLOW, NIGHTLY = pytest.mark.slow, pytest.mark.nightly
# What each of them prints besides the accuracy, and what that is more than.
HANDING_OUT = [
    # Each trial has the epochs of two phases, and the model is that of the best one of them.
    ("fine_tuning.py", ["phases: .3, 3.", r"(?m)^ +1 +\d+ +\S+ +[1-6]/6 "], 0.5, NIGHTLY),
    ("tabular.py", ["batch_size=", "activation="], 0.9, NIGHTLY),
    ("tuned_pipeline.py", ["scaler=", "n_columns="], 0.9, NIGHTLY),
    ("from_keras_tuner.py", [r"Best batch size: (8|16|32), of \{'layers': "], 0, NIGHTLY),
    ("lora.py", [r"Trained weights: \d{2,4} of \d{5}"], 0.7, NIGHTLY),
    ("parallel.py", TWELVE, 0, SLOW),
    ("dask_cluster.py", TWELVE, 0, NIGHTLY),
    ("ray_cluster.py", TWELVE, 0, NIGHTLY),
]


@pytest.mark.parametrize(
    ("name", "told", "least"),
    [pytest.param(*given, marks=mark, id=given[0]) for *given, mark in HANDING_OUT],
)
def test_an_example_hands_out_its_best_model(name, told, least, tmp_path):
    """The model's accuracy is the best value of the study, and each says what it is there for."""
    needed = {"lora.py": "keras_hub", "ray_cluster.py": "ray"}.get(name)
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed; .ci/nightly installs it")
    printed = run(name, tmp_path)
    assert [one for one in told if not re.search(one, printed)] == [], printed
    accuracy = float(re.search(r"Accuracy of the (?:best|saved) .*: (\S+)", printed)[1])
    assert round(float(BEST.search(printed)[1]), 4) == round(accuracy, 4) > least


@pytest.mark.nightly
def test_pareto_finds_small_and_accurate_networks(tmp_path):
    """The front has several networks within the limit, and the model is that of its trial."""
    printed = run("pareto.py", tmp_path)
    front = re.findall(r"^ +1 +(\d+) +(\S+) +(\S+) ", printed, re.MULTILINE)
    assert len(front) > 1
    assert all(float(size) <= 10_000 for _, _, size in front)
    chosen = re.search(r"^Trial (\d+): accuracy (\S+) with (\d+) parameters", printed, re.MULTILINE)
    values = {number: (float(accuracy), float(size)) for number, accuracy, size in front}
    accuracy, size = values[chosen[1]]
    assert (round(accuracy, 4), size) == (float(chosen[2]), float(chosen[3]))


def test_the_readme_fits_on_a_page():
    """It leads to guides for what takes longer to tell."""
    assert len(README.read_text().split()) <= 550


@pytest.mark.nightly
def test_shellcheck_accepts_the_sbatch_script(tmp_path):
    """The job for Slurm is a script without an error or a doubt."""
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if (shellcheck := shutil.which("shellcheck", path=beside)) is None:
        pytest.skip("shellcheck is not installed; .ci/nightly installs it")
    (job,) = blocks(CLUSTERS, "bash", "#!/bin/bash\n#SBATCH")
    (tmp_path / "search.sh").write_text(job)
    said([shellcheck, tmp_path / "search.sh"])


@pytest.mark.nightly
def test_the_manifest_is_that_of_a_job(tmp_path):
    """It has what the schema of Kubernetes asks for, and no field that the schema does not know."""
    pytest.importorskip("kubernetes_validate", reason="not installed; .ci/nightly installs it")
    (job,) = blocks(CLUSTERS, "yaml", "apiVersion: batch/v1")
    (tmp_path / "job.yaml").write_text(job)
    said([sys.executable, "-m", "kubernetes_validate", "--strict", tmp_path / "job.yaml"])

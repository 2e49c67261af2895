"""Tables, figures and the page, the page in a real browser."""

import ast
import html
import json
import math
import re
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import MissingExtraError, _report
from kerastune_optuna._report.figures import FIGURES
from kerastune_optuna._study import Card
from tests.support.faults import WATCHDOG
from tests.support.models import PruneAt
from tests.support.replays import Recorded, invented, replay
from tests.support.untrained import run, tuner_in

NASTY = "</script><script>alert('a')</script>"
SPACE = {
    "units": IntDistribution(1, 64),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    NASTY: CategoricalDistribution(["<b>bold</b>", "%{x}", "[red]"]),
}
PARAMS = {"units": 8, "rate": 0.01, NASTY: "<b>bold</b>"}


def by_hand(**options):
    """Return a trial as a user adds one, without the attrs of a training."""
    given = {"params": PARAMS, "distributions": SPACE}
    if options.get("state", TrialState.COMPLETE) is TrialState.COMPLETE:
        given["value"] = 0.5
    return create_trial(**{**given, **options})


def study_of(*trials, name=NASTY):
    study = optuna.create_study(study_name=name, direction="maximize")
    study.add_trials(trials)
    return study


ODD = {
    "no trial": [],
    "one trial": [by_hand()],
    "no parameters": [by_hand(params={}, distributions={})] * 5,
    "equal trials": [by_hand()] * 5,
    "other parameters": [by_hand(), by_hand(params={}, distributions={}, value=0.7)] * 3,
    "none complete": [by_hand(state=state) for state in (TrialState.FAIL, TrialState.RUNNING)],
    "only pruned": [by_hand(state=TrialState.PRUNED, intermediate_values={0: 0.1, 1: 0.3})],
    "no finite report": [by_hand(intermediate_values={0: math.nan, 1: math.inf, 2: 0.5})],
    "infinite value": [by_hand(value=math.inf), *[by_hand(value=0.1 * k) for k in range(5)]],
    "odd attrs": [by_hand(user_attrs={"seconds": "5", "best_epoch": None, "worker": NASTY})],
    "log of none": [by_hand(state=TrialState.FAIL), by_hand(params={}, distributions={})],
    "reasons": [by_hand(state=TrialState.FAIL, user_attrs={"stop_reason": NASTY})],
}


@pytest.fixture
def visit(browser):
    """Give a function that opens a page without a network; it returns a list of what went wrong."""
    contexts = []

    def open_page(path, width=1200):
        size = {"width": width, "height": 900}
        contexts.append(context := browser.new_context(viewport=size, offline=True))
        context.set_default_timeout(WATCHDOG * 1000)
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        page.evaluate("drawn")
        return page, said

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """Give a tuner that has searched five trials, the second of them pruned, without training."""
    folder, options = tmp_path_factory.mktemp("found"), {"n_trials": 5, "pruner": PruneAt([1])}
    return run(tuner_in(folder, objective="val_mae", **options))


@pytest.fixture(scope="module")
def study():
    """Give a study of 60 trials with curves, of which some were pruned and one failed."""
    return replay(60, Recorded().train)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return _report.write_page(study, tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.nightly
def test_the_page_needs_no_network_and_makes_no_error(visit, report):
    """A browser without a network shows all figures, and its console stays empty."""
    page, said = visit(report)
    assert page.locator(".chart").count() == 3 + 4
    assert page.locator(".chart .main-svg").first.is_visible()
    assert page.locator(".chart:not(:has(.main-svg))").count() == 0
    assert said == []


@pytest.mark.nightly
def test_the_table_sorts_by_a_click(visit, report, study):
    """A click on a heading sorts by numbers, a second one the other way, empty cells last."""
    page, _ = visit(report)

    def column(heading):
        place = page.locator("#trials th").all_inner_texts()
        at = [re.sub("[ ▲▼]+$", "", text) for text in place].index(heading)
        return page.locator(f"#trials tbody td:nth-child({at + 1})").all_inner_texts()

    numbers = [str(trial.number) for trial in study.trials]
    page.get_by_role("button", name="trial", exact=True).click()
    assert column("trial") == numbers
    page.get_by_role("button", name="trial").click()
    assert column("trial") == numbers[::-1]
    for _ in range(2):
        page.get_by_role("button", name="rank").click()
        ranks = column("rank")
        known = [int(rank) for rank in ranks if rank]
        assert set(ranks[len(known) :]) == {""}
        assert sorted(known) in (known, known[::-1])


@pytest.mark.nightly
def test_the_pointer_on_a_curve_names_its_trial(visit, report, study):
    """Plotly is given number, value and parameters of the trial of each point."""
    page, _ = visit(report)
    chart, best = "document.getElementById('curves')", study.best_trial
    told = page.evaluate(f"{chart}.data.flatMap((trace) => trace.hovertext || [])")
    (label,) = {one for one in told if one.startswith(f"<b>Trial {best.number}<")}
    assert f"COMPLETE: {best.value:.6g}" in label
    assert f"learning_rate={best.params['learning_rate']:.4g}" in label


@pytest.mark.nightly
def test_nothing_overflows_on_a_phone(visit, report):
    """At 375 pixels the page scrolls down only."""
    page, _ = visit(report, 375)
    assert page.evaluate("document.documentElement.scrollWidth") == 375


@pytest.mark.nightly
def test_figures_follow_the_color_scheme(visit, report):
    """In the dark the page's background is darker than the text of its figures."""
    page, _ = visit(report)
    for scheme in ("light", "dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            """(scheme) => {
                const light = (color) => {
                    const [red, green, blue] = color.match(/[0-9]+/g).map(Number);
                    return red + green + blue;
                };
                const text = document.querySelector("#curves .xtick text");
                const paper = getComputedStyle(document.body).backgroundColor;
                const contrast = light(getComputedStyle(text).fill) - light(paper);
                return scheme === "dark" ? contrast > 300 : contrast < -300;
            }""",
            arg=scheme,
        )


@pytest.mark.nightly
def test_any_study_has_a_page(visit, tmp_path):
    """Studies without values, attrs or parameters, or with HTML in names, show no error."""
    for name, trials in ODD.items():
        page, said = visit(_report.write_page(study_of(*trials), tmp_path / "report.html"))
        assert page.locator("h1").text_content() == NASTY, name
        assert page.locator("#trials tbody tr").count() == len(trials), name
        assert said == [], name


def test_each_figure_is_on_the_page(tmp_path):
    """The page has a place for each figure that is made, also for one that is added later."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    for size in range(5):
        given = {"values": [size, size], "params": {"size": size}, "intermediate_values": {0: size}}
        study.add_trial(create_trial(distributions={"size": IntDistribution(0, 9)}, **given))
    page = _report.write_page(study, tmp_path / "report.html").read_text()
    assert re.findall('data-chart="([a-z]+)"', page) == list(FIGURES)


def test_the_page_has_the_best_parameters(tmp_path):
    """As a dict of Python."""
    page = _report.write_page(study_of(by_hand(), by_hand(value=0.4)), tmp_path / "report.html")
    (shown,) = re.findall('<pre id="best">(.*?)</pre>', page.read_text(), re.DOTALL)
    assert ast.literal_eval(html.unescape(shown)) == PARAMS


@pytest.mark.parametrize("trials", ODD.values(), ids=ODD)
def test_any_study_has_tables_and_figures(trials):
    """Those studies have a summary and figures too."""
    study = study_of(*trials)
    for name in FIGURES.keys() - {"front"}:
        assert NASTY not in _report.plot(name, study).to_json()
    told = _report.summary(study, 3)
    assert (f"Trials: {len(trials)}" if trials else "No trial has begun") in told
    assert max(map(len, told.splitlines())) <= 80
    assert NASTY not in _report.summary_html(study, 3)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_metric_with_brackets_keeps_its_name():
    """In the heading of its column too, where rich would take them for markup."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.set_metric_names(["mae[red]", "loss"])
    study.add_trial(by_hand(value=None, values=[0.5, 0.5]))
    assert _report.summary(study, 1).count("mae[red]") == 2


@pytest.mark.slow
def test_a_large_study_fits_a_page(tmp_path):
    """A page of 1,000 trials of 50 epochs has at most 10 MB, and few traces."""
    by_chance, never = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    study = replay(1000, lambda trial: invented(trial, 50), by_chance, never)
    assert _report.write_page(study, tmp_path / "report.html").stat().st_size <= 10e6
    assert len(_report.plot("curves", study).data) < 10


def test_figures_name_their_trials(tuner):
    """The tuner's figures are plotly's, and each point of a curve names its trial."""
    labels = {label for trace in tuner.plot_curves().data for label in trace.hovertext or ()}
    assert {re.match("<b>Trial ([0-9]+)", label)[1] for label in labels} == set("01234")
    assert "PRUNED" in "".join(labels)
    best = [trace for trace in tuner.plot_history().data if trace.name == "best so far"]
    assert best[0].y[-1] == tuner.best_value
    assert set(tuner.plot_importance().data[0].y) == {"units", "level"}


def test_report_returns_its_path(tuner, tmp_path, monkeypatch):
    """report() writes report.html here, or where it is told to, and returns the path."""
    monkeypatch.chdir(tmp_path)
    assert tuner.report() == Path("report.html")
    assert tuner.report("new/folder/a.html") == Path("new/folder/a.html")
    for path in ("report.html", "new/folder/a.html"):
        assert "<title>test: val_mae<" in (tmp_path / path).read_text()


@pytest.mark.parametrize("ask", ["report", "plot_history", "plot_curves", "plot_importance"])
def test_a_missing_package_names_its_extra(make_tuner, monkeypatch, ask):
    """Without plotly there is one error, which says what to install."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    tuner = make_tuner()
    assert tuner.study.trials == []
    with pytest.raises(MissingExtraError, match=r'plotly.*"kerastune_optuna\[plots\]"'):
        getattr(tuner, ask)()


def test_summary_says_what_pruning_saved(tuner, capsys):
    """Epochs that pruned trials did not run are counted, for the epochs of the latest search."""
    tuner.summary()
    assert "Epochs: 21 run, 4 saved by pruning (16%)" in capsys.readouterr().out
    assert Card.latest(tuner.study).epochs_in_all == 5


def test_summary_fits_80_columns(study):
    """No line is longer, parameters are folded between two, and what has no rank comes last."""
    listed = _report.summary(study, 60)
    assert max(map(len, listed.splitlines())) <= 80
    assert f"learning_rate={study.best_trial.params['learning_rate']:.4g}" in listed.split()
    places = [listed.index(f" {state} \n") for state in ("COMPLETE", "PRUNED  ", "FAIL    ")]
    assert places == sorted(places)


def test_a_notebook_shows_the_best_trials(tuner):
    """The tuner's HTML is a table of its trials, also where another tuner has searched them."""
    other = tuner_in(tuner.directory, objective="val_mae")
    for shown in (tuner._repr_html_(), other._repr_html_()):
        assert shown.count("units=") == 5
        assert f"{tuner.best_value:.6g}" in shown


def test_a_notebook_makes_no_study(make_tuner, tmp_path):
    """Showing a tuner that has not searched is a short line, and makes no file."""
    tuner = make_tuner()
    assert "call search()" in tuner._repr_html_()
    assert list(tmp_path.iterdir()) == []
    make_tuner(study_name="other").study.get_trials()
    assert "call search()" in tuner._repr_html_()
    assert len(optuna.get_all_study_names(tuner._home.storage)) == 1


@pytest.fixture
def mostly_pruned():
    """Give a study whose rate decides which trials are pruned, and whose units decide the rest."""
    trials, space = [], {name: SPACE[name] for name in ("units", "rate")}
    for number in range(60):
        is_good = number % 3 == 0
        size = 1 + 37 * number % 64
        rate = 10.0 ** (-1.2 - (number % 7) / 20 if is_good else -2 - (number % 10) / 5)
        value = 0.9 + size / 1e4 if is_good else 0.2
        ended = {"value": value} if is_good else {"intermediate_values": {0: 0.1, 1: value}}
        own = {"params": {"units": size, "rate": rate}, "distributions": space}
        state = TrialState.COMPLETE if is_good else TrialState.PRUNED
        trials.append(by_hand(state=state, **own, **ended))
    return study_of(*trials, name="pruned")


def test_importance_counts_pruned_trials(mostly_pruned):
    """COMPLETE trials alone cannot tell what decides which trials are pruned."""
    alone = optuna.importance.get_param_importances(mostly_pruned)
    assert alone["units"] > alone["rate"]
    (bars,) = _report.plot("importance", mostly_pruned).data
    told = dict(zip(bars.y, bars.x, strict=True))
    assert told["rate"] > 2 * told["units"]


def test_the_page_shows_the_most_important_parameter_first(mostly_pruned, tmp_path):
    """The order of its slices counts PRUNED trials too, and is not that of the study."""
    page = _report.write_page(mostly_pruned, tmp_path / "report.html").read_text()
    charts = dict(re.findall(r'data-chart="([a-z0-9-]+)">(.*?)</script>', page))
    layouts = {name: json.loads(chart)["layout"] for name, chart in charts.items()}
    slices = [layout["xaxis"]["title"] for name, layout in layouts.items() if "slice" in name]
    assert [title["text"] for title in slices] == ["rate", "units"]


def test_summary_tells_the_time():
    """That of all trainings is in a line of its own, and that of each in its row."""
    trials = [by_hand(user_attrs={"seconds": seconds}) for seconds in (31.25, 32.0)]
    told = _report.summary(study_of(*trials, name="timed"), 1)
    assert "Training time: 1 min 03 s" in told
    assert " 31.2 " in told

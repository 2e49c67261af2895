"""What people see of a search, while it runs or later."""

from kerastune_optuna._report import dashboard
from kerastune_optuna._report.dashboard import Dashboard, show
from kerastune_optuna._report.display import Plan
from kerastune_optuna._report.live import progress_for
from kerastune_optuna._report.plots import (
    best,
    card,
    line,
    params,
    plot_curves,
    plot_front,
    plot_history,
    plot_importance,
    status,
    write_page,
)
from kerastune_optuna._report.progress import Progress
from kerastune_optuna._report.summary import summary, summary_html
from kerastune_optuna._report.table import results
from kerastune_optuna._report.text import short

__all__ = [
    "Dashboard",
    "Plan",
    "Progress",
    "best",
    "card",
    "dashboard",
    "line",
    "params",
    "plot_curves",
    "plot_front",
    "plot_history",
    "plot_importance",
    "progress_for",
    "results",
    "short",
    "show",
    "status",
    "summary",
    "summary_html",
    "write_page",
]

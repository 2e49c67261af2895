"""The figures of a tuner's study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from kerastune_optuna import _report

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go


class Plots(ABC):
    """Draw the study that a tuner has."""

    @property
    @abstractmethod
    def _existing(self) -> optuna.Study:
        """The study that is drawn."""

    def plot_history(self) -> go.Figure:
        """Return a plotly figure of all values and of the best one so far.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot_history(self._existing)

    def plot_front(self) -> go.Figure:
        """Return a plotly figure of the first two objectives and the front between them.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            ArgumentError: The study has one objective.
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot_front(self._existing)

    def plot_curves(self) -> go.Figure:
        """Return a plotly figure of the learning curves of all trials and their median.

        Returns:
            A plotly.graph_objects.Figure.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot_curves(self._existing)

    def plot_importance(self) -> go.Figure:
        """Return a plotly figure of how much each parameter mattered, by PED-ANOVA.

        Returns:
            A plotly.graph_objects.Figure; without bars where too few trials are COMPLETE.

        Raises:
            MissingExtraError: `pip install "kerastune_optuna[plots]"` is needed.
        """
        return _report.plot_importance(self._existing)

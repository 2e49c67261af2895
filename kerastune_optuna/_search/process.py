"""A Gaussian process on NumPy and SciPy alone, and how much it expects a point to improve."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import erfcx, log_ndtr, ndtr

Floats = NDArray[np.float64]

_LEAST = 1e-12  # the least variance, since rounding may leave one below 0
_JITTER = 1e-8  # added to the noise, so that rounding breaks no equation where points are equal
_FIT_STEPS = 40  # the most steps of the fit of lengths, amplitude and noise
_CLIMB_STEPS = 60  # the most steps of a climb to better points
_OUTCOMES = 32  # values that are drawn for each point that is still being tried
_CLOSE = 1e-4  # a fit or a climb ends with a step that improves its value by a smaller share
_ROOT_2PI = math.sqrt(2 * math.pi)


class Process:
    """Predict values at points from tried ones: a Gaussian process with Matérn's kernel 5/2.

    Each group of coordinates has a length of its own. The logs of the inverse squared lengths, of
    the amplitude and of the noise are fitted to the likelihood, with the penalties of Optuna's
    GPSampler. See Rasmussen and Williams, Gaussian Processes for Machine Learning (2006).

    Args:
        points: The tried points, one a row.
        values: The value of each point, scaled to mean 0 and deviation 1; more is better.
        groups: The number of each coordinate's group.
        doubts: How far each value may be off (a deviation), in addition to the noise of all.
    """

    def __init__(
        self, points: Floats, values: Floats, groups: NDArray[np.int64], doubts: Floats
    ) -> None:
        self.points, self._groups, self._variances = points, groups, doubts**2
        self.outcomes = values[:, None]  # one column; `suppose` makes it several
        n_groups = groups.max() + 1
        found = minimize(
            self._loss,
            np.array([*[0.0] * n_groups, 0.0, math.log(1e-2)]),
            (values, self._gaps()),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-9, 9)] * n_groups + [(-6, 6), (math.log(1e-6), 3)],
            options={"maxiter": _FIT_STEPS, "ftol": _CLOSE},
        )
        self.theta: Floats = found.x

    def _gaps(self) -> Floats:
        """Return the squared distances of all pairs of points in each group."""
        squares = (self.points[:, None] - self.points) ** 2
        gaps = np.zeros((*squares.shape[:2], self._groups.max() + 1))
        for column, group in enumerate(self._groups):
            gaps[..., group] += squares[..., column]
        return gaps

    def _loss(self, theta: Floats, values: Floats, gaps: Floats) -> tuple[float, Floats]:
        """Return minus the logarithm of the penalised likelihood, and its gradient."""
        weights, amplitude, noise = np.exp(theta[:-2]), math.exp(theta[-2]), math.exp(theta[-1])
        kernel, slope = _matern(gaps @ weights, amplitude)
        root, _ = dpotrf(kernel + np.diag(noise + _JITTER + self._variances), lower=True)
        half, _ = dpotri(root, lower=True)
        inverse = half + np.tril(half, -1).T
        alpha = inverse @ values
        pull = (inverse - np.outer(alpha, alpha)) / 2
        loss = values @ alpha / 2 + np.log(np.diag(root)).sum()
        loss += 0.1 * (1 / weights + weights).sum() - theta[-2] + amplitude
        loss += 30 * noise - 0.1 * theta[-1]
        by_weights = np.tensordot(pull * slope, gaps, axes=2) * weights
        by_weights += 0.1 * (weights - 1 / weights)
        by_amplitude = (pull * kernel).sum() - 1 + amplitude
        by_noise = np.trace(pull) * noise + 30 * noise - 0.1
        return float(loss), np.array([*by_weights, by_amplitude, by_noise])

    @property
    def _weights(self) -> Floats:
        """The inverse squared length of each coordinate."""
        return np.exp(self.theta[:-2])[self._groups]

    def _covariances(self, points: Floats, others: Floats) -> tuple[Floats, Floats]:
        """Return the covariances of points with others, and their derivatives by squared distance.

        Both have a row for each point, and a column for each of the others.
        """
        scale = np.sqrt(self._weights)
        squares = cdist(points * scale, others * scale, "sqeuclidean")
        return _matern(squares, math.exp(self.theta[-2]))

    @cached_property
    def _solved(self) -> tuple[Floats, Floats, Floats]:
        """What all predictions use, computed once, since each step of a climb needs it.

        The first matrix makes covariances with the tried points independent. The second one, the
        weights, turns them into expected values. The last is the best value. The weights and the
        best value have a column for each outcome.
        """
        kernel, _ = self._covariances(self.points, self.points)
        noise = math.exp(self.theta[-1]) + _JITTER
        root = cholesky(kernel + np.diag(noise + self._variances), lower=True)
        whitener, _ = dtrtri(root, lower=True)
        alpha = whitener.T @ (whitener @ self.outcomes)
        return whitener.T, alpha, self.outcomes.max(axis=0)

    def suppose(self, points: Floats, rng: np.random.Generator) -> None:
        """Draw several values for points that are being tried, which have none yet.

        See Snoek, Larochelle and Adams, Practical Bayesian Optimization (2012).
        """
        kernel, _ = self._covariances(points, self.points)
        mean, _, white = self._expected(kernel)
        among, _ = self._covariances(points, points)
        off = rng.multivariate_normal(  # "eigh", since points may be equal
            np.zeros(len(points)), among - white @ white.T, _OUTCOMES, "ignore", method="eigh"
        )
        self.points = np.concatenate([self.points, points])
        self._variances = np.concatenate([self._variances, np.zeros(len(points))])
        self.outcomes = np.vstack([np.tile(self.outcomes, _OUTCOMES), mean + off.T])
        del self._solved

    def _expected(self, kernel: Floats) -> tuple[Floats, Floats, Floats]:
        """Predict the values of points from their covariances with the tried points.

        Returns:
            The expected value for each outcome, the standard deviation, and the covariances, made
            independent.
        """
        whitener, alpha, _ = self._solved
        white = kernel @ whitener
        variance = math.exp(self.theta[-2]) - np.einsum("ij,ij->i", white, white)
        return kernel @ alpha, np.sqrt(np.maximum(variance, _LEAST))[:, None], white

    def gains(self, points: Floats) -> Floats:
        """Return the logarithm of the expected improvement over the best value at points."""
        kernel, _ = self._covariances(points, self.points)
        mean, deviation, _ = self._expected(kernel)
        return _mean(log_improvement(mean, deviation, self._solved[2]))[:, 0]

    def climbed(self, points: Floats, moves: NDArray[np.bool_]) -> Floats:
        """Return points, moved to where the expected gain is larger.

        Args:
            points: Where to begin.
            moves: Which coordinates of each point may change; they stay in [0, 1].
        """
        if not moves.any():
            return points
        found = minimize(
            self._cost,
            points[moves],
            (points, moves),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * int(moves.sum()),
            options={"maxiter": _CLIMB_STEPS, "ftol": _CLOSE},
        )
        return _moved(points, moves, found.x)

    def _cost(
        self, numbers: Floats, points: Floats, moves: NDArray[np.bool_]
    ) -> tuple[float, Floats]:
        """Return minus the sum of the gains of all points, and its gradient."""
        whitener, alpha, best = self._solved
        points = _moved(points, moves, numbers)
        kernel, slope = self._covariances(points, self.points)
        mean, deviation, white = self._expected(kernel)
        z = (mean - best) / deviation
        gain = _mean(log_improvement(mean, deviation, best))
        # The derivatives of the improvement by mean and deviation are Φ(z) and φ(z).
        by_mean = np.exp(np.minimum(log_ndtr(z) - gain, 50)) / z.shape[1]
        by_deviation = np.exp(np.minimum(-z * z / 2 - gain, 50)).mean(axis=1, keepdims=True)
        by_deviation /= deviation * _ROOT_2PI
        pull = slope * (by_mean @ alpha.T - by_deviation * (white @ whitener.T))
        moved = pull.sum(axis=1, keepdims=True) * points - pull @ self.points
        return -float(gain.sum()), -(2 * moved * self._weights)[moves]


def _matern(squares: Floats, amplitude: float) -> tuple[Floats, Floats]:
    """Return the covariances at squared distances, and their derivatives by that distance."""
    far = np.sqrt(5 * squares)
    decay = amplitude * np.exp(-far)
    near = (far + 1) * decay
    return near + 5 / 3 * squares * decay, -5 / 6 * near


def _mean(logarithms: Floats) -> Floats:
    """Return the logarithm of the mean of each row, whose values are given as logarithms."""
    total = np.logaddexp.reduce(logarithms, axis=1, keepdims=True)
    return np.asarray(total - math.log(logarithms.shape[1]))


def _moved(points: Floats, moves: NDArray[np.bool_], numbers: Floats) -> Floats:
    moved = points.copy()
    moved[moves] = numbers
    return moved


def log_improvement(mean: Floats, deviation: Floats, best: float | Floats) -> Floats:
    """Return the logarithm of the expected improvement, also where it is tiny.

    See Ament and others, Unexpected Improvements to Expected Improvement (2023).
    """
    z = (mean - best) / deviation
    near, gain = z > -1, np.empty_like(z)
    gain[near] = np.log(np.exp(-(z[near] ** 2) / 2) / _ROOT_2PI + z[near] * ndtr(z[near]))
    far = -z[~near]
    # 1 - far * Mills' ratio cancels out where far is large: there it is 1 / far².
    rest = 1 - far * math.sqrt(math.pi / 2) * erfcx(far / math.sqrt(2))
    rest = np.where(far < 1e3, rest, np.maximum(far, 1) ** -2.0)
    gain[~near] = -(far**2) / 2 - math.log(_ROOT_2PI) + np.log(np.maximum(rest, 1e-300))
    return gain + np.log(deviation)

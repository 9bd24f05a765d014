"""Makes server/tests/golden/contest.json: intervals of contests and ladders, computed without Laurel.

    python tests/parity/contest.py > server/tests/golden/contest.json

Intervals: the betting confidence sequence with a mixture over constant bets, observation by observation with numpy, its
bounds by scipy's brentq. Ladders: the penalised Bradley-Terry likelihood at its top by scipy's BFGS, its standard errors from the
numerical Hessian; and statsmodels' logistic regression without the penalty, for many games.
Needs numpy, scipy and statsmodels (requirements.txt).
"""

import json
import sys

import numpy as np
import statsmodels.api as sm
from scipy.optimize import approx_fprime, brentq, minimize

BETS = (np.arange(128) + 0.5) / 128


np.seterr(over="ignore")


def capital(scores, mean):
    """The mixture's capital against `mean`, bets on larger values."""
    capitals = np.ones_like(BETS)
    for score in scores:
        capitals = capitals * (1 + BETS * (score - mean) / mean)
    return capitals.mean()


def lower(scores, alpha):
    def over(mean):
        return np.log(capital(scores, mean)) - np.log(2 / alpha)

    if not scores or over(1e-9) < 0:
        return 0.0
    return brentq(over, 1e-9, 1 - 1e-12, xtol=1e-13)


def interval(scores, alpha):
    return [lower(scores, alpha), 1 - lower([1 - score for score in scores], alpha)]


def intervals(rng):
    cases = []
    for n, rate, votes, alpha in [(1, 0.5, 1, 0.05), (12, 0.6, 1, 0.05), (60, 0.7, 3, 0.05), (150, 0.65, 1, 0.01),
                                  (200, 0.5, 2, 0.1), (30, 1.0, 1, 0.05), (90, 0.35, 5, 0.05)]:
        said = rng.choice([1.0, 0.5, 0.0], p=[rate * 0.8, 0.2, 0.8 - rate * 0.8], size=(n, votes))
        scores = [float(row.sum() / votes) for row in said]
        cases.append({"scores": scores, "alpha": alpha, "interval": interval(scores, alpha)})
    return cases


def ladder(games, n):
    """games: (first, second, wins of the first, ties, wins of the second). A tie is half a win of each, and each contender has
    one game against strength 1, half won."""

    def loss(logs):
        total = 0.0
        for first, second, wins, ties, losses in games:
            won, played = wins + ties / 2, wins + ties + losses
            difference = logs[first] - logs[second]
            total += won * difference - played * np.logaddexp(0, difference)
        total += sum(log / 2 - np.logaddexp(0, log) for log in logs)
        return -total

    def slope(logs):
        slopes = np.array([-0.5 + 1 / (1 + np.exp(-log)) for log in logs])
        for first, second, wins, ties, losses in games:
            won, played = wins + ties / 2, wins + ties + losses
            expected = played / (1 + np.exp(logs[second] - logs[first]))
            slopes[first] -= won - expected
            slopes[second] += won - expected
        return slopes

    found = minimize(loss, np.zeros(n), jac=slope, method="BFGS", options={"gtol": 1e-10})
    hessian = np.array([approx_fprime(found.x, lambda logs, at=at: slope(logs)[at], 1e-6) for at in range(n)])
    centring = np.eye(n) - np.ones((n, n)) / n
    covariance = centring @ np.linalg.inv(hessian) @ centring.T
    points = 1000 + 400 / np.log(10) * (found.x - found.x.mean())
    return points.tolist(), (400 / np.log(10) * np.sqrt(np.diag(covariance))).tolist()


def logit(games, n):
    """Differences to contender 0 in points, by logistic regression without the prior; ties left out of such games."""
    rows, won, lost = [], [], []
    for first, second, wins, ties, losses in games:
        assert ties == 0
        row = np.zeros(n)
        row[first], row[second] = 1, -1
        rows.append(row[1:])
        won.append(wins)
        lost.append(losses)
    fit = sm.GLM(np.column_stack([won, lost]), np.array(rows), family=sm.families.Binomial()).fit()
    return (400 / np.log(10) * fit.params).tolist(), (400 / np.log(10) * fit.bse).tolist()


def ladders():
    small = [(0, 1, 12, 3, 5), (1, 2, 9, 0, 11), (0, 2, 4, 2, 1), (2, 3, 6, 1, 0)]
    points, errors = ladder(small, 4)
    many = [(0, 1, 52000, 0, 48000), (1, 2, 70000, 0, 30000), (0, 2, 71000, 0, 29000), (2, 3, 20000, 0, 80000)]
    differences, difference_errors = logit(many, 4)
    return {
        "small": {"games": small, "points": points, "errors": errors},
        "many": {"games": many, "differences": differences, "errors": difference_errors},
    }


if __name__ == "__main__":
    json.dump({"intervals": intervals(np.random.default_rng(5)), "ladders": ladders()}, sys.stdout)
    print()

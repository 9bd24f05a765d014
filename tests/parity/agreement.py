"""Figures of agreement from the libraries that people use for them, for server/tests/agreement.rs.

usage: agreement.py > server/tests/golden/agreement.json
(needs scikit-learn, statsmodels, krippendorff and scipy; some seconds)

Data are drawn at random with a truth behind them, so that people agree in part; a third of the answers is missing, and
the rankings have ties. Missing answers are null. The intervals are percentiles of 20000 resamples of the rows.
"""

import itertools
import json

import krippendorff
import numpy as np
from scipy.stats import kendalltau
from sklearn.metrics import accuracy_score, cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

LEVELS = ["nominal", "ordinal", "interval"]
random = np.random.default_rng(5)


def draw(n_items, n_people, n_values, careful, missing):
    """People who give the true value with probability `careful`, else a near or any value; -1 is missing."""
    truth = random.integers(0, n_values, n_items)
    near = np.clip(truth[:, None] + random.integers(-1, 2, (n_items, n_people)), 0, n_values - 1)
    table = np.where(random.random((n_items, n_people)) < careful, truth[:, None], near)
    return np.where(random.random((n_items, n_people)) < missing, -1, table)


def alphas(table):
    """Alpha at each level; krippendorff wants people in rows and NaN for what is missing."""
    data = np.where(table < 0, np.nan, table.astype(float)).T
    domain = sorted(set(table[table >= 0].tolist()))
    return {level: krippendorff.alpha(data, value_domain=domain, level_of_measurement=level) for level in LEVELS}


def percent(table):
    """Pairs of people who gave the same value, over all rows: sklearn's accuracy of each pair, weighted."""
    same = pairs = 0
    for a, b in itertools.combinations(range(table.shape[1]), 2):
        both = table[(table[:, a] >= 0) & (table[:, b] >= 0)]
        if len(both):
            same += accuracy_score(both[:, a], both[:, b], normalize=False)
            pairs += len(both)
    return same / pairs


def cohen(table, a=0, b=1):
    both = table[(table[:, a] >= 0) & (table[:, b] >= 0)]
    return cohen_kappa_score(both[:, a], both[:, b])


def fleiss(table, n):
    """Over the rows that exactly n people judged, as statsmodels wants it."""
    rows = [row[row >= 0] for row in table]
    counts, _ = aggregate_raters(np.array([row for row in rows if len(row) == n]))
    return fleiss_kappa(counts)


def mean_tau(rankings):
    taus = [
        kendalltau(a, b, variant="b").statistic
        for task in rankings
        for a, b in itertools.combinations([ranks for ranks in task if ranks is not None], 2)
    ]
    return float(np.nanmean(taus))


def interval(rows, statistic, n_resamples=20000):
    n = len(rows)
    values = [statistic([rows[at] for at in random.integers(0, n, n)]) for _ in range(n_resamples)]
    return np.quantile(values, [0.025, 0.975]).tolist()


def quick_percent(rows):
    pairs = sum(pairs for pairs, _ in rows)
    return sum(same for _, same in rows) / pairs


def pairs_of(row):
    given = row[row >= 0]
    pairs = list(itertools.combinations(given.tolist(), 2))
    return len(pairs), sum(a == b for a, b in pairs)


def ranking(k, truth, noise):
    """Dense ranks with ties."""
    rounded = np.round(truth + noise * random.normal(size=k), 0)
    return (np.unique(rounded, return_inverse=True)[1] + 1).tolist()


def listed(table):
    return [[None if value < 0 else int(value) for value in row] for row in table.tolist()]


def table_case(name, table):
    raters = [int((row >= 0).sum()) for row in table]
    usual = max((n for n in set(raters) if n > 1), key=lambda n: (raters.count(n), n))
    shared = [pairs_of(row) for row in table]
    return {
        "name": name,
        "table": listed(table),
        "percent": percent(table),
        "percent_interval": interval(shared, quick_percent),
        "fleiss": {"n_raters": usual, "kappa": float(fleiss(table, usual))},
        "cohen": float(cohen(table)),
        "alpha": alphas(table),
    }


def rank_case():
    tasks = []
    for _ in range(30):
        k = int(random.integers(3, 9))
        truth = random.normal(size=k) * 1.5
        people = [ranking(k, truth, 1.0) if random.random() > 0.3 else None for _ in range(4)]
        tasks.append(people)
    pairs = [
        [a, b, float(kendalltau(a, b, variant="b").statistic)]
        for task in tasks
        for a, b in itertools.combinations([ranks for ranks in task if ranks is not None], 2)
    ]
    defined = [pair for pair in pairs if not np.isnan(pair[2])]
    return {"tasks": tasks, "pairs": defined, "mean": mean_tau(tasks)}


def main():
    wilson = [
        [n, of, *(float(bound) for bound in proportion_confint(n, of, method="wilson"))]
        for n, of in [(0, 10), (3, 7), (50, 100), (999, 1000), (12, 12)]
    ]
    out = {
        "tables": [
            table_case("picks of four values by three people", draw(80, 3, 4, 0.6, 0.35)),
            table_case("ratings of seven steps by five people", draw(60, 5, 7, 0.4, 0.3)),
            table_case("two values by two people, few missing", draw(40, 2, 2, 0.5, 0.1)),
        ],
        "ranks": rank_case(),
        "wilson": wilson,
    }
    print(json.dumps(out, indent=None))


if __name__ == "__main__":
    main()

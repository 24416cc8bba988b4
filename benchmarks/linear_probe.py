"""A linear probe on 50,000 x 1280 features: ours beside scikit-learn's LogisticRegression.

    python -m benchmarks.linear_probe [--samples 50000] [--classes 10] [--sweep]

The features are drawn from one seed, as those of a network look: a spectrum that falls as a power,
class means within it, and noise, never negative; a tenth of the samples is kept for the accuracy.
scikit-learn is run with its defaults (which stop after 100 iterations), and until it has converged
on standardised features, as its documentation advises: once with its default C, and once with the
best of five by its own search on a held-out fifth. Then the head of `polymodal probe`, of 25
strengths. With --sweep also the recipe `linear_probe`. One thread; CPU seconds are the process's.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.tables import conditions, markdown
from polymodal.tasks.linear import fit_linear
from polymodal.tasks.logistic import fit_logistic
from polymodal.training.probe_recipe import linear_probe

WIDTH = 1280
Features = NDArray[np.float32]
Classes = NDArray[np.int64]


def features(samples: int, classes: int, noise: float) -> tuple[Features, Classes]:
    """Features (N, 1280), never negative and of unequal variance as pooled activations are."""
    random = np.random.default_rng(0)
    spectrum = (1 + np.arange(WIDTH)) ** -0.5
    mix = random.normal(size=(WIDTH, WIDTH)).astype(np.float32) / np.sqrt(WIDTH)
    means = random.normal(size=(classes, WIDTH)) * spectrum
    owner = random.integers(classes, size=samples)
    drawn = (means[owner] + noise * random.normal(size=(samples, WIDTH)) * spectrum) @ mix
    return np.maximum(drawn, 0).astype(np.float32), owner


Fit = Callable[[Features, Classes, Features, int], Classes]
"""From samples, their classes, and others to those others' classes; and how many classes."""


def plain(x: Features, owner: Classes, asked: Features, classes: int) -> Classes:
    """scikit-learn with its defaults."""
    predicted: Classes = LogisticRegression().fit(x, owner).predict(asked)
    return predicted


def standardised(x: Features, owner: Classes, asked: Features, classes: int) -> Classes:
    """scikit-learn as its documentation advises."""
    whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    predicted: Classes = whole.fit(x, owner).predict(asked)
    return predicted


def searched(x: Features, owner: Classes, asked: Features, classes: int) -> Classes:
    """The same, with scikit-learn's search for C."""
    folds = PredefinedSplit(np.where(np.arange(len(x)) % 5 == 0, 0, -1))
    whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    strengths = {"logisticregression__C": np.logspace(-4, 0, 5)}
    search = GridSearchCV(whole, strengths, cv=folds).fit(x, owner)
    print(f"the search chose {search.best_params_}")
    predicted: Classes = search.predict(asked)
    return predicted


def closed(x: Features, owner: Classes, asked: Features, classes: int) -> Classes:
    """Ours, in closed form."""
    predicted: Classes = fit_linear(x[:, None], owner, classes).predict(asked).argmax(1)
    return predicted


def recipe(x: Features, owner: Classes, asked: Features, classes: int) -> Classes:
    """Ours, by the protocol of CLIP's paper."""
    head = fit_logistic(x, owner, classes, linear_probe())
    print(f"the recipe chose C = {head.strength:.3g}")
    predicted: Classes = (asked @ head.weights_FC + head.bias_C).argmax(1)
    return predicted


SIDES: dict[str, Fit] = {
    "scikit-learn, LogisticRegression": plain,
    "the same, standardised, converged": standardised,
    "the same, the best C of five": searched,
    "`polymodal probe` (25 strengths tried)": closed,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--noise", type=float, default=6.0, help="of a sample, in class distances")
    parser.add_argument("--sweep", action="store_true", help="the recipe too (minutes)")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    threadpool_limits(1)
    count = given.samples
    x, owner = features(count + count // 10, given.classes, given.noise)
    sides = SIDES | ({"`polymodal probe --recipe linear_probe`": recipe} if given.sweep else {})
    rows = []
    for name, fit in sides.items():
        began, worked = time.perf_counter(), time.process_time()
        predicted = fit(x[:count], owner[:count], x[count:], given.classes)
        spent, work = time.perf_counter() - began, time.process_time() - worked
        accuracy = 100 * float((predicted == owner[count:]).mean())
        rows.append((name, f"{spent:.1f}", f"{work:.1f}", f"{accuracy:.1f}"))
        print(f"{name}: {spent:.1f} s, {accuracy:.2f} %", flush=True)
    print(f"\n{count:,} x {WIDTH} features, {given.classes} classes; {count // 10:,} asked")
    print(markdown(["head", "fit and predict, s", "CPU, s", "accuracy, %"], rows))
    print(conditions("scikit-learn", "numpy"))


if __name__ == "__main__":
    main()

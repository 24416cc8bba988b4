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
from typing import Any

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
    learnt, asked = (x[:count], owner[:count]), (x[count:], owner[count:])

    def plain(scaled: bool) -> Callable[[], NDArray[np.int64]]:
        def run() -> NDArray[np.int64]:
            whole: Any = LogisticRegression()
            if scaled:
                whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            predicted: NDArray[np.int64] = whole.fit(*learnt).predict(asked[0])
            return predicted

        return run

    def closed() -> NDArray[np.int64]:
        head = fit_linear(learnt[0][:, None], learnt[1], given.classes)
        predicted: NDArray[np.int64] = head.predict(asked[0]).argmax(1)
        return predicted

    def searched() -> NDArray[np.int64]:
        folds = PredefinedSplit(np.where(np.arange(count) % 5 == 0, 0, -1))
        whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        strengths = {"logisticregression__C": np.logspace(-4, 0, 5)}
        search = GridSearchCV(whole, strengths, cv=folds).fit(*learnt)
        print(f"the search chose {search.best_params_}")
        predicted: NDArray[np.int64] = search.predict(asked[0])
        return predicted

    def recipe() -> NDArray[np.int64]:
        head = fit_logistic(*learnt, given.classes, linear_probe())
        print(f"the recipe chose C = {head.strength:.3g}")
        predicted: NDArray[np.int64] = (asked[0] @ head.weights_FC + head.bias_C).argmax(1)
        return predicted

    sides: list[tuple[str, Callable[[], NDArray[np.int64]]]] = [
        ("scikit-learn, LogisticRegression", plain(False)),
        ("the same, standardised, converged", plain(True)),
        ("the same, the best C of five", searched),
        ("`polymodal probe` (25 strengths tried)", closed),
    ]
    if given.sweep:
        sides.append(("`polymodal probe --recipe linear_probe`", recipe))
    rows = []
    for name, run in sides:
        began, worked = time.perf_counter(), time.process_time()
        predicted = run()
        spent, work = time.perf_counter() - began, time.process_time() - worked
        accuracy = 100 * float((predicted == asked[1]).mean())
        rows.append((name, f"{spent:.1f}", f"{work:.1f}", f"{accuracy:.1f}"))
        print(f"{name}: {spent:.1f} s, {accuracy:.2f} %", flush=True)
    print(f"\n{count:,} x {WIDTH} features, {given.classes} classes; {count // 10:,} asked")
    print(markdown(["head", "fit and predict, s", "CPU, s", "accuracy, %"], rows))
    print(conditions("scikit-learn", "numpy"))


if __name__ == "__main__":
    main()

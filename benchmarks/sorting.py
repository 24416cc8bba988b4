"""How well pictures are sorted: zero-shot, few-shot, and whether the probabilities can be believed.

    python -m benchmarks.sorting --data ../shared/data

Everything goes through `Suite`, with the default prompts, as a user would call it. The clothing
photographs never train anything here but the probe, and the probe only sees their training split.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import polymodal as pm
from benchmarks.moderation import PERSON
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.protocols import FeatureExtractor
from polymodal.runtime.pictures import load_pixels
from recipes.starter.data import CLOTHING_WORDINGS

SHOTS = 50
DOG = re.compile(r"\b(dogs?|pupp(y|ies))\b")


class Remembering:
    """The model, with the image vectors it gave: one photograph is asked about many times here."""

    def __init__(self, model: pm.Embedder) -> None:
        self._model = model
        self._vectors: dict[bytes, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_images(self, batch: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        keys = [hashlib.sha256(pixels.tobytes()).digest() for pixels in batch]
        new = [place for place, key in enumerate(keys) if key not in self._vectors]
        vectors = self._model.embed_images([batch[place] for place in new])
        self._vectors.update(zip([keys[place] for place in new], vectors, strict=True))
        return np.stack([self._vectors[key] for key in keys])


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins (Guo et al., 2017)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return float(sum(gaps))


def folder_of_classes(folder: Path) -> dict[str, list[Path]]:
    """Class name to its pictures."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return {entry.name: sorted(entry.iterdir()) for entry in classes}


def classified(results: Sequence[pm.Classification | pm.ItemError]) -> list[pm.Classification]:
    """The results, none of which may have failed."""
    good = [result for result in results if isinstance(result, pm.Classification)]
    assert len(good) == len(results)
    return good


def zero_shot(suite: pm.Suite, classes: dict[str, list[Path]]) -> None:
    """Accuracy for three wordings of the ten classes."""
    paths = [path for each in classes.values() for path in each]
    truth = [name for name, each in classes.items() for _ in each]
    for wording, words in CLOTHING_WORDINGS.items():
        labels = {name: words[name] for name in classes}
        results = classified(suite.classify(paths, labels))
        right = np.array([r.label == name for r, name in zip(results, truth, strict=True)])
        sure = np.array([r.score for r in results])
        error = expected_calibration_error(sure, right)
        print(f"zero-shot, {wording:11} words {right.mean():6.1%}   calibration error {error:.3f}")
        for name in classes if wording == "folder" else ():
            mine = [r for r, actual in zip(results, truth, strict=True) if actual == name]
            said = {label: sum(r.label == label for r in mine) for label in classes}
            top = sorted(said.items(), key=lambda item: -item[1])[:3]
            print(f"    {name:12}", "  ".join(f"{label} {count}" for label, count in top if count))


def unknown(suite: pm.Suite, classes: dict[str, list[Path]], others: list[Path]) -> None:
    """Can clothes be told from scenes by the scores that `unknown` uses?"""
    labels = [CLOTHING_WORDINGS["natural"][name] for name in classes]
    inside = [path for each in classes.values() for path in each][::2]
    scores = [
        result.score
        for result in classified(suite.classify([*inside, *others], labels, unknown=0.0))
    ]
    belongs = np.arange(len(scores)) < len(inside)
    print(f"none of these: AUC {roc_auc_score(belongs, scores):.3f} (clothes against scenes)")
    for bar in (0.1, 0.2, 0.3, 0.5):
        kept = np.array(scores) >= bar
        print(
            f"    --unknown {bar}: keeps {kept[belongs].mean():.0%} of the clothes and"
            f" {kept[~belongs].mean():.0%} of the scenes"
        )


def people(suite: pm.Suite, data: Path, rows: list[dict[str, Any]]) -> None:
    """Is a person called one? ImageNet has no such class, and captions say man, woman, child."""
    labels = ["a dog", "a cat", "a horse", "a bird", "a person"]
    named = {
        label: [
            data / "flickr8k" / row["image"]
            for row in rows
            if all(words.search(caption.lower()) for caption in row["captions"])
            and not any(others.search(caption.lower()) for caption in row["captions"])
        ]
        for label, words, others in (("a person", PERSON, DOG), ("a dog", DOG, PERSON))
    }
    found = {
        label: [result.label == label for result in classified(suite.classify(paths, labels))]
        for label, paths in named.items()
    }
    right = ", ".join(f"{np.mean(each):.1%} of {len(each)} {name}" for name, each in found.items())
    print(f"people and dogs among {len(labels)} classes, named by every caption: {right}")


def few_shot(suite: pm.Suite, train: dict[str, list[Path]], test: dict[str, list[Path]]) -> None:
    """The probe against logistic regression on the same features."""
    probe = suite.probe({name: paths[:SHOTS] for name, paths in train.items()})
    paths = [path for each in test.values() for path in each]
    truth = np.array([name for name, each in test.items() for _ in each])
    results = classified(suite.classify(paths, probe=probe))
    right = np.array([result.label for result in results]) == truth
    error = expected_calibration_error(np.array([r.score for r in results]), right)
    print(
        f"probe, {SHOTS} pictures a class: {right.mean():.1%}; cross-validated before"
        f" {probe.report.accuracy:.1%}; calibration error {error:.3f}"
    )
    seen, names = features(suite, {name: each[:SHOTS] for name, each in train.items()})
    new, _ = features(suite, test)
    scaler = StandardScaler().fit(seen)
    for strength in (0.001, 0.01, 0.1, 1.0):
        model = LogisticRegression(C=strength, max_iter=3000)
        score = model.fit(scaler.transform(seen), names).score(scaler.transform(new), truth)
        print(f"    scikit-learn logistic regression, C = {strength:<5}: {score:.1%}")


def features(
    suite: pm.Suite, classes: dict[str, list[Path]]
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Features and class names of pictures."""
    model = suite.embedder()
    assert isinstance(model, FeatureExtractor)
    paths = [path for each in classes.values() for path in each]
    names = [name for name, each in classes.items() for _ in each]
    pixels = [load_pixels(suite.embedder(), path, DEFAULT_LIMITS) for path in paths]
    return model.extract_features(pixels), np.array(names)


def matching(suite: pm.Suite, data: Path) -> None:
    """Calibration of match on dev pairs, as many true as shuffled."""
    lines = (data / "flickr8k" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "dev"][:500]
    rng = np.random.default_rng(0)
    pairs, truth = [], []
    for place, row in enumerate(rows):
        other = rows[(place + int(rng.integers(1, len(rows)))) % len(rows)]
        for captions, fits in ((row["captions"], True), (other["captions"], False)):
            pairs.append((data / "flickr8k" / row["image"], captions[int(rng.integers(5))]))
            truth.append(fits)
    results = [r for r in suite.match_pairs(pairs) if isinstance(r, pm.Match)]
    probability, fits = np.array([r.probability for r in results]), np.array(truth)
    accuracy = ((probability >= 0.5) == fits).mean()
    print(
        f"match, {len(pairs)} dev pairs: accuracy at 0.5 {accuracy:.1%},"
        f" AUC {roc_auc_score(fits, probability):.3f},"
        f" calibration error {expected_calibration_error(probability, fits):.3f}"
    )


def main() -> None:
    """Print every number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="starter")
    options = parser.parse_args()
    suite = pm.Suite(Remembering(pm.Suite(options.model).embedder()))  # type: ignore[arg-type]
    print(suite.embedder().space.describe())
    test = folder_of_classes(options.data / "clothing" / "validation")
    zero_shot(suite, test)
    lines = (options.data / "flickr8k" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    dev = [row for row in map(json.loads, lines) if row["split"] == "dev"]
    unknown(suite, test, [options.data / "flickr8k" / row["image"] for row in dev[:170]])
    people(suite, options.data, dev)
    few_shot(suite, folder_of_classes(options.data / "clothing" / "train"), test)
    matching(suite, options.data)


if __name__ == "__main__":
    main()

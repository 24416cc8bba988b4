"""Train the receipt model, score it on receipts it has not seen, and ship it.

    python -m recipes.starter.receipts --data DIR --cache FOLDER [--install]

Scores are printed twice: five folds over the receipts, and five folds over the merchants, where no
receipt of a tested merchant was trained on: what to expect on receipts from elsewhere.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from polymodal.models.receipts.amounts import amount_features, by_value, find_amounts
from polymodal.models.receipts.dates import date_features, find_dates, of_the_receipt
from polymodal.models.receipts.model import Found, ReceiptModel, facts_of
from polymodal.models.receipts.pieces import piece_features
from polymodal.models.receipts.words import tokens
from polymodal.tasks.receipt_address import address_by_pattern
from recipes.starter.receipt_data import (
    FIELDS,
    Receipt,
    blanked,
    label_pieces,
    read_receipts,
    squeezed,
    thinned,
)

FOLDS = 5
SEED = 7
FEWEST_MERCHANTS = 3
"""That a word must be seen at before it counts: names of single merchants teach nothing."""
THRESHOLDS = {"company": 0.2, "address": 0.3, "date": 0.2, "total": 0.1}
"""Of the choice's probability, under which a field stays empty."""
UNCALIBRATED = (0.0, 1.0, 0.0, 0.0)
TREES = {"n_estimators": 160, "max_depth": 3, "learning_rate": 0.06, "subsample": 0.7,
         "min_samples_leaf": 4, "max_features": 0.5}  # fmt: skip

COPIES, THINNED = 3, 0.1
LINEAR = 0.5

Words = dict[str, dict[str, float]]


def word_scores(receipts: list[Receipt]) -> Words:
    """Log-odds of a word standing in a field's pieces, every merchant counted once."""
    tables: Words = {}
    for field in ("company", "address"):
        inside: dict[str, set[str]] = defaultdict(set)
        outside: dict[str, set[str]] = defaultdict(set)
        for receipt in receipts:
            pieces, marks = label_pieces(receipt, field)
            for piece, mark in zip(pieces, marks, strict=True):
                for word in tokens(piece.text):
                    (inside if mark else outside)[word].add(receipt.merchant)
        merchants = len({receipt.merchant for receipt in receipts})
        tables[field] = {
            word: float(np.log((len(inside[word]) + 0.5) / (len(outside[word]) + 0.5)))
            for word in sorted({*inside, *outside})
            if len(inside[word] | outside[word]) >= min(FEWEST_MERCHANTS, merchants)
        }
    return tables


def rows_of(receipt: Receipt, words: Words) -> dict[str, tuple[list[list[float]], list[int]]]:
    """Features of every candidate of a receipt and which are right, by field."""
    found = {}
    for field in ("company", "address"):
        pieces, marks = label_pieces(receipt, field)
        found[field] = piece_features(pieces, words), marks
    dates = find_dates(receipt.sheet)
    own = of_the_receipt(receipt.sheet, dates)
    wanted = squeezed(receipt.fields["date"])
    found["date"] = (
        date_features(receipt.sheet, own),
        [int(squeezed(each.text) == wanted) for each in own],
    )
    amounts = find_amounts(receipt.sheet, dates)
    values = by_value(amounts)
    total = cents_of(receipt.fields["total"])
    found["total"] = (
        amount_features(receipt.sheet, amounts, values),
        [int(cents == total) for cents in values],
    )
    return found


def cents_of(text: str) -> int | None:
    """A printed total in hundredths."""
    digits = "".join(c for c in text if c.isdigit() or c == ".")
    return round(float(digits) * 100) if digits else None


def train(receipts: list[Receipt]) -> dict[str, np.ndarray]:
    """The arrays of a model trained on these receipts."""
    from sklearn.ensemble import GradientBoostingClassifier

    sizes: dict[str, int] = defaultdict(int)
    for receipt in receipts:
        sizes[receipt.merchant] += 1
    without = {
        merchant: word_scores([r for r in receipts if r.merchant != merchant]) for merchant in sizes
    }
    gathered: dict[str, tuple[list[list[float]], list[int], list[float]]]
    gathered = {field: ([], [], []) for field in FIELDS}
    copies = [thinned(r, THINNED, s) for s in range(COPIES) for r in receipts]
    for receipt in [*receipts, *copies]:
        # A merchant's own words must not speak for it: they will not, when it is a new one.
        for field, (rows, marks) in rows_of(receipt, without[receipt.merchant]).items():
            if field in {"date", "total"} and not any(marks):
                continue  # misread or mislabelled: nothing to learn
            gathered[field][0].extend(rows)
            gathered[field][1].extend(marks)
            gathered[field][2].extend([sizes[receipt.merchant] ** -0.5] * len(rows))
    arrays: dict[str, np.ndarray] = {}
    for field, (rows, marks, weights) in gathered.items():
        x = np.array(rows, np.float32)
        model = GradientBoostingClassifier(random_state=SEED, **TREES)
        model.fit(x, marks, sample_weight=weights)
        linear = linear_model(x, marks, weights)
        arrays.update({f"{field}.{k}": v for k, v in joined(flattened(model), linear).items()})
        arrays[f"{field}.threshold_to_answer"] = np.array(THRESHOLDS[field])
        arrays[f"{field}.calibration"] = np.array(UNCALIBRATED)
    for field, table in word_scores(receipts).items():
        arrays[f"words.{field}"] = np.array(list(table) or [""])
        arrays[f"words.{field}.odds"] = np.array(list(table.values()) or [0.0], np.float32)
    return arrays


def linear_model(x: np.ndarray, marks: list[int], weights: list[float]) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic regression on the features as they are."""
    from sklearn.linear_model import LogisticRegression

    spread = np.maximum(x.std(0), 1e-3)
    fitted = LogisticRegression(C=0.1, max_iter=2000)
    fitted.fit((x - x.mean(0)) / spread, marks, sample_weight=weights)
    slope = fitted.coef_[0] / spread
    return slope, float(fitted.intercept_[0] - slope @ x.mean(0))


def joined(trees: dict[str, np.ndarray], linear: tuple[np.ndarray, float]) -> dict[str, np.ndarray]:
    """The mean of both models' log-odds, as one model."""
    slope, bias = linear
    mixed = {**trees, "value": (trees["value"] * (1 - LINEAR)).astype(np.float32)}
    mixed["base"] = np.array(trees["base"] * (1 - LINEAR) + bias * LINEAR)
    mixed["weights"] = slope * LINEAR
    return mixed


def flattened(model: object) -> dict[str, np.ndarray]:
    """A fitted scikit-learn model as the arrays of `Trees`."""
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    start, starts = 0, []
    for (tree,) in model.estimators_:  # type: ignore[attr-defined]
        inner = tree.tree_
        leaf = inner.children_left < 0
        starts.append(start)
        parts["feature"].append(np.where(leaf, -1, inner.feature).astype(np.int32))
        parts["threshold"].append(np.where(leaf, 0, inner.threshold))
        for side, children in (("left", inner.children_left), ("right", inner.children_right)):
            parts[side].append(np.where(leaf, 0, children + start).astype(np.int32))
        value = inner.value[:, 0, 0] * model.learning_rate  # type: ignore[attr-defined]
        parts["value"].append(np.where(leaf, value, 0).astype(np.float32))
        start += inner.node_count
    prior = model.init_.class_prior_[1]  # type: ignore[attr-defined]
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    base = np.array(np.log(prior / (1 - prior)))
    return {**joined, "start": np.array(starts, np.int32), "base": base}


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of model.npz."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def predictions(receipts: list[Receipt], groups: list[int]) -> list[dict[str, Found]]:
    """Fields of every receipt as `extract` fills them, from a model trained on the other groups."""
    answers: list[dict[str, Found]] = [{} for _ in receipts]
    for group in sorted(set(groups)):
        seen = [r for r, g in zip(receipts, groups, strict=True) if g != group]
        model = ReceiptModel.load(packed(train(seen)))
        for index, receipt in enumerate(receipts):
            if groups[index] == group:
                fields = model.read(receipt.sheet)
                by_pattern = address_by_pattern(fields)
                added = {} if by_pattern is None else {"address": by_pattern}
                answers[index] = {**fields.found, **added}
    return answers


def folds(receipts: list[Receipt], by_merchant: bool, seed: int) -> list[int]:
    """A fold for every receipt."""
    names = [receipt.merchant if by_merchant else receipt.name for receipt in receipts]
    distinct = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold = {distinct[i]: position % FOLDS for position, i in enumerate(order)}
    return [fold[name] for name in names]


def is_exact(field: str, true: str, said: str) -> bool:
    """Case and blanks aside; a total as an amount."""
    if field == "total":
        return cents_of(true) == cents_of(said)
    return squeezed(true) == squeezed(said)


def calibration(receipts: list[Receipt], answers: list[dict[str, Found]]) -> dict[str, np.ndarray]:
    """What turns the facts of an answer into the probability that it is exact, by field."""
    from sklearn.linear_model import LogisticRegression

    arrays = {}
    for field in FIELDS:
        pairs = [(a[field], r.fields[field]) for r, a in zip(receipts, answers, strict=True)
                 if field in a and r.fields[field]]  # fmt: skip
        facts = np.array([facts_of(found)[1:] for found, _ in pairs])
        right = [is_exact(field, true, found.text) for found, true in pairs]
        fitted = LogisticRegression(C=1.0).fit(facts, right)
        arrays[f"{field}.calibration"] = np.array([fitted.intercept_[0], *fitted.coef_[0]])
    return arrays


def scores(receipts: list[Receipt], answers: list[dict[str, Found]]) -> dict[str, float]:
    """Share of exact values by field, and micro-F1 over all four, as in SROIE task 3.

    "total" compares amounts, so "$8.20" is 8.20; the others ignore case and blanks. "strict" keeps
    single blanks and compares totals as text.
    """
    right: dict[str, int] = defaultdict(int)
    given = wanted = strict = 0
    for receipt, answer in zip(receipts, answers, strict=True):
        for field in FIELDS:
            true, found = receipt.fields[field], answer.get(field)
            wanted += bool(true)
            given += found is not None
            if found is not None and true:
                right[field] += is_exact(field, true, found.text)
                strict += blanked(true) == blanked(found.text)
    total = sum(right.values())
    shares = {field: right[field] / len(receipts) for field in FIELDS}
    return {
        **shares,
        "micro-F1": 2 * total / (given + wanted),
        "micro-F1, strict": 2 * strict / (given + wanted),
    }


def show(title: str, result: dict[str, float]) -> None:
    """One line."""
    print(f"{title:28}", "  ".join(f"{name} {value:.3f}" for name, value in result.items()))


def mistakes(receipts: list[Receipt], answers: list[dict[str, Found]]) -> None:
    """Every wrong value beside the true one."""
    for receipt, answer in zip(receipts, answers, strict=True):
        for field in FIELDS:
            true = receipt.fields[field]
            said = answer[field].text if field in answer else ""
            if not is_exact(field, true, said):
                print(f"  {receipt.name} {field:8} {said!r}\n{'':14}true {true!r}")


def main() -> None:
    """Cross-validate; with --install, train on all receipts and ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of the folds")
    parser.add_argument("--mistakes", action="store_true", help="list wrong values")
    parser.add_argument("--install", action="store_true", help="write the shipped files")
    arguments = parser.parse_args()
    receipts = read_receipts(arguments.data, arguments.cache)
    results = {}
    for title, by_merchant in (("folds over receipts", False), ("folds over merchants", True)):
        runs = []
        for seed in range(arguments.seeds):
            answers = predictions(receipts, folds(receipts, by_merchant, seed))
            runs.append(scores(receipts, answers))
        results[title] = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        show(title, results[title])
        if arguments.mistakes:
            mistakes(receipts, answers)
    if arguments.install:
        from recipes.starter.manifest import WEIGHTS, install
        from recipes.starter.receipt_card import card

        with tempfile.TemporaryDirectory() as folder:
            # The last answers are those over merchants: none was trained on.
            arrays = {**train(receipts), **calibration(receipts, answers)}
            (Path(folder) / "model.npz").write_bytes(packed(arrays))
            (Path(folder) / "card.toml").write_text(card(results), encoding="utf-8")
            print("revision", install(Path(folder), WEIGHTS, "receipts"))


if __name__ == "__main__":
    main()

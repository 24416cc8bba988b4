"""The fit of answers' confidence: halves by photograph, the curve, and the card it is kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from polymodal.catalog.captioners import _answers
from recipes.starter import answers
from recipes.starter.answerdata import Row


def rows(count: int) -> list[Row]:
    """Questions whose decoder is right three times in four and whose embedder mostly."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        for kind in ("object", "count", "color", "place"):
            truth = ("one", "two", "three")[rng.integers(3)]
            pool = ("one", "two", "three")
            said = truth if rng.random() < 0.75 else pool[rng.integers(3)]
            seen = truth if rng.random() < 0.9 else pool[rng.integers(3)]
            logprobs = tuple(-0.4 if a == said else -1.8 for a in pool)
            cosines = tuple(0.3 if a == seen else 0.1 for a in pool)
            made.append(Row(number, kind, "", truth, said, pool, logprobs, cosines, 0.3, (0.1,)))
        there = bool(rng.integers(2))
        cosine = 0.3 * there + 0.1 * rng.normal()
        made.append(
            Row(number, "yesno", "", "yes" if there else "no", "yes", ("yes", "no"), (-0.6, -0.8),
                (cosine, cosine), cosine, (0.1, 0.2))
        )  # fmt: skip
    return made


def test_no_photograph_is_in_both_halves() -> None:
    first, second = answers.halves(rows(21))
    assert {r.photograph for r in first}.isdisjoint(r.photograph for r in second)
    assert len({r.photograph for r in first}) == 10
    assert len(first) + len(second) == 105


def test_a_second_witness_makes_answers_better_and_abstention_worth_it() -> None:
    first, second = answers.halves(rows(120))
    calibration = answers.fit(first)
    alone, both = answers.by_decoder(second), answers.by_both(second, calibration)
    assert both.right.mean() > alone.right.mean() + 0.05
    assert both.at(50) > both.at(100)
    assert both.area > alone.area
    assert both.error < 10


def test_the_curve_is_the_accuracy_of_the_surest() -> None:
    scored = answers.Scored(np.array([0.9, 0.1, 0.5, 0.7]), np.array([True, False, False, True]))
    assert [scored.at(c) for c in (100, 75, 50)] == pytest.approx([50, 200 / 3, 100])
    assert scored.area == pytest.approx(100 * np.mean([1, 1, 2 / 3, 1 / 2]))


def test_what_is_written_into_the_card_is_what_is_read(tmp_path: Path) -> None:
    calibration = answers.fit(answers.halves(rows(40))[0])
    card = tmp_path / "captioner" / "card.toml"
    card.parent.mkdir()
    card.write_text('[model]\nid = "tiny"\n\n[calibration]\nthreshold = 9\n\n[notes]\na = "b"\n')
    for _ in range(2):  # again in place of the first
        answers.write(calibration, tmp_path)
        assert _answers(card.read_bytes(), "card") == calibration
    assert card.read_text().count("[calibration]") == 1
    assert '[notes]\na = "b"' in card.read_text()


def test_the_table_of_things_that_look_there_counts_them_and_what_they_cost() -> None:
    first, second = answers.halves(rows(120))
    calibration = answers.fit(first)
    header, _, *lines = answers.presence_table(second, calibration)
    assert header.count("|") == 8
    table = np.array([[float(cell) for cell in line.split("|")[1:-1]] for line in lines])
    assert tuple(table[:, 0]) == answers.THERE
    # Fewer pass a higher bar, fewer of what is not there than of what is, and fewer are answered.
    assert (np.diff(table[:, 1:4], axis=0) <= 0).all()
    assert (table[2:, 1] > table[2:, 2]).all()
    yes = [row for row in second if (row.kind, row.answer) == ("yesno", "yes")]
    weights = calibration.kinds["yesno"]
    margin = np.array([row.there - np.mean(row.others) for row in yes])
    likely = 1 / (1 + np.exp(-(weights.alone * margin + weights.alone_bias)))
    assert table[3, 1] == pytest.approx(100 * (likely >= answers.THERE[3]).mean(), abs=0.05)

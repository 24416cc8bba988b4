"""Sampling for review, and what labels say."""

import random

import pytest

from polymodal.errors import UsageError
from polymodal.runtime.intervals import wilson
from polymodal.runtime.journal import Call, Journal
from polymodal.runtime.review import accuracy, sample


@pytest.fixture
def journal(tmp_path):
    """200 answers; every fourth is wrong, and wrong ones are less sure."""
    journal = Journal(tmp_path / "journal")
    chance = random.Random(3)
    calls = []
    for number in range(1, 201):
        wrong = number % 4 == 0
        confidence = chance.uniform(0.1, 0.5) if wrong else chance.uniform(0.4, 1)
        output = "wrong" if wrong else "right"
        calls.append(Call("ask", "m", "1", output, confidence=confidence))
    journal.record(calls)
    return journal


def drawn(journal, count, **how):
    return [(each.call.id, each.how) for each in sample(journal, count, **how)]


def test_half_is_the_least_sure_and_half_is_random(journal):
    found = sample(journal, 20)
    assert [each.how for each in found] == ["uncertain"] * 10 + ["random"] * 10
    assert len({each.call.id for each in found}) == 20
    least = sorted(journal.calls(), key=lambda call: call.confidence)[:10]
    assert [each.call for each in found[:10]] == least


def test_the_same_seed_draws_the_same_and_another_seed_another(journal):
    assert drawn(journal, 20, seed=5) == drawn(journal, 20, seed=5)
    assert drawn(journal, 20, seed=5)[10:] != drawn(journal, 20, seed=6)[10:]


def test_what_was_labelled_is_not_drawn_again(journal):
    first = {call for call, _ in drawn(journal, 30)}
    for call in first:
        journal.label(call, True)
    assert not first & {call for call, _ in drawn(journal, 30)}
    seen = set(first)
    while found := drawn(journal, 40):
        seen |= {call for call, _ in found}
        for call, _ in found:
            journal.label(call, True)
    assert seen == set(range(1, 201))


def test_only_answers_are_drawn_and_only_of_what_was_asked_for(journal):
    journal.record([Call("ask", "m", "1", "boom", finish="error", confidence=0.0)])
    journal.record([Call("caption", "n", "1", "c", confidence=0.5)])
    assert 201 not in {call for call, _ in drawn(journal, 500)}
    assert drawn(journal, 5, verb="caption") == [(202, "uncertain")]
    assert drawn(journal, 5, model="n") == [(202, "uncertain")]
    assert drawn(journal, 5, verb="nothing") == []


def test_without_confidence_everything_is_random(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.record([Call("ask", "m", "1", str(n)) for n in range(10)])
    assert [how for _, how in drawn(journal, 6)] == ["random"] * 6
    assert drawn(journal, 6, by="uncertain") == []


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 3, "by": "luck"}])
def test_a_sample_that_means_nothing_is_refused(journal, wrong):
    with pytest.raises(UsageError):
        sample(journal, **wrong)


def review(journal, count, **how):
    for each in sample(journal, count, **how):
        journal.label(each.call.id, each.call.output == "right")


def test_accuracy_counts_the_fair_sample_alone(journal):
    review(journal, 30, by="uncertain")
    (only_unsure,) = accuracy(journal)
    assert (only_unsure.labelled, only_unsure.others, only_unsure.share) == (0, 30, None)
    assert only_unsure.interval == (0.0, 1.0)
    assert only_unsure.others_correct < 5
    review(journal, 60, by="random", seed=1)
    (both,) = accuracy(journal)
    # 60 new ones, and those of the first sample that came up on the way.
    assert 60 < both.labelled < 90
    assert both.labelled + both.others == 90
    low, high = both.interval
    assert low <= 0.75 <= high
    assert high - low < 0.25


def test_the_estimate_is_fair_although_unsure_answers_were_labelled_first(tmp_path):
    """Over many seeds its mean is the true share; passing over labelled calls would make it 0.86"""
    shares = []
    for seed in range(40):
        journal = Journal(tmp_path / f"journal{seed}")
        journal.record(
            [
                Call("ask", "m", "1", "wrong" if n < 25 else "right", confidence=n / 100)
                for n in range(100)
            ]
        )
        review(journal, 20, by="uncertain")
        review(journal, 20, by="random", seed=seed)
        shares.append(accuracy(journal)[0].share)
    assert sum(shares) / len(shares) == pytest.approx(0.75, abs=0.04)


def test_verbs_models_and_revisions_are_counted_apart_and_the_last_label_counts(tmp_path):
    journal = Journal(tmp_path / "journal")
    kinds = [("ask", "m", "1"), ("ask", "m", "2"), ("ask", "n", "1"), ("caption", "m", "1")]
    journal.record([Call(*kind, "x") for kind in kinds])
    for each in sample(journal, 4, by="random"):
        journal.label(each.call.id, False)
    journal.label(1, True)
    found = accuracy(journal)
    assert [(a.verb, a.model, a.revision) for a in found] == kinds
    assert [a.share for a in found] == [1, 0, 0, 0]
    assert [a.verb for a in accuracy(journal, verb="caption")] == ["caption"]


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_interval_is_the_published_one(correct, total, low, high):
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)

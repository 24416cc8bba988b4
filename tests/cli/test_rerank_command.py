"""search --rerank on the command line."""

import pytest


@pytest.fixture
def shop(polymodal, pictures):
    assert polymodal("add", pictures).code == 0
    return pictures


def test_both_scores_and_the_model_that_ranks_stand_in_the_json(polymodal, shop):
    ran = polymodal("search", "red", "--rerank", "mock:other", "--top", "2", "-k", "3", "--json")
    assert ran.code == 0
    first, second, third = ran.lines
    assert first["ranked_by"] == second["ranked_by"] == "mock-other"
    assert first["score"] >= second["score"]
    assert {"first_score", "cosine"} <= set(first)
    assert "first_score" not in third
    assert "the first 2 hits are ordered by mock-other" in ran.stderr


def test_a_person_is_told_what_ranks(polymodal, shop):
    ran = polymodal("search", "red", "--rerank", "mock:other")
    assert "note: the first 5 hits are ordered by mock-other" in ran.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["red", "--top", "5"], "go with --rerank"),
        (["red", "--budget", "1"], "go with --rerank"),
        (["red", "--rerank", "mock", "--budget", "1"], "costs nothing"),
        (["--image", "pictures/red.png", "--rerank", "mock"], "needs words"),
    ],
)
def test_wrong_usage_is_said(polymodal, shop, words, complaint):
    ran = polymodal("search", *words)
    assert ran.code == 2
    assert complaint in ran.stderr

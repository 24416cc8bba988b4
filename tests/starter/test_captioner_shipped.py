"""The shipped captioner: size, card, and BLEU on a part of dev."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.models.weights import captioner_or_skip, data_or_skip

PART = 300


@pytest.fixture(scope="module")
def folder() -> Path:
    captioner_or_skip()
    import polymodal_starter

    return Path(polymodal_starter.root()) / "captioner"


def test_the_files_stay_within_their_budget(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8e6


def test_the_cards_scores_reach_the_targets(folder):
    scores = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))["scores"]
    assert scores["flickr8k_dev_bleu4"] >= 22
    assert scores["flickr8k_dev_cider_d"] > 50
    for baseline in ("answers_frequent_all", "answers_question_only_all"):
        assert scores["answers_all"] > scores[baseline] + 5


@pytest.mark.slow
def test_captions_of_a_part_of_dev_are_as_good_as_the_card_says(folder):
    """On 300 of the 1,000 photographs: within what such a part varies by."""
    from recipes.starter import captionreport, data
    from recipes.starter.captionscores import caption_scores

    dev = data.flickr(data_or_skip("flickr8k").parent, "dev")
    captioner = captioner_or_skip()
    sights = captionreport.looked(captioner, dev.paths[:PART])
    said = captionreport.best(captioner.caption(sights))
    found = caption_scores(said, captionreport.references(dev)[:PART])
    scores = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))["scores"]
    assert abs(found["bleu4"] - scores["flickr8k_dev_bleu4"]) < 2.5
    assert found["bleu4"] >= 20

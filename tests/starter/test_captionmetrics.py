"""BLEU and CIDEr-D beside hand-computed cases and, where installed, the official scripts."""

from __future__ import annotations

import math
import random

import pytest

from recipes.starter import captionmetrics as metrics
from recipes.starter.captionwords import words

WORDS = words("a dog runs over the green grass with red ball in its mouth two men")


def made_up(count: int, seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Candidates and five references each, of random words and lengths."""
    rng = random.Random(seed)

    def sentence() -> list[str]:
        return [rng.choice(WORDS) for _ in range(rng.randint(3, 14))]

    return [sentence() for _ in range(count)], [
        [sentence() for _ in range(5)] for _ in range(count)
    ]


def test_a_reference_repeated_scores_full_bleu():
    refs = [[words("a dog runs over the grass"), words("the dog is outside")]]
    assert metrics.bleu([refs[0][0]], refs) == pytest.approx([100.0] * 4)


def test_bleu_clips_repeated_words():
    """The example of Papineni et al. (2002): seven times "the" is right twice."""
    refs = [[words("the cat is on the mat"), words("there is a cat on the mat")]]
    assert metrics.bleu([["the"] * 7], refs)[0] == pytest.approx(100 * 2 / 7)


def test_bleu_punishes_short_texts_by_the_closest_reference():
    refs = [[words("a black dog runs over the grass"), words("a dog runs")]]
    # Two words; the closest reference has three: exp(1 - 3/2).
    assert metrics.bleu([["a", "dog"]], refs)[0] == pytest.approx(100 * math.exp(-0.5))


def test_cider_of_the_references_own_words_is_ten_a_reference_that_agrees():
    refs = [[words("a dog runs over the grass")] * 2, [words("two men ride red bikes")] * 2]
    assert metrics.cider([refs[0][0], refs[1][0]], refs) == pytest.approx(1000)


def test_cider_counts_for_nothing_what_every_picture_has():
    refs = [[words("a dog runs there")], [words("a dog sleeps here")]]
    assert metrics.cider([["a", "dog"], ["a", "dog"]], refs) == pytest.approx(0)


def test_cider_falls_off_with_the_difference_in_length():
    refs = [[words("red ball")], [words("green grass")]]
    scorer = metrics.Cider(refs)
    exact, longer = scorer.score(words("red ball"), 0), scorer.score(words("red ball x x"), 0)
    assert longer < exact == pytest.approx(5)  # one and two words agree, three and four have none


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_official_scripts(seed):
    pytest.importorskip("pycocoevalcap", reason="pip install pycocoevalcap to compare with it")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    said, refs = made_up(40, seed)
    theirs = {i: [" ".join(ref) for ref in each] for i, each in enumerate(refs)}
    mine = {i: [" ".join(text)] for i, text in enumerate(said)}
    bleu, _ = Bleu(4).compute_score(theirs, mine, verbose=0)
    cider, _ = Cider().compute_score(theirs, mine)
    assert metrics.bleu(said, refs) == pytest.approx([100 * value for value in bleu])
    assert metrics.cider(said, refs) == pytest.approx(100 * cider)


def test_a_reward_prefers_the_photographs_own_words():
    _, refs = made_up(20, 3)
    rewards = metrics.Rewards(refs, bleu_weight=1.0)
    own = rewards.score([each[0] for each in refs], range(20))
    other = rewards.score([refs[(i + 1) % 20][0] for i in range(20)], range(20))
    assert (own > other).all()
    assert rewards.score([[]], [0])[0] == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A man in a T-shirt , "jumping" .', "a man in a t-shirt jumping"),
        ("The dog's ball isn't red!", "the dog 's ball is n't red"),
        ("Two dogs;one cat", "two dogs one cat"),
        (" . , ! ", ""),
        ("3.5 metres", "3.5 metres"),
    ],
)
def test_words_are_split_as_the_treebank_does(text, expected):
    assert " ".join(words(text)) == expected

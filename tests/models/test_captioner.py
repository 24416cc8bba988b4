"""The starter captioner: the same alone and in a batch, steps beside one pass, answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from polymodal.catalog.captioners import captioner_provenance, open_captioner
from polymodal.errors import DamagedWeights, ModelUnavailable, UsageError
from polymodal.models.captioner import LONGEST_PROMPT, StarterCaptioner, Words
from polymodal.models.describing import Captioner, Sight
from polymodal.models.mock import MockEmbedder
from polymodal.models.unopened import STYLES
from tests.models.weights import captioner_or_skip, write_model


def photographs() -> list[Image.Image]:
    names = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry")
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]


@pytest.fixture(scope="module")
def captioner() -> StarterCaptioner:
    return captioner_or_skip()


@pytest.fixture(scope="module")
def sights(captioner: StarterCaptioner) -> list[Sight]:
    return captioner.look([captioner.preprocess(image) for image in photographs()])


def test_it_fits_the_protocol(captioner: StarterCaptioner) -> None:
    assert isinstance(captioner, Captioner)
    assert captioner.provenance.model == "starter"


def test_one_pass_gives_the_embedders_own_vectors(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    pixels = [captioner.preprocess(image) for image in photographs()]
    vectors = captioner._embedder.embed_images(pixels)
    np.testing.assert_array_equal(np.stack([sight.embedding for sight in sights]), vectors)


def test_a_cat_is_no_person_and_a_person_no_dog(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    scores = captioner.score_answers(
        sights[:2], ["is there a man", "is there a cat"], [["yes", "no"]] * 2
    )
    assert all(math.isfinite(value) for row in scores for value in row)
    caption = captioner.caption(sights[:1])[0][0].text
    assert {"man", "woman", "person", "girl", "boy", "child", "baby"} & set(caption.split())


@pytest.mark.parametrize("beams", [1, 3, 5])
def test_a_caption_is_the_same_alone_and_in_a_batch(
    captioner: StarterCaptioner, sights: list[Sight], beams: int
) -> None:
    together = captioner.caption(sights, candidates=beams, beams=beams)
    alone = [captioner.caption([s], candidates=beams, beams=beams)[0] for s in sights]
    assert together == alone
    assert captioner.caption(sights[::-1], candidates=beams, beams=beams) == together[::-1]


def test_looking_at_one_picture_or_at_several_is_the_same(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    for image, sight in zip(photographs(), sights, strict=True):
        (alone,) = captioner.look([captioner.preprocess(image)])
        assert captioner.caption([alone]) == captioner.caption([sight])


def test_steps_with_a_memory_score_what_one_pass_scores(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    """Greedy search reads a word at a time; `_score` reads prompt and text at once."""
    words = captioner.words
    prompt = [words.marks["caption"]]
    for sight in sights:
        (said,) = captioner.caption([sight], beams=1)[0]
        (whole,) = captioner._score(sight, prompt, [words.ids(said.text)])
        assert whole == pytest.approx(said.logprob, abs=1e-3)


def test_candidates_differ_and_come_best_first(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    for each in captioner.caption(sights, candidates=6):
        assert len({said.text for said in each}) == len(each) > 1
        assert [said.score for said in each] == sorted((s.score for s in each), reverse=True)
        assert all(0 < said.probability <= 1 for said in each)


def test_candidates_are_ranked_by_the_decoder_and_the_embedder(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    spec = captioner._spec
    assert spec.rerank > 0
    for sight, each in zip(sights, captioner.caption(sights, candidates=5), strict=True):
        vectors = captioner._embedder.embed_texts([said.text for said in each])
        for said, vector in zip(each, vectors, strict=True):
            words = len(said.text.split()) + 1
            decoder = said.logprob / words**spec.alpha
            assert said.score == pytest.approx(
                decoder + spec.rerank * float(vector @ sight.embedding), abs=3e-3
            )


def test_a_detailed_caption_is_longer_than_a_short_one(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    lengths = {
        style: sum(len(each[0].text.split()) for each in captioner.caption(sights, style=style))
        for style in STYLES
    }
    assert lengths["short"] < lengths["plain"] <= lengths["detailed"]


def test_a_guided_caption_takes_up_the_words(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    plain = [each[0].text.split() for each in captioner.caption(sights)]
    guided = [each[0].text.split() for each in captioner.caption(sights, about="flag")]
    assert sum("flag" in text for text in guided) > sum("flag" in text for text in plain)


def test_an_answer_is_scored_as_it_was_found(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    questions = ["What is the man wearing?"] * len(sights)
    for sight, found in zip(sights, captioner.answer(sights, questions, candidates=3), strict=True):
        texts = [said.text for said in found if said.text]
        (scores,) = captioner.score_answers([sight], questions[:1], [texts])
        wanted = [said.logprob for said in found if said.text]
        assert scores == pytest.approx(wanted, abs=1e-3)


def test_questions_of_several_lengths_are_answered_as_one_by_one(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    questions = ["is there a dog", "what is the man doing", "where is the cat", "is there water",
                 "what color is the shirt"]  # fmt: skip
    together = captioner.answer(sights, questions, candidates=2)
    alone = [
        captioner.answer([sight], [question], candidates=2)[0]
        for sight, question in zip(sights, questions, strict=True)
    ]
    assert together == alone


def test_an_unknown_word_can_be_no_answer(captioner: StarterCaptioner, sights: list[Sight]) -> None:
    scores = captioner.score_answers(sights[:1], ["is there a dog"], [["yes", "zyzzyva", ""]])[0]
    assert math.isfinite(scores[0])
    assert scores[1:] == [-math.inf, -math.inf]
    assert captioner.knows("dog")
    assert not captioner.knows("zyzzyva")


@pytest.mark.parametrize("question", ["", " ?! ", "why " * (LONGEST_PROMPT + 1)])
def test_a_question_without_words_or_with_too_many_is_refused(
    captioner: StarterCaptioner, sights: list[Sight], question: str
) -> None:
    with pytest.raises(UsageError, match="words"):
        captioner.answer(sights[:1], [question])


def test_options_that_cannot_be_used_are_refused(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    with pytest.raises(UsageError, match="'long'"):
        captioner.caption(sights, style="long")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="none of the words in 'zyzzyva'"):
        captioner.caption(sights, about="zyzzyva")
    with pytest.raises(UsageError, match="1 or more"):
        captioner.caption(sights, candidates=0)


def test_no_pictures_no_captions(captioner: StarterCaptioner) -> None:
    assert captioner.look([]) == []
    assert captioner.caption([]) == []


def test_a_model_without_a_captioner_says_which_have_one(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no captioner. Models with one: starter"):
        open_captioner(str(write_model(tmp_path)))
    with pytest.raises(ModelUnavailable, match="this model has no captioner"):
        open_captioner(None, embedder=MockEmbedder())


def test_a_captioner_is_named_without_opening_it(
    captioner: StarterCaptioner, tmp_path: Path
) -> None:
    assert captioner_provenance("starter") == captioner.provenance
    assert captioner_provenance(str(write_model(tmp_path))) is None
    assert captioner_provenance("openai/clip-vit-base-patch32") is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"words": 3}', b'{"words": ["a"]}'])
def test_damaged_words_are_named(content: bytes) -> None:
    with pytest.raises(DamagedWeights, match=r"captioner/words\.json"):
        Words.parse(content)


def test_a_text_is_as_likely_as_its_words_one_after_the_other(
    captioner: StarterCaptioner, sights: list[Sight]
) -> None:
    marks, words = captioner.words.marks, captioner.words.ids("a woman zyzzyva smiling")
    wanted = []
    for sight in sights:
        seen = captioner._see([sight])
        layers, two, _, heads, _, width = seen.shape
        past = np.zeros((layers, two, 1, 1, heads, 0, width), np.float32)
        total, token = 0.0, marks["caption"]
        for number in [*words, marks["eos"]]:
            logprobs, past = captioner._step(seen, np.array([[[token]]], np.int64), past)
            # A word that the decoder does not know counts for nothing, and is read all the same.
            total += float(logprobs[0, 0, -1, number]) if number != marks["unk"] else 0.0
            token = number
        wanted.append(total)
    found = captioner.score_text(sights, "a woman zyzzyva smiling")
    assert found == pytest.approx(wanted, abs=1e-3)
    assert captioner.score_text(sights[:1], "a woman zyzzyva smiling") == pytest.approx(found[:1])
    with pytest.raises(UsageError, match="knows none of the words"):
        captioner.score_text(sights, "zyzzyva")

"""Beam search beside exhaustive search over a toy decoder with a memory."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from polymodal.models.decoding import Search, beam_search

VOCABULARY, END = 5, 1


class Toy:
    """Log-probabilities that depend on the picture and on every token read so far."""

    def __init__(self, pictures: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.start = rng.normal(size=(pictures, 3))
        self.mix = rng.normal(size=(3 + VOCABULARY, 3))
        self.out = rng.normal(size=(3, VOCABULARY)) * 2

    def past(self, pictures: list[int]) -> np.ndarray:
        return self.start[pictures][:, None]

    def step(self, tokens: np.ndarray, past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = []
        for t in range(tokens.shape[2]):
            seen = np.concatenate([past, np.eye(VOCABULARY)[tokens[:, :, t]]], 2)
            past = np.tanh(seen @ self.mix)
            logits = past @ self.out
            each.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        return np.stack(each, 2), past

    def logprob(self, picture: int, prompt: list[int], text: tuple[int, ...]) -> float:
        whole = np.array([[[*prompt, *text]]])
        logprobs, _ = self.step(whole, self.past([picture]))
        places = range(len(prompt) - 1, len(prompt) - 1 + len(text))
        return float(sum(logprobs[0, 0, p, t] for p, t in zip(places, text, strict=True)))


def reorder(past: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.take_along_axis(past, rows[:, :, None], 1)


def run(toy: Toy, pictures: list[int], search: Search, prompt: tuple[int, ...] = (2, 3)):
    prompts = np.tile(np.array(prompt), (len(pictures), 1))
    return beam_search(toy.step, reorder, prompts, toy.past(pictures), search)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_what_trying_everything_finds(seed: int, alpha: float) -> None:
    toy = Toy(3, seed)
    search = Search(beams=200, longest=4, alpha=alpha, end=END, banned=(0,))
    for picture, found in enumerate(run(toy, [0, 1, 2], search)):
        texts = []
        for length in range(5):
            for body in itertools.product((2, 3, 4), repeat=length):
                logprob = toy.logprob(picture, [2, 3], (*body, END))
                texts.append((logprob / (length + 1) ** alpha, body))
        score, body = max(texts)
        assert found[0].tokens == body
        assert found[0].score(alpha) == pytest.approx(score)


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_a_texts_logprob_is_that_of_one_pass_over_it(beams: int) -> None:
    toy = Toy(4, 9)
    search = Search(beams=beams, longest=6, alpha=0.5, end=END)
    for picture, found in enumerate(run(toy, [0, 1, 2, 3], search)):
        assert 1 <= len(found) <= beams
        for text in found:
            assert len(text.tokens) <= 6
            whole = (*text.tokens, END)
            assert toy.logprob(picture, [2, 3], whole) == pytest.approx(text.logprob)


def test_one_beam_takes_the_likeliest_word_every_time() -> None:
    toy = Toy(1, 5)
    found = run(toy, [0], Search(beams=1, longest=6, alpha=0.7, end=END))[0][0]
    text: tuple[int, ...] = ()
    while len(text) < 6:
        each = [toy.logprob(0, [2, 3], (*text, token)) for token in range(VOCABULARY)]
        if int(np.argmax(each)) == END:
            break
        text = (*text, int(np.argmax(each)))
    assert found.tokens == text


@pytest.mark.parametrize("beams", [1, 3])
def test_a_picture_gets_the_same_texts_alone_and_in_a_batch(beams: int) -> None:
    toy = Toy(6, 2)
    search = Search(beams=beams, longest=8, alpha=0.7, end=END)
    together = run(toy, list(range(6)), search)
    assert [run(toy, [i], search)[0] for i in range(6)] == together


def test_banned_tokens_are_never_said() -> None:
    toy = Toy(5, 3)
    search = Search(beams=3, longest=6, alpha=0.7, end=END, banned=(0, 4))
    for found in run(toy, list(range(5)), search):
        assert not {0, 4} & {token for text in found for token in text.tokens}


def test_a_wanted_token_is_said_where_it_costs_less_than_its_bonus() -> None:
    toy = Toy(6, 4)
    plain = Search(beams=50, longest=5, alpha=0.0, end=END)
    free = run(toy, list(range(6)), plain)
    for bonus in (0.5, 3.0, 30.0):
        guided = replace(plain, wanted=(4,), bonus=bonus)
        for texts, others in zip(run(toy, list(range(6)), guided), free, strict=True):
            best, without = texts[0], others[0]
            gained = bonus if 4 in best.tokens else 0.0
            assert best.bonus == gained
            # Never worse than the text that wants nothing, counted by the same rule.
            assert best.logprob + gained >= without.logprob + bonus * (4 in without.tokens) - 1e-9
            assert 4 in best.tokens or bonus < 30

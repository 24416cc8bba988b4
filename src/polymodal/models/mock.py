"""Models without weights, for tests: pictures by their colours, texts by their words.

Notable: both sides share the colour axes, so "a red square" really is nearest to a red picture
and a test of search or classification can tell right from wrong. Vectors are deterministic on
every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from polymodal.errors import PolymodalError, UsageError
from polymodal.models.messages import (
    GREEDY,
    Constrains,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
    ImagePart,
)
from polymodal.models.protocols import Pixels
from polymodal.models.vectors import normalised
from polymodal.results import Space, Vector

__all__ = ["MockCalibration", "MockEmbedder", "MockGenerator"]

Answered = str | Generation | PolymodalError
"""What a `MockGenerator` is told to answer: a text, a whole `Generation`, or a failure."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (30, 60, 220),
    "brown": (130, 80, 40),
    "cyan": (40, 210, 220),
    "green": (40, 160, 60),
    "grey": (128, 128, 128),
    "orange": (250, 150, 30),
    "pink": (250, 170, 200),
    "purple": (130, 50, 170),
    "red": (215, 30, 40),
    "white": (255, 255, 255),
    "yellow": (250, 230, 50),
}
LAYOUT = 16
"""Axes for where in a picture it is light; they tell pictures of one colour apart."""


@dataclass(frozen=True)
class MockCalibration:
    """Made-up numbers in the range of a real model's."""

    classify_temperature: float = 0.1
    match_scale: float = 12.0
    match_bias: float = -6.0
    relevant_cosine: float = 0.5
    templates: tuple[str, ...] = ("{}", "a photo of {}")


class MockEmbedder:
    """Fits `Embedder`, `Calibrated` and `FeatureExtractor`; give it to `Suite(MockEmbedder())`.

    Attributes:
        images_seen, texts_seen: how many inputs have gone through, for tests of caching.
    """

    def __init__(self, name: str = "mock", *, dimension: int = 64) -> None:
        """Two embedders with different `name` or `dimension` have different spaces."""
        if dimension < len(COLOURS) + LAYOUT + 4:
            raise UsageError(f"a mock space needs {len(COLOURS) + LAYOUT + 4} dimensions or more.")
        self._space = Space(name, "1", dimension, "32x32 squash", "words")
        self.calibration = MockCalibration()
        self.images_seen = 0
        self.texts_seen = 0

    @property
    def space(self) -> Space:
        """See `Embedder.space`."""
        return self._space

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        return 32

    def preprocess(self, image: Image.Image) -> Pixels:
        """uint8, shape (32, 32, 3)."""
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX))

    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """Share of each named colour, and a little of the layout."""
        self.images_seen += len(batch)
        vectors = np.zeros((len(batch), self._space.dimension), np.float32)
        for row, pixels in zip(vectors, batch, strict=True):
            row[: len(COLOURS) + LAYOUT] = _describe(pixels)
        return normalised(vectors)

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """Colour shares and layout, shape (n, 28)."""
        rows = [_describe(pixels) for pixels in batch]
        return np.stack(rows) if rows else np.zeros((0, len(COLOURS) + LAYOUT), np.float32)

    def embed_and_extract(self, batch: Sequence[Pixels]) -> tuple[Vector, Vector]:
        """See `FeatureExtractor.embed_and_extract`."""
        return self.embed_images(batch), self.extract_features(batch)

    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """Colour words on the colour axes, any other word on an axis of its hash."""
        self.texts_seen += len(texts)
        vectors = np.zeros((len(texts), self._space.dimension), np.float32)
        for position, (row, text) in enumerate(zip(vectors, texts, strict=True)):
            words = re.findall(r"\w+", text.lower())
            if not words:
                raise UsageError(f"text {position} is empty; a text needs at least one word.")
            for word in words:
                axis, weight = self._axis(word)
                row[axis] += weight
        return normalised(vectors)

    def _axis(self, word: str) -> tuple[int, float]:
        if word in COLOURS:
            return list(COLOURS).index(word), 1.0
        first = len(COLOURS) + LAYOUT
        digest = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return first + digest % (self._space.dimension - first), 0.3


def _describe(pixels: Pixels) -> Vector:
    flat = np.asarray(pixels, np.float32).reshape(-1, 3)
    palette = np.array(list(COLOURS.values()), np.float32)
    nearest = ((flat[:, None] - palette) ** 2).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(COLOURS)) / len(flat)
    light = flat.mean(1).reshape(4, 8, 4, 8).mean((1, 3)).ravel() / 255
    # Centred, so that the layout of a plain picture is zero and its colour decides alone.
    return np.concatenate([shares, 0.5 * (light - light.mean())]).astype(np.float32)


class MockGenerator:
    """Fits `Generator`: says what colour a picture has, or what it was told to say.

    `MockGenerator(["yes", "no"])` gives these answers in turn and then starts again;
    `MockGenerator(lambda messages, options: ...)` computes each. Options are honoured as a model
    would: an answer of more words than `max_tokens` is cut and ends with "length".

    Attributes:
        seen: every conversation it was asked, in order, with the options.
        calls: how many batches they came in.
    """

    def __init__(
        self,
        answers: Sequence[Answered] | Callable[[Conversation, GenerationOptions], Answered] = (),
        *,
        name: str = "mock",
        constrains: Sequence[Constrains] = ("choices",),
        max_media: int = 8,
    ) -> None:
        """Two generators with different `name` have different fingerprints."""
        self.info = GeneratorInfo(
            model=name,
            revision="1",
            media=frozenset({"text", "image", "audio", "video"}),
            max_media=max_media,
            image_size_px=32,
            constrains=frozenset(constrains),
            beams=True,
            seeded=True,
        )
        self.seen: list[tuple[Conversation, GenerationOptions]] = []
        self.calls = 0
        self._answers = answers

    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> list[Generation | PolymodalError]:
        """See `Generator.generate`; a token is a word."""
        for conversation in batch:
            self.info.check(conversation, options)
        self.calls += 1
        answers = []
        for conversation in batch:
            said = self._say(conversation, options)
            self.seen.append((conversation, options))
            answers.append(_as_spoken(said, options) if isinstance(said, str) else said)
        return answers

    def _say(self, conversation: Conversation, options: GenerationOptions) -> Answered:
        if callable(self._answers):
            return self._answers(conversation, options)
        if self._answers:
            return self._answers[len(self.seen) % len(self._answers)]
        pictures = [p for m in conversation for p in m.parts if isinstance(p, ImagePart)]
        colours = [_colour(part.image) for part in pictures]
        if options.choices:
            fits = (c for c in options.choices if set(c.lower().split()) & set(colours))
            return next(fits, options.choices[0])
        return f"a {' and a '.join(colours)} picture" if colours else conversation[-1].text


def _colour(image: Image.Image) -> str:
    pixels = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX))
    return list(COLOURS)[int(_describe(pixels)[: len(COLOURS)].argmax())]


def _as_spoken(text: str, options: GenerationOptions) -> Generation:
    """The text, ended where the options say; every word has probability 0.9."""
    for stop in options.stop:
        text = text.split(stop, maxsplit=1)[0]
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    said = Generation(text, "stop", len(ends) * float(np.log(0.9)), len(ends))
    if len(ends) <= options.max_tokens:
        return said
    cut, words = text[: ends[options.max_tokens - 1]], options.max_tokens
    return replace(said, text=cut, finish_reason="length", tokens=words)

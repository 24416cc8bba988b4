"""A generator whose answers are told while they come; to the verb that uses it, it is any."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polymodal.errors import ModelUnavailable, PolymodalError, UsageError
from polymodal.models.messages import (
    GREEDY,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
    TextPart,
)
from polymodal.models.protocols import Generator, StreamingGenerator
from polymodal.profiling import span

__all__ = ["StreamedGenerator"]


class StreamedGenerator:
    """Answers one conversation after the other, in order, and tells the pieces of each."""

    def __init__(self, generator: Generator, told: Callable[[str, str], None]) -> None:
        """Wrap a generator.

        Args:
            told: called with the name of the picture that is asked about ("" without one) and a
                piece of the answer; at the end of each answer with the piece "".

        Raises:
            UsageError: it cannot stream.
        """
        if not isinstance(generator, StreamingGenerator):
            raise UsageError(f"{generator.info.model} says its answer at once; it has no stream.")
        self._generator = generator
        self._told = told

    @property
    def info(self) -> GeneratorInfo:
        """See `Generator.info`."""
        return self._generator.info

    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> list[Generation | PolymodalError]:
        """See `Generator.generate`."""
        return [self._one(conversation, options) for conversation in batch]

    def _one(
        self, conversation: Conversation, options: GenerationOptions
    ) -> Generation | PolymodalError:
        name = _name(conversation)
        outcome: Generation | PolymodalError | None = None
        try:
            with span("generate"):
                for piece in self._generator.stream(conversation, options):
                    if isinstance(piece, Generation):
                        outcome = piece
                    elif piece:
                        self._told(name, piece)
        except (UsageError, ModelUnavailable):
            raise  # every other conversation would fail in the same way
        except PolymodalError as error:
            outcome = error
        self._told(name, "")
        assert outcome is not None, "a stream ends with its Generation"
        return outcome


def _name(conversation: Conversation) -> str:
    """Of the last message with media: those before may be examples, those after ask again."""
    for message in reversed(conversation):
        for part in message.parts:
            if not isinstance(part, TextPart):
                return part.name
    return ""

"""A generator asked for a schema: validated data, or a failure that holds every attempt.

Notable: where the generator decodes under a schema it does; where not, an answer that does not fit
goes back to it with what is wrong, at most twice. Both are validated here, since business rules are
more than a grammar. An answer cut off by `max_tokens` is never data, even where it happens to
parse. The schema stands last in the prompt, after all media and what was read from them: nothing in
them can replace it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal.errors import Attempt, InvalidAnswer, PolymodalError, UsageError
from polymodal.models.messages import (
    Conversation,
    Generation,
    GenerationOptions,
    Message,
    TextPart,
)
from polymodal.models.protocols import Generator
from polymodal.tasks.answers_json import json_in
from polymodal.tasks.schemas import Schema, SchemaInput, as_schema

__all__ = ["OPTIONS", "Structured", "ask_for"]

RE_ASKS = 2
OPTIONS = GenerationOptions(max_tokens=1024)
SHOWN_PROBLEM = 1_000
"""Characters of what is wrong that the model is shown."""
INSTRUCTION = "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n{}"
AGAIN = (
    "That answer cannot be used:\n{}\n"
    "Answer again with one JSON value that fits the schema, and with nothing else."
)


@dataclass(frozen=True)
class Structured:
    """Data that fits the schema.

    Attributes:
        data: an instance of the pydantic class, or JSON data.
        json: the answer as plain JSON data, before the class made of it what it makes.
        generation: the answer it was read from.
        attempts: every answer, the last being this one.
    """

    data: Any
    json: Any
    generation: Generation
    attempts: tuple[Attempt, ...]


def ask_for(
    generator: Generator,
    batch: Sequence[Conversation],
    schema: SchemaInput,
    options: GenerationOptions = OPTIONS,
) -> list[Structured | PolymodalError]:
    """Data for each conversation, in order; a failure is an `InvalidAnswer` in its place.

    Args:
        batch: conversations that end with the user; the schema is added to what they say last.

    Raises:
        UsageError: the schema is none, a conversation does not end with the user, or the generator
            cannot take it.
        ModelUnavailable: see `Generator.generate`.
    """
    wanted = as_schema(schema)
    if "json_schema" in generator.info.constrains:
        options = options.replace(json_schema=wanted.json_schema)
    asked = [_Asked(_with_schema(conversation, wanted)) for conversation in batch]
    for _ in range(1 + RE_ASKS):
        waiting = [each for each in asked if each.outcome is None]
        if not waiting:
            break
        answers = generator.generate([each.conversation for each in waiting], options)
        for each, answer in zip(waiting, answers, strict=True):
            each.hear(answer, wanted)
    return [each.result(wanted) for each in asked]


def _with_schema(conversation: Conversation, schema: Schema) -> list[Message]:
    if not conversation or conversation[-1].role != "user":
        raise UsageError("a conversation that asks for a schema must end with a user's message.")
    *before, last = conversation
    text = INSTRUCTION.format(json.dumps(schema.json_schema, ensure_ascii=False))
    return [*before, replace(last, parts=(*last.parts, TextPart(text)))]


class _Asked:
    """One conversation as it grows."""

    def __init__(self, conversation: list[Message]) -> None:
        self.conversation = conversation
        self.attempts: list[Attempt] = []
        self.outcome: Structured | PolymodalError | None = None

    def hear(self, answer: Generation | PolymodalError, schema: Schema) -> None:
        """Take an answer: it ends the conversation, or the model is told what is wrong with it."""
        if isinstance(answer, PolymodalError):
            self._try("", "error", str(answer))
            self.outcome = self._failure(schema, "failed", str(answer))
        elif answer.finish_reason == "length":
            problem = "it was cut off before it ended: allow more tokens (max_tokens)"
            self._try(answer.text, "length", problem)
            self.outcome = self._failure(schema, "truncated", problem)
        elif answer.finish_reason == "refused":
            self._try(answer.text, "refused", "the model would not answer")
            self.outcome = self._failure(schema, "refused", "the model would not answer")
        else:
            self._check(answer, schema)

    def result(self, schema: Schema) -> Structured | PolymodalError:
        """The data, or the failure after the last attempt."""
        if self.outcome is not None:
            return self.outcome
        return self._failure(schema, "invalid", self.attempts[-1].problem)

    def _check(self, answer: Generation, schema: Schema) -> None:
        try:
            plain = json_in(answer.text)
            data = schema.validate(plain)
        except UsageError:
            raise
        except ValueError as error:  # such as NotJsonError
            problem = str(error)[:SHOWN_PROBLEM]
            self._try(answer.text, "stop", problem)
            again = [
                Message.assistant(answer.text or "(no answer)"),
                Message.user(AGAIN.format(problem)),
            ]
            self.conversation = [*self.conversation, *again]
        else:
            self._try(answer.text, "stop", "")
            self.outcome = Structured(data, plain, answer, tuple(self.attempts))

    def _try(self, text: str, finish_reason: str, problem: str) -> None:
        self.attempts.append(Attempt(text, finish_reason, problem))

    def _failure(self, schema: Schema, reason: Any, problem: str) -> InvalidAnswer:
        count = len(self.attempts)
        tries = "one answer" if count == 1 else f"{count} answers"
        first = problem.partition("\n")[0]
        message = f"no data for {schema.name} after {tries}: {first}"
        return InvalidAnswer(message, reason, tuple(self.attempts))

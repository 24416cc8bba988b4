"""The verb of `Suite` that answers questions about pictures: ask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from polymodal.errors import MissingDependency, UsageError
from polymodal.runtime.shapes import is_one, lazily, listed, only
from polymodal.suite_parts import SuiteParts, no_data, only_for_generators

if TYPE_CHECKING:
    from polymodal.media.pictures import ImageInput, Together
    from polymodal.models.messages import GenerationOptions
    from polymodal.models.protocols import Generator
    from polymodal.results import ItemError
    from polymodal.results_answers import Answer
    from polymodal.tasks.examples import ExampleInput
    from polymodal.tasks.schemas import SchemaInput

__all__ = ["AnswerVerbs"]


class AnswerVerbs(SuiteParts):
    """What `Suite` inherits."""

    @overload
    def ask(  # type: ignore[overload-overlap]
        self,
        images: ImageInput | Together,
        question: str,
        *,
        threshold: float | None = ...,
        grounded: bool = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
        examples: Sequence[ExampleInput] = ...,
        schema: SchemaInput | None = ...,
    ) -> Answer: ...

    @overload
    def ask(
        self,
        images: ImageInput | Together | Sequence[ImageInput | Together],
        question: str | Sequence[str],
        *,
        threshold: float | None = ...,
        grounded: bool = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
        examples: Sequence[ExampleInput] = ...,
        schema: SchemaInput | None = ...,
    ) -> list[Answer | ItemError]: ...

    @overload
    def ask(
        self,
        images: Iterator[ImageInput | Together],
        question: str | Sequence[str],
        *,
        threshold: float | None = ...,
        grounded: bool = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
        examples: Sequence[ExampleInput] = ...,
        schema: SchemaInput | None = ...,
    ) -> Iterator[Answer | ItemError]: ...

    def ask(
        self,
        images: Any,
        question: str | Sequence[str],
        *,
        threshold: float | None = None,
        grounded: bool = True,
        generator: str | Generator | None = None,
        options: GenerationOptions | None = None,
        examples: Sequence[ExampleInput] = (),
        schema: SchemaInput | None = None,
    ) -> Any:
        """Answer a question, or several, about pictures; or abstain, with the reasons.

        Questions about text are answered from the text in the picture, or not at all.

        Args:
            images: `Together(...)` is one, of several pictures, for a model that takes them.
            question: of several, each picture gives that many results, one after the other.
            threshold: confidence, 0..1, under which it abstains; the model's own by default.
            grounded: whether answers are checked against the picture and the text in it.
            generator: what answers, instead of the model's captioner: a name, or any `Generator`.
            options: how the generator writes, in place of this verb's own (128 tokens, greedy).
            examples: pictures with a question and its answer, shown to the generator before every
                question (few-shot).
            schema: a pydantic model class, a JSON Schema, or its file: the generator answers with
                data that fits it, in `Answer.data` and `Answer.value` (1,024 tokens by default). An
                answer that does not fit goes back to it with what is wrong, at most twice.

        Returns:
            An `Answer` for one picture and one question; else a list, or for an iterator of
            pictures an iterator, with an `ItemError` in the place of what failed.

        Raises:
            UsageError: an empty question, one that is too long, a wrong threshold, or examples
                that the model does not take.
            ModelUnavailable: when the model has no captioner, or the generator cannot be reached.
            InvalidAnswer: no answer fitted the schema; it holds every attempt.
        """
        from polymodal.tasks.questions import parse

        questions = [question] if isinstance(question, str) else list(question)
        for each in questions:
            parse(each)  # a question that cannot be asked of any picture is the caller's mistake
        pictures = [images] if is_one(images) else images
        pairs = ((image, each) for image in pictures for each in questions)
        stream = self._ask(
            pairs,
            threshold=threshold,
            grounded=grounded,
            generator=generator,
            options=options,
            examples=examples,
            schema=schema,
        )
        if is_one(images) and isinstance(question, str):
            return only(stream)
        return lazily(stream) if isinstance(images, Iterator) else listed(stream)

    def ask_pairs(
        self,
        pairs: Iterable[tuple[ImageInput | Together, str]] | str | os.PathLike[str],
        *,
        threshold: float | None = None,
        grounded: bool = True,
        generator: str | Generator | None = None,
        options: GenerationOptions | None = None,
        examples: Sequence[ExampleInput] = (),
        schema: SchemaInput | None = None,
    ) -> list[Answer | ItemError]:
        """The same for pictures with a question each: pairs, or a CSV or JSONL file of them.

        A question that cannot be asked is an `ItemError` in its place.
        """
        from polymodal.tasks.ask import read_questions

        given: Iterable[tuple[ImageInput | Together, str]]
        given = read_questions(Path(pairs)) if isinstance(pairs, str | os.PathLike) else pairs
        return listed(
            self._ask(
                given,
                threshold=threshold,
                grounded=grounded,
                generator=generator,
                options=options,
                examples=examples,
                schema=schema,
            )
        )

    def _ask(
        self,
        pairs: Iterable[tuple[ImageInput | Together, str]],
        *,
        threshold: float | None,
        grounded: bool,
        generator: str | Generator | None,
        options: GenerationOptions | None,
        examples: Sequence[ExampleInput],
        schema: SchemaInput | None,
    ) -> Any:
        from polymodal.catalog.captioners import check_captioner
        from polymodal.tasks.answering import Asking
        from polymodal.tasks.answering_generators import Manner, options_for
        from polymodal.tasks.ask import ask
        from polymodal.tasks.examples import open_examples, require_fit
        from polymodal.tasks.schemas import as_schema

        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise UsageError(f"the threshold is a probability from 0 to 1, not {threshold}.")
        wanted = None if schema is None else as_schema(schema)
        writer = self._writer(generator)
        if writer is None and isinstance(self._model, str | os.PathLike):
            check_captioner(self._model)
        asking = Asking(self._checking_vectors(), self._lines_of, threshold, grounded)
        limits = self._picture_limits()
        if writer is None:
            if wanted is not None:
                raise no_data(wanted.name)
            only_for_generators(options=options, examples=examples)
            return ask(
                self.captioner,
                pairs,
                asking,
                limits=limits,
                cache=self.cache,
                journal=self.journal,
            )
        shown = open_examples(examples, writer.info, limits)
        if wanted is not None:
            require_fit(shown, wanted)
        return ask(
            writer,
            pairs,
            asking,
            limits=limits,
            manner=Manner(options or options_for(wanted), shown, wanted),
            hear=self._hear,
            stream_limits=self._sound_limits(),
            cache=self.cache,
            journal=self.journal,
        )

    def _lines_of(self, source: ImageInput | Together) -> Any:
        """The text of a picture, by the verb `read`."""
        read = getattr(self, "read", None)
        if read is None:
            raise MissingDependency("pip install 'polymodal[documents]'")
        return read(source)

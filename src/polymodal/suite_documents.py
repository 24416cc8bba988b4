"""The verbs of `Suite` on documents: read, extract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from polymodal.runtime.shapes import gather
from polymodal.suite_parts import SuiteParts, only_for_generators

if TYPE_CHECKING:
    from polymodal.media.documents import DocumentInput
    from polymodal.models.messages import GenerationOptions
    from polymodal.models.protocols import Generator, Reader
    from polymodal.results import ItemError
    from polymodal.results_documents import Extraction, Reading
    from polymodal.tasks.schemas import SchemaInput

__all__ = ["DocumentVerbs"]


class DocumentVerbs(SuiteParts):
    """What `Suite` inherits; it sets the attributes."""

    _reader: Reader | None

    def reader(self) -> Reader:
        """What reads text in pictures, opened on first use.

        Raises:
            MissingDependency: when the extra `documents` is not installed.
            UsageError: when the suite's device is one that it cannot use.
        """
        with self._lock:
            if self._reader is None:
                from polymodal.models.rapidocr import RapidOcrReader

                alone = self._model == "starter"
                self._reader = RapidOcrReader(
                    device=self._device if alone else self._device_beside()
                )
            return self._kept(self._reader, None)

    @overload
    def read(self, documents: DocumentInput) -> Reading: ...  # type: ignore[overload-overlap]

    @overload
    def read(self, documents: Sequence[DocumentInput]) -> list[Reading | ItemError]: ...

    @overload
    def read(self, documents: Iterator[DocumentInput]) -> Iterator[Reading | ItemError]: ...

    def read(self, documents: Any) -> Any:
        """The text of pictures, PDFs and TIFFs: lines with boxes and scores, in reading order.

        A PDF page's text layer is used where there is one, and OCR where not. Readings are kept in
        the cache.

        Raises:
            MediaError: when a single document cannot be opened.
            MissingDependency: when the extra `documents` is not installed.
        """
        from polymodal.tasks.read import read

        reader, limits, cache = self.reader(), self._picture_limits(), self.cache
        return gather(documents, lambda each: read(reader, each, limits=limits, cache=cache))

    @overload
    def extract(  # type: ignore[overload-overlap]
        self,
        documents: DocumentInput,
        schema: SchemaInput | None = ...,
        *,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> Extraction: ...

    @overload
    def extract(
        self,
        documents: Sequence[DocumentInput],
        schema: SchemaInput | None = ...,
        *,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> list[Extraction | ItemError]: ...

    @overload
    def extract(
        self,
        documents: Iterator[DocumentInput],
        schema: SchemaInput | None = ...,
        *,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> Iterator[Extraction | ItemError]: ...

    def extract(
        self,
        documents: Any,
        schema: SchemaInput | None = None,
        *,
        generator: str | Generator | None = None,
        options: GenerationOptions | None = None,
    ) -> Any:
        """Documents to typed data, with the confidence of each field and the line it came from.

        Args:
            schema: a pydantic model class, a JSON Schema, or its file; `Receipt` by default. What
                its rules find wrong is in `problems`, beside the value.
            generator: fills what the receipt model cannot, a name or any `Generator`; without one
                such fields are None.
            options: how the generator writes, in place of this verb's own (1,024 tokens, greedy).

        Raises:
            UsageError: a schema that is none.
            MediaError: when a single document cannot be opened.
            InvalidAnswer: the generator gave nothing usable, and the receipt model has no field of
                the schema.
            MissingDependency: when the extra `documents` is not installed.
        """
        from polymodal.runtime.recorded import recorded
        from polymodal.tasks.extract import Extractor, extract
        from polymodal.tasks.structured import OPTIONS

        writer = self._writer(generator)
        if writer is not None:
            writer = recorded(writer, self.journal, "extract")
        else:
            only_for_generators(options=options)
            self._precision().refuse_for("extract without a model that writes")
        reader, limits, cache = self.reader(), self._picture_limits(), self.cache
        extractor = Extractor.open(schema, writer, options or OPTIONS, limits)
        return gather(
            documents, lambda each: extract(extractor, reader, each, limits=limits, cache=cache)
        )

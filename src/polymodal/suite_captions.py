"""The verb of `Suite` that describes pictures, caption; and the generators that verbs can use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from polymodal.catalog.names import full_name, is_api_name, is_generator_name
from polymodal.errors import UsageError
from polymodal.runtime.shapes import gather
from polymodal.suite_parts import SuiteParts, only_for_generators

if TYPE_CHECKING:
    from polymodal.media.pictures import ImageInput
    from polymodal.models.describing import Captioner
    from polymodal.models.messages import GenerationOptions
    from polymodal.models.protocols import Generator, StreamingGenerator
    from polymodal.models.unopened import Style, UnopenedCaptioner
    from polymodal.results import Caption, ItemError
    from polymodal.runtime.spending import Spending

__all__ = ["CaptionVerbs"]


class CaptionVerbs(SuiteParts):
    """What `Suite` inherits; it sets the attributes."""

    _budget_usd: float | None
    _captioner: Captioner | None

    @overload
    def caption(  # type: ignore[overload-overlap]
        self,
        images: ImageInput,
        *,
        style: Style = ...,
        about: str = ...,
        candidates: int = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> Caption: ...

    @overload
    def caption(
        self,
        images: Sequence[ImageInput],
        *,
        style: Style = ...,
        about: str = ...,
        candidates: int = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> list[Caption | ItemError]: ...

    @overload
    def caption(
        self,
        images: Iterator[ImageInput],
        *,
        style: Style = ...,
        about: str = ...,
        candidates: int = ...,
        generator: str | Generator | None = ...,
        options: GenerationOptions | None = ...,
    ) -> Iterator[Caption | ItemError]: ...

    def caption(
        self,
        images: Any,
        *,
        style: Style = "plain",
        about: str = "",
        candidates: int = 1,
        generator: str | Generator | None = None,
        options: GenerationOptions | None = None,
    ) -> Any:
        """Say what pictures show, in a sentence each.

        Args:
            style: "plain", "short" or "detailed".
            about: words that the caption should take up.
            candidates: how many captions a picture, best first, in `Caption.candidates`.
            generator: what writes, instead of the model's captioner: a name, or any `Generator`.
            options: how the generator writes, in place of the style's own (greedy, and 64 to 384
                tokens). Only what would come out the same again is kept in the cache.

        Raises:
            ModelUnavailable: when the model has no captioner, or the generator cannot be reached.
            InvalidAnswer: the generator's answer was cut off or refused.
            UsageError: for options that cannot be used.
        """
        from polymodal.tasks.caption import CaptionOptions, caption

        wanted = CaptionOptions(style, about, candidates)
        writer = self._writer(generator)
        kept: Any = {
            "limits": self._picture_limits(),
            "cache": self.cache,
            "journal": self.journal,
        }
        if writer is not None:
            from polymodal.tasks.caption_generators import caption_by_generator

            kept["generation"] = options
            return gather(images, lambda each: caption_by_generator(writer, each, wanted, **kept))
        only_for_generators(options=options)
        captioner = self._captioner_to_be()
        return gather(images, lambda each: caption(captioner, each, wanted, **kept))

    def _captioner_to_be(self) -> Captioner | UnopenedCaptioner:
        """The captioner, not opened where it can be named without: the cache may know everything.

        A setting that the model may refuse is put before it at once.
        """
        plain = (self._device, self._dtype, self._quantize) == ("auto", "auto", None)
        if self._captioner is None and plain and isinstance(self._model, str | os.PathLike):
            from polymodal.catalog.captioners import captioner_provenance
            from polymodal.models.unopened import UnopenedCaptioner

            if (found := captioner_provenance(self._model)) is not None:
                return UnopenedCaptioner(found, self.captioner)
        return self.captioner()

    def captioner(self) -> Captioner:
        """What describes pictures, opened on first use; it shares the embedder's image tower.

        Raises:
            ModelUnavailable: when the model has no captioner.
        """
        from polymodal.catalog.captioners import check_captioner, open_captioner
        from polymodal.models.describing import Captioner

        if isinstance(self._model, str | os.PathLike):
            check_captioner(self._model)
        embedder = self.embedder()
        with self._lock:
            if self._captioner is None:
                if isinstance(self._model, Captioner):
                    self._captioner = self._model
                else:
                    name = self._model if isinstance(self._model, str | os.PathLike) else None
                    opened = open_captioner(name, embedder=embedder)
                    self._captioner = self._kept(opened, None if name is None else os.fspath(name))
            return self._captioner

    def generator(self, name: str | None = None) -> StreamingGenerator:
        """A generator by its name, opened on first use; behind an API, counted in `spending`.

        Args:
            name: such as `openai:gpt-5.4-mini`, or a checkpoint's folder or hub id; by default the
                suite's own model.

        Raises:
            UsageError: it is no name of a generator, or there is a budget and no known price.
            ModelUnavailable: there is no key, or no source has the checkpoint.
            MissingDependency: the extra `api` or `hub` is not installed.
        """
        wanted: object = self._model if name is None else name
        if not isinstance(wanted, str | os.PathLike) or not is_generator_name(wanted):
            raise UsageError(
                f"{wanted} is no generator, such as openai:MODEL, anthropic:MODEL, gemini:MODEL,"
                " openai:MODEL@URL, or the folder or hub id of a checkpoint that writes."
            )
        key = full_name(os.fspath(wanted))
        with self._lock:
            if key not in self._generators:
                self._generators[key] = self._opened(key)
            return self._generators[key]

    def _opened(self, name: str) -> StreamingGenerator:
        if not is_api_name(name):
            from polymodal.catalog.hub_models import open_hub_generator

            opened = open_hub_generator(
                name,
                device=self._device,
                precision=self._precision(),
                trust=self._trust,
            )
            return self._kept(opened, name)
        if self._dtype != "auto" or self._quantize is not None:
            raise UsageError(f"{name} runs behind an API; --dtype and --quantize are not for it.")
        from polymodal.catalog.generators import open_generator
        from polymodal.runtime.spending import BudgetedGenerator

        return BudgetedGenerator(open_generator(name), self.spending)

    @cached_property
    def spending(self) -> Spending:
        """What the answers of generators behind APIs have cost so far."""
        from polymodal.runtime.spending import Spending

        return Spending(self._budget_usd)

    @cached_property
    def _generators(self) -> dict[str, StreamingGenerator]:
        return {}

    def _writer(self, given: str | Generator | None) -> Generator | None:
        """The generator that a verb uses; None where the model's own captioner answers."""
        if given is None:
            return self.generator() if is_generator_name(self._model) else None
        if not isinstance(given, str):
            return given
        # "starter" stands for what answers without a generator.
        return None if given == "starter" else self.generator(given)

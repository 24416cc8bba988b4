"""The front door: one method a verb, each a few lines that hand over to a task.

Notable: making a `Suite` loads nothing, and so does importing this module; the model is opened by
the first verb that needs it, and the part of it that the verb needs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from polymodal.catalog.names import full_name, is_generator_name, no_vectors
from polymodal.errors import UsageError
from polymodal.models.trust import Trust
from polymodal.runtime.shapes import gather, is_one, listed, only
from polymodal.suite_answers import AnswerVerbs
from polymodal.suite_captions import CaptionVerbs
from polymodal.suite_documents import DocumentVerbs
from polymodal.suite_judging import JudgingVerbs
from polymodal.suite_models import LoadedModels
from polymodal.suite_speech import SpeechVerbs

if TYPE_CHECKING:
    from polymodal.media.limits import StreamLimits
    from polymodal.media.pictures import ImageInput, Limits
    from polymodal.models.describing import Captioner
    from polymodal.models.protocols import Device, Embedder, Reader, Transcriber
    from polymodal.results import (
        Classification,
        Embeddings,
        ItemError,
        Match,
        Verdict,
    )
    from polymodal.runtime.cache import Cache
    from polymodal.runtime.journal import Journal
    from polymodal.runtime.texts import TextVectors
    from polymodal.search import Collection
    from polymodal.tasks.labels import LabelInput
    from polymodal.tasks.moderate import Policy
    from polymodal.tasks.probe import Probe
    from polymodal.training.probe_recipe import LinearProbeRecipe

__all__ = ["Suite"]


class Suite(CaptionVerbs, AnswerVerbs, DocumentVerbs, SpeechVerbs, JudgingVerbs, LoadedModels):
    """Every verb on one model. Safe to use from several threads.

    A verb that takes pictures takes one (and returns one result, or raises `MediaError`), a list
    (and returns a list, where a failed picture is an `ItemError` in its place), or an iterator
    (and returns an iterator of the same, lazily: for more pictures than fit in memory).
    """

    def __init__(
        self,
        model: str | Embedder = "starter",
        *,
        device: Device = "auto",
        limits: Limits | None = None,
        home: str | os.PathLike[str] | None = None,
        cache: bool | str | os.PathLike[str] | Cache = True,
        journal: bool | str | os.PathLike[str] | Journal = True,
        reader: Reader | None = None,
        transcriber: str | Transcriber = "starter",
        stream_limits: StreamLimits | None = None,
        budget_usd: float | None = None,
        allow_pickle: bool = False,
        allow_remote_code: Sequence[str] = (),
        memory: int | str | None = None,
        ttl_s: float | None = None,
        dtype: str = "auto",
        quantize: str | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            model: a model's name, the path of a model folder, or any `Embedder`. A generator's name
                (`openai:MODEL`, `anthropic:MODEL`, `gemini:MODEL`, or a checkpoint that writes)
                answers `caption`, `ask` and `extract`; the starter checks its answers.
            device: "cpu", "cuda", "cuda:N", or "auto" to use an accelerator where there is one.
            limits: what a picture may be at most; `polymodal.media.DEFAULT_LIMITS` by default.
            home: where named collections, the cache and the journal live.
            cache: whether generative verbs keep and reuse results; or a file to keep them in.
            journal: whether generative verbs record what was asked and answered; or a file for it.
            reader: what reads text in pictures; RapidOCR by default.
            transcriber: a speech model's name or folder, or any `Transcriber`.
            stream_limits: what a sound or video may be at most.
            budget_usd: what generators behind APIs may cost; a request that could pass it is not
                sent, and is a `BudgetExceeded` in its place. None only counts (`spending`).
            allow_pickle: take pickled weights of a checkpoint that has no others.
            allow_remote_code: checkpoints, named as they are asked for, whose own code may run.
            memory: what all models may take, on the host and on each accelerator: bytes, or "8GB";
                80 % of what is free by default. The longest idle make room for others.
            ttl_s: unload what was idle for so many seconds; never by default.
            dtype, quantize: in which numbers a checkpoint's weights are held: "float32",
                "bfloat16", "float16" or "auto"; and "8bit" or "4bit".
        """
        self._model = full_name(model) if isinstance(model, str) else model
        self._device = device
        self._limits = limits
        self._home = None if home is None else Path(home)
        self._cache_setting = cache
        self._journal_setting = journal
        self._lock = threading.Lock()
        self._texts: TextVectors | None = None
        self._reader = reader
        self._captioner: Captioner | None = None
        self._speech = transcriber
        self._stream_limits = stream_limits
        self._budget_usd = budget_usd
        self._trust = Trust(allow_pickle, tuple(full_name(os.fspath(n)) for n in allow_remote_code))
        self._memory, self._ttl_s = memory, ttl_s
        self._dtype, self._quantize = dtype, quantize

    def embedder(self) -> Embedder:
        """The model, opened on first use.

        Raises:
            ModelUnavailable: when no source has its weights.
        """
        return self._text_vectors().embedder

    @cached_property
    def cache(self) -> Cache | None:
        """What generative verbs keep their results in; None where it is off."""
        from polymodal.runtime.cache import open_cache

        return open_cache(self._cache_setting, self._home)

    @cached_property
    def journal(self) -> Journal | None:
        """What generative verbs record their calls in; None where it is off."""
        from polymodal.runtime.journal import open_journal

        return open_journal(self._journal_setting, self._home)

    def embed(
        self, *, images: ImageInput | Iterable[ImageInput] = (), texts: str | Sequence[str] = ()
    ) -> Embeddings:
        """Vectors of `images`, then of `texts`, in order; failed items are in their place."""
        from polymodal.tasks.embed import embed

        pictures: Any = [images] if is_one(images) else images
        words = [texts] if isinstance(texts, str) else texts
        return embed(self.embedder(), pictures, words, limits=self._picture_limits())

    @overload
    def classify(  # type: ignore[overload-overlap]
        self,
        images: ImageInput,
        labels: LabelInput | None = ...,
        *,
        probe: Probe | str | os.PathLike[str] | None = ...,
        templates: Sequence[str] | None = ...,
        multi_label: bool = ...,
        unknown: float | None = ...,
    ) -> Classification: ...

    @overload
    def classify(
        self,
        images: Sequence[ImageInput],
        labels: LabelInput | None = ...,
        *,
        probe: Probe | str | os.PathLike[str] | None = ...,
        templates: Sequence[str] | None = ...,
        multi_label: bool = ...,
        unknown: float | None = ...,
    ) -> list[Classification | ItemError]: ...

    @overload
    def classify(
        self,
        images: Iterator[ImageInput],
        labels: LabelInput | None = ...,
        *,
        probe: Probe | str | os.PathLike[str] | None = ...,
        templates: Sequence[str] | None = ...,
        multi_label: bool = ...,
        unknown: float | None = ...,
    ) -> Iterator[Classification | ItemError]: ...

    def classify(
        self,
        images: Any,
        labels: LabelInput | None = None,
        *,
        probe: Probe | str | os.PathLike[str] | None = None,
        templates: Sequence[str] | None = None,
        multi_label: bool = False,
        unknown: float | None = None,
    ) -> Any:
        """Sort pictures into labels, without training or by a trained probe.

        Args:
            labels: a list; a dict of label -> description(s); or the path of a label file.
            probe: a `Probe` or its file, instead of labels.
            templates: prompt templates with one `{}` each; the model's own by default.
            multi_label: score each label on its own: several can hold, or none.
            unknown: score in 0..1 that the best label needs; below it `label` is None ("none of
                these"), and the scores then leave room for it: they add up to less than 1.

        Raises:
            UsageError: neither or both of `labels` and `probe`, or labels that cannot be used.
            SpaceMismatch: when the probe was trained on another model.
        """
        from polymodal.tasks.classify import Decision, classify, zero_shot
        from polymodal.tasks.probe import Probe, classify_with_probe

        if (labels is None) == (probe is None):
            raise UsageError("give either labels or a probe to classify by.")
        decision = Decision(multi_label, unknown)
        texts, limits = self._text_vectors(), self._picture_limits()
        if labels is not None:
            head = zero_shot(texts, labels, templates)
            return gather(images, lambda each: classify(texts, each, head, decision, limits=limits))
        if templates is not None or multi_label:
            raise UsageError("templates and multi_label go with labels, not with a probe.")
        trained = probe if isinstance(probe, Probe) else Probe.load(Path(probe or ""))
        trained.check(texts.embedder)
        return gather(
            images,
            lambda each: classify_with_probe(
                texts.embedder, each, trained, decision, limits=limits
            ),
        )

    def match(self, image: ImageInput, text: str, *, threshold: float | None = None) -> Match:
        """The probability that `text` fits the picture; with a threshold, also yes or no.

        Raises:
            MediaError: when the picture cannot be opened.
            UsageError: for an empty text or a threshold outside 0..1.
        """
        from polymodal.tasks.match import match

        pairs = match(
            self._text_vectors(),
            [(image, text)],
            limits=self._picture_limits(),
            threshold=threshold,
        )
        return only(pairs)

    def match_pairs(
        self,
        pairs: Sequence[tuple[ImageInput, str]] | str | os.PathLike[str],
        *,
        threshold: float | None = None,
    ) -> list[Match | ItemError]:
        """The same for many pairs, in order: a list, or a CSV / JSONL file (picture, text).

        A pair without a text, or whose picture cannot be opened, is an `ItemError` in its place.
        """
        from polymodal.tasks.match import match, read_pairs

        table: Sequence[tuple[ImageInput, str]]
        table = read_pairs(Path(pairs)) if isinstance(pairs, str | os.PathLike) else pairs
        return listed(
            match(
                self._text_vectors(),
                table,
                limits=self._picture_limits(),
                threshold=threshold,
            )
        )

    def probe(
        self,
        source: str | os.PathLike[str] | Mapping[str, Sequence[ImageInput]],
        *,
        recipe: LinearProbeRecipe | None = None,
    ) -> Probe:
        """Train a linear classifier on a folder with a subfolder a class, or label -> pictures.

        The probe's `report` holds its cross-validated accuracy; `save` writes it to a file that
        `classify(..., probe=FILE)` reads.

        Args:
            recipe: of `polymodal.training.probe_recipe`: logistic regression by a paper's protocol,
                its accuracy that on the pictures which it held out.

        Raises:
            UsageError: fewer than two classes, or a class with fewer than two pictures.
            MissingDependency: a recipe needs scikit-learn.
        """
        from polymodal.tasks.probe import train_probe

        limits = self._picture_limits()
        return train_probe(self.embedder(), source, limits=limits, recipe=recipe)

    @overload
    def moderate(  # type: ignore[overload-overlap]
        self, images: ImageInput, policy: str | os.PathLike[str] | Policy = ...
    ) -> Verdict: ...

    @overload
    def moderate(
        self, images: Sequence[ImageInput], policy: str | os.PathLike[str] | Policy = ...
    ) -> list[Verdict | ItemError]: ...

    @overload
    def moderate(
        self, images: Iterator[ImageInput], policy: str | os.PathLike[str] | Policy = ...
    ) -> Iterator[Verdict | ItemError]: ...

    def moderate(
        self, images: Any, policy: str | os.PathLike[str] | Policy = "photo-quality"
    ) -> Any:
        """Approve or reject pictures by a policy: one that ships, or a TOML file.

        Raises:
            PolicyError: when the policy does not exist or is not valid.
        """
        from polymodal.tasks.moderate import moderate, open_policy

        rules, texts, limits = open_policy(policy), self._text_vectors(), self._picture_limits()
        return gather(images, lambda each: moderate(texts, each, rules, limits=limits))

    def collection(
        self, name_or_path: str | os.PathLike[str], *, create: bool = True
    ) -> Collection:
        """The persistent, searchable set of pictures of that name or at that path.

        Raises:
            SpaceMismatch: when it was built with another model.
            CollectionError: when it cannot be opened.
        """
        from polymodal.search import open_collection

        return open_collection(
            name_or_path,
            self.embedder,
            create=create,
            write=True,
            home=self._home,
            senses=self.senses(),
        )

    def _text_vectors(self) -> TextVectors:
        if is_generator_name(self._model):
            raise no_vectors(self._model)
        return self._checking_vectors()

    def _checking_vectors(self) -> TextVectors:
        """What answers are compared with a picture by: the model's vectors, else the starter's."""
        with self._lock:
            if self._texts is None:
                from polymodal.runtime.texts import TextVectors

                model = self._starter() if is_generator_name(self._model) else self._model
                name = "starter" if model is not self._model else self._model
                if isinstance(model, str | os.PathLike):
                    from polymodal.catalog.opening import open_embedder

                    name = os.fspath(model)
                    model = open_embedder(
                        name,
                        device=self._device,
                        precision=self._precision(),
                        trust=self._trust,
                    )
                self._texts = TextVectors(self._kept(model, name))
            return self._texts

    def _starter(self) -> Embedder:
        """What checks the answers of generators, wherever these run."""
        from polymodal.catalog.opening import open_embedder

        return open_embedder("starter", device=self._device_beside())

    def _picture_limits(self) -> Limits:
        if self._limits is None:
            from polymodal.media.limits import DEFAULT_LIMITS

            self._limits = DEFAULT_LIMITS
        return self._limits

"""The verbs of `Suite` on sound and video: transcribe, watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from polymodal.errors import MissingDependency, ModelUnavailable
from polymodal.runtime.shapes import gather
from polymodal.suite_parts import SuiteParts

if TYPE_CHECKING:
    from polymodal.media.containers import StreamInput
    from polymodal.media.limits import StreamLimits
    from polymodal.media.sound import SoundInput
    from polymodal.models.precision import Precision
    from polymodal.models.protocols import Transcriber
    from polymodal.results import ItemError
    from polymodal.results_speech import Timeline, Transcript
    from polymodal.search.senses import Senses
    from polymodal.tasks.transcribe import OnHeard
    from polymodal.tasks.watch import OnWatched, SceneCaptioner

__all__ = ["SpeechVerbs"]


class SpeechVerbs(SuiteParts):
    """What `Suite` inherits; it sets the attributes."""

    _speech: str | Transcriber
    _stream_limits: StreamLimits | None

    def transcriber(self) -> Transcriber:
        """The speech model, opened on first use; the starter's weights are read by its first call.

        Raises:
            ModelUnavailable: when no source has its weights.
            MissingDependency: when the extra `speech` is not installed.
        """
        with self._lock:
            if isinstance(self._speech, str):
                from polymodal.catalog.speech import open_transcriber

                name = self._speech
                opened = open_transcriber(
                    name,
                    device=self._device,
                    precision=self._speech_precision(),
                    trust=self._trust,
                )
                self._speech = self._kept(opened, name)
            return self._kept(self._speech, None)

    @overload
    def transcribe(  # type: ignore[overload-overlap]
        self, sounds: SoundInput, *, language: str | None = ..., progress: OnHeard | None = ...
    ) -> Transcript: ...

    @overload
    def transcribe(
        self,
        sounds: Sequence[SoundInput],
        *,
        language: str | None = ...,
        progress: OnHeard | None = ...,
    ) -> list[Transcript | ItemError]: ...

    @overload
    def transcribe(
        self,
        sounds: Iterator[SoundInput],
        *,
        language: str | None = ...,
        progress: OnHeard | None = ...,
    ) -> Iterator[Transcript | ItemError]: ...

    def transcribe(
        self, sounds: Any, *, language: str | None = None, progress: OnHeard | None = None
    ) -> Any:
        """What is said in sound or video files; where nobody speaks, no segments.

        What was heard before comes from the cache; what is heard now is recorded in the journal.

        Args:
            language: a code such as "en"; recognised where it is not given.
            progress: told how many seconds of a sound are done, and of how many.

        Raises:
            UsageError: a language that the model does not know.
        """
        from polymodal.tasks.transcribe import transcribe

        model, limits = self.transcriber(), self._sound_limits()
        cache, journal = self.cache, self.journal
        return gather(
            sounds,
            lambda each: transcribe(
                model,
                each,
                language=language,
                limits=limits,
                progress=progress,
                cache=cache,
                journal=journal,
            ),
        )

    @overload
    def watch(  # type: ignore[overload-overlap]
        self,
        videos: StreamInput,
        *,
        captioner: SceneCaptioner | None = ...,
        describe: bool = ...,
        listen: bool = ...,
        language: str | None = ...,
        progress: OnWatched | None = ...,
    ) -> Timeline: ...

    @overload
    def watch(
        self,
        videos: Sequence[StreamInput],
        *,
        captioner: SceneCaptioner | None = ...,
        describe: bool = ...,
        listen: bool = ...,
        language: str | None = ...,
        progress: OnWatched | None = ...,
    ) -> list[Timeline | ItemError]: ...

    @overload
    def watch(
        self,
        videos: Iterator[StreamInput],
        *,
        captioner: SceneCaptioner | None = ...,
        describe: bool = ...,
        listen: bool = ...,
        language: str | None = ...,
        progress: OnWatched | None = ...,
    ) -> Iterator[Timeline | ItemError]: ...

    def watch(
        self,
        videos: Any,
        *,
        captioner: SceneCaptioner | None = None,
        describe: bool = True,
        listen: bool = True,
        language: str | None = None,
        progress: OnWatched | None = None,
    ) -> Any:
        """The scenes of videos: each with its times, a picture, its vector, words and speech.

        Captions and speech go through the cache and the journal, as `caption`'s and `transcribe`'s.

        Args:
            captioner: puts the scenes' pictures into words; the model's own by default.
            describe: caption the scenes; where the model has no captioner, a note says so.
            listen: transcribe what is said; where the speech model is missing, a note says so.
            language: of the speech; recognised where it is not given.
            progress: told how many seconds of a video are seen, and of how many.

        Raises:
            UsageError: a language that the speech model does not know.
        """
        from polymodal.tasks.watch import Watcher, watch

        def hear(source: StreamInput) -> Transcript:
            return self.transcribe(source, language=language)

        def own_or_given() -> SceneCaptioner:
            return self._scene_captioner() if captioner is None else captioner

        watcher = Watcher(
            embedder=self.embedder(),
            hear=hear if listen else None,
            captioner=own_or_given if describe else None,
            limits=self._sound_limits(),
            progress=progress,
        )
        return gather(videos, lambda each: watch(watcher, each))

    def _scene_captioner(self) -> SceneCaptioner:
        from polymodal.tasks.watch import captions_by

        return captions_by(self.captioner(), cache=self.cache, journal=self.journal)

    def senses(self) -> Senses:
        """What collections listen, watch and rerank with."""
        from polymodal.search.senses import Senses

        return Senses(
            hear=self.transcribe, watch=self.watch, describes=self._describes, judge=self.judge
        )

    def _describes(self) -> bool:
        """Whether scenes come with captions; the captioner's weights are not read for it."""
        try:
            self.captioner()
        except (MissingDependency, ModelUnavailable):
            return False
        return True

    def _speech_precision(self) -> Precision:
        """What was asked for; the starter's speech model beside another model stays as it is."""
        from polymodal.models.precision import AS_IT_IS

        beside = self._speech == "starter" and self._model != "starter"
        return AS_IT_IS if beside else self._precision()

    def _hear(self, source: StreamInput) -> Transcript:
        return self.transcribe(source)

    def _sound_limits(self) -> StreamLimits:
        from polymodal.media.limits import DEFAULT_STREAM_LIMITS

        return self._stream_limits or DEFAULT_STREAM_LIMITS

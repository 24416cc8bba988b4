"""What a collection hears and watches with; given to it, since it knows no models of speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from polymodal.errors import DamagedMedia, UsageError
from polymodal.media.containers import VIDEO_EXTENSIONS
from polymodal.media.files import PICTURE_EXTENSIONS
from polymodal.media.sound import SoundInput, sound_name
from polymodal.results_speech import Timeline, Transcript
from polymodal.runtime.judging import Judge

__all__ = ["Senses"]


@dataclass(frozen=True)
class Senses:
    """Functions of the suite: `hear` writes down speech, `watch` cuts a video into scenes and
    `describes` says whether these come with captions, `judge` finds by its name what says how well
    pictures fit words.
    """

    hear: Callable[[SoundInput], Transcript] | None = None
    watch: Callable[[str], Timeline] | None = None
    describes: Callable[[], bool] = lambda: False
    judge: Callable[[str], Judge] | None = None

    @property
    def extensions(self) -> frozenset[str]:
        """What `add` takes out of a folder: without what opens videos, a folder has none."""
        watches = self.watch is not None and find_spec("av") is not None
        return PICTURE_EXTENSIONS | (VIDEO_EXTENSIONS if watches else frozenset())

    def words_of(self, audio: SoundInput) -> str:
        """What is said in a spoken query.

        Raises:
            MediaError: the recording cannot be opened, or nobody speaks in it.
            UsageError: this collection was opened without ears.
        """
        if self.hear is None:
            raise UsageError("this collection cannot listen: open it with Suite().collection(...).")
        # A full stop is the transcriber's, not the speaker's, and changes what is found.
        text = self.hear(audio).text.strip().rstrip(".!?")
        if not text:
            raise DamagedMedia("has no words to search for: nobody speaks in it", sound_name(audio))
        return text

    def judge_of(self, given: str | Judge | None) -> Judge | None:
        """What orders hits anew, by its name or as it is.

        Raises:
            UsageError: this collection was opened without judges.
        """
        if not isinstance(given, str):
            return given
        if self.judge is None:
            raise UsageError("this collection cannot rerank: open it with Suite().collection(...).")
        return self.judge(given)

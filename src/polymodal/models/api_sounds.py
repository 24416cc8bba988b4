"""Sound for services: a WAV file, which all that take sound can open.

Notable: sound reaches a generator as samples, whatever file it came from, so nothing is sent in the
format that it had.
"""

from __future__ import annotations

import io
import wave

from polymodal.models.messages import AudioPart

__all__ = ["wav_of"]


def wav_of(sound: AudioPart) -> bytes:
    """A WAV file of 16 bits, one channel."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate_hz)
        file.writeframes((sound.samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()

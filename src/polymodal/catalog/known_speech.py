"""What is known of speech models, for the list of models: Whisper base, and those with a card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polymodal.catalog import hub
from polymodal.catalog.joined import joined_folder, read_speech_card, weight_cache
from polymodal.catalog.speech import MODEL_FILE, SpeechModel, from_hub, read_speech_models
from polymodal.errors import ModelUnavailable

__all__ = ["WHISPER", "card_of", "details_of", "folder_of", "pulled", "removed"]

WHISPER = "whisper-base"
"""What the starter hears with; the others are called by a card's short name."""


def card_of(name: str) -> SpeechModel | None:
    """The card of a short name; None where there is none."""
    return next((card for card in read_speech_models() if name in card.names), None)


def details_of(name: str) -> Mapping[str, Any]:
    """What the card of a speech model says."""
    card = card_of(name)
    if card is not None:
        return {
            "also": ", ".join(card.names[1:]),
            "parameters": card.parameters,
            "languages": card.languages,
            "repository": card.ctranslate2,
            "for_transformers": card.transformers,
            "source": card.source,
            "citation": card.citation,
        }
    base = read_speech_card()
    return {
        "revision": base.revision,
        "packages": base.packages,
        "note": "what `transcribe -m starter` uses",
    }


def folder_of(name: str) -> Path | None:
    """Where its weights lie on this machine; None where they do not."""
    card = card_of(name)
    if card is not None:
        found = hub.cached_folder(card.ctranslate2)
        return found if found is not None and (found / MODEL_FILE).is_file() else None
    base = read_speech_card()
    folder = weight_cache() / f"{base.id}-{base.revision}"
    return folder if all((folder / file.name).is_file() for file in base.files) else None


def pulled(name: str) -> Path:
    """The folder with its weights, joined or downloaded if need be.

    Raises:
        ModelUnavailable: no source has them.
        MissingDependency: faster-whisper is not installed.
    """
    return from_hub(name) if card_of(name) is not None else joined_folder(read_speech_card())


def removed(name: str) -> int:
    """Delete its weights; the bytes that were freed.

    Raises:
        ModelUnavailable: they are not on this machine.
    """
    card = card_of(name)
    if card is not None:
        return hub.remove_cached(card.ctranslate2)
    folder = folder_of(name)
    if folder is None:
        raise ModelUnavailable(f"{name} is not joined on this machine.")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return size

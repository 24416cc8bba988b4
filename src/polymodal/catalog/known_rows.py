"""One row of the list of models: what is said of a model of each kind, and where its files lie.

Notable: nothing is opened; which rows there are, and what is done with their files, is in
`known.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.catalog import hub, known_speech
from polymodal.catalog.checkpoints import kind_of, look_at
from polymodal.catalog.known_openclip import Described
from polymodal.catalog.known_speech import WHISPER
from polymodal.catalog.opening import OPEN_CLIP
from polymodal.catalog.opening import known_models as opened_by_name
from polymodal.catalog.sources import PACKAGES, find_weights
from polymodal.errors import ModelUnavailable, PolymodalError

__all__ = [
    "KnownModel",
    "api",
    "api_names",
    "cached",
    "checkpoint",
    "folder_bytes",
    "is_speech",
    "openclip",
    "packaged",
    "plugin",
    "plugin_names",
    "speech",
    "starter_folder",
]

VERBS = {"vectors": "vectors", "text": "text", "embedder": "vectors", "generator": "text"}
SPEECH = "speech"


@dataclass(frozen=True)
class KnownModel:
    """A row of the list.

    Attributes:
        name: what `-m` takes.
        does: "vectors" (embed, classify, search, ...), "text" (caption, ask, extract), "speech".
        family: whose model it is.
        licence: as its card or page states it; "" where it has to be read there.
        folder: where its weights lie on this machine; None where they do not, or have no place.
        details: what else its card or its files say, for `show`.
        file: the only one of the folder's that is its own; None where all are.
    """

    name: str
    does: str
    family: str
    licence: str = ""
    folder: Path | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None

    @property
    def size_bytes(self) -> int | None:
        """Of its files on this machine."""
        if self.file is not None:
            return self.file.stat().st_size
        return None if self.folder is None else folder_bytes(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "does": self.does,
            "family": self.family,
            "licence": self.licence,
            "folder": None if self.folder is None else str(self.folder),
            "size_bytes": self.size_bytes,
            **self.details,
        }


def folder_bytes(folder: Path) -> int:
    """Of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def packaged(name: str) -> KnownModel:
    """A model of a weight package, which may not be installed."""
    try:
        return starter_folder(name)
    except ModelUnavailable as error:
        return KnownModel(name, "vectors, text", "starter", details={"missing": str(error)})


def starter_folder(name: str) -> KnownModel:
    """The starter's files, in their package or in a folder."""
    import tomllib

    weights = find_weights(name)
    cards = {
        file.partition("/")[0]: tomllib.loads(weights.read(file).decode())
        for file in weights.files
        if file.endswith("card.toml")
    }
    first = cards.get("embedder", {}).get("model", {})
    details: dict[str, Any] = {"revision": weights.revision}
    for part, card in cards.items():
        model = card.get("model", {})
        details[part] = {
            "name": model.get("name", ""),
            "licence": model.get("licence", ""),
            "limits": model.get("limits", []),
            "scores": card.get("scores", {}),
        }
    does = "vectors, text" if "captioner" in cards else "vectors"
    return KnownModel(
        name, does, "starter", _brief(str(first.get("licence", ""))), weights.root, details
    )


def _brief(licence: str) -> str:
    """The licence without what is said of it; the whole stands in the part's details."""
    return licence.partition(" for ")[0].partition(";")[0]


def is_speech(name: str) -> bool:
    """Whether a speech model that has a card is called that."""
    return name == WHISPER or known_speech.card_of(name) is not None


def speech(name: str) -> KnownModel:
    """A speech model that has a card."""
    card = known_speech.card_of(name)
    name, licence = (WHISPER, "MIT") if card is None else (card.names[0], card.licence)
    folder, details = known_speech.folder_of(name), known_speech.details_of(name)
    return KnownModel(name, SPEECH, "Whisper", licence, folder, details)


def checkpoint(name: str) -> KnownModel:
    """A checkpoint of the hub or in a folder."""
    row = hub.known_checkpoints().get(name.partition("@")[0], {})
    folder = Path(name).expanduser()
    found = folder if folder.is_dir() else cached(name)
    details: dict[str, Any] = {}
    does = VERBS.get(row.get("verbs", ""), "")
    if found is not None and (found / "config.json").is_file():
        details, does = _looked_at(found, does)
    if "licence_source" in row:
        quoted = " (as others quote it)" if row.get("licence_quoted") else ""
        details["licence_source"] = row["licence_source"] + quoted
        details["licence_read"] = str(row["licence_read"])
    return KnownModel(name, does, row.get("family", ""), row.get("licence", ""), found, details)


def _looked_at(folder: Path, does: str) -> tuple[dict[str, Any], str]:
    """What a checkpoint's files say, and what it does; a damaged one says what is wrong."""
    if (folder / "model.bin").is_file() and (folder / "tokenizer.json").is_file():
        return {"format": "CTranslate2"}, SPEECH
    try:
        checkpoint = look_at(folder)
    except PolymodalError as error:
        return {"damaged": str(error)}, does
    details = {
        "model_type": checkpoint.model_type,
        "revision": checkpoint.revision,
        "parameters": checkpoint.weights.parameters(),
        "pickled": checkpoint.weights.pickled,
    }
    if checkpoint.code:
        details["runs_code"] = f"{', '.join(checkpoint.code)}; only with --allow-remote-code NAME"
    return details, VERBS[kind_of(str(folder))]


def openclip(name: str, found: Described) -> KnownModel:
    """A checkpoint of open_clip's."""
    folder = None if found.file is None else found.file.parent
    return KnownModel(
        name, VERBS["vectors"], OPEN_CLIP, found.licence, folder, found.details, found.file
    )


def cached(name: str) -> Path | None:
    """The folder of a checkpoint in the hub's cache."""
    return hub.cached_folder(name) if hub.is_hub_id(name) else None


def api_names() -> list[str]:
    """Models behind an API that have a card."""
    from polymodal.catalog.generators import known_api_models

    return known_api_models()


def api(name: str) -> KnownModel:
    """A model behind an API."""
    from polymodal.catalog.generators import read_model

    model = read_model(name)
    details: dict[str, Any] = {"price": None}
    if model.price is not None:
        price = model.price
        details["price"] = {
            "input_usd_per_million_tokens": price.input_usd,
            "output_usd_per_million_tokens": price.output_usd,
            "audio_input_usd_per_million_tokens": price.audio_input_usd,
            "audio_tokens_per_second": model.audio_tokens_s or None,
            "read": price.read.isoformat() if price.read else None,
            "source": price.source,
        }
    return KnownModel(name, "text", name.partition(":")[0], "vendor's terms", None, details)


def plugin_names() -> list[str]:
    """Models that other packages bring."""
    return [name for name in opened_by_name() if name not in PACKAGES]


def plugin(name: str) -> KnownModel:
    """A model that another package brings."""
    return KnownModel(name, "", "plugin")

"""What models there are: those that ship, those known by name, and what of them is on this machine.

Notable: nothing is opened, downloaded or asked of a network; a checkpoint is looked at through its
files' names and headers. What a name means is decided where models are opened (`opening.py`); here
the same names are described.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polymodal.catalog import hub, known_speech
from polymodal.catalog.checkpoints import is_checkpoint_name, kind_of, look_at, open_checkpoint
from polymodal.catalog.known_openclip import (
    USUAL,
    Described,
    described,
    every_name,
    glance,
    is_openclip,
    pulled,
)
from polymodal.catalog.known_speech import WHISPER
from polymodal.catalog.names import full_name, is_api_name
from polymodal.catalog.opening import OPEN_CLIP
from polymodal.catalog.opening import known_models as opened_by_name
from polymodal.catalog.sources import PACKAGES, find_weights
from polymodal.catalog.speech import read_speech_models
from polymodal.errors import ModelUnavailable, PolymodalError, UsageError, did_you_mean
from polymodal.models.trust import NOTHING, Trust

__all__ = ["KnownModel", "folder_bytes", "folder_of", "known_models", "pull", "remove", "show"]

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


def known_models(*, here: bool = False, family: str = "") -> list[KnownModel]:
    """Every model that is known by name, and every checkpoint in the hub's cache.

    Args:
        here: only those whose weights are on this machine.
        family: only those of this family; of open_clip then all that it knows.

    Raises:
        UsageError: no model is of that family.
        MissingDependency: it is open_clip's, and the extra is not installed.
    """
    rows = _of_family(family) if family else _all()
    return [row for row in rows if row.folder is not None or not here]


def _all() -> list[KnownModel]:
    rows = [_packaged(name) for name in PACKAGES]
    rows += [_speech(name) for name in (WHISPER, *(c.names[0] for c in read_speech_models()))]
    names = dict.fromkeys((*hub.known_checkpoints(), *hub.cached_names()))
    rows += [_checkpoint(name) for name in names]
    rows.append(_openclip(USUAL, glance()))
    rows += [_api(name) for name in _api_names()]
    rows += [_plugin(name) for name in _plugin_names()]
    return rows


def _of_family(family: str) -> list[KnownModel]:
    wanted, every = _bare(family), _all()
    rows = [row for row in every if _bare(row.family) == wanted]
    if wanted == _bare(OPEN_CLIP):
        rows = [row for row in rows if not is_openclip(row.name)]
        rows += [_openclip(name, described(name)) for name in every_name()]
    if not rows:
        families = dict.fromkeys(row.family for row in every if row.family)
        raise UsageError(f"no model is of the family {family!r}; there are {', '.join(families)}.")
    return rows


def _bare(family: str) -> str:
    return "".join(each for each in family.lower() if each.isalnum())


def show(name: str) -> KnownModel:
    """What is known of one model.

    Raises:
        ModelUnavailable: no model is called that, with the nearest names that exist.
    """
    name = full_name(name)
    if name in PACKAGES:
        return _packaged(name)
    if _is_speech(name):
        return _speech(name)
    if (of_family := _of_prefix(name)) is not None:
        return of_family
    folder = Path(name).expanduser()
    if folder.is_dir() and not is_checkpoint_name(name):
        return _starter_folder(name)
    if folder.is_dir() or name in hub.known_checkpoints() or _cached(name) is not None:
        return _checkpoint(name)
    raise ModelUnavailable(f"no model is called {name!r} here.{_near(name)}{_hint(name)}")


def _of_prefix(name: str) -> KnownModel | None:
    """A name that begins with its family's, and a colon."""
    if is_api_name(name):
        return _api(name)
    if name.partition(":")[0] in _plugin_names():
        return _plugin(name)
    return _openclip(name, described(name, counted=True)) if is_openclip(name) else None


def folder_bytes(folder: Path) -> int:
    """Of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def folder_of(name: str) -> Path:
    """Where a model's weights lie on this machine.

    Raises:
        UsageError: it has no weights here ever: it is behind an API, or a plugin's.
        ModelUnavailable: they are not on this machine; the message is the command that gets them.
    """
    model = show(name)
    if model.folder is not None:
        return model.folder
    name = model.name
    _with_files(name)
    raise ModelUnavailable(f"{name} is not on this machine. Run: polymodal models pull {name}")


def pull(name: str, *, trust: Trust = NOTHING) -> Path:
    """Get a model's weights onto this machine, whole and checked, so that it works offline.

    Args:
        trust: which of its pickles and code to get as well; nothing of them is opened.

    Raises:
        UsageError: there is nothing to get: see `folder_of`.
        ModelUnavailable: no source has it, or POLYMODAL_OFFLINE forbids to ask.
    """
    name = full_name(name)
    _with_files(name)
    if name in PACKAGES:
        weights = find_weights(name)
        for file in weights.files:
            weights.read(file)
        return weights.root
    if _is_speech(name):
        return known_speech.pulled(name)
    if Path(name).expanduser().is_dir() and not is_checkpoint_name(name):
        return find_weights(name).root
    if is_openclip(name):
        return pulled(name).parent
    if not is_checkpoint_name(name):
        raise ModelUnavailable(f"no model is called {name!r}.{_near(name)}{_hint(name)}")
    kind_of(name)
    return open_checkpoint(name, trust=trust).folder


def remove(name: str) -> int:
    """Delete a model's weights from the hub's cache, or from polymodal's own.

    Returns:
        Bytes that were freed.

    Raises:
        UsageError: they are not polymodal's to delete: a folder of yours, an installed package.
        ModelUnavailable: they are not on this machine.
    """
    name = full_name(name)
    _with_files(name)
    if name in PACKAGES:
        package = PACKAGES[name][1]
        raise UsageError(f"{name} is the package {package}. Run: pip uninstall {package}")
    if _is_speech(name):
        return known_speech.removed(name)
    if is_openclip(name):
        repository = described(name).repository
        if not repository:
            raise UsageError(f"{name} is a file of yours; only what was downloaded is removed.")
        return hub.remove_cached(repository)
    folder = Path(name).expanduser()
    if folder.is_dir():
        raise UsageError(f"{folder} is a folder of yours; only what was downloaded is removed.")
    if not hub.is_hub_id(name):
        raise ModelUnavailable(f"no model is called {name!r}.{_near(name)}{_hint(name)}")
    return hub.remove_cached(name)


def _with_files(name: str) -> None:
    if is_api_name(name):
        raise UsageError(f"{name} runs behind an API; it has no weights to keep here.")
    if name.partition(":")[0] in _plugin_names():
        raise UsageError(f"{name} is a plugin's; where its weights are is the plugin's to say.")


def _packaged(name: str) -> KnownModel:
    try:
        return _starter_folder(name)
    except ModelUnavailable as error:
        return KnownModel(name, "vectors, text", "starter", details={"missing": str(error)})


def _starter_folder(name: str) -> KnownModel:
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


def _is_speech(name: str) -> bool:
    return name == WHISPER or known_speech.card_of(name) is not None


def _speech(name: str) -> KnownModel:
    card = known_speech.card_of(name)
    name, licence = (WHISPER, "MIT") if card is None else (card.names[0], card.licence)
    folder, details = known_speech.folder_of(name), known_speech.details_of(name)
    return KnownModel(name, SPEECH, "Whisper", licence, folder, details)


def _checkpoint(name: str) -> KnownModel:
    row = hub.known_checkpoints().get(name.partition("@")[0], {})
    folder = Path(name).expanduser()
    found = folder if folder.is_dir() else _cached(name)
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


def _openclip(name: str, found: Described) -> KnownModel:
    folder = None if found.file is None else found.file.parent
    return KnownModel(
        name, VERBS["vectors"], OPEN_CLIP, found.licence, folder, found.details, found.file
    )


def _cached(name: str) -> Path | None:
    return hub.cached_folder(name) if hub.is_hub_id(name) else None


def _api_names() -> list[str]:
    from polymodal.catalog.generators import known_api_models

    return known_api_models()


def _api(name: str) -> KnownModel:
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


def _plugin_names() -> list[str]:
    return [name for name in opened_by_name() if name not in PACKAGES]


def _plugin(name: str) -> KnownModel:
    return KnownModel(name, "", "plugin")


def _near(name: str) -> str:
    import difflib

    known = [row.name for row in known_models()]
    by_lower = {each.lower(): each for each in known}
    short = {each.rpartition("/")[2].lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    ends = difflib.get_close_matches(name.lower(), short, n=3, cutoff=0.6)
    found = dict.fromkeys([*(by_lower[each] for each in close), *(short[each] for each in ends)])
    return did_you_mean(list(found)[:3])


def _hint(name: str) -> str:
    if os.sep in name and find_spec("huggingface_hub") is None:
        return " Models of the hub need an extra. Run: pip install 'polymodal[hub]'"
    if hub.is_hub_id(name):
        return f" If it is on the hub, get it: polymodal models pull {name}"
    return ""

"""A speech model's name to a transcriber: the starter's, a folder's, the hub's, a plugin's."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polymodal.catalog import hub
from polymodal.catalog.checkpoints import SPEECH, is_checkpoint_name, kind_of
from polymodal.catalog.joined import joined_folder, read_speech_card
from polymodal.catalog.names import is_api_name
from polymodal.errors import MissingDependency, ModelUnavailable, UsageError
from polymodal.models.precision import AS_IT_IS, Precision, check_device
from polymodal.models.protocols import Device, ModelRequest, Transcriber
from polymodal.models.tensorfiles import read_json
from polymodal.models.trust import NOTHING, Trust

__all__ = ["MODEL_FILE", "SpeechModel", "from_hub", "open_transcriber", "read_speech_models"]

CARDS = Path(__file__).with_name("speech-models.toml")

ENTRY_POINTS = "polymodal.models"
MODEL_FILE = "model.bin"


@dataclass(frozen=True)
class SpeechModel:
    """A Whisper model that is asked for by a short name.

    Attributes:
        ctranslate2, transformers: its hub ids in either layout.
    """

    names: tuple[str, ...]
    name: str
    parameters: int
    languages: int
    licence: str
    ctranslate2: str
    transformers: str
    source: str
    citation: str


@cache
def read_speech_models() -> tuple[SpeechModel, ...]:
    """The cards of the Whisper models that have a short name."""
    data = tomllib.loads(CARDS.read_text(encoding="utf-8"))
    return tuple(SpeechModel(**{**each, "names": tuple(each["names"])}) for each in data["models"])


def open_transcriber(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = AS_IT_IS,
    trust: Trust = NOTHING,
) -> Transcriber:
    """The transcriber called `name`; its weights are read on first use.

    The starter's are also checked, and where need be joined, only then: what comes from the cache
    needs none.

    Args:
        name: `starter` (Whisper base), the path of a folder with a Whisper model in CTranslate2's
            format or in transformers', a size (`small`, `large-v3`, `turbo`), a hub id of such a
            model, or `family` / `family:variant` of an installed plugin.
        precision: in which numbers its weights are held; a plugin's model has but one.
        trust: whether a checkpoint's pickles and code may be used.

    Raises:
        ModelUnavailable: when no source has it; names every source tried.
        MissingDependency: when faster-whisper, or transformers for its layout, is not installed.
        UsageError: a precision that it, or the device, does not have.
    """
    check_device(device)
    family, _, variant = name.partition(":")
    plugin = _plugin(family)
    if plugin is not None:
        if precision != AS_IT_IS:
            raise UsageError(f"{name} is a plugin's; --dtype and --quantize are not for it.")
        return _from_plugin(plugin, ModelRequest(name, family, variant, device))
    checkpoint = _as_checkpoint(name)
    if checkpoint is not None:
        from polymodal.catalog.hub_models import open_hub_whisper

        return open_hub_whisper(checkpoint, device=device, precision=precision, trust=trust)
    _require_faster_whisper()
    from polymodal.models.whisper import WhisperTranscriber, compute_type

    asked = compute_type(name, precision, device)
    if name == "starter":
        card = read_speech_card()
        return WhisperTranscriber(
            lambda: joined_folder(card),
            card.id,
            card.revision,
            device,
            compute=card.compute,
            asked=asked,
        )
    local = Path(name).expanduser()
    if local.is_dir():
        folder = _checked(local, name)
        return WhisperTranscriber(lambda: folder, name, _revision_of(folder), device, asked=asked)
    downloaded = from_hub(name)
    revision = downloaded.name[:12]
    return WhisperTranscriber(lambda: downloaded, name, revision, device, asked=asked)


def _as_checkpoint(name: str) -> str | None:
    """The name of a checkpoint in transformers' layout; None for every other name."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        is_whisper = is_checkpoint_name(name) and kind_of(name) == "transcriber"
        return name if is_whisper and not (folder / MODEL_FILE).is_file() else None
    if not hub.is_hub_id(name):
        return None
    try:
        is_whisper = read_json(hub.fetch_config(name)).get("model_type") in SPEECH
    except (ModelUnavailable, MissingDependency):
        return None  # what is tried next says what was tried
    return name if is_whisper else None


def _plugin(family: str) -> Any:
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=ENTRY_POINTS, name=family)), None)


def _from_plugin(point: Any, request: ModelRequest) -> Transcriber:
    model = point.load()(request)
    if not isinstance(model, Transcriber):
        raise UsageError(
            f"the plugin {point.name!r} ({point.value}) returned {type(model).__name__}, which is"
            " not a Transcriber: see polymodal.models.protocols."
        )
    return model


def _require_faster_whisper() -> None:
    if find_spec("faster_whisper") is None:
        raise MissingDependency(
            "speech is transcribed with faster-whisper, which is not installed. Run:"
            " pip install 'polymodal[speech]'"
        )


def _checked(folder: Path, name: str) -> Path:
    lacking = [file for file in (MODEL_FILE, "tokenizer.json") if not (folder / file).is_file()]
    if lacking:
        raise ModelUnavailable(
            f"the folder {name} is no Whisper model in CTranslate2's format: it has no"
            f" {' and no '.join(lacking)}. Convert one: ct2-transformers-converter --model FOLDER"
            " --output_dir OUT --copy_files tokenizer.json preprocessor_config.json"
        )
    return folder


def _revision_of(folder: Path) -> str:
    import hashlib

    with (folder / MODEL_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def from_hub(name: str) -> Path:
    """The snapshot of a size or hub id: the local cache first, then the network.

    Raises:
        ModelUnavailable: neither has it, or there is no such size.
        MissingDependency: faster-whisper is not installed.
    """
    if is_api_name(name):
        raise UsageError(
            f"{name.partition('@')[0]} writes text about pictures; transcribe takes a speech model:"
            " polymodal models list --family Whisper"
        )
    _require_faster_whisper()
    from faster_whisper.utils import _MODELS, available_models, download_model

    tried = [f"the folder {name} (not there)"]
    looks_like_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1
    if looks_like_path or ("/" not in name and name not in available_models()):
        raise ModelUnavailable(
            f"no speech model is called {name!r}. Tried: {tried[0]}; starter;"
            f" {', '.join(available_models())}; any hub id OWNER/NAME of a CTranslate2 Whisper."
        )
    for local_only, source in ((True, "the hub's local cache"), (False, "huggingface.co")):
        if not local_only and hub.offline():
            tried.append(f"{source} (POLYMODAL_OFFLINE forbids it)")
            continue
        try:
            if not local_only:
                # Gives up after seconds, which the download by itself does not.
                hub.fetch_config(_MODELS.get(name, name))
            folder = Path(download_model(name, local_files_only=local_only))
        except Exception as error:  # the hub's client raises its own, httpx's and OSError
            tried.append(f"{source} ({_first_line(error.__cause__ or error)})")
            continue
        if (folder / MODEL_FILE).is_file():
            return _checked(folder, name)
        tried.append(f"{source} (no {MODEL_FILE} in it: not in CTranslate2's format)")
    raise ModelUnavailable(
        f"no source has the speech model {name!r}. Tried: {'; '.join(tried)}. On a machine with a"
        f" network, run: hf download {_MODELS.get(name, name)}"
    )


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) < 100 else f"{line[:97]}..."

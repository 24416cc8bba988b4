"""Checkpoints in transformers' layout: a folder with a config.json, on the disk or from the hub.

Notable: what a checkpoint is (an embedder, a generator) is read from its config.json, without
importing transformers; so a name can be judged before anything is downloaded or loaded. Code that
comes with a checkpoint is run only where the checkpoint is named (`Trust.code`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from polymodal.catalog import hub
from polymodal.errors import ModelUnavailable
from polymodal.media.files import hash_file
from polymodal.media.hashing import stamp_of
from polymodal.models.hub_families import CONTRASTIVE, FAMILIES, STAGE_ONE
from polymodal.models.tensorfiles import WeightFiles, find_weight_files, read_json
from polymodal.models.trust import NOTHING, Trust, code_files, needs_code

__all__ = [
    "REVISION_DIGITS",
    "SPEECH",
    "Checkpoint",
    "Kind",
    "commit_of",
    "is_checkpoint_name",
    "kind_of",
    "look_at",
    "open_checkpoint",
]

Kind = Literal["embedder", "generator", "transcriber"]
CONFIG = "config.json"
SPEECH = frozenset({"whisper"})
"""Model types that write down speech."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION_DIGITS = 12
"""Of a commit or a hash in a revision."""
FORMER = {
    "internvl_chat": "OpenGVLab/InternVL3-1B-hf",
    "llava_llama": "llava-hf/llava-1.5-7b-hf",
    "llava_mistral": "llava-hf/llava-v1.6-mistral-7b-hf",
}
"""Layouts from before transformers had the family, and what to use instead."""
CODE_KINDS: dict[str, Kind] = {
    "AutoModelForImageTextToText": "generator",
    "AutoModelForCausalLM": "generator",
    "AutoModelForSpeechSeq2Seq": "transcriber",
    "AutoModel": "embedder",
}
"""What a checkpoint is that brings a class for one of these; the first that it has."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on the disk.

    Attributes:
        name: as it was asked for.
        model: the hub's id, or the folder's name.
        revision: of the weights: the hub's commit, or a hash of the files.
        config: what is in its config.json.
        code: Python files that come with it and may run.
    """

    name: str
    model: str
    revision: str
    folder: Path
    config: Mapping[str, Any]
    weights: WeightFiles
    code: tuple[str, ...] = ()

    def auto_class(self, usual: str) -> str:
        """What of transformers finds the model's class: `usual`, unless its code says another."""
        named = self.config.get("auto_map") if self.code else None
        if not isinstance(named, dict) or usual in named:
            return usual
        return next((each for each in CODE_KINDS if each in named), usual)

    @property
    def model_type(self) -> str:
        """The family, in transformers' words."""
        return str(self.config.get("model_type", ""))

    @property
    def sees(self) -> bool:
        """Of a generator: it takes pictures."""
        return self.model_type in FAMILIES or "vision_config" in self.config


def is_checkpoint_name(name: str) -> bool:
    """Whether it is a folder in transformers' layout, or can be an id on the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return (folder / CONFIG).is_file() and not (folder / "manifest.json").is_file()
    return hub.is_hub_id(name)


def kind_of(name: str) -> Kind:
    """What the checkpoint is; asks the hub only for the config.json of what is not in its cache.

    Raises:
        ModelUnavailable: it cannot be found, or is of no kind that is known here.
        DamagedWeights: its config.json cannot be read.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _kind(_config(folder), str(folder))
    return _kind_on_hub(name)


@cache
def _kind_on_hub(name: str) -> Kind:
    return _kind(read_json(hub.fetch_config(name)), name)


def open_checkpoint(name: str, *, trust: Trust = NOTHING, any_kind: bool = False) -> Checkpoint:
    """The checkpoint of that name, downloaded if need be, with its files checked.

    Args:
        trust: whether its pickles and its code may be used.
        any_kind: also one that no verb runs by itself, such as a vision tower alone.

    Raises:
        ModelUnavailable: it cannot be found, or needs code or pickles that are not allowed.
        DamagedWeights: files are missing, cut off or unreadable.
        MissingDependency: the extra `hub` is not installed.
    """
    folder = Path(name).expanduser()
    on_hub = not folder.is_dir()
    if on_hub:
        if not any_kind:  # refused before it is downloaded
            _judge(read_json(hub.fetch_config(name)), name, trust)
        folder = hub.fetch(name, trust=trust)
    config = _config(folder)
    if not any_kind:
        _judge(config, name, trust)
    weights = find_weight_files(folder, allow_pickle=trust.pickles)
    weights.check()
    code = code_files(folder) if trust.runs_code_of(name) else ()
    model, revision = _identity(name, folder, on_hub=on_hub)
    revision = revision or _hashed(folder, weights, code)
    return Checkpoint(name, model, revision[:REVISION_DIGITS], folder, config, weights, code)


def look_at(folder: Path) -> Checkpoint:
    """A checkpoint on the disk, to be described: pickles and code are taken, and nothing is run.

    Raises:
        ModelUnavailable, DamagedWeights: see `open_checkpoint`.
    """
    name = str(folder)
    code = (name,) if _needs_code(_config(folder)) else ()
    return open_checkpoint(name, trust=Trust(pickles=True, code=code))


def _identity(name: str, folder: Path, *, on_hub: bool) -> tuple[str, str]:
    """The model's own name, and the commit that it is of; "" where it has none."""
    if on_hub:
        return name.partition("@")[0], commit_of(folder)
    if folder.parent.name == "snapshots" and commit_of(folder):
        model = folder.parent.parent.name.removeprefix("models--")
        return model.replace("--", "/"), folder.name
    return folder.resolve().name, ""


def commit_of(folder: Path) -> str:
    """The commit that a folder of the hub's cache is named after; "" for any other folder."""
    return folder.name if _COMMIT.fullmatch(folder.name) else ""


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelUnavailable(f"{folder} has no {CONFIG}, so it is no checkpoint of transformers.")
    return read_json(path)


def _kind(config: Mapping[str, Any], name: str) -> Kind:
    model_type = str(config.get("model_type", ""))
    if model_type in CONTRASTIVE:
        return "embedder"
    if model_type in FAMILIES:
        return "generator"
    if model_type in SPEECH:
        return "transcriber"
    if model_type == STAGE_ONE:
        raise ModelUnavailable(
            f"{name} is a Q-Former of stage 1, which writes nothing yet: polymodal train align DATA"
            f" --recipe blip2_stage2 --vision {name} --language MODEL -o FOLDER"
        )
    if "auto_map" in config:
        if model_type in FORMER:
            raise ModelUnavailable(
                f"{name} is {model_type}, a layout from before transformers had the family, whose"
                f" code does not run here. Use {FORMER[model_type]} or one of its kind."
            )
        named = config["auto_map"] if isinstance(config["auto_map"], dict) else {}
        for auto_class, kind in CODE_KINDS.items():
            if auto_class in named:
                return kind
    architectures = config.get("architectures") or [""]
    architecture = str(architectures[0]) if isinstance(architectures, list) else ""
    sees = architecture.endswith("ForConditionalGeneration") and "vision_config" in config
    if sees or architecture.endswith("ForCausalLM"):
        return "generator"
    what = architecture or model_type or "nothing that is named"
    raise ModelUnavailable(
        f"{name} is {what}, which neither embeds pictures and texts nor writes text. Known"
        f" embedders: {', '.join(sorted(CONTRASTIVE))}; generators: docs/models.md."
    )


def _judge(config: Mapping[str, Any], name: str, trust: Trust) -> None:
    """Refuse what is of no known kind, or cannot run without code that is not allowed."""
    _kind(config, name)
    if _needs_code(config) and not trust.runs_code_of(name):
        raise needs_code(name)


def _needs_code(config: Mapping[str, Any]) -> bool:
    model_type = str(config.get("model_type", ""))
    known = model_type in CONTRASTIVE or model_type in FAMILIES or model_type in SPEECH
    return "auto_map" in config and not known


def _hashed(folder: Path, weights: WeightFiles, code: Sequence[str]) -> str:
    """One hash over weights, configuration, tokenizer and preprocessing; and code that may run."""
    small = [path for path in folder.iterdir() if path.suffix in {".json", ".txt", ".model"}]
    small += [path for path in folder.iterdir() if path.suffix == ".jinja"]
    small += [path for path in folder.iterdir() if code and path.suffix == ".py"]
    digest = hashlib.sha256()
    for path in sorted({*small, *weights.files}, key=lambda each: each.name):
        digest.update(f"{path.name} {_hash(path, stamp_of(path))}\n".encode())
    return digest.hexdigest()


@cache
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    """Once a process, as long as the file stays the same."""
    del stamp
    return str(hash_file(path))

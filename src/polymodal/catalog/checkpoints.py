"""Checkpoints in transformers' layout: a folder with a config.json, on the disk or from the hub.

Notable: what a checkpoint is (an embedder, a generator) is read from its config.json, without
importing transformers; so a name can be judged before anything is downloaded or loaded. Code that
comes with a checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
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

__all__ = [
    "REVISION_DIGITS",
    "SPEECH",
    "Checkpoint",
    "Kind",
    "commit_of",
    "is_checkpoint_name",
    "kind_of",
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


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on the disk.

    Attributes:
        name: as it was asked for.
        model: the hub's id, or the folder's name.
        revision: of the weights: the hub's commit, or a hash of the files.
        config: what is in its config.json.
    """

    name: str
    model: str
    revision: str
    folder: Path
    config: Mapping[str, Any]
    weights: WeightFiles

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


def open_checkpoint(name: str, *, allow_pickle: bool = False, any_kind: bool = False) -> Checkpoint:
    """The checkpoint of that name, downloaded if need be, with its files checked.

    Args:
        any_kind: also one that no verb runs by itself, such as a vision tower alone.

    Raises:
        ModelUnavailable: it cannot be found, has code of its own, or only pickled weights.
        DamagedWeights: files are missing, cut off or unreadable.
        MissingDependency: the extra `hub` is not installed.
    """
    folder = Path(name).expanduser()
    on_hub = not folder.is_dir()
    if on_hub:
        folder = hub.fetch(name, allow_pickle=allow_pickle)
    config = _config(folder)
    if not any_kind:
        _kind(config, name)
    weights = find_weight_files(folder, allow_pickle=allow_pickle)
    weights.check()
    if on_hub:
        revision = commit_of(folder) or _hashed(folder, weights)
        return Checkpoint(
            name, name.partition("@")[0], revision[:REVISION_DIGITS], folder, config, weights
        )
    if folder.parent.name == "snapshots" and commit_of(folder):
        revision, model = folder.name, folder.parent.parent.name.removeprefix("models--")
        model = model.replace("--", "/")
    else:
        revision, model = _hashed(folder, weights), folder.resolve().name
    return Checkpoint(name, model, revision[:REVISION_DIGITS], folder, config, weights)


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
        instead = FORMER.get(model_type)
        hint = f", such as {instead}" if instead else ""
        raise ModelUnavailable(
            f"{name} needs code that comes with it ({CONFIG}: auto_map), which is never run. Use a"
            f" checkpoint of a family that transformers itself has{hint}."
        )
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


def _hashed(folder: Path, weights: WeightFiles) -> str:
    """One hash over weights, configuration, tokenizer and preprocessing."""
    small = [path for path in folder.iterdir() if path.suffix in {".json", ".txt", ".model"}]
    small += [path for path in folder.iterdir() if path.suffix == ".jinja"]
    digest = hashlib.sha256()
    for path in sorted({*small, *weights.files}, key=lambda each: each.name):
        digest.update(f"{path.name} {_hash(path, stamp_of(path))}\n".encode())
    return digest.hexdigest()


@cache
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    """Once a process, as long as the file stays the same."""
    del stamp
    return str(hash_file(path))

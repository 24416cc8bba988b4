"""Put finished files in the package all at once and write down their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

WEIGHTS = Path("packages/starter/src/polymodal_starter/weights")


def describe(root: Path) -> dict[str, object]:
    """The manifest of all files below `root`: size and SHA-256 of each, and a revision over all."""
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "manifest.json" and path.suffix != ".new":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[path.relative_to(root).as_posix()] = {
                "sha256": digest,
                "bytes": path.stat().st_size,
            }
    lines = "\n".join(sorted(f"{name}:{entry['sha256']}" for name, entry in files.items()))
    revision = hashlib.sha256(lines.encode()).hexdigest()[:12]
    return {"format": 1, "revision": revision, "files": files}


def write(root: Path) -> str:
    """Write `root`/manifest.json and return the revision."""
    manifest = describe(root)
    beside = root / "manifest.json.new"
    beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    beside.replace(root / "manifest.json")
    return str(manifest["revision"])


def install(built: Path, root: Path, folder: str) -> str:
    """Copy the files of `built` into `root`/`folder`, each by rename, and renew the manifest."""
    target = root / folder
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(built.iterdir()):
        beside = target / (path.name + ".new")
        shutil.copyfile(path, beside)
    for path in sorted(built.iterdir()):
        (target / (path.name + ".new")).replace(target / path.name)
    return write(root)

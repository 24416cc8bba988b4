"""How much disk the core and the starter take in a fresh virtual environment.

    python -m benchmarks.install_size [--peer "open_clip_torch"]

The peer is what most people install for the same first search. Sizes count apparent bytes of every
file under the environment, pip included, since that is what a container image carries.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import conditions, markdown

REPOSITORY = Path(__file__).resolve().parent.parent


def folder_bytes(folder: Path) -> int:
    """Apparent size of all regular files below `folder`; links are not followed."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def installed_bytes(*requirements: str, compile_code: bool = True) -> int:
    """Install `requirements` in a new environment and weigh it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q"]
        if not compile_code:
            command.append("--no-compile")
        subprocess.run([*command, *requirements], check=True, cwd=REPOSITORY)
        return folder_bytes(environment)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="append", default=[], help="a requirement to weigh too")
    arguments = parser.parse_args()
    constraints = ["-c", "constraints.txt"]
    ours = installed_bytes(*constraints, "./packages/starter", ".")
    rows = [["polymodal + starter (weights included)", f"{ours / 1e6:.0f} MB", "1.0x"]]
    for peer in arguments.peer:
        size = installed_bytes(*constraints, *peer.split())
        rows.append([f"{peer} (no weights)", f"{size / 1e6:,.0f} MB", f"{size / ours:.1f}x"])
    print(markdown(["fresh environment", "on disk", "ratio"], rows))
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()

"""Write constraints.txt: exact versions that fit together, for CI and for every extra.

    python tools/freeze.py

pip resolves all extras, the development tools and the build tools at once, without installing
anything; a minute or two, most of it metadata. torch is chosen by hand, since drivers decide.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ["hatchling", "editables"]
CHOSEN = ["torch==2.14.1", "torchvision==0.29.1"]
HEADER = """\
# Exact versions of everything that CI, `make demo` and the extras install, transitive ones and
# build tools too. Written by tools/freeze.py (`make constraints`) for Linux and Python 3.11;
# edit pyproject.toml, not this file.
"""


def resolve() -> list[str]:
    """`name==version` of every package that pip would install, ours excepted."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    wanted = [*BUILD_TOOLS, *CHOSEN, "./packages/starter", ".[all,dev]"]
    # Yesterday's pins must not decide today's.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_CONSTRAINT")}
    ran = subprocess.run(
        [*command, "--report", "-", *wanted],
        check=True,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=environment,
    )
    packages = [entry["metadata"] for entry in json.loads(ran.stdout)["install"]]
    return [
        f"{each['name'].lower().replace('_', '-')}=={each['version']}"
        for each in packages
        if not each["name"].startswith("polymodal")
    ]


def main() -> None:
    """Resolve, and write the file."""
    pins = sorted(resolve(), key=lambda pin: pin.split("=="))
    (REPOSITORY / "constraints.txt").write_text(HEADER + "\n".join(pins) + "\n")
    sys.stderr.write(f"constraints.txt: {len(pins)} pins\n")


if __name__ == "__main__":
    main()

"""The command as a user runs it, on the weightless mock model, which a plugin provides."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from polymodal.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[2]
COLOURS = {
    "red": (215, 30, 40),
    "green": (40, 160, 60),
    "blue": (30, 60, 220),
    "yellow": (250, 230, 50),
    "purple": (130, 50, 170),
}
PLUGIN = """\
from polymodal.models.mock import MockEmbedder

def build(request):
    return MockEmbedder(f"mock-{request.variant}" if request.variant else "mock")
"""


@dataclass
class Ran:
    """What a process left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self):
        """Every line of stdout as JSON; fails on a line that is not."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """A folder that offers the model family `mock`, as an installed package would."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "mock_models.py").write_text(PLUGIN)
    information = folder / "mock_models-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mock-models\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text("[polymodal.models]\nmock = mock_models:build\n")
    return folder


@pytest.fixture
def environment(plugin, tmp_path):
    """Variables of a user with an empty home."""
    paths = [str(plugin), *(str(Path(path).absolute()) for path in sys.path if path)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POLYMODAL", "XDG"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "POLYMODAL_HOME": str(tmp_path / "home"),
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }


@pytest.fixture
def process(environment, tmp_path):
    """Run the command in a process of its own, in an empty folder."""

    def run(*arguments, stdin=None, **variables):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-m", "polymodal", *map(str, arguments)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env={**environment, **variables},
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def polymodal(plugin, tmp_path, monkeypatch):
    """The same without the cost of a process; on the mock model unless `mock=False`."""
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("POLYMODAL", "XDG"))]:
        monkeypatch.delenv(name)
    fixed = {"POLYMODAL_HOME": str(tmp_path / "home"), "COLUMNS": "80", "NO_COLOR": "1"}

    def run(*arguments, mock=True, stdin=None, **variables):
        words = [*map(str, arguments), *(["-m", "mock"] if mock else [])]
        runner = CliRunner(env={**fixed, **variables})
        result = runner.invoke(app, words, input=stdin, prog_name="polymodal", terminal_width=80)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def pictures(tmp_path):
    """A folder with a plain picture of each colour, and a table of metadata beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["path,title,price"]
    for number, (name, colour) in enumerate(COLOURS.items(), 1):
        Image.new("RGB", (64, 48), colour).save(folder / f"{name}.png")
        rows.append(f"{name}.png,{name.capitalize()} shirt,{number * 500}")
    (folder / "shop.csv").write_text("\n".join(rows) + "\n")
    return folder

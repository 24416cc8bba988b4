"""`polymodal models ps|unload`: processes tell what they hold, and unload when they are asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polymodal.cli.app import app
from polymodal.runtime.processes import ask_all, runtime_folder

HOLDER = """
import sys
import polymodal as pm
suite = pm.Suite(device="cpu")
suite.embed(texts="a red saree")
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "use":
        with suite.embedder().residents[1].use():
            print("using", flush=True)
            sys.stdin.readline()
        print("used", flush=True)
    else:
        print(len(suite.models()), flush=True)
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own; short, since the path of a socket is."""
    base = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    return base / "polymodal"


@pytest.fixture
def holder(folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the starter's text tower."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "POLYMODAL_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate(timeout=20)


def say(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{words}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", *arguments])


def test_another_process_is_seen_and_unloads_when_it_is_asked(
    holder: subprocess.Popen[str], folder: Path
) -> None:
    (row,) = map(json.loads, run("ps", "--json").stdout.splitlines())
    assert (row["pid"], row["model"], row["part"]) == (holder.pid, "starter", "text tower")
    assert row["host_bytes"] > 1_000_000
    assert 0 <= row["idle_s"] <= row["age_s"] < 60
    assert "text tower" in run("ps").stdout
    assert folder.stat().st_mode & 0o777 == 0o700
    assert say(holder, "use") == "using"
    busy = run("unload", "starter")
    assert "nothing to unload: starter: it is in use" in busy.stderr
    assert say(holder, "enough") == "used"
    assert say(holder, "") == "1"
    gone = run("unload", "starter")
    assert str(holder.pid) in gone.stdout
    assert say(holder, "") == "0"
    assert run("ps", "--json").stdout == ""
    assert "no process of yours holds it" in run("unload", "starter").stderr


def test_a_process_that_is_gone_leaves_nothing(holder: subprocess.Popen[str], folder: Path) -> None:
    path = folder / f"{holder.pid}.sock"
    assert path.is_socket()
    holder.kill()
    holder.communicate(timeout=20)
    assert path.is_socket()
    assert ask_all() == []
    assert not path.exists()


def test_what_answers_nonsense_is_passed_over(folder: Path) -> None:
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(folder / "1.sock"))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"no json\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert ask_all() == []
        thread.join(10)


def test_without_a_runtime_folder_of_the_system_it_is_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert runtime_folder() == tmp_path / f"polymodal-{os.getuid()}"

"""Downloading from a hub: a server on this machine that speaks the part of its API that is used."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import polymodal as pm
from polymodal.catalog.names import is_generator_name
from polymodal.catalog.opening import open_embedder

Get = Callable[[str], Path]
COMMIT = "89abcdef01234567" * 2 + "89abcdef"


class Hub(ThreadingHTTPServer):
    """Repositories by id, each a folder; and what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Path] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers `model_info`, the list of files, and files."""

    server: Hub

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        parts = path.strip("/").removeprefix("api/models/").split("/")
        repo = "/".join(parts[:2])
        if repo in self.server.refused:
            return self.refuse(*self.server.refused[repo])
        folder = self.server.repositories.get(repo)
        if folder is None:
            return self.refuse(404, "RepoNotFound")
        if path.startswith("/api/"):
            files = sorted(each for each in folder.iterdir() if each.is_file())
            listed: Any = {
                "id": repo,
                "sha": COMMIT,
                "siblings": [{"rfilename": f.name} for f in files],
            }
            if "tree" in parts:
                listed = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                    for f in files
                ]
            return self.send(
                json.dumps(listed).encode(), {"Content-Type": "application/json"}, body
            )
        file = folder / parts[-1]
        if not file.is_file():
            return self.refuse(404, "EntryNotFound")
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.send(content, {"ETag": etag, "X-Repo-Commit": COMMIT}, body)

    def send(self, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(nowhere: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
        server.shutdown()


def test_a_checkpoint_is_downloaded_once_and_then_needs_no_network(
    hub: Hub, checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/clip-once"] = checkpoint("clip")
    first = open_embedder("org/clip-once", device="cpu")
    assert (first.space.model, first.space.revision) == ("org/clip-once", COMMIT[:12])
    same = open_embedder(str(checkpoint("clip")), device="cpu")
    assert (first.embed_texts(["cat"]) == same.embed_texts(["cat"])).all()
    before = len(hub.asked)
    assert any("model.safetensors" in each for each in hub.asked)
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    again = open_embedder("org/clip-once", device="cpu")
    assert again.space == first.space
    assert len(hub.asked) == before


def test_a_name_is_judged_by_its_config_alone(hub: Hub, checkpoint: Get) -> None:
    hub.repositories["org/llava-judged"] = checkpoint("llava")
    assert is_generator_name("org/llava-judged")
    assert {each.rpartition("/")[2] for each in hub.asked} == {"config.json"}
    with pytest.raises(pm.UsageError, match="writes text and has no vectors"):
        open_embedder("org/llava-judged")


def test_pickles_and_what_is_no_checkpoint_are_refused_before_they_are_downloaded(
    hub: Hub, checkpoint: Get, tmp_path: Path
) -> None:
    config = (checkpoint("clip") / "config.json").read_bytes()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes(config)
    torch.save({}, tmp_path / "old" / "pytorch_model.bin")
    hub.repositories["org/clip-old"] = tmp_path / "old"
    with pytest.raises(pm.ModelUnavailable, match=r"pickles only.*were not downloaded"):
        open_embedder("org/clip-old")
    assert not any("pytorch_model.bin" in each for each in hub.asked)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("a,b\n")
    hub.repositories["org/a-table"] = tmp_path / "data"
    with pytest.raises(pm.ModelUnavailable, match=r"has no config\.json"):
        open_embedder("org/a-table")


def test_what_the_hub_says_is_understood(hub: Hub) -> None:
    hub.refused["org/gated"] = (403, "GatedRepo")
    with pytest.raises(pm.ModelUnavailable, match=r"is gated.*hf auth login"):
        open_embedder("org/gated")
    with pytest.raises(pm.ModelUnavailable, match=r"no such model.*mean 'openai/clip-vit-large"):
        open_embedder("openai/clip-vit-large-patch-14")
    hub.refused["org/revised"] = (404, "RevisionNotFound")
    with pytest.raises(pm.ModelUnavailable, match="not that revision"):
        open_embedder("org/revised@v9")

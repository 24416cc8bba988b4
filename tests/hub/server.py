"""A hub on this machine that speaks the part of the hub's API that is used."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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

"""Tiny checkpoints, each made once a session; and a hub that is not there."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `hub` is not installed")
pytest.importorskip("transformers", reason="the extra `hub` is not installed")

from tests.hub import tiny
from tests.hub.server import Hub
from tests.hub.tiny_generators import GENERATORS
from tests.hub.tiny_interleaved import INTERLEAVED

FAMILIES = {**tiny.CONTRASTIVE, **GENERATORS, **INTERLEAVED}


@pytest.fixture(scope="session", autouse=True)
def _same_numbers() -> Iterator[None]:
    """One thread, so that a sum is the same every time it is made."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint("clip")` is the folder of a tiny checkpoint of the family."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("checkpoints")

    def get(family: str) -> Path:
        if family not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the classes that make them
                made[family] = FAMILIES[family](root / f"tiny-{family}")
        return made[family]

    return get


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty hub cache, and a hub at an address where nothing listens."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.delenv("POLYMODAL_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return huggingface_hub


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

"""The server, and an environment in which the vendors' SDKs speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.api.server import Service, served

KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-QxJ7-not-to-be-seen",
    "OPENAI_API_KEY": "sk-proj-Zw4k-not-to-be-seen",
    "GEMINI_API_KEY": "AIzaSy-Pm2t-not-to-be-seen",
}
MODELS = {
    "anthropic": "anthropic:claude-haiku-4-5",
    "openai": "openai:gpt-5.4-mini",
    "gemini": "gemini:gemini-3.8-flash",
}
VENDORS = sorted(MODELS)
PROXIES = [f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL")]
VARIABLES = [
    *("ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("POLYMODAL_OFFLINE", *PROXIES, *map(str.lower, PROXIES)),
]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The server, reached through the variables that the SDKs document."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    with served() as service:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", service.url)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{service.url}/v1")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", service.url)
        yield service
    assert service.problems == []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between tries, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("polymodal.models.api_calls.sleep", waited.append)
    return waited


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A photograph's size, with few colours."""
    path = tmp_path / "square.png"
    image = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).rectangle((60, 60, 180, 180), fill=(215, 30, 40))
    image.save(path)
    return path

"""Names to models, keys, and prices."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from datetime import date
from pathlib import Path

import pytest

import polymodal as pm
from polymodal.catalog.generators import known_api_models, open_generator, read_model
from polymodal.catalog.names import is_generator_name
from polymodal.models.api_shared import Price
from tests.api.conftest import KEYS, MODELS, VENDORS
from tests.api.server import Service


def test_names_of_generators_are_told_from_others() -> None:
    assert all(map(is_generator_name, [*MODELS.values(), "openai:m@http://localhost:8000/v1"]))
    for other in ("starter", "openai", "openclip:ViT-B-32", "./openai:x", None, Path("x")):
        assert not is_generator_name(other)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openia:gpt-5.4", "openai:gpt-5.4"),
        ("openai:", "what model"),
        ("anthropic:claude@http://localhost:1/v1", "only openai"),
        ("openai:m@http://", "address"),
        ("openai:m@http://localhost:port/v1", "address"),
        ("openai:m@http://me:secret-word@localhost/v1", "OPENAI_API_KEY"),
        ("openai:http://me:secret-word@localhost:8000/v1", "openai:MODEL@http"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(name: str, said: str) -> None:
    with pytest.raises(pm.UsageError, match=said) as caught:
        open_generator(name)
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("name", ["opnai:gpt-5.4", "OpenAI:gpt-5.4"])
def test_a_misspelt_family_is_guessed(name: str) -> None:
    with pytest.raises(pm.ModelUnavailable, match=r"'openai:gpt-5\.4'"):
        pm.Suite(name).embed(texts=["red"])


def test_no_verb_repeats_the_password_of_an_address(picture: Path) -> None:
    name = "openai:m@http://me:secret-word@localhost/v1"
    for asked in (
        lambda: pm.Suite(name).embed(texts=["red"]),
        lambda: pm.Suite(name).caption(picture),
        lambda: pm.Suite(transcriber=name).transcribe(picture),
    ):
        with pytest.raises(pm.UsageError) as caught:
            asked()
        assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_a_key_the_variable_is_named(
    service: Service, monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("polymodal.catalog.generators._from_keyring", lambda _: "")
    variable = f"{vendor.upper()}_API_KEY"
    monkeypatch.setenv(variable, " ")
    with pytest.raises(pm.ModelUnavailable, match=f"export {variable}"):
        open_generator(MODELS[vendor])


@pytest.mark.parametrize("key", ["sk-first\nsecond", "\u201csk-quoted\u201d"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_key_that_was_badly_copied_is_told_and_not_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, vendor: str, key: str
) -> None:
    variable = f"{vendor.upper()}_API_KEY"
    monkeypatch.setenv(variable, key)
    with pytest.raises(pm.ModelUnavailable, match=f"the key in {variable} holds") as caught:
        open_generator(MODELS[vendor])
    assert "sk-" not in str(caught.value)
    assert service.received == []


def test_google_s_other_variable_serves_as_well(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaSy-other-key")
    open_generator(MODELS["gemini"]).generate([[pm.Message.user("Hello")]])
    assert service.received[0].headers["x-goog-api-key"] == "AIzaSy-other-key"


def test_a_key_comes_from_the_keyring_where_there_is_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KeyringError(Exception):
        pass

    asked = []

    def get_password(where: str, name: str) -> str | None:
        asked.append((where, name))
        if name == "ANTHROPIC_API_KEY":
            raise KeyringError("locked")
        return "sk-from-the-keyring"

    errors = types.ModuleType("keyring.errors")
    errors.KeyringError = KeyringError  # type: ignore[attr-defined]
    module = types.ModuleType("keyring")
    module.get_password, module.errors = get_password, errors  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    for name in KEYS:
        monkeypatch.delenv(name)
    service.plan = ["plain", "revoked"]
    generator = open_generator(MODELS["openai"])
    generator.generate([[pm.Message.user("Hello")]])
    assert service.received[0].headers["authorization"] == "Bearer sk-from-the-keyring"
    assert asked == [("polymodal", "OPENAI_API_KEY")]
    with pytest.raises(pm.ModelUnavailable, match="keyring") as caught:
        generator.generate([[pm.Message.user("Hello")]])
    assert "sk-from-the-keyring" not in str(caught.value)
    with pytest.raises(pm.ModelUnavailable, match="needs a key"):
        open_generator(MODELS["anthropic"])


def test_a_server_of_one_s_own_needs_no_key(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.catalog.generators._from_keyring", lambda _: "")
    monkeypatch.delenv("OPENAI_API_KEY")
    (answer,) = open_generator(f"openai:m@{service.url}/v1").generate([[pm.Message.user("Hi")]])
    assert isinstance(answer, pm.Generation)


def test_offline_nothing_but_this_machine_is_reached(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    with pytest.raises(pm.ModelUnavailable, match="POLYMODAL_OFFLINE"):
        open_generator(MODELS["openai"])
    (answer,) = open_generator(f"openai:m@{service.url}/v1").generate([[pm.Message.user("Hi")]])
    assert isinstance(answer, pm.Generation)


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_the_sdk_the_message_is_the_command(vendor: str, tmp_path: Path) -> None:
    blocked = {"gemini": "google.genai"}.get(vendor, vendor)
    program = (
        f"import sys; sys.modules[{blocked!r}] = None\n"
        "from polymodal.cli import main\n"
        f"sys.argv = ['polymodal', 'caption', 'x.png', '-m', {MODELS[vendor]!r}]\n"
        "main()"
    )
    (tmp_path / "x.png").write_bytes(b"x")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **KEYS, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert "pip install 'polymodal[api]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_every_price_names_its_day_and_its_source() -> None:
    priced = [model.price for model in map(read_model, known_api_models()) if model.price]
    assert len(priced) > 5
    for price in priced:
        assert price.source.startswith("https://")
        assert date(2026, 1, 1) < price.read <= date.today()
        assert 0 < price.input_usd < price.output_usd


def test_a_cost_is_only_said_where_its_price_holds() -> None:
    price = Price(2.0, 10.0, date(2026, 9, 20), "https://x", date(2026, 12, 31), 200_000)
    day = date(2026, 12, 31)
    assert price.cost_usd(1_000_000 // 10, 1000, day) == pytest.approx(0.21)
    assert price.cost_usd(1000, 1000, date(2027, 1, 1)) is None
    assert price.cost_usd(200_001, 1000, day) is None
    assert price.cost_usd(None, 1000, day) is None
    assert read_model("openai:gpt-of-tomorrow").price is None
    assert read_model("openai:gpt-5.4@http://localhost/v1").price is None

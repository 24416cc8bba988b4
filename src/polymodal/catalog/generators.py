"""A name such as `openai:gpt-5.4-mini` to a generator behind an API; its card; its key.

Notable: `openai:MODEL@URL` is any server that speaks OpenAI's format. Keys come from the vendors'
own variables or from the system's keyring, and are handed to the client alone.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from polymodal.catalog.names import API_FAMILIES
from polymodal.errors import DamagedWeights, ModelUnavailable, UsageError
from polymodal.models.api_shared import ApiGenerator, ApiModel, Price, Wire

__all__ = ["known_api_models", "open_generator", "read_model", "scores_of"]

KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
}
KEYRING = "polymodal"
"""The service under which the keyring holds a key, by the name of its variable."""
SERVER_LOCAL = {"localhost", "127.0.0.1", "::1"}
BEHAVIOUR = (
    "sampling",
    "logprobs",
    "json_schema",
    "effort",
    "thinking_tokens",
    "picture_tokens",
    "audio_tokens_s",
)
PRICE = (
    "input_usd",
    "output_usd",
    "read",
    "source",
    "until",
    "most_prompt_tokens",
    "audio_input_usd",
)


@dataclass(frozen=True)
class _Name:
    """A name in its parts; `url` is of a server, or ""."""

    family: str
    model: str
    url: str


def open_generator(name: str) -> ApiGenerator:
    """The generator called `name`; no request is made.

    Args:
        name: `anthropic:MODEL`, `gemini:MODEL`, `openai:MODEL`, or `openai:MODEL@URL` for a server
            that speaks OpenAI's format (vLLM, llama.cpp, Ollama), such as
            `openai:qwen3-vl@http://localhost:8000/v1`.

    Raises:
        UsageError: it is no such name.
        ModelUnavailable: there is no key, or none that can be sent, or POLYMODAL_OFFLINE forbids
            the network.
        MissingDependency: the extra `api` is not installed.
    """
    parts = _parsed(name)
    _require_network(name, parts)
    variable, key = _key(parts)
    if not (key.isascii() and key.isprintable()):  # no header can hold it
        raise ModelUnavailable(
            f"{name}: the key in {variable} holds a line break, a curly quote or another character"
            " that is in no key. Copy it again."
        )
    return ApiGenerator(read_model(name), _wire(name, parts, key, variable))


def _wire(name: str, parts: _Name, key: str, variable: str) -> Wire:
    model = read_model(name)
    if parts.family == "anthropic":
        from polymodal.models.api_anthropic import AnthropicWire

        return AnthropicWire(model, key, variable)
    if parts.family == "gemini":
        from polymodal.models.api_gemini import GeminiWire

        return GeminiWire(model, key, variable)
    from polymodal.models.api_openai import OpenAIWire

    return OpenAIWire(model, key, variable)


def read_model(name: str) -> ApiModel:
    """What is known of the model called `name`, from its card.

    Raises:
        UsageError: it is no such name.
    """
    parts = _parsed(name)
    if parts.url:  # whose prices and ways nobody knows; these servers take a temperature
        return ApiModel(name, parts.model, parts.url, sampling=True)
    family, models = _cards(parts.family)
    card = models.get(parts.model, {})
    known = {**family, **card}
    behaviour = {key: known[key] for key in BEHAVIOUR if key in known}
    priced = {key: card[key] for key in PRICE if key in card}
    price = Price(**priced) if "input_usd" in priced else None
    close = difflib.get_close_matches(parts.model, models, n=2, cutoff=0.7) if not card else []
    near = tuple(f"{parts.family}:{each}" for each in close)
    media = frozenset(known.get("media", ()))
    return ApiModel(name, parts.model, price=price, near=near, media=media, **behaviour)


def known_api_models(*, aliases: bool = True) -> list[str]:
    """Names that have a card; others of the same families can be asked as well.

    Args:
        aliases: every name of a model, not only its own.
    """
    return [
        f"{family}:{model}"
        for family in API_FAMILIES
        for model, card in _cards(family)[1].items()
        if aliases or model == card["id"]
    ]


def scores_of(name: str) -> Sequence[Mapping[str, Any]]:
    """What is published of a model's answers, as its card has it.

    Raises:
        UsageError: it is no such name.
    """
    parts = _parsed(name)
    if parts.url:
        return ()
    card = _cards(parts.family)[1].get(parts.model, {})
    found: Sequence[Mapping[str, Any]] = card.get("scores", ())
    return found


@cache
def _cards(family: str) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
    """What a family's card says of all its models, and of each by name."""
    file = files("polymodal.catalog") / f"api-{family}.toml"
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        models: dict[str, Mapping[str, Any]] = {}
        for card in data["models"]:
            for each in (card["id"], *card.get("also", ())):
                models[each] = card
        return data["family"], models
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DamagedWeights(f"the model card {file} cannot be read: {error!r}") from error


def _parsed(name: str) -> _Name:
    family, _, rest = name.partition(":")
    if family not in API_FAMILIES:
        close = difflib.get_close_matches(family, API_FAMILIES, n=1)
        hint = f" Did you mean {close[0]}:{rest}?" if close else ""
        raise UsageError(f"{family!r} is none of {', '.join(API_FAMILIES)}.{hint}")
    model, at, address = rest.partition("@http")
    url = f"http{address}" if at else ""
    if not model or "@" in model or "://" in model:
        raise UsageError(f"{family}: what model? Write {family}:MODEL, or openai:MODEL@http://...")
    if not url:
        return _Name(family, model, "")
    if family != "openai":
        raise UsageError(f"only openai:MODEL takes an address; {family} has its own.")
    try:
        split = urlsplit(url)
        host, _ = split.hostname, split.port
    except ValueError:
        host = None
    if not host or split.scheme not in {"http", "https"}:
        raise UsageError(f"openai:{model}: the address after @ is none.")
    if split.username is not None or split.password is not None:
        raise UsageError(
            f"openai:{model}: the address holds a password, which would be written down. Put the"
            " key into OPENAI_API_KEY."
        )
    return _Name(family, model, url.rstrip("/"))


def _require_network(name: str, parts: _Name) -> None:
    offline = os.environ.get("POLYMODAL_OFFLINE", "").strip().lower()
    local = parts.url and urlsplit(parts.url).hostname in SERVER_LOCAL
    if offline not in {"", "0", "no", "false", "off"} and not local:
        raise ModelUnavailable(
            f"{name} is reached over a network, which POLYMODAL_OFFLINE forbids. Unset it, or use a"
            " server on this machine: openai:MODEL@http://localhost:8000/v1"
        )


def _key(parts: _Name) -> tuple[str, str]:
    """The variable that holds the key, and the key; "" for a server without one."""
    variables = KEYS[parts.family]
    for variable in variables:
        if key := os.environ.get(variable, "").strip():
            return variable, key
    for variable in variables:
        if key := _from_keyring(variable):
            return f"the keyring ({KEYRING}, {variable})", key
    if parts.url:
        return variables[0], ""
    raise ModelUnavailable(
        f"{parts.family}:{parts.model} needs a key. Run: export {variables[0]}=... (or keep it in"
        f" the system's keyring: pip install keyring; keyring set {KEYRING} {variables[0]})"
    )


def _from_keyring(variable: str) -> str:
    if importlib.util.find_spec("keyring") is None:
        return ""
    import keyring
    import keyring.errors

    try:
        return (keyring.get_password(KEYRING, variable) or "").strip()
    except keyring.errors.KeyringError:  # no keyring runs, or it is locked
        return ""

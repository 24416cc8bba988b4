"""Which names are those of generators; without importing anything heavy."""

from __future__ import annotations

import os
from pathlib import Path

from polymodal.catalog.sources import PACKAGES
from polymodal.errors import UsageError

__all__ = ["API_FAMILIES", "full_name", "is_api_name", "is_generator_name", "no_vectors"]

API_FAMILIES = ("anthropic", "gemini", "openai")


def full_name(name: str) -> str:
    """The id of a checkpoint that was asked for by its short name; every other name as it is.

    A card's short name is what stands after the slash of its id, such as
    `siglip2-base-patch16-224` or `smolvlm-500m-instruct@main`.
    """
    if name in PACKAGES or "/" in name or ":" in name or Path(name).is_dir():
        return name
    from polymodal.catalog.hub import short_names

    short, at, revision = name.partition("@")
    found = short_names().get(short.lower())
    return f"{found}{at}{revision}" if found else name


def is_api_name(name: object) -> bool:
    """Whether a model's name is `FAMILY:MODEL` of a family that is reached through an API."""
    return isinstance(name, str) and ":" in name and name.partition(":")[0] in API_FAMILIES


def is_generator_name(name: object) -> bool:
    """Whether a model writes text: one behind an API, or a checkpoint whose config.json says so.

    Raises:
        ModelUnavailable: it has the form of a hub's id, and its config.json cannot be found.
        DamagedWeights: its config.json cannot be read.
    """
    if is_api_name(name):
        return True
    if not isinstance(name, str | os.PathLike) or name in PACKAGES:
        return False
    text = full_name(os.fspath(name))
    if "/" not in text and not Path(text).is_dir():  # the usual case costs nothing
        return False
    from polymodal.catalog.checkpoints import is_checkpoint_name, kind_of

    return is_checkpoint_name(text) and kind_of(text) == "generator"


def no_vectors(name: object) -> UsageError:
    """The error for a generator's name where vectors are needed.

    Raises:
        UsageError: the name itself is wrong, such as one that holds a password.
    """
    if is_api_name(name):
        from polymodal.catalog.generators import read_model

        read_model(str(name))
    return UsageError(
        f"{name} writes text and has no vectors: it answers caption, ask and extract. For"
        " everything else name a model such as starter."
    )

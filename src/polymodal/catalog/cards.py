"""Model cards: what a model is, as data in a TOML file next to its weights.

Notable: a card is read whenever a model is opened, so it is checked by hand here: importing
pydantic would take a sixth of the second that a cold search may last.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from polymodal.errors import DamagedWeights
from polymodal.models.protocols import CloseLook
from polymodal.models.starter import CROPS, FILTERS

__all__ = ["Card", "parse_card"]

Value = TypeVar("Value", str, int, float)


@dataclass(frozen=True)
class Card:
    """The card of an embedder.

    Attributes:
        image_size_px: side of the square that the image tower takes.
        crop: how a picture becomes a square, one of `CROPS`.
        resize: the filter, one of `FILTERS`.
        features: width of the features before the projection.
        close_look: how close probes may look; None where the tower takes one size alone.
        templates: prompt templates, each with one `{}`.
        kinds: class names that the model knows by their kinds alone, with these.
        everyday_nearest: how many of the things in the file of everyday things a label is compared
            with before it fits at all; 0 where there is no such file.
        prompt: version of the text side's formatting.
        calibration: numbers fitted on development data, by name.
        scores: measured results, by name; groups are tables.
    """

    id: str
    name: str
    version: str
    licence: str
    dimension: int
    image_size_px: int
    crop: str
    resize: str
    features: int
    max_tokens: int
    prompt: str
    templates: tuple[str, ...]
    calibration: Mapping[str, float]
    close_look: CloseLook | None = None
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everyday_nearest: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)


def parse_card(content: bytes, source: str) -> Card:
    """The card in `content`; `source` names its file in messages.

    Raises:
        DamagedWeights: when it is not TOML, or lacks a key, or a value has the wrong type.
    """
    try:
        data = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DamagedWeights(f"the model card {source} cannot be read: {error}") from error
    model = _Section(data, "model", source)
    space = _Section(data, "space", source)
    prompts = _Section(data, "prompts", source)
    return Card(
        id=model.take("id", str),
        name=model.take("name", str),
        version=model.take("version", str),
        licence=model.take("licence", str),
        dimension=space.take("dimension", int),
        image_size_px=space.take("image_size", int),
        crop=space.choice("crop", CROPS),
        resize=space.choice("resize", FILTERS),
        features=space.take("features", int),
        max_tokens=space.take("max_tokens", int),
        prompt=prompts.take("version", str, "1"),
        templates=prompts.templates(),
        calibration=_Section(data, "calibration", source).numbers(),
        close_look=_close_look(data, source) if "close_look" in data else None,
        kinds=_Section(data, "kinds", source).lists() if "kinds" in data else {},
        everyday_nearest=(
            _Section(data, "everyday", source).take("nearest", int) if "everyday" in data else 0
        ),
        scores=data.get("scores", {}),
    )


def _close_look(data: Mapping[str, Any], source: str) -> CloseLook:
    section = _Section(data, "close_look", source)
    return CloseLook(section.take("image_size", int), section.take("cells", int))


class _Section:
    """One table of a card; every complaint names file and key."""

    def __init__(self, data: Mapping[str, Any], name: str, source: str) -> None:
        self._where = f"the model card {source}: [{name}]"
        table = data.get(name)
        if not isinstance(table, dict):
            raise DamagedWeights(f"{self._where} is missing.")
        self._table: dict[str, Any] = table

    def take(self, key: str, kind: type[Value], default: Value | None = None) -> Value:
        value = self._table.get(key, default)
        if value is None:
            raise DamagedWeights(f"{self._where} has no {key!r}.")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DamagedWeights(f"{self._where} {key} = {value!r} is not {kind.__name__}.")
        return value

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.take(key, str)
        if value not in known:
            raise DamagedWeights(f"{self._where} {key} = {value!r} is not {' or '.join(known)}.")
        return value

    def numbers(self) -> dict[str, float]:
        names = [key for key, value in self._table.items() if not isinstance(value, dict)]
        return {key: self.take(key, float) for key in names}

    def templates(self) -> tuple[str, ...]:
        value = self._table.get("templates")
        good = (
            isinstance(value, list)
            and value
            and all(isinstance(item, str) and item.count("{}") == 1 for item in value)
        )
        if not good:
            raise DamagedWeights(f"{self._where} templates must be texts with one '{{}}' each.")
        return tuple(value or ())

    def lists(self) -> dict[str, tuple[str, ...]]:
        for name, value in self._table.items():
            texts = value if isinstance(value, list) else []
            if not texts or not all(isinstance(text, str) and text for text in texts):
                raise DamagedWeights(f"{self._where} {name} must be a list of texts.")
        return {name: tuple(value) for name, value in self._table.items()}

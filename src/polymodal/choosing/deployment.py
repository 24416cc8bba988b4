"""deployment.toml: the devices there are, and the models with their rates and latency targets."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from polymodal.catalog.choices import Choice, choice_of
from polymodal.errors import UsageError
from polymodal.runtime.measurements import kept
from polymodal.runtime.memory import parse_bytes
from polymodal.tasks.strict import Strict, parse_toml

__all__ = ["Deployment", "WantedDevice", "WantedModel", "read_deployment"]


class WantedDevice(Strict):
    """Devices of a kind: `memory` is that of each."""

    name: str
    kind: Literal["cpu", "cuda"]
    memory: str
    count: int = Field(default=1, ge=1, le=1024)

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str) -> str:
        parse_bytes(value)
        return value

    @property
    def bytes(self) -> int:
        """Of one of them."""
        return parse_bytes(self.memory)


class WantedModel(Strict):
    """A model and what is asked of it.

    Attributes:
        task: what its measurements on this machine are looked up by.
        requests_per_s: on average.
        latency_s: that 95 % of requests must stay under.
        service_s: that one request takes by itself.
        load_s: that loading takes, for models that may be there on demand.
        context_tokens: prompt and answer; pictures included.
    """

    name: str
    requests_per_s: float = Field(gt=0)
    task: str | None = None
    latency_s: float | None = Field(default=None, gt=0)
    service_s: float | None = Field(default=None, gt=0)
    load_s: float | None = Field(default=None, gt=0)
    device: Literal["cpu", "cuda"] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    quantize: Literal["8bit", "4bit"] | None = None
    context_tokens: int | None = Field(default=None, gt=0)
    pictures: int = Field(default=1, ge=0)
    picture_px: int = Field(default=1024, gt=0)

    @cached_property
    def choice(self) -> Choice:
        """What is known of the model.

        Raises:
            ModelUnavailable: nothing.
        """
        return choice_of(self.name)

    @cached_property
    def service(self) -> float | None:
        """Seconds of one request: as the file says, or as it was measured here last."""
        if self.service_s is not None or self.task is None:
            return self.service_s
        measured = [each for each in kept(self.task) if each.model == self.name]
        return measured[-1].latency_ms / 1000 if measured else None


class Deployment(Strict):
    """The whole file."""

    devices: tuple[WantedDevice, ...] = Field(min_length=1)
    models: tuple[WantedModel, ...] = Field(min_length=1)

    @field_validator("devices", "models")
    @classmethod
    def _named_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [each.name for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is there twice")
        return value


def read_deployment(file: Path) -> Deployment:
    """The checked file; models behind an API need no plan and are refused.

    Raises:
        UsageError: it cannot be read, or a key is wrong; the nearest is named.
        ModelUnavailable: a model is not known.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"{file} cannot be read: {reason}.") from error
    deployment = parse_toml(text, Deployment, str(file))
    for model in deployment.models:
        if model.choice.behind_api:
            raise UsageError(f"{file}: {model.name} runs behind an API; it needs no device here.")
    return deployment

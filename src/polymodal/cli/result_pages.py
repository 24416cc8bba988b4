"""From results to pages: which words and numbers stand under which picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.found import TITLES, cosine_words
from polymodal.cli.output import Output
from polymodal.cli.pages import Card, Group, Section, write_page

if TYPE_CHECKING:
    from polymodal.results import (
        Classification,
        DuplicateGroup,
        Hit,
        SearchResult,
        Verdict,
    )
    from polymodal.results_answers import Answer
    from polymodal.results_cascades import Decision

__all__ = [
    "answers_section",
    "cascade_page",
    "classification_page",
    "classification_section",
    "duplicates_page",
    "duplicates_section",
    "moderation_page",
    "moderation_section",
    "search_page",
    "search_section",
]

BEST_CLASSES = 3


def search_section(result: SearchResult, **about: Any) -> Section:
    """The hits of one query, best first, with the filter and the notes."""
    cards = [_hit_card(hit) for hit in result.hits]
    told = any(result.where in note for note in result.notes)
    chips = [f"filter: {result.where}"] if result.where and not told else []
    about.setdefault("heading", result.query or "similar pictures")
    about.setdefault("about", f"{len(cards)} pictures, best first.")
    return Section(groups=[Group(cards)], chips=[*chips, *result.notes], **about)


def classification_section(items: Sequence[Classification], **about: Any) -> Section:
    """Pictures under the class they went to, surest first."""
    classes: dict[str, list[Classification]] = {}
    for item in sorted(items, key=lambda item: -item.score):
        label = ", ".join(item.labels) or item.label or "none of these"
        classes.setdefault(label, []).append(item)
    groups = [
        Group([_classification_card(item) for item in members], f"{label} ({len(members)})")
        for label, members in classes.items()
    ]
    about.setdefault("heading", f"{len(items)} pictures, {len(classes)} classes")
    return Section(groups=groups, **about)


def answers_section(items: Sequence[Answer], **about: Any) -> Section:
    """Answers, a group a question."""
    from polymodal.cli.describe import reason

    groups: dict[str, list[Card]] = {}
    for item in items:
        card = Card(
            path=item.input,
            title=Path(item.input).name,
            score=f"{item.confidence:.2f}",
            tag=item.text,
            bad=item.abstained,
            why=reason(item),
        )
        groups.setdefault(item.question, []).append(card)
    return Section(groups=[Group(cards, question) for question, cards in groups.items()], **about)


def moderation_section(items: Sequence[Verdict], **about: Any) -> Section:
    """Rejected pictures first, with the criterion that decided."""
    cards = [_verdict_card(item) for item in sorted(items, key=lambda item: item.approved)]
    rejected = sum(not item.approved for item in items)
    policy = items[0].policy if items else ""
    about.setdefault("heading", f"{rejected} of {len(items)} rejected by {policy}")
    return Section(groups=[Group(cards)], **about)


def duplicates_section(groups: Sequence[DuplicateGroup], **about: Any) -> Section:
    """A row a group, the picture to keep first."""
    shown = []
    for number, group in enumerate(groups, 1):
        cards = [
            _hit_card(hit, tag="copy" if position else "keep", bad=bool(position))
            for position, hit in enumerate(group.hits)
        ]
        shown.append(Group(cards, f"group {number}, similarity {group.similarity:.3f} or more"))
    about.setdefault("heading", f"{len(groups)} groups of near-duplicates")
    return Section(groups=shown, **about)


def cascade_page(
    file: str,
    items: Sequence[Decision],
    verdicts: tuple[str, str],
    told: Sequence[str],
    out: Output,
) -> None:
    """Write the page of a cascade's run: a group a tier, in the order they are asked.

    Args:
        verdicts: what "yes" and "no" are called.
        told: what the run took and saved, a sentence each.
    """
    tiers: dict[str, list[Card]] = {}
    names = max((list(item.scores) for item in items), key=len, default=[])
    for item in sorted(items, key=lambda item: (len(item.scores), item.yes)):
        tiers.setdefault(item.tier, []).append(_decision_card(item, verdicts))
    groups = [
        Group(tiers[name], f"decided by {name} ({len(tiers[name])})")
        for name in names
        if name in tiers
    ]
    no = sum(not item.yes for item in items)
    heading = f"{no} of {len(items)}: {verdicts[1]}"
    section = Section(heading, groups, chips=told, about="What each tier decided; no comes first.")
    _write(file, "cascade", [section], out)


def search_page(file: str, results: Sequence[SearchResult], out: Output) -> None:
    """Write the page of one or several queries."""
    title = results[0].query if len(results) == 1 else f"{len(results)} queries"
    _write(file, title or "similar pictures", [search_section(result) for result in results], out)


def classification_page(file: str, items: Sequence[Classification], out: Output) -> None:
    """Write the page of a classification."""
    _write(file, "classes", [classification_section(items)], out)


def moderation_page(file: str, items: Sequence[Verdict], out: Output) -> None:
    """Write the page of a moderation."""
    _write(file, "moderation", [moderation_section(items)], out)


def duplicates_page(file: str, groups: Sequence[DuplicateGroup], out: Output) -> None:
    """Write the page of near-duplicates."""
    _write(file, "near-duplicates", [duplicates_section(groups)], out)


def _write(file: str, title: str, sections: Sequence[Section], out: Output) -> None:
    write_page(file, f"{title} - polymodal", sections)
    out.note(f"page: {Path(file).resolve()}")


def _hit_card(hit: Hit, *, tag: str = "", bad: bool = False) -> Card:
    title, facts = _title(hit.path, hit.metadata)
    score = f"{hit.score:.3f}"
    if hit.similarity is not None and hit.similarity != hit.score:
        # How alike is what people look for; what ranked, words and vector fused, stands below.
        facts, score = {**facts, "fused score": score}, cosine_words(hit)
    return Card(hit.path, title, score, tag, bad, facts)


def _title(path: str, metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What to call a picture, and the metadata that is left."""
    for key, value in metadata.items():
        if key.lower() in TITLES and str(value).strip():
            return str(value), {k: v for k, v in metadata.items() if k != key}
    return Path(path).name, dict(metadata)


def _classification_card(item: Classification) -> Card:
    facts = {name: f"{score:.2f}" for name, score in list(item.scores.items())[:BEST_CLASSES]}
    return Card(item.input, Path(item.input).name, f"{item.score:.2f}", facts=facts)


def _decision_card(item: Decision, verdicts: tuple[str, str]) -> Card:
    facts = {f"score of {name}": f"{score:.2f}" for name, score in item.scores.items()}
    if item.label is not None:
        facts["truth"] = "yes" if item.label else "no"
    return Card(
        item.input,
        Path(item.input).name,
        f"{item.score:.2f}",
        verdicts[0 if item.yes else 1],
        not item.yes,
        facts,
        item.text,
    )


def _verdict_card(item: Verdict) -> Card:
    why = next((f.explanation for f in item.findings if f.criterion == item.criterion), "")
    return Card(
        item.input,
        Path(item.input).name,
        f"{item.margin:+.2f}",
        "approved" if item.approved else f"rejected: {item.criterion}",
        not item.approved,
        why=why,
    )

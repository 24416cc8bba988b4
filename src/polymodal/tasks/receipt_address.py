"""An address by its pattern, where the receipt model finds none, or a part of it: the model learnt
from Malaysian receipts.

Notable: only a postcode that no other number looks like (British, Canadian, or American and
Australian behind their state) ends such an address, and only a line that names a street begins it.
Without both there is none. What stands between must look like an address, not like the rest of a
receipt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from polymodal.models.receipts.model import Found, ReceiptFields, tidy_address
from polymodal.models.receipts.pieces import Piece, pieces_of
from polymodal.models.receipts.words import LINE_WORDS, US_STATES
from polymodal.results_documents import Line

__all__ = ["address_by_pattern"]

_POSTCODES = (
    # Royal Mail: the inward part never holds C, I, K, M, O or V.
    r"[A-Z]{1,2}\d[A-Z\d]?\s?\d[ABD-HJLNP-UW-Z]{2}",
    # Canada Post: neither D, F, I, O, Q nor U, and neither W nor Z in front.
    r"[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z]\s?\d[ABCEGHJ-NPRSTV-Z]\d",
    rf"(?:{US_STATES})\.?,?\s+\d{{5}}(?:-\d{{4}})?",
    r"(?:NSW|VIC|QLD|TAS|ACT)\.?,?\s+\d{4}",
)
_COUNTRY = r"U\.?K|United Kingdom|England|Scotland|Wales|U\.?S\.?A|Canada|Australia"
_POSTCODE = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(_POSTCODES)})(?![^\W_])(?=[\s,.]*(?:(?:{_COUNTRY})\b.*)?$)"
)
"""At the end of a line, or before the country."""
_STREET = re.compile(
    r"(?<![^\W\d_])(?:street|str?|road|rd|avenue|ave?|lane|ln|drive|dr|way|close|court|ct|place|pl|"
    r"square|sq|terrace|crescent|cres|hill|row|mews|gardens|parade|boulevard|blvd|quay|wharf|"
    r"embankment|broadway|strand|walk|yard|arcade|parkway|pkwy|highway|hwy|esplanade|high street)"
    r"(?![^\W\d_])",
    re.IGNORECASE,
)
_WITHIN = re.compile(
    r"^\W*(?:unit|suite|shop|level|floor|flat|building|house|plot)\b|\b(?:floor|house|building)\W*$",
    re.IGNORECASE,
)
"""What may stand above the street: the door, the floor, the house."""
_OTHER = re.compile(
    r"\d[.,]\d{2}(?!\d)|\d{1,2}:\d{2}|\d[/\-.]\d{1,2}[/\-.]\d{2}|(?:\+?\d[\s\-()]?){9,}"
    r"|\b(?:registered|regd|vat|served by|till)\b",
    re.IGNORECASE,
)
"""Amounts, times, dates, telephone numbers, and who is registered where."""
_MOST_PIECES = 6
_GAP = 1.5
"""In line heights, between two lines of an address."""


def address_by_pattern(fields: ReceiptFields) -> Found | None:
    """The first address that ends in such a postcode; None where the model found another."""
    known = fields.found.get("address")
    firm = fields.found.get("company")
    taken = set(firm.lines) if firm else set()
    pieces = pieces_of(fields.sheet)
    for end, piece in enumerate(pieces):
        last = _before_telephone(piece.text)
        match = _POSTCODE.search(last)
        if match is None or not _is_part(piece, taken):
            continue
        # Beside it, in another column, may stand somebody else.
        column = [each for each in pieces[: end + 1] if _over(each, piece)]
        if (start := _start(column, len(column) - 1, taken)) is not None:
            chosen = column[start:]
            before = [each.text for each in chosen[:-1]] + [last[: match.start()]]
            # The postcode as it stands: its digits are not misread letters.
            text = f"{tidy_address(' '.join(before))} {last[match.start() :].strip(' ,;:')}"
            lines = tuple(cell.line for each in chosen for cell in each.cells)
            if known is not None and not set(known.lines) <= set(lines):
                return None
            return Found(text, round(min(line.score for line in lines), 4), lines)
    return None


def _over(piece: Piece, other: Piece) -> bool:
    """Whether they share a part of the page's width."""
    left, right = piece.cells[0].left, piece.cells[-1].right
    return left < other.cells[-1].right and other.cells[0].left < right


def _before_telephone(text: str) -> str:
    found = LINE_WORDS["reach"].search(text)
    return text[: found.start()].rstrip(" ,;:") if found else text


def _start(pieces: Sequence[Piece], end: int, taken: set[Line]) -> int | None:
    """The topmost line that names a street or what is in it, above the postcode without a break."""
    best = end if _STREET.search(_without_postcode(pieces[end].text)) else None
    for index in range(end - 1, max(end - _MOST_PIECES, -1), -1):
        own, below = pieces[index], pieces[index + 1]
        if below.cells[0].top - own.cells[0].bottom > _GAP or not _is_part(own, taken):
            break
        if LINE_WORDS["reach"].search(own.text):
            break
        if _STREET.search(own.text) or (best is not None and _WITHIN.search(own.text)):
            best = index
        elif best is not None:
            break  # above the street stand names, not places
    return best


def _without_postcode(text: str) -> str:
    return _POSTCODE.sub("", _before_telephone(text))


def _is_part(piece: Piece, taken: set[Line]) -> bool:
    """Whether it can be a line of an address."""
    text = _before_telephone(piece.text)
    if any(cell.line in taken for cell in piece.cells) or not re.search(r"[^\W\d_]{2}", text):
        return False
    return not (_OTHER.search(text) or LINE_WORDS["heading"].search(text))

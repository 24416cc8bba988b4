"""The starter's receipt model: lines in; company, address, date and total out, with evidence.

Notable: four small rankers, one a field, each a few hundred shallow trees over what `pieces`,
`dates` and `amounts` say of their candidates. The best candidate has to be more likely right than
the field's threshold, or the field stays empty: nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polymodal.errors import DamagedWeights
from polymodal.models.receipts.amounts import (
    AMOUNT_FEATURES,
    Amount,
    amount_features,
    by_value,
    find_amounts,
)
from polymodal.models.receipts.dates import (
    DATE_FEATURES,
    DateFound,
    date_features,
    find_dates,
    of_the_receipt,
)
from polymodal.models.receipts.layout import Sheet
from polymodal.models.receipts.pieces import (
    PIECE_FEATURES,
    Piece,
    WordScores,
    piece_features,
    pieces_of,
)
from polymodal.models.receipts.trees import Trees, read_arrays
from polymodal.models.receipts.words import LINE_WORDS
from polymodal.results_documents import Line

__all__ = ["Found", "ReceiptFields", "ReceiptModel", "facts_of", "tidy_address", "tidy_company"]

COLUMNS = {
    "company": len(PIECE_FEATURES),
    "address": len(PIECE_FEATURES),
    "date": len(DATE_FEATURES),
    "total": len(AMOUNT_FEATURES),
}
_MOST_ADDRESS_PIECES = 7
_MOST_COMPANY_PIECES = 3
_REGISTRATION = re.compile(
    r"[\s,;:]*(?:\(?\s*(?:co\.?|company|reg\.?|roc|gst)?\s*(?:no\.?|id|reg\.?)?\s*[:.]?\s*)?"
    r"[(\[]?\s*(?:[A-Z]{0,3}\d[\d\s]{3,}[\-·.]?\s?[A-Z0-9]?|\d{12})\s*[)\]]?\s*$",
    re.IGNORECASE,
)
_AFTER_ADDRESS = re.compile(
    r"[\s,;]*(?<![^\W\d_])(?:tel|telephone|phone|fax|h/p|hp|gst|sst|email|e-mail|website|www)"
    r"(?![^\W\d_]).*$",
    re.IGNORECASE,
)
_STOP_FOR_COMMA = re.compile(
    r"(?<=[^\W_]{2}|\W\d)(?<!\bno)(?<!\bst)(?<!\brd)(?<!\bjln)(?<!\btmn)(?<!\bkg)\.(?= \w)"
    r"|(?<=[^\W\d_]{3})\.(?=[^\W\d_]{3})",
    re.I,
)
"""A comma whose tail was lost in print or in reading."""
_LOT = re.compile(r"^(?:[1lI]\.?[O0]T|L0T)(?= \d)")
_FORMS = r"s[do0]n\.?\s?b[hn]d|bhd|s/b|ltd|limited|inc|llc|gmbh|corp|plc|pte\.?\s?ltd|co"
_LEGAL_FORM = re.compile(rf"\w.*(?<![^\W\d_])(?:{_FORMS})(?![^\W\d_])", re.I)
_BEFORE_ADDRESS = re.compile(r"^\W*(?:address|addr|alamat)\s*[:.]\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A field's value, how likely it is to be exact (0..1), and the lines it was read from."""

    text: str
    confidence: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class ReceiptFields:
    """What the model found, and all it looked at, for the rules that come after it.

    Attributes:
        found: "company", "address", "date", "total", as far as they were found.
        date: the date chosen; None where there is none.
        total: the amounts of the value chosen; empty where there is none.
    """

    found: Mapping[str, Found]
    sheet: Sheet
    dates: Sequence[DateFound]
    amounts: Sequence[Amount]
    date: DateFound | None
    total: Sequence[Amount]


class ReceiptModel:
    """Trained by recipes/starter/receipts.py; evaluated with numpy alone."""

    def __init__(
        self,
        trees: Mapping[str, Trees],
        words: WordScores,
        thresholds: Mapping[str, float],
        calibration: Mapping[str, Sequence[float]],
    ) -> None:
        self._trees = trees
        self._words = words
        self._thresholds = thresholds
        self._calibration = calibration

    @classmethod
    def load(cls, content: bytes) -> ReceiptModel:
        """From the bytes of model.npz.

        Raises:
            DamagedWeights: it is not such a file.
        """
        arrays = read_arrays(content)
        trees = {name: Trees.of(arrays, name, columns) for name, columns in COLUMNS.items()}
        try:
            words = {
                field: dict(
                    zip(
                        arrays[f"words.{field}"].tolist(),
                        arrays[f"words.{field}.odds"].tolist(),
                        strict=True,
                    )
                )
                for field in ("company", "address")
            }
            thresholds: dict[str, Any] = {
                name: float(arrays[f"{name}.threshold_to_answer"].item()) for name in COLUMNS
            }
            calibration = {
                name: np.asarray(arrays[f"{name}.calibration"], np.float64).reshape(4).tolist()
                for name in COLUMNS
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedWeights(f"the receipt model is not complete ({error}).") from error
        return cls(trees, words, thresholds, calibration)

    def read(self, sheet: Sheet) -> ReceiptFields:
        """The fields of one receipt."""
        found = {
            name: each
            for name, each in self._pieces(pieces_of(sheet)).items()
            if each.text and each.confidence >= self._thresholds[name]
        }
        dates = find_dates(sheet)
        own = of_the_receipt(sheet, dates)
        date = self._best("date", date_features(sheet, own))
        chosen = None if date is None else own[date[0]]
        if date is not None and chosen is not None:
            found["date"] = Found(chosen.text, date[1], (chosen.cell.line,))
        amounts = find_amounts(sheet, dates)
        values = by_value(amounts)
        total = self._best("total", amount_features(sheet, amounts, values))
        places: list[Amount] = []
        if total is not None:
            cents, places = list(values.items())[total[0]]
            best = max(places, key=lambda a: ("total" in a.kinds, not a.kinds & {"sub", "cash"}))
            text = f"{cents // 100}" + ("" if best.is_round else f".{cents % 100:02d}")
            found["total"] = Found(text, total[1], (best.cell.line,))
        found = {name: self._calibrated(name, each) for name, each in found.items()}
        return ReceiptFields(found, sheet, dates, amounts, chosen, places)

    def _calibrated(self, name: str, found: Found) -> Found:
        """With the probability that the value is exact, not only well chosen."""
        odds = sum(
            w * fact for w, fact in zip(self._calibration[name], facts_of(found), strict=True)
        )
        return replace(found, confidence=1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))))

    def _best(self, name: str, rows: list[list[float]]) -> tuple[int, float] | None:
        """Index and probability of the likeliest candidate, the first of several."""
        if not rows:
            return None
        scores = self._trees[name].probabilities(rows)
        best = int(scores.argmax())
        if scores[best] < self._thresholds[name]:
            return None
        return best, float(scores[best])

    def _pieces(self, pieces: Sequence[Piece]) -> dict[str, Found]:
        """Company and address, however unlikely."""
        if not pieces:
            return {}
        rows = piece_features(pieces, self._words)
        company = self._trees["company"].probabilities(rows).tolist()
        address = self._trees["address"].probabilities(rows).tolist()
        span = _best_span(address, pieces)
        chosen = _company_span(company, pieces, taken=span)
        found = {"company": _found(pieces, chosen, company, tidy_company)}
        if span is not None:
            found["address"] = _found(pieces, span, address, tidy_address)
        return found


def facts_of(found: Found) -> list[float]:
    """What tells whether a value is exact: one, log-odds of the choice, doubts of the reader over
    its lines, and length in lines of forty characters.
    """
    doubts = sum(1 - line.score for line in found.lines)
    return [1.0, _log_odds(found.confidence), doubts, len(found.text) / 40]


def _best_span(scores: Sequence[float], pieces: Sequence[Piece]) -> range | None:
    """The neighbouring pieces whose log-odds add up to the most; None where none is positive."""
    odds = [_log_odds(score) for score in scores]
    best: tuple[float, range] | None = None
    for start in range(len(odds)):
        total = 0.0
        for end in range(start, min(start + _MOST_ADDRESS_PIECES, len(odds))):
            total += odds[end]
            if total > 0 and (best is None or total > best[0]):
                best = total, range(start, end + 1)
    return None if best is None else best[1]


def _company_span(scores: Sequence[float], pieces: Sequence[Piece], taken: range | None) -> range:
    """The likeliest piece, with those before and after it that are likely too."""
    open_to_it = [i for i in range(len(scores)) if taken is None or i not in taken]
    if not open_to_it:
        open_to_it = list(range(len(scores)))
    best = max(open_to_it, key=lambda i: scores[i])
    start, end = best, best + 1
    while start - 1 in open_to_it and end - start < _MOST_COMPANY_PIECES:
        before, own = pieces[start - 1].text, pieces[start].text
        if not (_continues(before, own) or (scores[start - 1] >= 0.5 and not _complete(own))):
            break
        start -= 1
    while end in open_to_it and end - start < _MOST_COMPANY_PIECES:
        own, after = pieces[end - 1].text, pieces[end].text
        if not (_continues(own, after) or (scores[end] >= 0.4 and not _complete(own))):
            break
        end += 1
    return range(start, end)


def _continues(text: str, after: str) -> bool:
    """Whether a name breaks off in `text`, or `after` holds nothing that names anybody."""
    hanging = text.rstrip().endswith(("&", "-", ",", "(")) or text.count("(") > text.count(")")
    rest = after
    for kind in ("firm", "shop"):
        rest = LINE_WORDS[kind].sub(" ", rest)
    general = len(re.findall(r"[^\W\d_]{2,}", rest)) == 0 and rest != after
    return hanging or general


def _complete(text: str) -> bool:
    """Whether a name ends in its legal form, with something before it."""
    return bool(_LEGAL_FORM.search(text))


def _log_odds(score: float) -> float:
    bounded = min(max(score, 1e-4), 1 - 1e-4)
    return math.log(bounded / (1 - bounded))


def _found(pieces: Sequence[Piece], span: range, scores: Sequence[float], tidy: Any) -> Found:
    chosen = [pieces[i] for i in span]
    text = tidy(" ".join(piece.text for piece in chosen))
    lines = tuple(cell.line for piece in chosen for cell in piece.cells)
    return Found(text, sum(scores[i] for i in span) / len(span), lines)


def tidy_company(text: str) -> str:
    """Without the registration number behind it."""
    cut = _REGISTRATION.sub("", text).strip(" ,;:").rstrip(" #")
    return _letters_right(cut if re.search(r"[^\W\d_]", cut) else text.strip())


def tidy_address(text: str) -> str:
    """Without the word "address" before it and telephone numbers behind it."""
    cut = _AFTER_ADDRESS.sub("", _BEFORE_ADDRESS.sub("", text)).strip(" ;:")
    return _letters_right(_STOP_FOR_COMMA.sub(",", _LOT.sub("LOT", cut)).replace(".,", ","))


def _letters_right(text: str) -> str:
    """A capital I within small letters is an l; a nought or one within capitals an O or I."""
    text = re.sub(r"(?<=[a-z])I(?=[a-z])", "l", text)
    text = re.sub(r"(?<=[A-Z]{2})1(?=[A-Z])", "I", text)
    return re.sub(r"(?<=[A-Z])0(?=[A-Z]{2})", "O", text)

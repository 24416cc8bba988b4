"""Questions about a receipt's company, address, date or total, by the model that `extract` uses.

Notable: only questions that ask for nothing else, and only about documents in which a total was
found; any other question is for `text_answers`, which looks for the question's own words.
"""

from __future__ import annotations

from polymodal.catalog.receipts import open_receipt_model
from polymodal.errors import DamagedWeights, ModelUnavailable
from polymodal.models.receipts.layout import lay_out
from polymodal.models.wording import split_words
from polymodal.results_documents import Reading
from polymodal.tasks.read import upright_lines
from polymodal.tasks.text_answers import Found

__all__ = ["asked_field", "find_field"]

_FIELDS = {
    "address": {"address"},
    "date": {"date", "dated", "when"},
    "company": {"company", "store", "shop", "merchant", "vendor", "seller", "issued", "issuer"},
    "total": {"total"},
}
"""Field to the words that ask for it; the first that fits: a store's address is an address."""
_OF_COMPANY = {"address", "date"}
"""Asked for with words for the company beside them: the store's address."""
_BESIDE = {
    "a", "amount", "an", "at", "by", "did", "does", "for", "from", "give", "grand", "how", "in",
    "invoice", "is", "it", "its", "made", "much", "name", "of", "on", "printed", "purchase",
    "receipt", "tell", "me", "'s", "the", "this", "that", "to", "was", "what", "where",
    "which", "who", "bill", "come",
}  # fmt: skip


def asked_field(wording: str) -> str | None:
    """Which field a question asks for, where it asks for no more than that."""
    words = set(split_words(wording))
    for field, signs in _FIELDS.items():
        if words & signs:
            rest = words - signs - _BESIDE - (_FIELDS["company"] if field in _OF_COMPANY else set())
            return None if rest else field
    return None


def find_field(wording: str, reading: object) -> Found | None:
    """The field of a receipt that a question asks for; None leaves it to others."""
    field = asked_field(wording)
    if field is None or not isinstance(reading, Reading):
        return None
    try:
        model, _ = open_receipt_model()
    except (ModelUnavailable, DamagedWeights):  # the lines can be searched without it
        return None
    lines = upright_lines(reading)
    found = model.read(lay_out(lines, reading.pages, reading.rows)).found
    if "total" not in found or field not in found:
        return None
    given = dict(zip(lines, reading.lines, strict=True))
    places = tuple(given.get(line, line) for line in found[field].lines)
    return Found(found[field].text, found[field].confidence, places, f"the {field} of a receipt")

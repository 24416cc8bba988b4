"""What receipts say beside the learnt fields, by rule: currency, number, payment, status, and an
address that the model did not find.

Notable: every answer has a line that says it; where two lines say different things, or a sign has
several meanings, there is none, and `problems` says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from polymodal.models.receipts.amounts import Amount
from polymodal.models.receipts.layout import Cell
from polymodal.models.receipts.model import Found, ReceiptFields
from polymodal.tasks.receipt_address import address_by_pattern

__all__ = ["Ruled", "by_rule"]

_CURRENCIES = {
    # "Rm 407" is a room.
    "MYR": r"RM(?!\s*[:#.]?\s*\d+(?![.,]?\d))|MYR|(?i:rm(?=\s?\d+[.,]\d{2})|ringgit)",
    "SGD": r"S\$|SGD", "USD": r"US\$|USD", "EUR": r"€|EUR|(?i:euro)", "GBP": r"£|GBP",
    "INR": r"₹|INR|(?i:rs\.?)", "IDR": r"(?i:rp\.?)|IDR", "THB": r"฿|THB|(?i:baht)",
    "AUD": r"A\$|AUD", "CAD": r"C\$|CA\$|CAD", "NZD": r"NZ\$|NZD", "HKD": r"HK\$|HKD",
    "TWD": r"NT\$|TWD", "BRL": r"R\$|BRL", "MXN": r"MX\$|MXN", "JPY": r"JPY", "CNY": r"CNY|RMB",
    "CHF": r"CHF", "PHP": r"₱|PHP", "VND": r"₫|VND", "KRW": r"₩|KRW", "SEK": r"SEK", "NOK": r"NOK",
    "DKK": r"DKK", "PLN": r"PLN|zł", "CZK": r"CZK|Kč", "HUF": r"HUF", "ILS": r"₪|ILS",
    "TRY": r"₺", "AED": r"AED", "ZAR": r"ZAR", "NGN": r"₦|NGN",
}  # fmt: skip
_CURRENCY = {
    code: re.compile(rf"(?<![^\W\d_])(?:{pattern}|(?i:{code})(?=\s?\d+[.,]\d{{2}}))(?![^\W\d_])")
    for code, pattern in _CURRENCIES.items()
}
_SIGNS = {
    "$": (
        re.compile(r"(?<![A-Za-z])\$\s?\d"),
        {"USD", "SGD", "AUD", "CAD", "NZD", "HKD", "TWD", "MXN"},
    ),
    "¥": (re.compile(r"¥\s?\d"), {"JPY", "CNY"}),
}
"""Signs of several countries, and whose they are."""

_NUMBER_WORDS = (
    r"trans(?:action)?\s?(?:id|no)?", r"receipt", r"resit", r"inv(?:oice)?", r"bill",
    r"doc(?:ument)?", r"ref(?:erence)?", r"(?:guest\s)?che?c?k", r"slip", r"order",
    r"rechnungs?|facture|factura|fattura|factuur|faktura", r"beleg|bon|kvitto",
)  # fmt: skip
_NO = r"\s*-?\s*(?:no|nbr|num(?:ber|mer|[eé]ro)?|nr|n[°º.]|id)?\s*[.:#]*\s*(?:[.:#]\s*)*"
_NUMBER = [
    re.compile(
        rf"(?<![^\W\d_])(?:{words})(?:(?![^\W\d_])|(?=num|nr)){_NO}"
        r"(?P<value>(?=[\w/\-]*\d{2})[A-Z0-9][\w/\-]{2,}(?!\.\d))?\s*$|"
        rf"(?<![^\W\d_])(?:{words})(?:(?![^\W\d_])|(?=num|nr)){_NO}"
        r"(?P<inner>(?=[\w/\-]*\d{2})[A-Z0-9][\w/\-]{2,})(?![.\w])",
        re.IGNORECASE,
    )
    for words in _NUMBER_WORDS
]
_VALUE = re.compile(r"^[\W_]*(?P<value>(?=[\w/\-]*\d{2})[A-Z0-9][\w/\-]{2,})\W*$", re.IGNORECASE)
_STUCK = re.compile(r"(?<=\d)[A-Z][a-z]{2,}$")
"""The next word, where the blank before it was not read."""
_DATE_LIKE = re.compile(r"^\d{1,4}[/\-]\d{1,2}[/\-]\d{1,4}$|^20\d{6}$")
_NOUGHT = re.compile(r"(?<=[A-Za-z])0(?=[A-Za-z])")
"""Among letters it is an O."""
_BRANDS = {
    "visa": r"visa", "mastercard": r"master\s?card|master", "amex": r"amex|american express",
    "maestro": r"maestro", "discover": r"discover", "girocard": r"giro\s?card|ec-karte",
}  # fmt: skip
_PAYMENTS = {
    **_BRANDS,
    "debit card": r"debit(?:\scard)?", "credit card": r"credit\s?card",
    "card": r"card|contactless|karte|carte bancaire|cb|tarjeta|kort",
    "e-wallet": r"e-?wallet|touch ?n ?go|tng|grab\s?pay|boost|alipay|wechat(?:\spay)?|"
                r"apple pay|google pay", "upi": r"upi", "paypal": r"paypal",
    "cheque": r"cheque", "bank transfer": r"bank transfer|duitnow",
    "cash": r"cash|tunai|geg(?:eben|\.)? bar|barzahlung|contant[ei]|efectivo|esp[eè]ces|dinheiro",
}  # fmt: skip
_IMPLIED = {
    **{name: {"debit card", "credit card", "card"} for name in _BRANDS},
    **{name: {"card"} for name in ("debit card", "credit card")},
}
"""What says less than another name of the same payment."""
_PAYMENT = {
    name: re.compile(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", re.IGNORECASE)
    for name, pattern in _PAYMENTS.items()
}
_PAID_BY = re.compile(r"pay(?:ment)?\s?(?:mode|type|method|by)|paid by|tender", re.IGNORECASE)
_CARD = {
    name: re.compile(
        rf"^\W*(?:{pattern})(?:\s(?:debit|credit|card|contactless|sale|purchase))*"
        r"(?:\s(?:ending|ends)\s(?:in|with))?[\W_xX]*(?:\d{4})?\W*$",
        re.IGNORECASE,
    )
    for name, pattern in _BRANDS.items()
}
"""A row that is a card and nothing else."""
_NOT_PAYMENT = re.compile(r"gift|change|bill|member|loyalty|points|back|refund|memo|sales?\b", re.I)
_STATUSES = {
    "refunded": r"refund(?:ed)?", "void": r"void(?:ed)?", "cancelled": r"cancell?ed",
    "unpaid": r"unpaid|not paid|outstanding", "declined": r"declined", "approved": r"approved",
    "pending": r"pending", "paid": r"paid(?: in full)?|lunas",
}  # fmt: skip
_STATUS = {
    name: re.compile(
        rf"^\W*(?:(?:payment\s)?status\s*[:.]?\s*)?\W*(?:{pattern})\W*$", re.IGNORECASE
    )
    for name, pattern in _STATUSES.items()
}


@dataclass(frozen=True)
class Ruled:
    """Fields found by rule, and what kept others from being found."""

    found: dict[str, Found] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def by_rule(fields: ReceiptFields) -> Ruled:
    """Currency, transaction_id, payment_method and status, as far as lines say them; an address by
    its pattern where the model found none.
    """
    found: dict[str, Found] = {}
    problems: list[str] = []
    rules: dict[str, Callable[[ReceiptFields], Found | str | None]] = {
        "address": address_by_pattern,
        "currency": _currency,
        "transaction_id": _transaction,
        "payment_method": _payment,
        "status": _status,
    }
    for name, rule in rules.items():
        answer = rule(fields)
        if isinstance(answer, str):
            problems.append(f"{name}: {answer}")
        elif answer is not None:
            found[name] = answer
    return Ruled(found, tuple(problems))


def _sure(cell: Cell, share: float = 1.0) -> float:
    """A rule is as sure as the reader was of its line, and as lines agree."""
    return round(min(1.0, max(0.0, cell.line.score)) * share, 4)


def _currency(fields: ReceiptFields) -> Found | str | None:
    if not fields.amounts:
        return None
    places: dict[str, list[Cell]] = {}
    for cell in fields.sheet.cells:
        for code, pattern in _CURRENCY.items():
            if pattern.search(cell.text):
                places.setdefault(code, []).append(cell)
    for sign, (pattern, whose) in _SIGNS.items():
        signed = sum(bool(pattern.search(cell.text)) for cell in fields.sheet.cells)
        if signed > sum(len(cells) for cells in places.values()) and not whose & places.keys():
            return f"amounts are in {sign}, and nothing says which country's"
    if not places:
        return None
    rows = {amount.cell.row for amount in fields.total}
    of_total = {code: cell for code, cells in places.items() for cell in cells if cell.row in rows}
    if len(of_total) == 1:
        code, cell = next(iter(of_total.items()))
        return Found(code, _sure(cell), (cell.line,))
    counts = Counter({code: len(cells) for code, cells in places.items()})
    (code, count), *others = counts.most_common()
    if others and others[0][1] == count:
        return f"{code} and {others[0][0]} are named equally often"
    cell = places[code][0]
    return Found(code, _sure(cell, count / counts.total()), (cell.line,))


def _transaction(fields: ReceiptFields) -> Found | None:
    for pattern in _NUMBER:
        for row in fields.sheet.rows:
            for index, cell in enumerate(row):
                for match in pattern.finditer(_NOUGHT.sub("O", cell.text)):
                    group = "value" if match["value"] else "inner"
                    value, cells = cell.text[slice(*match.span(group))] or None, [cell]
                    value = value and _STUCK.sub("", value)
                    if value is None and index + 1 < len(row):
                        beside = _VALUE.match(row[index + 1].text)
                        value = beside["value"] if beside else None
                        cells.append(row[index + 1])
                    if value and not _DATE_LIKE.match(value):
                        lines = tuple(each.line for each in cells)
                        return Found(value, min(_sure(each) for each in cells), lines)
    return None


def _payment(fields: ReceiptFields) -> Found | str | None:
    with_amount = {amount.cell.row for amount in fields.amounts if amount.cents > 0}
    # Above the total stand the things that were bought.
    first = min((amount.cell.row for amount in fields.total), default=0)
    found: dict[str, Cell] = {}
    for number, row in enumerate(fields.sheet.rows):
        text = " ".join(cell.text for cell in row)
        named = bool(_PAID_BY.search(text))
        before = fields.sheet.rows[number - 1] if number else ()
        under = any(_PAID_BY.search(cell.text) for cell in before)
        if _NOT_PAYMENT.search(text) and not named:
            continue
        patterns = _PAYMENT
        if not (named or under or (number in with_amount and number >= first)):
            if not fields.total or number < first:
                continue
            patterns = _CARD
        for name, pattern in patterns.items():
            cell = next((each for each in row if pattern.search(each.text)), None)
            if cell is not None:
                found.setdefault(name, cell)
                break
    implied = set().union(*(_IMPLIED.get(name, set()) for name in found))
    found = {name: cell for name, cell in found.items() if name not in implied}
    if not found:
        return None
    if len(found) > 1:
        return f"{' and '.join(found)} are both named"
    name, cell = next(iter(found.items()))
    return Found(name, _sure(cell), (cell.line,))


def _status(fields: ReceiptFields) -> Found | str | None:
    said: dict[str, Cell] = {}
    for cell in fields.sheet.cells:
        for name, pattern in _STATUS.items():
            if pattern.match(cell.text):
                said.setdefault(name, cell)
    if len(said) > 1:
        return f"{' and '.join(said)} are both said"
    if said:
        name, cell = next(iter(said.items()))
        return Found(name, _sure(cell), (cell.line,))
    payment = _covering_payment(fields)
    return None if payment is None else Found("paid", _sure(payment.cell), (payment.cell.line,))


def _covering_payment(fields: ReceiptFields) -> Amount | None:
    """A payment of at least the total, or of the total exactly where it is by card."""
    total = fields.total[0].cents if fields.total else 0
    for amount in fields.amounts:
        kinds = amount.kinds
        enough = amount.cents == total if "card" in kinds else amount.cents >= total
        if total > 0 and enough and kinds & {"cash", "card"} and "change" not in kinds:
            return amount
    return None

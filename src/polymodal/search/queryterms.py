"""The words that reading a query needs: amounts of money, and field names as people say them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from polymodal.search.filters import Filter

__all__ = ["Amount", "Reading", "amount_pattern", "name_words"]

BEFORE = r"us\$|[$€£₹¥]|(?<![a-z])(?:rs\.?|rupees?|inr|usd|eur|gbp|jpy)"
AFTER = (
    r"/-|[$€£₹¥]|(?:rs\.?|inr|usd|eur|gbp|jpy|rupees?|dollars?|bucks|euros?|pounds?|yen)(?![a-z])"
)
DIGITS = r"\d{1,3}(?:[,.'\u00a0\u202f]\d{2,3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d{1,2})?(?!\d)"
FACTORS = {"k": 1_000, "thousand": 1_000, "lakh": 100_000, "lakhs": 100_000, "lac": 100_000}
MOST_DIGITS = 15


@dataclass(frozen=True)
class Reading:
    """A condition and the characters of the query, from `start` to before `end`, that say it."""

    start: int
    end: int
    filter: Filter


@dataclass(frozen=True)
class Amount:
    """A number of a query; `value` is None where its digits are no amount, as in 1.2.3."""

    value: float | None
    factor: int
    currency: str

    @classmethod
    def of(cls, groups: Mapping[str, str | None], tag: str) -> Amount:
        """From the groups of `amount_pattern(tag)`."""
        factor = FACTORS.get((groups.get(f"{tag}_factor") or "").lower(), 1)
        number = _number(groups.get(f"{tag}_number") or "")
        currency = groups.get(f"{tag}_before") or groups.get(f"{tag}_after") or ""
        if number is not None:
            scaled = round(number * factor, 2)
            number = int(scaled) if scaled == int(scaled) else scaled
        return cls(number, factor, currency)


def amount_pattern(tag: str) -> str:
    """A regular expression for an amount, with or without currency; its groups begin with `tag`."""
    return (
        rf"(?:(?P<{tag}_before>{BEFORE})\s*)?(?P<{tag}_number>{DIGITS})"
        rf"(?:\s?(?P<{tag}_factor>k|thousand|lakhs?|lac)(?![a-z\d]))?"
        rf"(?:\s*(?P<{tag}_after>{AFTER})|(?!\w))"
    )


def _number(digits: str) -> float | None:
    """2000, 2,000, 2.000, 1,50,000, 19.99 and 19,99; None for what is none of these."""
    plain = re.sub(r"['\u00a0\u202f]", "", digits)
    if len(plain) > MOST_DIGITS:
        return None
    separators = re.findall(r"[.,]", plain)
    decimals = re.search(r"[.,](\d{1,2})$", plain)
    if decimals:
        # Indian grouping ends in three digits, so one or two after the last sign are decimals.
        whole, fraction = plain[: decimals.start()], decimals.group(1)
        if separators[-1] in separators[:-1]:
            return None
    else:
        whole, fraction = plain, "0"
        if len(set(separators)) > 1:
            return None
    if not re.fullmatch(r"\d+|\d{1,3}(?:[.,]\d{2,3})*[.,]\d{3}", whole):
        return None
    return float(f"{re.sub('[.,]', '', whole)}.{fraction}")


def name_words(name: str) -> str:
    """A field's name as it is said: `specs.unitPrice_INR` is `unit price inr`."""
    last = name.rsplit(".", 1)[-1]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", last)
    return re.sub(r"[\W_]+", " ", spaced).strip().lower()

"""What words on receipts give away: firms, streets, places, headings, amounts.

Notable: these lists say what kind of word it is, not what it means for a field; how much each kind
counts is learnt. English and Malay first, since that is what the training receipts speak; words for
amounts in the larger European languages stand for the same kinds.
"""

from __future__ import annotations

import re

__all__ = ["AMOUNT_WORDS", "LINE_WORDS", "US_STATES", "tokens"]

_WORD = re.compile(r"[^\W\d_]{2,}")


def _any(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])", re.IGNORECASE)


LINE_WORDS: dict[str, re.Pattern[str]] = {
    "firm": _any(
        r"s[do0]n\.?\s?b[hn]d|s/b|bhd|sdn|enterprises?|trading|ltd|limited|inc|llc|gmbh|co|company|"
        r"corp|plc|holdings|perniagaan|syarikat|international|industries"
    ),
    "shop": _any(
        r"stores?|shop|mart|market|supermarket|hypermarket|restaurants?|restoran|cafe|kopitiam|"
        r"bistro|bakery|pharmacy|hardware|stationery|books?|hotel|station|pasaraya|kedai|mini|"
        r"electrical|motor|gallery|boutique|kitchen|pub|food|foods|grocer|machinery|house|petro|"
        r"centre|center|gift|deco|guardian|clinic|farmasi|diner|grill|coffee"
    ),
    "street": _any(
        r"jalan|jln|jl|lorong|lrg|persiaran|lebuh(?:raya)?|street|road|rd|avenue|ave|lane|drive|"
        r"boulevard|blvd|highway|square|stra(?:ss|ß)e|rue|batu|off"
    ),
    "area": _any(
        r"taman|tmn|bandar|bdr|kampung|kg|kawasan|kws|perindustrian|seksyen|section|bukit|desa|"
        r"medan|pusat|level|floor|flr|tingkat|lot|unit|block|blok|suite|ground|plaza|city|park|"
        r"damansara|sungai|permas|no"
    ),
    "place": _any(
        r"selangor|johor|bahru|kuala|lumpur|kl|penang|pinang|perak|pahang|melaka|kedah|kelantan|"
        r"negeri|sembilan|sabah|sarawak|labuan|putrajaya|singapore|malaysia|klang|petaling|jaya|"
        r"shah|alam|puchong|cheras|ipoh|darul|ehsan|wilayah|persekutuan"
    ),
    "heading": _any(
        r"invoice|receipt|resit|bill|check|cash|sales|copy|order|table|cashier|date|time|member|"
        r"item|qty|amount|price|description|welcome|simplified|operator|salesperson|terminal|token"
    ),
    "registered": _any(
        r"gst|sst|reg|registration|roc|id|tin|vat|co\.?\s?no|company no|co\.?\s?reg|brn|site"
    ),
    "reach": _any(r"tel|telephone|fax|phone|hp|h/p|hotline|email|e-mail|www|http|website"),
    "aside": _any(r"formerly|licensee|owner|owned|own|operated|branch|outlet|thank|please|known"),
}
"""Kinds of words in a line."""

AMOUNT_WORDS: dict[str, re.Pattern[str]] = {
    "total": _any(
        r"tot[a-z1]{0,3}|jumlah|sum|ttl|summe|gesamt\w*|somme|suma|importe|[aà] payer|zu zahlen"
    ),
    "grand": _any(r"grand|nett?|final|overall"),
    "rounded": _any(r"rounded|round d|after (?:adj|rounding)\w*"),
    "rounding": _any(r"rounding|round\w*\s?adj\w*|adj\w*"),
    "due": _any(r"due|payable|to pay|amount paid|balance"),
    "amount": _any(r"amount|amt|sales|bill"),
    "sub": _any(r"sub|subtotal[ei]?|sub-?tota[l1i]|sous-total|zwischensumme|netto\w*"),
    "including": _any(r"incl\w*|inclusive"),
    "excluding": _any(r"excl\w*|exclusive|before|ex"),
    "tax": _any(r"tax|gst|sst|vat|sr|zrl?|tax amt|mwst|ust|tva|iva|btw"),
    "cash": _any(
        r"cash|tender\w*|paid|payment|bayar\w*|received|tunai|geg(?:eben)?|contant[ei]|efectivo|"
        r"esp[eè]ces|dinheiro|kontant"
    ),
    "card": _any(
        r"visa|master\w*|card|credit|debit|amex|nets|maestro|girocard|karte|carte|cb|tarjeta|kort"
    ),
    "change": _any(r"change|chg|baki|r[uü]ckgeld|wechselgeld|rendu|cambio|resto|troco"),
    "discount": _any(r"disc\w*|savings?|less|voucher|rebate"),
    "count": _any(r"qty|quantity|items?|pcs|count|points?|pax"),
    "service": _any(r"service|svc|charge|chrg"),
    "summary": _any(r"summary|code|sum+ary"),
}
"""Kinds of words beside an amount."""


US_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|"
    "NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY"
)
"""Postal abbreviations, as a pattern."""


def tokens(text: str) -> list[str]:
    """The words of a line, lower case, without digits and signs."""
    return [word.lower() for word in _WORD.findall(text)]

"""Which fields of a schema the receipt model can fill, and its findings as the schema's types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

__all__ = ["NAMES", "Field", "fields_of", "typed"]

NAMES: dict[str, tuple[str, ...]] = {
    "company": ("company", "companyname", "merchant", "merchantname", "vendor", "vendorname",
                "store", "storename", "shop", "shopname", "seller", "sellername", "supplier",
                "suppliername", "business", "businessname", "issuer"),
    "address": ("address", "companyaddress", "merchantaddress", "vendoraddress", "storeaddress",
                "shopaddress", "selleraddress", "supplieraddress", "billingaddress"),
    "date": ("date", "receiptdate", "invoicedate", "purchasedate", "transactiondate", "issuedate",
             "issued", "issuedon", "dateofpurchase"),
    "total": ("total", "totalamount", "grandtotal", "amountdue", "amount", "totalprice",
              "totalprices", "totaldue", "amounttotal", "invoicetotal", "receipttotal",
              "ordertotal", "totalcost"),
    "currency": ("currency", "currencycode"),
    "transaction_id": ("transactionid", "receiptid", "receiptnumber", "receiptno", "invoiceid",
                       "invoicenumber", "invoiceno", "billnumber", "billno", "documentnumber",
                       "transactionnumber", "transactionno"),
    "payment_method": ("paymentmethod", "payment", "paymenttype", "paymentmode", "paidby",
                       "paidwith"),
    "status": ("status", "paymentstatus"),
}  # fmt: skip
"""What the receipt model and its rules find, to what schemas call it, without case and signs."""

_KNOWN = {name: found for found, names in NAMES.items() for name in names}


@dataclass(frozen=True)
class Field:
    """A field of a schema.

    Attributes:
        name: its key in the data.
        found: what of the receipt model fills it; None where nothing does.
        schema: its JSON Schema, references followed.
    """

    name: str
    found: str | None
    schema: Mapping[str, Any]


def fields_of(json_schema: Mapping[str, Any]) -> list[Field]:
    """The top-level fields of a schema, in its order."""
    properties = json_schema.get("properties", {})
    fields = []
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        resolved = _resolved(part, json_schema)
        known = _KNOWN.get(re.sub(r"[\W_]", "", str(name)).lower())
        simple = not _types(resolved) or _types(resolved) - {"object", "array", "boolean", "null"}
        fields.append(Field(str(name), known if simple else None, resolved))
    return fields


def typed(field: Field, text: str, day: date | None) -> Any | None:
    """A finding as a JSON value of the field's type; None where it cannot be one.

    Args:
        text: what was found, such as "8.20" or "05 MAR 2018".
        day: of a date, where it could be read as one.
    """
    kinds, formats = _types(field.schema), _formats(field.schema)
    choices = field.schema.get("enum")
    if isinstance(choices, list):
        return next((each for each in choices if str(each).casefold() == text.casefold()), None)
    if field.found == "date" and formats & {"date", "date-time"}:
        ending = "" if "date" in formats else "T00:00:00"
        return None if day is None else day.isoformat() + ending
    if "string" in kinds or not kinds:  # also a Decimal, which keeps its cents as text
        return text
    return _number(text, kinds) if field.found == "total" else None


def _number(text: str, kinds: set[str]) -> float | int | None:
    if "number" in kinds:
        return float(text)
    return int(float(text)) if "integer" in kinds and float(text).is_integer() else None


def _resolved(part: Any, root: Mapping[str, Any], depth: int = 8) -> Mapping[str, Any]:
    """Follows `$ref`s within the schema, and an `allOf` of one."""
    if not isinstance(part, Mapping) or depth == 0:
        return {}
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for key in reference[2:].split("/"):
            target = target.get(key, {}) if isinstance(target, Mapping) else {}
        return _resolved(target, root, depth - 1)
    several = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    if isinstance(several, list):
        parts = [_resolved(each, root, depth - 1) for each in several]
        chosen = [each for each in parts if each.get("type") != "null"]
        if len(chosen) == 1:
            return chosen[0]
        return {"anyOf": chosen}
    return part


def _types(schema: Mapping[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return set().union(*(_types(each) for each in schema["anyOf"]))
    kind = schema.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind)


def _formats(schema: Mapping[str, Any]) -> set[str]:
    parts = schema.get("anyOf", [schema])
    return {each["format"] for each in parts if isinstance(each.get("format"), str)}

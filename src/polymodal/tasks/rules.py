"""Ready rules for the fields of a schema, to be used with `Annotated`.

    class Expense(BaseModel):
        date: Annotated[datetime.date, not_in_future()]
        items: list[Item] = []
        total: Annotated[Decimal, amount_between(0, 500), sums_up("items", "amount")]

Notable: a rule that is broken does not lose the value; `extract` reports it beside the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

__all__ = ["amount_between", "not_in_future", "sums_up"]

_CENT = Decimal("0.01")


def amount_between(low: float | Decimal, high: float | Decimal) -> Any:
    """An amount of money from `low` to `high`, both allowed."""
    from pydantic import AfterValidator

    lowest, highest = Decimal(str(low)), Decimal(str(high))

    def check(value: Any) -> Any:
        if value is not None and not lowest <= Decimal(str(value)) <= highest:
            raise ValueError(f"{value} is not between {lowest} and {highest}")
        return value

    return AfterValidator(check)


def not_in_future(*, days: int = 1) -> Any:
    """A date or datetime no later than today.

    Args:
        days: allowed beyond today, UTC: somewhere it is tomorrow already.
    """
    from pydantic import AfterValidator

    def check(value: Any) -> Any:
        day = value.date() if isinstance(value, datetime) else value
        if isinstance(day, date) and day > datetime.now(UTC).date() + timedelta(days=days):
            raise ValueError(f"{day.isoformat()} is in the future")
        return value

    return AfterValidator(check)


def sums_up(items: str, amount: str, *, tolerance: Decimal = _CENT) -> Any:
    """A total that is the sum of `amount` over the field `items`, within a cent.

    The field `items` must stand before the total in the class. Nothing is checked while it is
    empty, since a document without lines contradicts nothing.
    """
    from pydantic import AfterValidator, ValidationInfo

    def check(value: Any, info: ValidationInfo) -> Any:
        listed = info.data.get(items)
        if value is None or not listed:
            return value
        parts = [
            each.get(amount) if isinstance(each, Mapping) else getattr(each, amount)
            for each in listed
        ]
        total = sum((Decimal(str(part)) for part in parts if part is not None), Decimal(0))
        if abs(total - Decimal(str(value))) > tolerance:
            raise ValueError(f"{value} is not the sum of {items}, which is {total}")
        return value

    # pydantic looks at the signature's annotations, which are text in this module.
    check.__annotations__ = {"value": Any, "info": ValidationInfo, "return": Any}
    return AfterValidator(check)

"""The built-in schema of `extract`: what receipts and invoices say."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, Field

__all__ = ["Receipt"]


class Receipt(BaseModel):
    """A receipt or invoice; what nothing on it supports is None."""

    company: str | None = Field(None, description="Who issued it, as printed.")
    address: str | None = Field(None, description="Of the company, on one line.")
    date: str | None = Field(None, description="Of the purchase, as printed.")
    total: Decimal | None = Field(None, description="What was to be paid, without currency.")
    currency: str | None = Field(None, description="ISO 4217 code.")
    transaction_id: str | None = Field(None, description="Number of the receipt or invoice.")
    payment_method: str | None = Field(None, description='Such as "cash" or "visa".')
    status: str | None = Field(None, description='Such as "paid" or "refunded".')

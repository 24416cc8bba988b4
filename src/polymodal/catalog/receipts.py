"""The receipt model that the starter package ships."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from polymodal.catalog.sources import find_weights

if TYPE_CHECKING:
    from polymodal.models.receipts.model import ReceiptModel

__all__ = ["RECEIPT_MODEL", "open_receipt_model"]

RECEIPT_MODEL = "starter receipts"
"""What results call it."""


@cache
def open_receipt_model() -> tuple[ReceiptModel, str]:
    """The model, read once, and its revision.

    Raises:
        ModelUnavailable: the starter package is not installed.
        DamagedWeights: its file fails its checksum, or is not such a model.
    """
    from polymodal.models.receipts.model import ReceiptModel

    weights = find_weights("starter")
    return ReceiptModel.load(weights.read("receipts/model.npz")), weights.revision

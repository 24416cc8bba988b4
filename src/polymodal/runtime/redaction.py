"""Keep secrets out of what is written down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

__all__ = ["secrets_now", "struck_out"]

STRUCK = "[struck out]"
KEY_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST_KEY = 8
"""Shorter values of such variables are no keys, and striking them out would garble texts."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s\x22@]+@")
"""`user:password@` in an address."""


def secrets_now() -> tuple[str, ...]:
    """The values of environment variables that are named like keys, the longest first."""
    found = {v for k, v in os.environ.items() if len(v) >= SHORTEST_KEY and KEY_NAMES.search(k)}
    found |= {json.dumps(value)[1:-1] for value in found}  # as it stands in recorded parameters
    return tuple(sorted(found, key=len, reverse=True))


def struck_out(text: str, secrets: Sequence[str] | None = None) -> str:
    """`text` without `secrets` and without passwords in addresses; encodable as UTF-8.

    Args:
        secrets: see `secrets_now`, which is what None stands for.
    """
    for secret in secrets_now() if secrets is None else secrets:
        text = text.replace(secret, STRUCK)
    if "://" in text:
        text = CREDENTIALS.sub(f"{STRUCK}@", text)
    return text.encode("utf-8", "backslashreplace").decode()

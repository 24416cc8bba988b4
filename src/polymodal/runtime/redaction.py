"""Keep secrets out of what is written down."""

from __future__ import annotations

import os
import re

__all__ = ["struck_out"]

STRUCK = "[struck out]"
KEY_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST_KEY = 8
"""Shorter values of such variables are no keys, and striking them out would garble texts."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s\x22@]+@")
"""`user:password@` in an address."""


def struck_out(text: str) -> str:
    """`text` without the values of environment variables that are named like keys, and without
    passwords in addresses; encodable as UTF-8."""
    for name, value in os.environ.items():
        if KEY_NAMES.search(name) and len(value) >= SHORTEST_KEY:
            text = text.replace(value, STRUCK)
    if "://" in text:
        text = CREDENTIALS.sub(f"{STRUCK}@", text)
    return text.encode("utf-8", "backslashreplace").decode()

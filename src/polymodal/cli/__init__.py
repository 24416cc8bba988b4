"""The `polymodal` command: parses, calls the suite, prints.

Notable: nothing heavy is imported before a command runs (no numpy, PIL, onnxruntime), so that
`polymodal --help` answers at once. A test holds this.
"""

from __future__ import annotations

import gc
import sys
import warnings
from typing import TextIO

__all__ = ["main"]


def main() -> None:
    """Run the command line in `sys.argv`; the entry point of the package."""
    # Nothing that is imported is garbage, and to look for some is a tenth of a short run. `Command`
    # turns it on again where the work begins.
    gc.disable()
    # Pictures arrive with any file name the disk allows; printing one must never raise.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    from polymodal.cli.app import app

    gc.freeze()
    try:
        app(prog_name="polymodal")
    finally:
        gc.unfreeze()
        gc.enable()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning for the user as one line; one for developers as Python shows it."""
    if category is UserWarning:
        print(f"note: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

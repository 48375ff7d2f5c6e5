"""How two pieces of text are made comparable."""

from __future__ import annotations

import unicodedata


def normalize(text: str) -> str:
    """Bring ``text`` to the form in which answers are compared.

    Vietnamese letters come composed (one code point) or decomposed (letter and marks); both look
    the same and must count as the same, hence NFC. Case and runs of white space do not count.

    Args:
        text: Any text.

    Returns:
        NFC, lower case, white space folded to single spaces, none at the ends.
    """
    return " ".join(unicodedata.normalize("NFC", text).lower().split())

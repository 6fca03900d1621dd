from __future__ import annotations


def is_unicode(text: str) -> bool:
    """False when `text` holds half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Text from outside the program in messages: on one line, short, without credentials."""

from __future__ import annotations

from .addresses import hide_credentials

MAX_SHOWN = 100  # characters of a value from a file in a message
_MAX_BITS = 256  # of an integer in a message; Python refuses to write very large ones


def escape(text: object) -> str:
    """Make text from outside the program safe to print on one line of a terminal.

    Args:
        text: anything; converted by `str`.

    Returns:
        The text with newlines, control characters and undecodable bytes as backslash escapes, and without the
        credentials of addresses.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in hide_credentials(str(text))
    )


def shown(value: object, most: int = MAX_SHOWN) -> str:
    """Describe a value that was read from a file.

    Args:
        value: text is described in quotes, as `repr` does.
        most: characters that are shown of it.

    Returns:
        One line.
    """
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = escape(value if isinstance(value, str) else repr(value))
    except (ValueError, RecursionError):  # an integer inside, too large to be written; lists in lists in lists
        return f"a value of type {type(value).__name__}"
    return repr(_cut(text, most)).replace("\\\\", "\\") if isinstance(value, str) else _cut(text, most)


def shown_name(name: str, most: int = MAX_SHOWN) -> str:
    """Return the name of a tensor from a file, shortened and on one line."""
    return _cut(escape(name), most)


def first_line(error: BaseException, most: int = 4 * MAX_SHOWN) -> str:
    """Return the first line of an exception's message, shortened; its type where it has none."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = escape(reason.strip().split("\n", 1)[0])
    return _cut(line, most) or type(error).__name__


def file_size(count: int) -> str:
    """Return the size of a file for users, in units of 1,000 as browsers show it: 32 kB, 242 MB, 1.3 GB.

    Args:
        count: bytes.
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count / 1000:.0f} kB" if count >= 1000 else f"{count} bytes"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"

"""Show values that a file holds in messages: on one line, short, whatever they are."""

from __future__ import annotations

SHOWN_CHARACTERS = 80  # of a text from a file in a message


def show_value(value: object) -> str:
    """Describe a value for a message.

    Args:
        value: as read from JSON or TOML; lists and tables of any depth.

    Returns:
        A number or a short text as it is, the kind of anything else.
    """
    if isinstance(value, str):
        return ascii(value) if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]!a}..."
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):  # Python refuses to write integers of thousands of digits
        return str(value) if abs(value) < 10**18 else f"an integer of {value.bit_length()} bits"
    return f"a {type(value).__name__}"


def show_name(name: str) -> str:
    """Return a name from a file: as it is if it is short and printable, else as `show_value` does."""
    return name if name.isprintable() and len(name) <= SHOWN_CHARACTERS else show_value(name)

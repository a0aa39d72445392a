"""How a command says that it cannot do what it was asked for."""


class CommandError(Exception):
    """What was asked for cannot be had; the message says what there is instead. `main` puts it on one line."""


def listed(names: list[str], *, shown: int = 5) -> str:
    """`a`, `a and b`, `a, b, c and 4 more`."""
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

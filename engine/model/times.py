"""Times as the Kubernetes API writes them: RFC 3339, in UTC, to the second unless stated otherwise."""

from datetime import MAXYEAR, UTC, datetime


def read_time(text: str | None) -> datetime | None:
    """A time of the API, or None if it is missing or invalid."""
    try:
        time = datetime.fromisoformat(text or "")
    except (TypeError, ValueError):
        return None
    # Within hours of the first or last representable time, no other time zone has it.
    return time if time.tzinfo and 1 < time.year < MAXYEAR else None


def exact_time_text(time: datetime) -> str:
    """A time to the millisecond, which the API accepts as well."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_text(time: datetime) -> str:
    """A time as the API writes it, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

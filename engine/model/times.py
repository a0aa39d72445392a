"""Times as the Kubernetes API writes them: RFC 3339, in UTC, and to the second where nothing else is said."""

from datetime import UTC, datetime


def read_time(text: str | None) -> datetime | None:
    """A time of the API, or None where there is none that can be read."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None


def exact_time_text(time: datetime) -> str:
    """A time to the millisecond, which the API takes as well."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_text(time: datetime) -> str:
    """A time as the API writes it, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Files that are replaced atomically, and read again when they have changed."""

import os


class Watched:
    """The text of a file, read again only when the file was replaced."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._text: str | None = None

    def text(self) -> str | None:
        """The text, or None if it cannot be read. A link in the path may change, as in the kubelet's mounts."""
        try:
            stat = os.stat(self.path)
            seen = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._text = _read(self.path)
                self._seen = seen
        except OSError:
            self._seen, self._text = (), None
        return self._text


def write(path: str, content: str | bytes) -> None:
    """Replace the file atomically: a reader gets the former content or this one, even if the agent is killed."""
    part = f"{path}.part"
    with open(part, "wb") as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    os.replace(part, path)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def integer(value: object) -> int:
    """A value in a file that has to be an integer. Raises ValueError if it is none."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer")
    return value

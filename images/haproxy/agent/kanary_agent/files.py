"""Files that are replaced as a whole: reading one when it has changed, writing one at once."""

import os


class Watched:
    """A file's text, read again only when the file is another one than before."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._text: str | None = None

    def text(self) -> str | None:
        """None if it cannot be read. A link on the way may point elsewhere each time, as the kubelet's does."""
        try:
            stat = os.stat(self.path)
            seen = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._text = _read(self.path)
                self._seen = seen
        except OSError:
            self._seen, self._text = (), None
        return self._text


def write(path: str, text: str) -> None:
    """Replaces the file: whoever opens it gets the former text or this one, whenever the agent is killed."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
    os.replace(part, path)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()

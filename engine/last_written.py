"""What this process last saw in the ConfigMap of a Kanary, compressed: read, it takes ten times the memory."""

import json
import zlib
from dataclasses import dataclass

from engine.model.states import Written, read_applied


@dataclass(frozen=True, slots=True)
class LastWritten:
    """The content of the ConfigMap of the Kanary with this uid."""

    uid: str
    content: bytes
    content_id: int | None = None
    """Of the ConfigMap (see `Memo`), if the content was read from it."""

    def of(self, uid: str) -> Written | None:
        """The content, if it is of the Kanary with this uid: another one may have had the same name."""
        if uid != self.uid:
            return None
        applied, *others = json.loads(zlib.decompress(self.content))
        return Written(read_applied(applied), *others)


def last_written(
    uid: str, written: Written, former: LastWritten | None, applied_text: str | None = None
) -> LastWritten:
    """The content of the ConfigMap for later; `former` itself, if it has the same content.

    `applied_text` is that of `written.applied`, if it is known.
    """
    if former and written.content_id and (uid, written.content_id) == (former.uid, former.content_id):
        return former
    applied = applied_text or (written.applied.to_json() if written.applied else "")
    content = json.dumps([applied, written.latest, written.accepted, written.public_key])
    return LastWritten(uid, zlib.compress(content.encode(), 1), written.content_id)

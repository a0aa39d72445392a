"""What this process last saw in the ConfigMap of a Kanary, as text: parsed, it takes several times the memory."""

from dataclasses import dataclass, replace

from engine.memo import Memo
from engine.model.states import Applied, Written, read_applied


@dataclass(frozen=True, slots=True)
class LastWritten:
    """The content of the ConfigMap of the Kanary with this uid."""

    uid: str
    applied: str
    """As `Applied.to_json` writes it; empty if nothing was applied."""
    rest: Written
    """Without `applied`."""

    def of(self, uid: str) -> Written | None:
        """The content, if it is of the Kanary with this uid: another one may have had the same name."""
        if uid != self.uid:
            return None
        return replace(self.rest, applied=read_applied(self.applied)) if self.applied else self.rest


NOTHING_WRITTEN = LastWritten("", "", Written())


def last_written(uid: str, written: Written, memo: Memo) -> LastWritten:
    """The content of the ConfigMap for later."""
    applied = memo(Applied.to_json, written.applied) if written.applied else ""
    return LastWritten(uid, applied, replace(written, applied=None))

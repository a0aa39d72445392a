"""Which spec the proxies are to serve: the declared one, the last good one, or none yet."""

from states.snapshot import OnEmptyRoute, Snapshot, Source


def which_spec(snapshot: Snapshot) -> Source:
    """The declared spec wherever it can be obeyed; the last good one where it cannot, so that traffic stays as it was.

    Only the snapshot's declared facts matter here: the rollout is not known before the target is.
    """
    if _can_be_obeyed(snapshot):
        return Source.DECLARED
    return Source.LAST_GOOD if snapshot.has_served else Source.NOTHING


def _can_be_obeyed(snapshot: Snapshot) -> bool:
    if snapshot.fault or snapshot.missing or snapshot.paused:
        return False
    if not snapshot.has_served:
        return not snapshot.all_empty
    return not (snapshot.on_empty_route is OnEmptyRoute.HOLD and snapshot.empty_routes)

"""How the proxies receive a split, and when they are replaced by the same ones."""

from engine.fleet.fleet import has_rolled_out
from engine.fleet.former_processes import leaking_descriptors, most_former, over_limit, processes_text
from engine.model.states import Split
from engine.model.times import time_text
from engine.observe import Observed
from engine.render import pods
from states import UpdateStrategy
from states.timing import RENEWAL_PAUSE, left


def strategy_of(observed: Observed, split: Split) -> tuple[UpdateStrategy, str]:
    """How the proxies receive this split, and, if a fallback to Rolling begins now, why.

    Running proxies that do not load a configuration are replaced, now and at each later change of endpoints. The next
    change of the spec tries its strategy again.
    """
    before, spec = observed.written.applied, split.spec
    if spec.update_strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    if before is None or (before.spec is not spec and before.spec != spec):
        return UpdateStrategy.LIVE, ""
    if before.strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    fallback = observed.fleet.fallback(before)
    return (UpdateStrategy.ROLLING if fallback else UpdateStrategy.LIVE), fallback


def renewal_of(observed: Observed) -> str:
    """Why the proxies are replaced by the same ones, which begins now; empty if they are not.

    Not again before that is done and some time has passed, whatever they report.
    """
    before, fleet = observed.written.applied, observed.fleet
    if before is None or before.strategy is UpdateStrategy.ROLLING:
        return ""
    if not fleet.deployment or not has_rolled_out(fleet.deployment, before.spec.proxy.replicas):
        return ""
    last = before.renewed_at
    if last and (pods.renewed_in(fleet.deployment) != time_text(last) or left(RENEWAL_PAUSE, last, observed.now)):
        return ""
    most = most_former(observed.defaults.settings_of(before.spec).resources, before.servers)
    proxy = over_limit(fleet.proxies, most) or leaking_descriptors(fleet.proxies)
    return processes_text(proxy, before.servers) if proxy else ""

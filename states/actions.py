"""What a decision may ask to have done. Each action can be repeated without harm."""

from enum import StrEnum


class Action(StrEnum):
    """One idempotent piece of work on the cluster, in the order in which it has to be done."""

    CONFIGURE = "configure"
    """Write the proxies' configuration into the ConfigMap."""
    RUN_PROXIES = "run-proxies"
    """Run the proxies with that configuration: the Deployment and its disruption budget."""
    EXPOSE = "expose"
    """Make the destination Service lead to the proxies."""
    REFRESH = "refresh"
    """Request the kubelets to renew the configuration that running proxies read."""
    RETIRE = "retire"
    """Delete our Services and ConfigMaps that nobody has a use for any more."""


KEEP_SERVING: tuple[Action, ...] = (Action.CONFIGURE, Action.RUN_PROXIES, Action.EXPOSE)
"""What keeps traffic flowing, whatever the phase."""

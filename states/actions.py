"""The actions that a decision may request. Each is idempotent."""

from enum import StrEnum


class Action(StrEnum):
    """One idempotent change to the cluster. The members are in the order in which actions are executed."""

    CONFIGURE = "configure"
    """Write the proxies' configuration into the ConfigMap."""
    SEND = "send"
    """Send the configuration to running proxies; their kubelets deliver it later as well."""
    RUN_PROXIES = "run-proxies"
    """Run the proxies with that configuration: the Deployment and its disruption budget."""
    EXPOSE = "expose"
    """Make the destination Service select the proxies; one of others only when they serve."""
    RETIRE = "retire"
    """Delete Services and ConfigMaps of this Kanary that are not used any more, and give back adopted Services."""


KEEP_SERVING: tuple[Action, ...] = (Action.CONFIGURE, Action.RUN_PROXIES, Action.EXPOSE)
"""The actions that keep traffic flowing in any phase."""

"""From a spec and the endpoints of its routes to what HAProxy is configured for."""

from collections.abc import Mapping, Sequence

from engine.model.spec import KanarySpec
from engine.model.states import Endpoint
from engine.render.config import DEFAULT_MAX_CONNECTIONS, FurtherPort, Pool, ProxyConfig
from engine.render.rollback import RollbackPlan
from engine.render.slots import Slots, backends_by_slot, listening_port
from engine.render.sysctls import ALL_SYSCTLS, has_keepalive, source_ports
from engine.render.zones import Zones


def proxy_config(
    spec: KanarySpec,
    endpoints: Sequence[tuple[Endpoint, ...]],
    kanary: str,
    slots: Slots,
    doors: Slots = (),
    *,
    watched: int = 0,
    rollback: RollbackPlan | None = None,
    ipv6: bool = False,
    sysctls: Mapping[str, str] = ALL_SYSCTLS,
    zones: Zones | None = None,
) -> ProxyConfig:
    """The configuration of HAProxy without its serial. The endpoints are those of each route of all ports.

    `watched` is the revision of its weights if the agents count their connections and failures, otherwise 0; `rollback`
    is when they return to the last good ones by themselves.

    With Live, it has the uid `kanary`, and the routes of weight 0, so that running proxies can give them a weight
    without a reload. With Rolling, `kanary` is empty, and changes of the pods of such routes would replace the proxies.
    """
    servers = {route.backend: found for route, found in zip(spec.all_routes, endpoints, strict=True)}
    first, *others = (
        tuple(
            Pool(str(route.backend), route.weight, servers[route.backend], route.send_proxy_protocol)
            for route in routes
            if route.weight or kanary
        )
        for routes in spec.splits
    )
    ports = [listening_port(port.name, doors) for port in spec.ports]
    return ProxyConfig(
        routes=first,
        further=tuple(map(FurtherPort, ports, others)),
        on_empty_route=spec.on_empty_route,
        idle_seconds=spec.proxy.idle_seconds,
        unacknowledged_seconds=spec.proxy.unacknowledged_seconds,
        drain_seconds=spec.proxy.drain_seconds,
        max_connections=spec.proxy.max_connections or DEFAULT_MAX_CONNECTIONS,
        balance=spec.proxy.balance,
        ipv6=ipv6,
        keepalive_options=not has_keepalive(sysctls),
        source_ports=source_ports(sysctls),
        kanary=kanary,
        # Only with Live there is an agent that reads it.
        failure_log=bool(kanary),
        watched=watched,
        rollback=rollback,
        slots=backends_by_slot(slots),
        zones=zones,
    )

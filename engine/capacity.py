"""The connections that the source ports of a proxy allow."""

from collections.abc import Mapping, Sized

from engine.model.spec import KanarySpec
from engine.model.weight import TOTAL_WEIGHT
from engine.render.config import connections_to_a_server
from engine.render.sysctls import source_ports


def short_of_ports(spec: KanarySpec, endpoints: Mapping[str, Sized], sysctls: Mapping[str, str]) -> str:
    """Why a proxy cannot hold `spec.proxy.maxConnections`, and what to change; empty if it can.

    `endpoints` are the pods by backend, such as `myapp-v1:http`; `sysctls` are the kernel parameters of the proxies.
    A route without pods is none that holds connections.
    """
    limit = connections_to_a_server(source_ports(sysctls))
    for route in spec.all_routes:
        share = int((spec.proxy.max_connections or 0) * route.weight / TOTAL_WEIGHT)
        pods = len(endpoints.get(str(route.backend), ()))
        if 0 < pods * limit < share:
            return (
                f"a proxy can hold {pods * limit} connections to the {pods} pods of {route.backend}, of the {share} "
                f"that are its share of spec.proxy.maxConnections: its source ports allow {limit} for each pod. "
                "Add pods, or lower spec.proxy.maxConnections and raise spec.proxy.replicas"
            )
    return ""

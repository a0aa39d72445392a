"""Addresses that no check may use, whatever a name resolves to."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_METADATA = frozenset(map(ip_address, ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254")))
"""Where clouds serve the credentials of a node; only the first one is link-local."""
_THIS_NETWORK = ip_network("0.0.0.0/8")
_NAT64 = ip_network("64:ff9b::/96")


def why_forbidden(address: str, api_server: Collection[str] = ()) -> str:
    """What is wrong with a numerical address, such as `a loopback address`; empty if it may be used.

    `api_server` has the addresses of the API server. Raises ValueError if it is not an address.
    """
    ip = _read(address)
    if ip in _METADATA:
        return "the metadata service of a cloud"
    if ip in map(_read, api_server):
        return "an address of the API server"
    kinds = {
        "a loopback address": ip.is_loopback,
        "a link-local address": ip.is_link_local,
        "a multicast address": ip.is_multicast,
        "an unspecified address": ip.is_unspecified,
        "a reserved address": ip.is_reserved or ip in _THIS_NETWORK,
    }
    return next((kind for kind, applies in kinds.items() if applies), "")


def _read(address: str) -> IPv4Address | IPv6Address:
    """The address without its zone; of an IPv6 address that contains an IPv4 address the latter, which is reached."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(ip.packed[-4:])
    return ip.ipv4_mapped or ip.sixtofour or ip

"""What the proxies report about the routes: which of them no connection reaches, and their numbers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from engine.fleet.fleet import Fleet
from engine.fleet.proxy import Proxy
from engine.fleet.reach import Traffic, traffic_of, unreached_routes
from engine.fleet.reports import Report, RouteReport
from states.timing import UNREACHED_LIMIT
from tests.unit.observations import DIGEST, ENDPOINTS, NEWER, OTHER, V1, V2, applied
from tests.unit.proxies import SECOND, live, rolling
from tests.unit.snapshots import NOW

DOWN = RouteReport(down=1, unreached_since=NOW, server="10.0.1.1:9000", line="DOWN L4CON Connection refused")
UP = RouteReport(up=2)


def reporting(name: str, v2: RouteReport = DOWN, digest: str = DIGEST, **changes: Any) -> Proxy:
    """A proxy that reaches the first route."""
    return live(name, Report(digest, routes={str(V1): UP, str(V2): v2}), **changes)


def fleet(*proxies: Proxy, after: timedelta = timedelta()) -> Fleet:
    return Fleet(None, proxies, NOW + after)


def unreached(*proxies: Proxy, after: timedelta = timedelta()) -> list[tuple[str, timedelta]]:
    """The routes, and how much time each has left."""
    return [(route.backend, route.left) for route in unreached_routes(fleet(*proxies, after=after), applied())]


def test_a_route_is_unreached_if_every_proxy_reports_it() -> None:
    assert unreached(reporting("a"), reporting("b")) == [(str(V2), UNREACHED_LIMIT)]
    assert unreached(reporting("a"), reporting("b", UP)) == []
    assert unreached(reporting("a", UP)) == []


def test_the_time_counts_from_the_last_proxy_that_reached_it() -> None:
    late = replace(DOWN, unreached_since=NOW + 3 * SECOND)
    found = unreached(reporting("a"), reporting("b", late), after=5 * SECOND)
    assert found == [(str(V2), UNREACHED_LIMIT - 2 * SECOND)]
    assert unreached(reporting("a"), after=UNREACHED_LIMIT) == [(str(V2), timedelta())]


def test_only_proxies_that_split_alike_and_accept_connections_count() -> None:
    assert unreached(reporting("a"), reporting("b", UP, digest=OTHER)) != []
    assert unreached(reporting("a"), reporting("b", UP, ready=False)) != []
    assert unreached(reporting("a"), reporting("b", UP, digest=NEWER)) == []


def test_without_a_report_nothing_is_known() -> None:
    assert unreached() == []
    assert unreached(live("a"), rolling("b")) == []
    assert traffic_of(fleet(live("a"), rolling("b")), DIGEST, str(V1)) == Traffic()


def test_a_route_without_weight_or_endpoints_is_not_unreached() -> None:
    proxies = fleet(reporting("a"))
    assert unreached_routes(proxies, applied(endpoints={str(V1): ENDPOINTS[V1], str(V2): ()})) == ()


def test_the_evidence_is_a_pod_with_haproxys_words() -> None:
    named = replace(DOWN, server="10.0.0.2:8080")
    proxy = live("a", Report(DIGEST, routes={str(V1): named, str(V2): DOWN}))
    first, second = unreached_routes(fleet(proxy), applied())
    assert first.evidence == "pod v1-b (10.0.0.2:8080) is DOWN L4CON Connection refused"
    assert second.evidence == "10.0.1.1:9000 is DOWN L4CON Connection refused"


def test_connections_since_the_weights_changed_are_those_of_all_proxies_or_unknown() -> None:
    one, other = RouteReport(connections=20, since_change=8), RouteReport(connections=30, since_change=12)
    proxies = (reporting("a", one), reporting("b", other))
    assert traffic_of(fleet(*proxies), DIGEST, str(V2)).since_change == 20
    of_another_version = reporting("c", replace(one, since_change=None))
    for silent in (of_another_version, live("c"), reporting("c", digest=OTHER), rolling("c", OTHER), rolling("c")):
        assert traffic_of(fleet(*proxies, silent), DIGEST, str(V2)).since_change is None


def test_servers_are_those_of_the_proxy_that_reaches_the_fewest_and_connections_are_summed() -> None:
    one = RouteReport(up=2, down=1, connections=10, failed=1)
    other = RouteReport(up=1, down=1, ejected=1, connections=5)
    former = RouteReport(up=0, down=9, connections=100, failed=3)
    proxies = fleet(reporting("a", one), reporting("b", other), reporting("c", former, digest=OTHER))
    assert traffic_of(proxies, DIGEST, str(V2)) == Traffic(up=1, down=1, ejected=1, connections=115, failed=4)

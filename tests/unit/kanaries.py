"""Kanaries as the API's JSON, for the tests of the engine: a good one, and arbitrary ones."""

from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from engine.model.spec import KanarySpec
from engine.render.objects import Identity
from engine.resolve.validation import read_spec

Json = dict[str, Any]

OWNER = Identity("shop", "myapp-split", "0c3b2a54-1a85-4f1c-9c33-7c2a6c3b4d10")


def route(service: str, weight: Any, port: Any = "http") -> Json:
    return {"backend": {"serviceName": service, "servicePort": port}, "weight": weight}


def kanary(**spec: Any) -> Json:
    """A Kanary of 80 to 20 with these fields of its spec changed."""
    good = {"destination": "myapp", "routes": [route("myapp-v1", 80), route("myapp-v2", 20, 9090)]}
    metadata = {"namespace": OWNER.namespace, "name": OWNER.name, "uid": OWNER.uid, "generation": 1}
    return {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": good | spec}


def spec(**changes: Any) -> KanarySpec:
    """The same, read."""
    return read_spec(kanary(**changes))


json_values = st.recursive(
    # JSON has no NaN; that it may have infinities is Python's reading of it.
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)

names = st.just("a") | st.text("abz019-", max_size=12).map("a{}z".format)
ports = st.integers(1, 65535) | names
quantities = st.integers(0, 10) | st.sampled_from(["100m", "1", "64Mi", "1.5"])
_amounts = st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities)
_limits = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["64Mi", "1e9", 10**9]))
"""As high as the largest amount, or higher."""


@st.composite
def _routes(draw: st.DrawFn) -> list[Json]:
    """Up to eight routes with weights in tenths that sum to 100, and a backend each."""
    backends = draw(st.lists(st.tuples(names.map("v-{}".format), ports), min_size=1, max_size=8, unique=True))
    size = len(backends) - 1
    grain = draw(st.sampled_from([1, 10]))
    cuts = sorted(draw(st.lists(st.integers(0, 1000 // grain), min_size=size, max_size=size)))
    tenths = [grain * (end - start) for start, end in zip([0, *cuts], [*cuts, 1000 // grain], strict=True)]
    weights = [number / 10 if number % 10 else number // 10 for number in tenths]
    headers = st.sampled_from([{}, {"sendProxyProtocol": "V1"}, {"sendProxyProtocol": "V2"}])
    return [route(name, weight, port) | draw(headers) for (name, port), weight in zip(backends, weights, strict=True)]


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


_resources = _some(requests=_amounts, limits=_limits)
_ids = st.integers(1, 2**31 - 1)
_texts = st.dictionaries(names, names, max_size=2)
_tolerations = _some(key=names, operator=st.just("Exists"), effect=st.sampled_from(["NoSchedule", "NoExecute"]))
_templates = _some(
    metadata=_some(labels=_texts, annotations=_texts),
    spec=_some(
        nodeSelector=_texts,
        tolerations=st.lists(_tolerations, max_size=2),
        priorityClassName=names,
        serviceAccountName=names,
        imagePullSecrets=st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
        securityContext=_some(runAsUser=_ids, runAsGroup=_ids, fsGroup=_ids),
    ),
)
_proxies = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 100),
        "image": st.sampled_from(["haproxy:3.0", "registry.example/haproxy@sha256:0123"]),
        "drainSeconds": st.integers(1, 86_400),
        "unacknowledgedSeconds": st.integers(1, 86_400),
        "idleSeconds": st.integers(1, 604_800),
        "maxConnections": st.integers(1, 1_000_000),
        "balance": st.sampled_from(["roundrobin", "leastconn"]),
        "resources": _resources,
        "agentResources": _resources,
        "disruptionBudget": st.booleans(),
        "template": _templates,
    },
)

_further = st.fixed_dictionaries(
    # No name of a route's port has this form.
    {
        "name": names.map("to-{}".format),
        "port": st.integers(9_001, 65535),
        "servicePort": names.map("of-{}".format),
    },
    optional={"sendProxyProtocol": st.sampled_from(["V1", "V2"])},
)
_services = _some(
    labels=_texts,
    annotations=_texts,
    port=_some(name=names.map("for-{}".format), appProtocol=names),
    ipFamilies=st.sampled_from([["IPv4"], ["IPv6"]]),
    sessionAffinity=st.sampled_from(["None", "ClientIP"]),
    internalTrafficPolicy=st.sampled_from(["Cluster", "Local"]),
) | st.fixed_dictionaries(
    {"type": st.just("LoadBalancer")},
    optional={
        "loadBalancerSourceRanges": st.just(["10.0.0.0/8"]),
        "port": _some(nodePort=st.integers(30_000, 32_767)),
    },
)
valid_specs = st.fixed_dictionaries(
    {"destination": names.map("to-{}".format), "routes": _routes()},
    optional={
        "port": st.integers(1, 9_000),
        "ports": st.lists(
            _further, max_size=3, unique_by=(itemgetter("name"), itemgetter("port"), itemgetter("servicePort"))
        ),
        "onEmptyRoute": st.sampled_from(["Redistribute", "Hold", "Fail"]),
        "updateStrategy": st.sampled_from(["Live", "Rolling"]),
        "progressDeadlineSeconds": st.integers(1, 86_400),
        "paused": st.booleans(),
        "service": _services,
        "proxy": _proxies,
    },
)

"""Specs that are refused, with reason and message: the operator and `kanary render` must agree about each.

They refer to Services that a test provides: `myapp-v1` and `myapp-v2` with TCP port 80 `http`, `outside`, which is
EXTERNAL, and `names` with UDP_PORT.
"""

from typing import Any

EXTERNAL = {"type": "ExternalName", "externalName": "example.com"}
UDP_PORT = {"name": "dns", "port": 53, "protocol": "UDP"}


def route(service: str, weight: Any, port: Any = "http") -> dict[str, Any]:
    return {"backend": {"serviceName": service, "servicePort": port}, "weight": weight}


GOOD = {"destination": "myapp", "routes": [route("myapp-v1", 80), route("myapp-v2", 20)]}
BAD_SPECS: dict[str, tuple[dict[str, Any], str, str]] = {
    "weights that do not sum to 100": (
        {"routes": [route("myapp-v1", 80), route("myapp-v2", 30)]},
        "InvalidWeights",
        "spec.routes: weights sum to 110 (80 + 30), 10 too many: they must sum to 100",
    ),
    "a weight below 0": (
        {"routes": [route("myapp-v1", 110), route("myapp-v2", -10)]},
        "InvalidWeights",
        "spec.routes[1].weight is -10: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "a weight above 100": (
        {"routes": [route("myapp-v1", 101)]},
        "InvalidWeights",
        "spec.routes[0].weight is 101: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "a weight with two decimals": (
        {"routes": [route("myapp-v1", 12.34), route("myapp-v2", 87.66)]},
        "InvalidWeights",
        "spec.routes[0].weight is 12.34: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "no routes": ({"routes": []}, "NoRoutes", "spec.routes is empty: must be a list of 1 to 100 routes"),
    "the same backend twice": (
        {"routes": [route("myapp-v1", 40), route("myapp-v1", 60)]},
        "DuplicateBackend",
        "duplicate backend myapp-v1:http (2 times): give it one route with the sum of weights",
    ),
    "the same port by name and by number": (
        {"routes": [route("myapp-v1", 40), route("myapp-v1", 60, 80)]},
        "DuplicateBackend",
        "spec.routes[1].backend is myapp-v1:80, the same port as spec.routes[0].backend (myapp-v1:http)",
    ),
    "a port that the Service does not have": (
        {"routes": [route("myapp-v1", 100, "grpc")]},
        "BackendPortNotFound",
        'spec.routes[0].backend.servicePort: Service "myapp-v1" has no port grpc: use one of http (80)',
    ),
    "an ExternalName": (
        {"routes": [route("outside", 100)]},
        "BackendIsExternalName",
        'Service "outside" is an ExternalName for "example.com", which has no endpoints: name a Service that selects',
    ),
    "a UDP port": (
        {"routes": [route("names", 100, "dns")]},
        "BackendPortNotTCP",
        "has protocol UDP, and Kanary splits TCP only",
    ),
    "the destination itself": (
        {"destination": "myapp", "routes": [route("myapp", 100)]},
        "BackendIsDestination",
        'spec.routes[0].backend.serviceName is "myapp", which is also spec.destination',
    ),
    "a destination that is no DNS label": (
        {"destination": "My_App"},
        "InvalidName",
        'spec.destination is "My_App": must be a DNS label',
    ),
    "a backend that is no DNS label": (
        {"routes": [route("a.b", 100)]},
        "InvalidName",
        'spec.routes[0].backend.serviceName is "a.b": must be a DNS label',
    ),
    "a destination that exists and is not ours": (
        {"destination": "outside"},
        "DestinationExists",
        'spec.destination: "outside" is a Service that Kanary did not create and does not modify: choose another name',
    ),
}


def steps(*to: Any, **fields: Any) -> dict[str, Any]:
    return {"rollout": {"steps": [{"to": each} for each in to], **fields}}


def analysis(**fields: Any) -> dict[str, Any]:
    return steps(10, 100, analysis=fields)


def window(**fields: Any) -> dict[str, Any]:
    return steps(10, 100, windows=[fields])


def query(**fields: Any) -> dict[str, Any]:
    good = {"name": "p99", "address": "http://prometheus:9090", "query": "up", "max": 1}
    return analysis(prometheus=[{name: value for name, value in (good | fields).items() if value is not None}])


def webhook(**fields: Any) -> dict[str, Any]:
    return steps(10, 100, webhooks=[{"name": "gate", "url": "http://gate/check"} | fields])


DURATION = "must be a duration such as 30s, 10m or 1h30m, from 1s to 365d"
BAD_ROLLOUTS: dict[str, tuple[dict[str, Any], str]] = {
    "no object": ({"rollout": 5}, "spec.rollout is 5: must be an object with steps"),
    "steps that are missing": ({"rollout": {}}, "spec.rollout.steps is missing: must be a list of 1 to 50 steps"),
    "no steps": (steps(), "spec.rollout.steps is empty: must be a list of 1 to 50 steps, each with `to`"),
    "too many steps": (steps(*range(1, 52)), "spec.rollout.steps has 51 entries: must be a list of 1 to 50 steps"),
    "a step that is no object": (
        {"rollout": {"steps": [10, {"to": 100}]}},
        "spec.rollout.steps[0] is 10: must be an object with `to`, such as {to: 10, for: 10m}",
    ),
    "a step to nowhere": (
        {"rollout": {"steps": [{"for": "5m"}, {"to": 100}]}},
        "spec.rollout.steps[0].to is missing: must be a number from 0.1 to 100 with at most one decimal",
    ),
    "a step to 0": (steps(0, 100), "spec.rollout.steps[0].to is 0: the first step must be greater than 0"),
    "a step below 0": (steps(-1, 100), "spec.rollout.steps[0].to is -1: must be a number from 0.1 to 100"),
    "a step beyond 100": (steps(10, 101), "spec.rollout.steps[1].to is 101: must be a number from 0.1 to 100"),
    "a step with two decimals": (steps(1.25, 100), "spec.rollout.steps[0].to is 1.25: must be a number from 0.1"),
    "a step as text": (steps("10", 100), 'spec.rollout.steps[0].to is "10": must be a number from 0.1 to 100'),
    "steps that stay": (
        steps(10, 10, 100),
        "spec.rollout.steps[1].to is 10, and the step before is to 10: each step must be greater than the one before",
    ),
    "steps that fall": (
        steps(50, 10, 100),
        "spec.rollout.steps[1].to is 10, and the step before is to 50: each step must be greater than the one before",
    ),
    "steps that end early": (
        steps(10, 50),
        "spec.rollout.steps[1].to is 50: the last step must be to 100; append {to: 100}",
    ),
    "a time of 0": (
        {"rollout": {"steps": [{"to": 100, "for": "0s"}]}},
        f'spec.rollout.steps[0].for is "0s": {DURATION}',
    ),
    "a time below a second": (
        {"rollout": {"steps": [{"to": 100, "for": "100ms"}]}},
        f'spec.rollout.steps[0].for is "100ms": {DURATION}',
    ),
    "a time without a unit": (
        {"rollout": {"steps": [{"to": 100, "for": 60}]}},
        f"spec.rollout.steps[0].for is 60: {DURATION}",
    ),
    "a time of years": (
        {"rollout": {"steps": [{"to": 100, "for": "366d"}]}},
        f'spec.rollout.steps[0].for is "366d": {DURATION}',
    ),
    "an event that is none": (
        {"rollout": {"steps": [{"to": 100, "until": "Friday"}]}},
        'spec.rollout.steps[0].until is "Friday": must be Promoted or left out',
    ),
    "an analysis that is no object": (
        steps(10, 100, analysis="strict"),
        'spec.rollout.analysis is "strict": must be an object',
    ),
    "false alarms of 0": (
        analysis(falseAlarms=0),
        "spec.rollout.analysis.falseAlarms is 0: must be a number from 1e-9 to 0.5, such as 0.001",
    ),
    "false alarms beyond a half": (analysis(falseAlarms=0.6), "falseAlarms is 0.6: must be a number from 1e-9 to 0.5"),
    "false alarms as text": (analysis(falseAlarms="0.1"), 'falseAlarms is "0.1": must be a number from 1e-9 to 0.5'),
    "a ratio below 1": (
        analysis(tolerate={"ratio": 0.5}),
        "spec.rollout.analysis.tolerate.ratio is 0.5: must be a number from 1 to 100, such as 1.5",
    ),
    "a ratio beyond 100": (analysis(tolerate={"ratio": 101}), "tolerate.ratio is 101: must be a number from 1 to 100"),
    "no tolerance at all": (
        analysis(tolerate={"percent": 0}),
        "spec.rollout.analysis.tolerate.percent is 0: must be a number from 0.000001 to 50, such as 0.1",
    ),
    "a tolerance beyond 50": (
        analysis(tolerate={"percent": 51}, detect={"percent": 60}),
        "spec.rollout.analysis.tolerate.percent is 51: must be a number from 0.000001 to 50, such as 0.1",
    ),
    "a detection of 0": (
        analysis(detect={"percent": 0}),
        "spec.rollout.analysis.detect.percent is 0: must be a number from 0.0001 to 100, such as 1",
    ),
    "a detection beyond 100": (
        analysis(detect={"percent": 101}),
        "detect.percent is 101: must be a number from",
    ),
    "a detection below the tolerance": (
        analysis(tolerate={"percent": 2}, detect={"percent": 1}),
        "spec.rollout.analysis.detect.percent is 1, not above tolerate.percent (2): raise it, or lower tolerate.perc",
    ),
    "a wait of 0": (analysis(maxWait="0m"), f'spec.rollout.analysis.maxWait is "0m": {DURATION}'),
    "a way out that is none": (
        analysis(onInconclusive="Shrug"),
        'spec.rollout.analysis.onInconclusive is "Shrug": must be one of Pause, Proceed, Rollback',
    ),
    "a failure without consequence": (
        steps(10, 100, onFailure="Ignore"),
        'spec.rollout.onFailure is "Ignore": must be Rollback or Pause',
    ),
    "too many windows": (
        steps(10, 100, windows=[{}] * 21),
        "spec.rollout.windows has 21 entries: must be a list of at most 20 windows",
    ),
    "a window without days": (window(days=[]), "windows[0].days is empty: must be a list of Mon, Tue, Wed, Thu, Fri"),
    "a day that is none": (window(days=["Freitag"]), 'days[0] is "Freitag": must be one of Mon, Tue, Wed, Thu, Fri'),
    "a start after midnight": (
        window(start="24:00"),
        'spec.rollout.windows[0].start is "24:00": must be a time such as 09:00',
    ),
    "an end that is no time": (window(end="9:5"), 'spec.rollout.windows[0].end is "9:5": must be a time such as 16:30'),
    "a time zone that does not exist": (
        window(timeZone="Mars/Olympus"),
        'spec.rollout.windows[0].timeZone is "Mars/Olympus": must be a time zone of the IANA database, such as Europe',
    ),
    "a time zone that is a path": (window(timeZone="../etc/passwd"), "windows[0].timeZone is "),
    "a time zone that is a folder": (window(timeZone="Europe"), 'windows[0].timeZone is "Europe": must be a time zone'),
    "a query without a limit": (
        query(max=None),
        "spec.rollout.analysis.prometheus[0] has neither max nor min: add the limit of the value of query p99",
    ),
    "limits without values between": (query(min=2), "prometheus[0].min is 2, above max 1: no value would pass"),
    "a limit as text": (query(max="1"), 'spec.rollout.analysis.prometheus[0].max is "1": must be a number'),
    "a placeholder that is none": (
        query(query="f({{ version }})"),
        "prometheus[0].query has the unknown placeholder {{ version }}: use {{ backend }}",
    ),
    "an address with a user": (
        query(address="http://me:x@prometheus"),
        'prometheus[0].address is "http://me:x@prometheus": must be a URL such as http://prometheus:9090, without',
    ),
    "an empty query": (query(query=""), 'prometheus[0].query is "": must be an expression of 1 to 2000 characters'),
    "an interval below 5 s": (query(intervalSeconds=1), "intervalSeconds is 1: must be a whole number from 5 to 3600"),
    "two queries of one name": (
        analysis(prometheus=[{"name": "a", "address": "http://p", "query": "up", "max": 1}] * 2),
        'spec.rollout.analysis.prometheus has 2 entries with the name "a": give each its own',
    ),
    "a webhook without an address": (
        steps(10, 100, webhooks=[{"name": "gate"}]),
        "spec.rollout.webhooks[0].url is missing: must be a URL such as http://gate:8080/check",
    ),
    "a webhook that is no URL": (webhook(url="gate"), 'spec.rollout.webhooks[0].url is "gate": must be a URL such as'),
    "a port that is none": (
        webhook(url="http://gate:99999/"),
        'spec.rollout.webhooks[0].url is "http://gate:99999/": port 99999 is not from 1 to 65535',
    ),
    "a webhook that is never called": (webhook(events=[]), "webhooks[0].events is empty: must be a list of BeforeStep"),
    "an event of webhooks that is none": (
        webhook(events=["Never"]),
        'webhooks[0].events[0] is "Never": must be one of BeforeStep, AfterStep, Result',
    ),
    "an event twice": (webhook(events=["Result", "Result"]), "webhooks[0].events has Result 2 times: name it once"),
    "retries without end": (webhook(retries=11), "webhooks[0].retries is 11: must be a whole number from 0 to 10"),
    "a policy that is none": (webhook(onError="Panic"), 'onError is "Panic": must be one of Hold, Ignore, Fail'),
    "proxies without agents": (
        {**steps(10, 100), "updateStrategy": "Rolling"},
        "spec.rollout needs the agents of spec.updateStrategy Live, and it is Rolling: set it to Live",
    ),
    "a preferred zone without agents": (
        {"proxy": {"trafficDistribution": "PreferSameZone"}, "updateStrategy": "Rolling"},
        "spec.proxy.trafficDistribution needs the agents of spec.updateStrategy Live, and it is Rolling: set it to",
    ),
    "a preference that does not exist": (
        {"proxy": {"trafficDistribution": "PreferClose"}},
        'spec.proxy.trafficDistribution is "PreferClose": must be PreferSameZone or left out',
    ),
    "a freeze that is no object": (
        {"freeze": True},
        "spec.freeze is true: must be an object with until and reason, both optional",
    ),
    "a freeze until no time": (
        {"freeze": {"until": "tomorrow"}},
        'spec.freeze.until is "tomorrow": must be a time with its zone, such as 2026-12-27T06:00:00Z',
    ),
    "a freeze without a time zone": (
        {"freeze": {"until": "2026-12-27T06:00:00"}},
        'spec.freeze.until is "2026-12-27T06:00:00": must be a time with its zone, such as 2026-12-27T06:00:00Z',
    ),
    "a freeze for a novel": (
        {"freeze": {"reason": "x" * 201}},
        "must be a text of at most 200 characters",
    ),
}
"""Rollouts and freezes that are refused as InvalidSpec, with the message."""

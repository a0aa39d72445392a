"""Validates a Kanary's spec; an error names the field, its value and the valid values.

A current API server rejects most errors at `kubectl apply` (schema and validation rules of the CRD). Older ones have no
validation rules, and neither has `kanary render`, so that everything is checked here as well.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from engine.model.checks import EXPECTED as CHECKS
from engine.model.placement import ProxyDefaults
from engine.model.shape import Shape
from engine.model.spec import DNS_LABEL, MAX_ROUTES, KanarySpec
from engine.model.weight import TOTAL_WEIGHT, decimal_text
from engine.render.config import MAX_CONNECTIONS
from engine.resolve.placement import EXPECTED as PLACEMENT
from engine.resolve.placement import proxy_problems
from engine.resolve.ports import EXPECTED as PORTS
from engine.resolve.ports import port_problems
from engine.resolve.rollout import EXPECTED as ROLLOUT
from engine.resolve.rollout import rollout_problems
from engine.resolve.service import EXPECTED as SERVICE
from engine.resolve.service import service_problems
from states import Problem, Reason, UpdateStrategy

MAX_NAME_LENGTH = 55
"""A Kanary `x` owns objects named `x-haproxy`, which must fit a DNS label of 63 characters."""

_DNS_LABEL_TEXT = "a DNS label: lower-case letters, digits and '-', starting with a letter, at most 63 characters"
_WHOLE_NUMBER = "a whole number from {} to {}"
_EXPECTED: Mapping[str, str] = {
    "destination": _DNS_LABEL_TEXT,
    "serviceName": _DNS_LABEL_TEXT,
    "servicePort": "the name of a Service port (lower-case letters, digits and '-') or a number from 1 to 65535 "
    "without quotes",
    "port": _WHOLE_NUMBER.format(1, 65535),
    "backend": "an object with serviceName and servicePort",
    "weight": f"a number from 0 to {TOTAL_WEIGHT} with at most one decimal, such as 12.5",
    "routes": f"a list of 1 to {MAX_ROUTES} routes, each with a backend and a weight",
    "route": "an object with a backend and a weight",
    "onEmptyRoute": "one of Redistribute, Hold, Fail",
    "updateStrategy": "one of Live, Rolling",
    "sendProxyProtocol": "V1, V2 or left out",
    "adoptDestination": "true or false",
    "paused": "true or false",
    "progressDeadlineSeconds": _WHOLE_NUMBER.format(1, 86_400),
    "replicas": _WHOLE_NUMBER.format(1, 100),
    "drainSeconds": _WHOLE_NUMBER.format(1, 86_400),
    "idleSeconds": _WHOLE_NUMBER.format(1, 604_800),
    "unacknowledgedSeconds": _WHOLE_NUMBER.format(1, 86_400),
    "maxConnections": _WHOLE_NUMBER.format(1, MAX_CONNECTIONS),
    "balance": "roundrobin or leastconn",
    "trafficDistribution": "PreferSameZone or left out",
    "image": "an image reference without white space",
    "quantity": "a quantity from 0, such as 2, 500m or 128Mi",
    **dict.fromkeys(("requests", "limits"), "a map of resource names to quantities"),
    **PLACEMENT,
    **PORTS,
    **SERVICE,
    **ROLLOUT,
    **CHECKS,
}
_ITEMS = {
    "routes": "route",
    "ports": "further port",
    "backends": "backend",
    "steps": "step",
    "windows": "window",
    "days": "day",
    "prometheus": "one query",
    "webhooks": "one webhook",
    "events": "event",
    "tolerations": "toleration",
    "topologySpreadConstraints": "constraint",
    "imagePullSecrets": "pull secret",
    "supplementalGroups": "supplementalGroup",
    "loadBalancerSourceRanges": "range",
    "ipFamilies": "family",
}
_ENTRIES = {
    **dict.fromkeys(("requests", "limits"), "quantity"),
    **dict.fromkeys(("labels", "annotations", "nodeSelector"), "entry"),
}
"""What the values of a map are."""
_REASONS: Mapping[str, Reason] = {
    "weight": Reason.INVALID_WEIGHTS,
    "serviceName": Reason.INVALID_NAME,
    "destination": Reason.INVALID_NAME,
}
_PROBLEMS_SHOWN = 5
"""Number of problems in a message; the rest are counted."""
_SUMMANDS_SHOWN = 10
"""Number of weights that a message lists."""
_SHOWN = 80
"""Number of characters of a value that a message shows."""


class InvalidSpecError(ValueError):
    """The spec is invalid; `problem` has the reason and the way out."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_spec(kanary: Mapping[str, Any], *, unknown: Literal["ignore", "forbid"] = "ignore") -> KanarySpec:
    """The spec of a Kanary object (as its API's JSON).

    Raises InvalidSpecError with all problems. With `unknown="forbid"`, an unknown field is an error as well; a cluster
    drops such fields before the operator receives them.
    """
    spec, problems = check_spec(kanary, unknown=unknown)
    if spec is None or problems:
        raise InvalidSpecError(_first(problems))
    return spec


def check_spec(
    kanary: Mapping[str, Any], *, unknown: Literal["ignore", "forbid"]
) -> tuple[KanarySpec | None, list[Problem]]:
    """The spec of a Kanary object, if its structure is valid, and every problem with it.

    Each message begins with the path of the field.
    """
    try:
        # By alias only: a cluster has only the aliases.
        spec = KanarySpec.model_validate(kanary.get("spec") or {}, extra=unknown, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, [*_name_problems(kanary), *_structure_problems(error)]
    return spec, [*_name_problems(kanary), *_rule_problems(spec)]


def read_defaults(raw: object, where: str) -> ProxyDefaults:
    """The settings of all proxies. Raises ValueError with all problems, whose paths begin with `where`."""
    try:
        read = ProxyDefaults.model_validate(raw, extra="forbid", by_alias=True, by_name=False)
        problems = [*proxy_problems(where, read)]
    except ValidationError as error:
        problems = [problem.message for problem in _structure_problems(error, where, ProxyDefaults)]
    if problems:
        raise ValueError("; ".join(problems))
    return read


def _first(problems: list[Problem]) -> Problem:
    messages = [problem.message for problem in problems]
    if len(messages) > _PROBLEMS_SHOWN:
        messages[_PROBLEMS_SHOWN:] = [f"and {len(messages) - _PROBLEMS_SHOWN} more"]
    return Problem(problems[0].reason, "; ".join(messages))


def _name_problems(kanary: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = kanary.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not re.fullmatch(DNS_LABEL, name) or len(name) > MAX_NAME_LENGTH:
        yield Problem(
            Reason.INVALID_NAME,
            f"metadata.name is {_shown(name)}: must be a DNS label (lower-case letters, digits and '-', starting "
            f"with a letter) of at most {MAX_NAME_LENGTH} characters; create the Kanary under such a name",
        )


def _structure_problems(
    error: ValidationError, root: str = "spec", model: type[Shape] = KanarySpec
) -> Iterator[Problem]:
    seen: set[str] = set()
    for detail in error.errors(include_url=False):
        path, field = _path(detail, root)
        # pydantic reports a list whose only entry is invalid as too short as well.
        is_echo = detail["type"] == "too_short" and bool(detail["input"])
        if path not in seen and not is_echo:
            seen.add(path)
            yield Problem(_structure_reason(detail, field), _structure_message(detail, path, field, model))


def _path(detail: ErrorDetails, root: str = "spec") -> tuple[str, str]:
    """The path of the error, such as `spec.routes[0].weight`, and the name of the field.

    pydantic appends the tried branch of a union; only the field of the union is of use to the user.
    """
    path, field = root, root
    for part in detail["loc"]:
        if isinstance(part, int):
            path, field = f"{path}[{part}]", _ITEMS.get(field, field)
        else:
            parent, path, field = field, f"{path}.{_cut(part)}", part
            if f"{parent}.{part}" in _EXPECTED:
                field = f"{parent}.{part}"
            if field == "servicePort" or parent in _ENTRIES:
                return path, _ENTRIES.get(parent, field)
    return path, field


def _structure_reason(detail: ErrorDetails, field: str) -> Reason:
    if field == "routes" and (detail["type"] == "missing" or not detail["input"]):
        return Reason.NO_ROUTES
    if detail["type"] == "missing":
        return Reason.INVALID_SPEC
    return _REASONS.get(field, Reason.INVALID_SPEC)


def _structure_message(detail: ErrorDetails, path: str, field: str, model: type[Shape]) -> str:
    expected = _EXPECTED.get(field, "an object")
    match detail["type"]:
        case "missing":
            return f"{path} is missing: must be {expected}"
        case "extra_forbidden" | "invalid_key":
            return f"{path} is not a field of a Kanary: {_meant(detail['loc'], model)}"
        case "too_short":
            return f"{path} is empty: must be {expected}"
        case "too_long":
            return f"{path} has {len(detail['input'])} entries: must be {expected}"
        case _:
            return f"{path} is {_shown(detail['input'])}: must be {expected}"


def _meant(location: Sequence[int | str], model: Any) -> str:
    """The field that an unknown one is a misspelling of, or else all that its parent has."""
    *parents, name = location
    for part in parents:
        if isinstance(part, str):
            field = next(each for each in model.model_fields.values() if each.alias == part)
            model = next(each for each in _types_in(field.annotation) if hasattr(each, "model_fields"))
    fields = {str(field.alias).lower(): str(field.alias) for field in model.model_fields.values()}
    near = get_close_matches(str(name).lower(), fields, n=1)
    return f"did you mean {fields[near[0]]}?" if near else f"it has {', '.join(fields.values())}"


def _types_in(annotation: Any) -> Iterator[Any]:
    """The types that an annotation such as `tuple[Route, ...] | None` contains."""
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _types_in(part)


def _shown(value: object) -> str:
    """The value as in a manifest."""
    try:
        # Types that only YAML has, such as dates, are shown as text.
        return _cut(json.dumps(value, ensure_ascii=False, default=str))
    except (TypeError, ValueError, RecursionError):
        return "a value that cannot be shown"


def _cut(text: str) -> str:
    """The text in one line of bounded length."""
    kept = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)


def _rule_problems(spec: KanarySpec) -> Iterator[Problem]:
    yield from _sum_problem(spec)
    yield from _duplicate_problems(spec)
    yield from (Problem(Reason.INVALID_SPEC, text) for text in (*port_problems(spec), *service_problems(spec)))
    yield from (Problem(Reason.INVALID_SPEC, text) for text in proxy_problems("spec.proxy", spec.proxy))
    if spec.rollout:
        yield from (Problem(Reason.INVALID_SPEC, text) for text in rollout_problems(spec, spec.rollout))
    if spec.proxy.traffic_distribution and spec.update_strategy is not UpdateStrategy.LIVE:
        yield Problem(
            Reason.INVALID_SPEC,
            "spec.proxy.trafficDistribution needs the agents of spec.updateStrategy Live, and it is "
            f"{spec.update_strategy}: set it to Live, or leave out trafficDistribution",
        )
    for index, route in enumerate(spec.routes):
        where = f"spec.routes[{index}].backend"
        if route.backend.service_name == spec.destination:
            yield Problem(
                Reason.BACKEND_IS_DESTINATION,
                f'{where}.serviceName is "{spec.destination}", which is also spec.destination: this would create a '
                "loop; name the Service of a version, or another destination",
            )


def _sum_problem(spec: KanarySpec) -> Iterator[Problem]:
    weights = [route.weight for route in spec.routes]
    total = sum(weights, Decimal())
    if total != TOTAL_WEIGHT:
        sum_text = f" ({' + '.join(map(str, weights))})" if len(weights) <= _SUMMANDS_SHOWN else ""
        difference = f"{decimal_text(abs(TOTAL_WEIGHT - total))} too {'few' if total < TOTAL_WEIGHT else 'many'}"
        yield Problem(
            Reason.INVALID_WEIGHTS,
            f"spec.routes: weights sum to {decimal_text(total)}{sum_text}, {difference}: they must sum to 100",
        )


def _duplicate_problems(spec: KanarySpec) -> Iterator[Problem]:
    for backend, count in Counter(route.backend for route in spec.routes).items():
        if count > 1:
            yield Problem(
                Reason.DUPLICATE_BACKEND,
                f"spec.routes: duplicate backend {backend} ({count} times): give it one route with the sum of weights",
            )

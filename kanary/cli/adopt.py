"""`kanary adopt`: the manifest with which a Kanary adopts a Service that has traffic, and the steps."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from engine.model.service import FIRST_PORT
from engine.model.spec import API_VERSION, KIND, MAX_PORTS
from engine.render.adoption import adopter, adoption_of, adoption_problem
from engine.render.objects import controller_of
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.failure import CommandError, listed, note
from kanary.kanaries import KANARIES
from kanary.kube.errors import NotFound
from kanary.kube.resources import DEPLOYMENTS, PODS, SERVICES, Json

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

Labels = Mapping[str, str]

_VERSION_LABELS = ("version", "app.kubernetes.io/version", "track", "release", "app.kubernetes.io/instance", "app")
"""Labels by which versions differ, the likeliest first."""


def adopt(client: ClusterClient, namespace: str, service: str, name: str) -> None:
    """Print the manifest, and the steps to the standard error output. Raises CommandError and ClusterError."""
    live = _service(client, namespace, service)
    _check_kanaries(client, namespace, live, name)
    kanary = _kanary(namespace, live, name)
    _check_adoptable(live, kanary)
    deployment, now = _present(client, namespace, live)
    key, after = _following(now)
    versions = [_version(live, f"{service}-{suffix}", selector) for suffix, selector in (("v1", now), ("v2", after))]
    for version in versions:
        _check_free(client, namespace, version)
    sys.stdout.write(yaml.safe_dump_all([*versions, kanary], sort_keys=False, explicit_start=True))
    for number, step in enumerate(_steps(live, name, deployment, (key, now[key], after[key])), 1):
        note(f"{number}. {step}")


def _service(client: ClusterClient, namespace: str, name: str) -> Json:
    try:
        return client.get(SERVICES, namespace, name)
    except NotFound as error:
        raise CommandError(
            f"there is no Service {name} in namespace {namespace} of {client.cluster}: name another, or its namespace "
            "with -n"
        ) from error


def _check_kanaries(client: ClusterClient, namespace: str, live: Json, name: str) -> None:
    service = live["metadata"]["name"]
    others, _ = client.list(KANARIES, namespace)
    users = [each["metadata"]["name"] for each in others if (each.get("spec") or {}).get("destination") == service]
    owner = controller_of(live)
    users += [adoption_of(live).kanary] * bool(adopter(live)) + [owner.get("name", "")] * (owner.get("kind") == KIND)
    if users:
        raise CommandError(f"Service {service} is the destination of Kanary {users[0]} already: change that one")
    if name in [each["metadata"]["name"] for each in others]:
        raise CommandError(f"there is a Kanary {name} already: choose another name with --as")


def _ports(live: Json) -> Sequence[Json]:
    """The TCP ports; without one, any."""
    ports = live["spec"].get("ports") or [{"port": 80}]
    return [port for port in ports if port.get("protocol", "TCP") == "TCP"] or ports


def _kanary(namespace: str, live: Json, name: str) -> Json:
    service, (port, *others) = live["metadata"]["name"], _ports(live)
    backend = {"servicePort": _named(port)}
    further = [
        {"name": f"port-{other['port']}" if other["name"] == FIRST_PORT else other["name"], "port": other["port"]}
        | {"servicePort": _named(other)}
        for other in others[:MAX_PORTS]
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "destination": service,
            "adoptDestination": True,
            "port": port["port"],
            "routes": [
                {"backend": {"serviceName": f"{service}-{suffix}", **backend}, "weight": weight}
                for suffix, weight in (("v1", 100), ("v2", 0))
            ],
            **({"ports": further} if further else {}),
        },
    }


def _named(port: Json) -> int | str:
    found: int | str = port.get("name") or port["port"]
    return found


def _check_adoptable(live: Json, kanary: Json) -> None:
    service = live["metadata"]["name"]
    if live["spec"].get("ports") and _ports(live)[0].get("protocol", "TCP") != "TCP":
        raise CommandError(f"Service {service} has no TCP port, and Kanary splits TCP connections: choose another one")
    try:
        problem = adoption_problem(read_spec(kanary), live)
    except InvalidSpecError as error:
        message = error.problem.message
        way_out = "; name the Kanary with --as" if message.startswith("metadata.name") else ""
        raise CommandError(message + way_out) from error
    if problem:
        raise CommandError(f"Service {service} cannot be adopted, because it {problem}")


def _present(client: ClusterClient, namespace: str, live: Json) -> tuple[str, Labels]:
    """The Deployment behind the Service, if there is one, and a selector of its pods.

    The labels of a Deployment's own selector cannot change: its pods have them after the next rollout as well.
    """
    service, selector = live["metadata"]["name"], live["spec"]["selector"]
    pods, _ = client.list(PODS, namespace, ",".join(f"{key}={value}" for key, value in selector.items()))
    pods = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if not pods:
        raise CommandError(f"no pod has the labels of Service {service} ({_text(selector)}): start its pods first")
    found, _ = client.list(DEPLOYMENTS, namespace)
    running = [each for each in found if each["spec"].get("replicas") != 0]
    behind = [each for each in running if selector.items() <= _labels(each["spec"]["template"]).items()]
    if len(behind) > 1:
        names = listed(sorted(each["metadata"]["name"] for each in behind))
        raise CommandError(
            f"Service {service} selects pods of the Deployments {names}: narrow its selector to one of them first, or "
            "write the Kanary by hand, with a Service and a route for each"
        )
    if not behind:
        return "", selector
    name = behind[0]["metadata"]["name"]
    now = selector | (behind[0]["spec"]["selector"].get("matchLabels") or {})
    others = sorted(pod["metadata"]["name"] for pod in pods if not now.items() <= _labels(pod).items())
    if others:
        raise CommandError(
            f"Service {service} selects pods that are not of Deployment {name} ({listed(others)}): narrow its selector "
            f"to {_text(now)} first, or write the Kanary by hand, with a Service and a route for each"
        )
    return name, now


def _labels(obj: Json) -> Labels:
    return (obj.get("metadata") or {}).get("labels") or {}


def _following(now: Labels) -> tuple[str, Labels]:
    """The label by which the next version differs, and its selector: no pod has the labels of both."""
    key = next((each for each in _VERSION_LABELS if each in now), min(now))
    value = now[key]
    # A label has at most 63 characters.
    following = f"{value[:-1]}2" if value.endswith("v1") else f"{value[:60]}-v2".lstrip("-")
    return key, {**now, key: following}


def _version(live: Json, name: str, selector: Labels) -> Json:
    kept = "name", "appProtocol", "protocol", "port", "targetPort"
    ports = [{key: port[key] for key in kept if key in port} for port in _ports(live)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": live["metadata"]["namespace"]},
        "spec": {"selector": dict(selector), "ports": ports},
    }


def _check_free(client: ClusterClient, namespace: str, version: Json) -> None:
    name, selector = version["metadata"]["name"], version["spec"]["selector"]
    try:
        found = client.get(SERVICES, namespace, name)
    except NotFound:
        return
    if found["spec"].get("selector") != selector:
        raise CommandError(
            f"there is a Service {name} with another selector than {_text(selector)}: delete or rename it, or write "
            "the Kanary by hand"
        )


def _steps(live: Json, name: str, deployment: str, label: tuple[str, str, str]) -> Iterator[str]:
    metadata, targets = live["metadata"], [port.get("targetPort") for port in _ports(live)]
    service, namespace = metadata["name"], metadata["namespace"]
    of_service, (key, now, after) = live["spec"]["selector"], label
    file = f"{name}.yaml"
    save = f"kanary adopt {service} --as {name} -n {namespace} > {file}"
    yield f"save the manifest: {save}; check it: kanary plan -f {file}"
    yield f"kubectl apply -f {file}"
    yield (
        f"kubectl wait -n {namespace} kanary/{name} --for=condition=Ready --timeout=5m; then {service} leads to the "
        f"proxies, and they to the pods of {f'Deployment {deployment}' if deployment else f'{service}-v1'}"
    )
    yield f"now take selector and targetPort out of the manifest of Service {service} (Git, Helm), not before"
    names = sorted({target for target in targets if isinstance(target, str)})
    named = f", and a container port named {' and one named '.join(names)}" if names else ""
    yield (
        f"deploy the new version beside it, under a name of its own; its pods need the label {key}: {after} instead of "
        f"{key}: {now}{named}"
    )
    yield (
        f"change the weights in {file}, to 95 and 5 at first, and apply it again; to go back: "
        f"kanary undo {name} -n {namespace}"
    )
    both = "" if key in of_service else ", which the pods of both versions have"
    yield (
        f"to end the adoption without a failed connection: kubectl delete -n {namespace} kanary/{name}; {service} "
        f"selects {_text(of_service)} again{both}"
    )


def _text(labels: Labels) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())

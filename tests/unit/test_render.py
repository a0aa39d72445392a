"""`kanary render`: what a Kanary would become, without a cluster."""

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.render.config import OnEmptyRoute, Pool, ProxyConfig, Server
from engine.render.haproxy import render as render_config
from engine.render.sysctls import ALL_SYSCTLS, sysctls_for
from kanary.cli.main import main
from kanary.cli.manifest import InputError
from kanary.cli.render import read_valid, render_file
from tests.bad_specs import BAD_ROLLOUTS, BAD_SPECS, EXTERNAL, GOOD, UDP_PORT
from tests.unit.kanaries import Json, kanary, route
from tests.unit.responder import Answer, Asked, Reply, Responder, responding, status, write_kubeconfig

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yml") if "kind: Kanary\n" in path.read_text())
V1, V2 = "myapp-v1=10.0.0.1:9000,10.0.0.2:9000", "myapp-v2=10.0.1.1:9000"


def written(tmp_path: Path, *documents: Any) -> str:
    path = tmp_path / "manifest.yml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def rendered(filename: str, *endpoints: str, **options: Any) -> str:
    return render_file(filename, **({"endpoints": endpoints, "from_cluster": False, "output": "objects"} | options))


def objects(filename: str, *endpoints: str, **options: Any) -> list[Json]:
    return list(yaml.safe_load_all(rendered(filename, *endpoints, **options)))


def config(filename: str, *endpoints: str, **options: Any) -> str:
    return rendered(filename, *endpoints, output="config", **options)


def sysctls_of(made: list[Json]) -> dict[str, str]:
    template = next(o for o in made if o["kind"] == "Deployment")["spec"]["template"]
    return {entry["name"]: entry["value"] for entry in template["spec"]["securityContext"]["sysctls"]}


def servers(text: str) -> list[str]:
    return [line.split()[2] for line in text.splitlines() if line.startswith("  server ")]


def refusal(filename: str, *endpoints: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        rendered(filename, *endpoints, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


# What is rendered


def test_objects_are_rendered_in_the_order_in_which_they_are_applied(tmp_path: Path) -> None:
    made = objects(written(tmp_path, kanary()), V1, V2)
    assert [(o["kind"], o["metadata"]["name"]) for o in made] == [
        ("ConfigMap", "myapp-split-haproxy"),
        ("Deployment", "myapp-split-haproxy"),
        ("PodDisruptionBudget", "myapp-split-haproxy"),
        ("Service", "myapp"),
    ]
    assert {o["metadata"]["namespace"] for o in made} == {"shop"}


def test_proxies_that_are_replaced_mount_a_config_map_of_their_own(tmp_path: Path) -> None:
    made = objects(written(tmp_path, kanary(updateStrategy="Rolling")), V1, V2)
    mounted = made[2]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert [(o["kind"], o["metadata"]["name"]) for o in made] == [
        ("ConfigMap", mounted),
        ("ConfigMap", "myapp-split-haproxy"),
        ("Deployment", "myapp-split-haproxy"),
        ("PodDisruptionBudget", "myapp-split-haproxy"),
        ("Service", "myapp"),
    ]


def test_the_configuration_is_the_one_within_the_objects(tmp_path: Path) -> None:
    filename = written(tmp_path, kanary())
    config_map = objects(filename, V1, V2)[0]
    assert config_map["data"]["haproxy.cfg"] == config(filename, V1, V2)


def test_the_configuration_is_the_one_for_these_endpoints(tmp_path: Path) -> None:
    routes = (
        Pool("myapp-v1:http", 80, (Server("10.0.0.1", 9000), Server("10.0.0.2", 9000))),
        Pool("myapp-v2:9090", 20, (Server("10.0.1.1", 9000),)),
    )
    unapplied = "00000000-0000-0000-0000-000000000000"
    slots = ("myapp-v1:http", "myapp-v2:9090", "", "")
    live: Json = {"kanary": unapplied, "serial": 1, "failure_log": True, "slots": slots}
    expected = ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, idle_seconds=86_400, drain_seconds=600, **live)
    assert config(written(tmp_path, kanary()), V1, V2) == render_config(expected).text


def test_several_lines_are_written_as_such(tmp_path: Path) -> None:
    """The configuration is there to be read."""
    text = rendered(written(tmp_path, kanary()), V1, V2)
    assert "haproxy.cfg: |\n" in text
    assert "\n    frontend split\n" in text


def test_the_same_file_gives_the_same_text(tmp_path: Path) -> None:
    filename = written(tmp_path, kanary())
    assert rendered(filename, V1, V2) == rendered(filename, V1, V2)


def test_nothing_refers_to_an_owner_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert all("ownerReferences" not in o["metadata"] for o in objects(written(tmp_path, kanary()), V1, V2))


def test_an_image_may_be_given_for_kanaries_that_name_none(tmp_path: Path) -> None:
    def image(manifest: Json) -> str:
        made = objects(written(tmp_path, manifest), V1, V2, proxy_image="mine:1")
        deployment = next(o for o in made if o["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    assert image(kanary()) == "mine:1"
    assert image(kanary(proxy={"image": "theirs:2"})) == "theirs:2"


def test_kernel_parameters_are_those_of_a_current_cluster_or_none(tmp_path: Path) -> None:
    filename = written(tmp_path, kanary())
    assert sysctls_of(objects(filename, V1, V2)) == ALL_SYSCTLS
    assert sysctls_of(objects(filename, V1, V2, pod_sysctls=False)) == {}


def test_a_file_may_hold_other_objects_and_several_kanaries(tmp_path: Path) -> None:
    other = kanary(destination="shop-api") | {"metadata": {"name": "other"}}
    made = objects(written(tmp_path, service("myapp-v1"), None, kanary(), other), V1, V2)
    assert [o["metadata"]["name"] for o in made if o["kind"] == "Service"] == ["myapp", "shop-api"]
    assert [o["metadata"]["namespace"] for o in made if o["kind"] == "Service"] == ["shop", "default"]


@pytest.mark.parametrize("more", [{}, {"metadata": {}}])
def test_a_list_is_as_good_as_its_items(tmp_path: Path, more: Json) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [kanary()]} | more
    assert rendered(written(tmp_path, listed), V1, V2) == rendered(written(tmp_path, kanary()), V1, V2)


def test_a_minus_reads_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(yaml.safe_dump(kanary()).encode())))
    assert config("-", V1, V2) == config(written(tmp_path, kanary()), V1, V2)


def test_what_kanary_prints_is_no_kanary_object_of_another_group(tmp_path: Path) -> None:
    foreign = kanary() | {"apiVersion": "kanary.example.com/v1"}
    owners = {
        o["metadata"]["labels"]["kanary.k8s.io/name"] for o in objects(written(tmp_path, foreign, kanary()), V1, V2)
    }
    assert owners == {"myapp-split"}
    assert len(objects(written(tmp_path, foreign, kanary()), V1, V2)) == len(
        objects(written(tmp_path, kanary()), V1, V2)
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_can_be_rendered(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "frontend split" in config(str(example))
    assert {"ConfigMap", "Deployment", "Service"} <= {o["kind"] for o in objects(str(example))}
    assert "rendered without endpoints" in capsys.readouterr().err


# Endpoints that are given


def test_ipv6_is_given_in_brackets(tmp_path: Path) -> None:
    text = config(written(tmp_path, kanary()), "myapp-v1=[fd00:0::1]:9000,[fd00::2]:9000", V2)
    assert servers(text) == ["[fd00::1]:9000", "[fd00::2]:9000", "10.0.1.1:9000"]
    assert "bind :::8080 v6only" in text


def test_the_option_may_be_repeated_for_one_backend(tmp_path: Path) -> None:
    text = config(written(tmp_path, kanary()), "myapp-v1=10.0.0.1:1", "myapp-v1=10.0.0.2:2", V2)
    assert servers(text) == ["10.0.0.1:1", "10.0.0.2:2", "10.0.1.1:9000"]


def test_a_backend_may_be_given_no_endpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert servers(config(written(tmp_path, kanary()), V1, "myapp-v2=")) == ["10.0.0.1:9000", "10.0.0.2:9000"]
    assert capsys.readouterr().err == ""


def test_a_backend_without_endpoints_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert servers(config(written(tmp_path, kanary()), V1)) == ["10.0.0.1:9000", "10.0.0.2:9000"]
    assert capsys.readouterr().err == (
        "kanary: note: backend myapp-v2:9090 is rendered without endpoints: give them with "
        "--endpoints myapp-v2:9090=IP:PORT, or read them with --from-cluster\n"
    )


def test_of_two_ports_of_one_service_each_is_given_by_its_port(tmp_path: Path) -> None:
    routes = [route("v1", 50, "http"), route("v1", 50, 81)]
    text = config(written(tmp_path, kanary(routes=routes)), "v1:http=10.0.0.1:80", "v1:81=10.0.0.1:81")
    assert servers(text) == ["10.0.0.1:80", "10.0.0.1:81"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "myapp-v3=10.0.0.1:80",
            "--endpoints myapp-v3=...: no route has such a backend: use myapp-v1, myapp-v1:http, myapp-v2, "
            "myapp-v2:9090",
        ),
        ("myapp-v1", "--endpoints myapp-v1: must be SERVICE=IP:PORT[,IP:PORT...], e.g. myapp-v1=10.0.0.1:9000"),
        ("=10.0.0.1:80", "--endpoints =10.0.0.1:80: must be SERVICE=IP:PORT[,IP:PORT...]"),
        ("myapp-v1=10.0.0.1", "--endpoints myapp-v1=10.0.0.1: '10.0.0.1' is not IP:PORT; IPv6 as [fd00::1]:9000"),
        ("myapp-v1=fd00::1:80", "--endpoints myapp-v1=fd00::1:80: 'fd00::1:80' is not IP:PORT"),
        ("myapp-v1=10.0.0.1:http", "--endpoints myapp-v1=10.0.0.1:http: '10.0.0.1:http' is not IP:PORT"),
        ("myapp-v1=10.0.0.1:0", "--endpoints myapp-v1=10.0.0.1:0: '10.0.0.1:0': port 0 is not an integer from 1"),
        ("myapp-v1=10.0.0.1:70000", "--endpoints myapp-v1=10.0.0.1:70000: '10.0.0.1:70000': port 70000 is not"),
        ("myapp-v1=localhost:80", "--endpoints myapp-v1=localhost:80: 'localhost:80': 'localhost' does not appear"),
        ("myapp-v1=10.0.0.300:80", "--endpoints myapp-v1=10.0.0.300:80: '10.0.0.300:80': '10.0.0.300' does not"),
        ("myapp-v1=[fe80::1%eth0]:80", "--endpoints myapp-v1=[fe80::1%eth0]:80: '[fe80::1%eth0]:80': address"),
        ("myapp-v1=10.0.0.1:80 weight 0:80", "--endpoints myapp-v1=10.0.0.1:80 weight 0:80: '10.0.0.1:80 weight"),
        ("myapp-v1=0.0.0.0:80", "--endpoints myapp-v1=0.0.0.0:80: '0.0.0.0:80': address '0.0.0.0' is not"),
    ],
)
def test_endpoints_that_are_none_are_told(tmp_path: Path, given: str, message: str) -> None:
    assert refusal(written(tmp_path, kanary()), given).startswith(message)


def test_texts_and_numbers_are_those_that_kubectl_reads(tmp_path: Path) -> None:
    """PyYAML would read 16:30 as 990, a time without quotes as a date, and 1e-9 as a text."""
    manifest = (
        yaml.safe_dump(kanary())
        + """
  freeze: {until: 2036-12-27T06:00:00Z}
  rollout:
    steps: [{to: 100}]
    windows: [{start: 09:00, end: 16:30}]
    analysis: {falseAlarms: 1e-9}
"""
    )
    path = tmp_path / "manifest.yml"
    path.write_text(manifest)
    ((_, spec),) = read_valid(str(path))
    assert spec.rollout and spec.freeze
    assert (spec.rollout.windows[0].start, spec.rollout.windows[0].end) == ("09:00", "16:30")
    assert spec.rollout.analysis.false_alarms == 1e-9
    assert spec.freeze.until == datetime(2036, 12, 27, 6, tzinfo=UTC)


# Files that cannot be rendered


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yml")
    assert refusal(missing) == f"{missing}: cannot be read: No such file or directory"
    assert refusal(str(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    "text",
    [
        b"a: [1, 2",
        b"a: 'x\nb: y",
        b'a: "\\UFFFFFFFF"',
        b"\xff\xfe\x00",
        b"a: !!int x",
        b"[" * 2000,
        b"a: b\n\tc: d",
    ],
    ids=["open list", "open quote", "no character", "not UTF-8", "foreign tag", "deep", "tab"],
)
def test_text_that_is_no_yaml_is_told_in_one_line(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "bad.yml"
    path.write_bytes(text)
    assert re.match(rf"{path}:\d+:\d+: is not YAML: ", refusal(str(path)))


@pytest.mark.parametrize(
    "document", ["text", 5, ["a"], {"kind": "Kanary"}, {"metadata": []}, {"kind": "List", "items": ["x"]}]
)
def test_what_is_no_object_is_told(tmp_path: Path, document: Any) -> None:
    assert "is not a Kubernetes object: it has no metadata" in refusal(written(tmp_path, kanary(), document))


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ((), ": it is empty"),
        (({"kind": "Service", "metadata": {}}, {"kind": "Pod", "metadata": {}}), ", only Pod, Service"),
        ((kanary() | {"apiVersion": "v1"},), ", only Kanary of v1"),
        (({"apiVersion": "v1", "kind": "List", "items": []},), ": it is empty"),
    ],
)
def test_a_file_without_a_kanary_is_told_with_what_it_has(tmp_path: Path, documents: Any, found: str) -> None:
    filename = written(tmp_path, *documents)
    assert refusal(filename) == f"{filename}: has no object of kind Kanary in kanary.k8s.io{found}"


def test_a_bad_spec_is_told_before_anything_that_follows_from_it(tmp_path: Path) -> None:
    filename = written(tmp_path, kanary(routes=[route("v1", 90)]))
    assert refusal(filename, "v1=10.0.0.1:80").startswith(
        f"{filename}: Kanary 'myapp-split': spec.routes: weights sum to 90"
    )
    assert "weights sum to 90" in refusal(filename, "other=10.0.0.1:80")


def test_a_misspelt_field_is_told(tmp_path: Path) -> None:
    assert "spec.onEmptyRuote is not a field" in refusal(written(tmp_path, kanary(onEmptyRuote="Hold")))


@pytest.mark.parametrize("name", [None, "", "A b", 5, "a\nb", "x" * 10_000])
def test_a_kanary_without_a_proper_name_is_told(tmp_path: Path, name: Any) -> None:
    message = refusal(written(tmp_path, kanary() | {"metadata": {"name": name}}))
    assert "metadata.name is " in message
    assert len(message) < 500


# What the operator would refuse or report


def services_of_a_file() -> list[Json]:
    specs = {
        "myapp-v1": {"ports": [{"name": "http", "port": 80}]},
        "myapp-v2": {"ports": [{"name": "http", "port": 80}]},
        "outside": EXTERNAL,
        "names": {"ports": [UDP_PORT]},
    }
    metadata = {"namespace": "shop"}
    head = {"apiVersion": "v1", "kind": "Service"}
    return [head | {"metadata": metadata | {"name": name}, "spec": spec} for name, spec in specs.items()]


@pytest.mark.parametrize("command", [["render"], ["simulate", "--rate", "50/s"]])
@pytest.mark.parametrize("what", BAD_SPECS)
def test_what_the_operator_refuses_is_refused_with_its_message_and_exit_code_1(
    tmp_path: Path, what: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    change, _, message = BAD_SPECS[what]
    filename = written(tmp_path, *services_of_a_file(), kanary(**GOOD | change))
    assert main([*command, "-f", filename]) == 1
    found = capsys.readouterr()
    assert message in found.err
    assert not found.out


@pytest.mark.parametrize("what", BAD_ROLLOUTS)
def test_a_rollout_that_the_operator_refuses_is_refused_with_its_message(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = BAD_ROLLOUTS[what]
    assert main(["render", "-f", written(tmp_path, *services_of_a_file(), kanary(**GOOD | change))]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"rollout": {"steps": [{"to": 100, "pause": "5m"}]}}, "spec.rollout.steps[0].pause"),
        ({"rollout": {"steps": [{"to": 100}], "step": 1}}, "spec.rollout.step"),
        ({"rollout": {"steps": [{"to": 100}], "analysis": {"detect": {"ratio": 2}}}}, "analysis.detect.ratio"),
        ({"rollout": {"steps": [{"to": 100, "duration": "5m"}]}}, "spec.rollout.steps[0].duration"),
        ({"freeze": {"since": "2026-12-27T06:00:00Z"}}, "spec.freeze.since"),
    ],
)
def test_a_field_that_a_rollout_does_not_have_is_refused(tmp_path: Path, change: Json, path: str) -> None:
    message = refusal(written(tmp_path, *services_of_a_file(), kanary(**GOOD | change)))
    assert f"{path} is not a field of a Kanary" in message


def test_a_good_spec_beside_these_services_is_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", written(tmp_path, *services_of_a_file(), kanary(**GOOD))]) == 0
    assert "warning" not in capsys.readouterr().err


def test_all_problems_of_a_kanary_are_told(tmp_path: Path) -> None:
    routes = [route("myapp-v1", 50, "grpc"), route("outside", 50)]
    message = refusal(written(tmp_path, *services_of_a_file(), kanary(routes=routes)))
    assert 'Service "myapp-v1" has no port grpc: use one of http (80)' in message
    assert 'Service "outside" is an ExternalName' in message


def test_given_endpoints_do_not_hide_a_port_that_is_missing(tmp_path: Path) -> None:
    routes = [route("myapp-v1", 100, "grpc")]
    filename = written(tmp_path, *services_of_a_file(), kanary(routes=routes))
    assert "has no port grpc" in refusal(filename, "myapp-v1=10.0.0.1:80")


def named(name: str, namespace: str = "shop", **spec: Any) -> Json:
    return kanary(**spec) | {"metadata": {"name": name, "namespace": namespace}}


def test_the_first_of_two_kanaries_of_a_file_has_the_destination(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, named("one"), named("two"))) == (
        "Kanary 'two': spec.destination: \"myapp\" is already the destination of Kanary one: choose another name, or "
        "delete that Kanary"
    )
    assert rendered(written(tmp_path, named("one"), named("two", "other")))


def test_a_destination_that_a_kanary_has_created_is_its_own(tmp_path: Path) -> None:
    created = service("myapp")
    created["metadata"] |= {"namespace": "shop", "ownerReferences": [{"kind": "Kanary", "name": "one", "uid": "1"}]}
    assert rendered(written(tmp_path, created, named("one")))


def test_warned_is_of_a_kanary_that_is_paused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rendered(written(tmp_path, kanary(paused=True)), V1, V2)
    assert "warning: myapp-split: spec.paused is true: the operator applies no change" in capsys.readouterr().err


def test_warned_is_of_kanaries_that_send_connections_in_a_circle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a third one as well; a Kanary behind another one is none."""
    circle = [named(f"k{n}", destination=f"d{n}", routes=[route(f"d{n % 3 + 1}", 100)]) for n in (1, 2, 3)]
    before = named("before", destination="d0", routes=[route("d1", 50), route("myapp-v1", 50)])
    rendered(written(tmp_path, before, *circle))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert [line.split(": ")[2] for line in warnings] == ["k1", "k2", "k3"]
    assert 'spec.routes[0].backend.serviceName is "d2", the destination of Kanary k2' in warnings[0]


# From a cluster


def slice_of(service: str, *addresses: str, port: int = 8080) -> Json:
    return {
        "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def service(name: str, **port: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"name": "http", "port": 9090, "protocol": "TCP"} | port]},
    }


class Cluster:
    """What an API server says of the Services of namespace shop."""

    def __init__(
        self, services: Mapping[str, Json], slices: Mapping[str, Json] | None, version: str = "v1.36.0"
    ) -> None:
        self.services = services
        self.slices = slices
        self.version = version
        self.endpoints: dict[str, Json] = {}

    def __call__(self, asked: Asked) -> Answer:
        name = asked.path.rsplit("/", 1)[1]
        if asked.path == "/version":
            return Reply({"gitVersion": self.version})
        if asked.path == "/apis/discovery.k8s.io/v1":
            return (
                status(404, "NotFound") if self.slices is None else Reply({"resources": [{"name": "endpointslices"}]})
            )
        if asked.path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices":
            wanted = asked.query["labelSelector"].partition("=")[2]
            return Reply({"items": [self.slices[wanted]] if self.slices and wanted in self.slices else []})
        known = self.services if "/services/" in asked.path else self.endpoints
        in_shop = asked.path.startswith("/api/v1/namespaces/shop/")
        return Reply(known[name]) if in_shop and name in known else status(404, "NotFound", f"{name} not found")


SERVICES = {name: service(name) for name in ("myapp-v1", "myapp-v2")}
SLICES = {"myapp-v1": slice_of("myapp-v1", "10.0.0.1"), "myapp-v2": slice_of("myapp-v2", "10.0.1.1", "10.0.1.2")}


@pytest.fixture
def server() -> Iterator[Responder]:
    with responding() as responder:
        yield responder


@pytest.fixture
def kubeconfig(server: Responder, tmp_path: Path) -> str:
    return write_kubeconfig(tmp_path / "kubeconfig", server.url, namespace="shop")


def test_endpoints_are_taken_from_the_cluster_where_none_are_given(
    server: Responder, kubeconfig: str, tmp_path: Path
) -> None:
    server.answer = Cluster(SERVICES, SLICES)
    text = config(written(tmp_path, kanary()), "myapp-v1=10.9.9.9:1", from_cluster=True, kubeconfig=kubeconfig)
    assert servers(text) == ["10.9.9.9:1", "10.0.1.1:8080", "10.0.1.2:8080"]


def test_where_the_cluster_has_no_slices_endpoints_are_read(server: Responder, kubeconfig: str, tmp_path: Path) -> None:
    cluster = Cluster(SERVICES, None)
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    cluster.endpoints["myapp-v1"] = {"subsets": [{"addresses": [{"ip": "10.0.0.5"}], "ports": ports}]}
    server.answer = cluster
    text = config(written(tmp_path, kanary()), from_cluster=True, kubeconfig=kubeconfig)
    assert servers(text) == ["10.0.0.5:8080"]


def test_kernel_parameters_are_those_that_the_kubelets_of_the_cluster_accept(
    server: Responder, kubeconfig: str, tmp_path: Path
) -> None:
    server.answer = Cluster(SERVICES, SLICES, version="v1.31.4")
    made = objects(written(tmp_path, kanary()), from_cluster=True, kubeconfig=kubeconfig)
    assert sysctls_of(made) == sysctls_for("v1.31.4") != ALL_SYSCTLS


@pytest.mark.parametrize("metadata", [{"name": "myapp-split"}, {"name": "myapp-split", "namespace": "shop"}])
def test_services_of_the_file_are_those_that_would_be_applied(
    server: Responder, kubeconfig: str, tmp_path: Path, metadata: Json
) -> None:
    """The file's Service has port 9191, the cluster's does not yet; both files mean the context's namespace."""
    server.answer = Cluster(SERVICES, SLICES)
    routes = [route("myapp-v1", 100, 9191)]
    filename = written(tmp_path, service("myapp-v1", port=9191), kanary(routes=routes) | {"metadata": metadata})
    assert servers(config(filename, from_cluster=True, kubeconfig=kubeconfig)) == ["10.0.0.1:8080"]


def test_a_backend_that_the_cluster_does_not_have_is_told(server: Responder, kubeconfig: str, tmp_path: Path) -> None:
    server.answer = Cluster({"myapp-v2": SERVICES["myapp-v2"]}, {})
    assert refusal(written(tmp_path, kanary()), from_cluster=True, kubeconfig=kubeconfig) == (
        "Kanary 'myapp-split': spec.routes[0].backend.serviceName: Service \"myapp-v1\" does not exist in namespace "
        "shop: create it, or name one that does"
    )


def test_a_cluster_that_refuses_is_told(server: Responder, kubeconfig: str, tmp_path: Path) -> None:
    server.say(status(403, "Forbidden", "services is forbidden"))
    message = refusal(written(tmp_path, kanary()), from_cluster=True, kubeconfig=kubeconfig)
    assert message.startswith("--from-cluster: ")
    assert "services is forbidden" in message


def test_a_kubeconfig_that_is_missing_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    message = refusal(written(tmp_path, kanary()), from_cluster=True, kubeconfig=missing)
    assert message.startswith("--from-cluster: ")
    assert missing in message


def test_a_bad_file_is_told_without_asking_the_cluster(server: Responder, kubeconfig: str, tmp_path: Path) -> None:
    refusal(written(tmp_path, kanary(port=0)), from_cluster=True, kubeconfig=kubeconfig)
    assert server.asked == []

"""The whole operator against an API server over real HTTP."""

import http.client
from datetime import timedelta

import pytest

from engine.fleet import fleet
from engine.render.objects import CONFIG_ANNOTATION
from tests.integration.scene import CRD, NAMESPACE, Scene, moves, routes
from tests.waiting import PATIENCE


@pytest.fixture
def serving(scene: Scene) -> Scene:
    """A Kanary that serves 80 to 20."""
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.start_operator()
    scene.wait_for_phase("Ready")
    return scene


def page(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_kanary_passes_every_phase_on_its_way_to_ready(serving: Scene) -> None:
    status = serving.status()
    assert [move["to"] for move in moves(status)] == ["Rendering", "Rolling", "Ready"]
    assert status["display"] == {"weights": "myapp-v1:http=80 myapp-v2:http=20", "ready": "2/2"}
    expected = {"Ready": "True", "Reconciling": "False", "Stalled": "False", "HistoryRecorded": "False"}
    serving.wait_for(lambda: {c["type"]: c["status"] for c in serving.status()["conditions"]} == expected)
    assert serving.get("services", "myapp")["spec"]["ports"][0]["port"] == 80
    assert "10.0.0.2:9000" in serving.config()


def test_objects_may_be_applied_in_any_order(scene: Scene) -> None:
    scene.start_operator()
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.wait_for_phase("Pending", reason="BackendNotFound")
    scene.backend("myapp-v2")
    scene.backend("myapp-v1")
    scene.wait_for_phase("Pending", reason="WaitingForEndpoints")
    scene.endpoints("myapp-v1", "10.0.0.1")
    scene.endpoints("myapp-v2", "10.0.1.1")
    scene.wait_for_phase("Ready")


def test_nothing_is_written_while_nothing_changes(serving: Scene) -> None:
    serving.wait_until_written()
    # An update of something that concerns the Kanary but changes nothing makes it look again.
    serving.server.requests.clear()
    serving.server.store.change("services", "myapp-v1", lambda s: s["metadata"].update(labels={"a": "b"}), NAMESPACE)
    serving.backend("myapp-v3", "10.0.2.1")
    serving.declare("other", destination="else", routes=routes(myapp_v3=100))
    serving.wait_for_phase("Ready", "other")
    writes = [r.path for m in ("PUT", "PATCH", "POST", "DELETE") for r in serving.server.requests.find(m)]
    assert [path for path in writes if "/rule" in path or path.endswith("/myapp")] == []


def test_weights_change_and_each_change_has_a_revision(serving: Scene) -> None:
    serving.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    status = serving.wait_for_phase("Ready", revision=2)
    assert status["display"]["weights"] == "myapp-v1:http=50 myapp-v2:http=50"
    event = serving.wait_for(lambda: serving.events("WeightsChanged"))[0]
    assert event["message"] == (
        "weights changed from myapp-v1:http=80 myapp-v2:http=20 to myapp-v1:http=50 myapp-v2:http=50 (revision 2)"
    )


def test_running_proxies_take_a_change_and_their_pods_stay(serving: Scene) -> None:
    before = serving.proxies()
    serving.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    status = serving.wait_for_phase("Ready", revision=2)
    assert serving.proxies() == before
    assert status["proxies"]["strategy"] == "Live"


def test_proxies_without_a_reachable_agent_are_replaced(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "LOAD_LIMIT", timedelta(seconds=2))
    scene.agents.silent = True
    scene.backend("myapp-v1", "10.0.0.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    scene.start_operator()
    status = scene.wait_for_phase("Ready")
    assert status["proxies"]["strategy"] == "Rolling"
    (event,) = scene.wait_for(lambda: [e for e in scene.events("ReplacingProxies") if "did not answer" in e["message"]])
    assert "the proxies are replaced" in event["message"]


def test_what_a_replica_set_may_yet_start_keeps_what_it_would_mount(serving: Scene) -> None:
    """Its pods may be lost for a moment. The ReplicaSets of the tests' API server have no replicas of their own."""
    owner = serving.get("configmaps", "rule-haproxy")["metadata"]
    digests = ["a" * 24, "b" * 24]
    for digest, replicas in zip(digests, (1, 0), strict=True):
        template = {"metadata": {"annotations": {CONFIG_ANNOTATION: digest}, "labels": owner["labels"]}}
        selector = {"matchLabels": owner["labels"]}
        spec = {"replicas": replicas, "selector": selector, "template": template}
        serving.put("apps/v1", "ReplicaSet", f"rule-haproxy-{replicas}", labels=owner["labels"], spec=spec)
    for digest in digests:
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
        kept = ("namespace", "labels", "ownerReferences")
        metadata = {key: owner[key] for key in kept} | {"name": f"rule-haproxy-{digest}"}
        serving.server.store.put({**config_map, "metadata": metadata})
    serving.wait_for(lambda: not serving.get("configmaps", f"rule-haproxy-{digests[1]}"))
    assert serving.get("configmaps", f"rule-haproxy-{digests[0]}")
    serving.server.store.delete("replicasets.apps", "rule-haproxy-1", NAMESPACE)
    serving.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    serving.wait_for(lambda: not serving.get("configmaps", f"rule-haproxy-{digests[0]}"))


def test_endpoints_are_followed(serving: Scene) -> None:
    serving.endpoints("myapp-v1", "10.0.0.2", "10.0.0.3")
    serving.wait_for(lambda: "10.0.0.3:9000" in serving.config())
    assert "10.0.0.1:9000" not in serving.config()
    status = serving.wait_for_phase("Ready")
    assert status["revision"] == 1


def test_a_replaced_service_costs_no_endpoint(serving: Scene) -> None:
    """The garbage collector deletes the slice of the former one."""
    former = serving.get("services", "myapp-v2")
    assert former
    reference = {"apiVersion": "v1", "kind": "Service", "name": "myapp-v2", "uid": former["metadata"]["uid"]}
    owned = {"ownerReferences": [reference]}
    serving.server.store.change("endpointslices", "myapp-v2-1", lambda s: s["metadata"].update(owned), NAMESPACE)
    serving.server.store.delete("services", "myapp-v2", NAMESPACE)
    serving.put("v1", "Service", "myapp-v2", spec={"ports": [{"name": "http", "port": 80}]})
    serving.wait_for_phase("Degraded", reason="EndpointsUnknown")
    assert serving.get("endpointslices", "myapp-v2-1") is None
    assert "10.0.1.1:9000" in serving.config()
    serving.endpoints("myapp-v2", "10.0.1.2")
    serving.wait_for_phase("Ready")
    serving.wait_for(lambda: "10.0.1.2:9000" in serving.config())


def _name_pods(piece: dict, named: dict[str, str]) -> None:
    pods = {address: {"targetRef": {"kind": "Pod", "name": pod}} for pod, address in named.items()}
    piece["endpoints"] = [{**each, **pods.get(each["addresses"][0], {})} for each in piece["endpoints"]]


def test_proxies_and_the_destination_are_no_endpoints_whatever_leads_to_them(serving: Scene) -> None:
    """Each connection to them would be split again, until the proxies are full."""
    proxies = {proxy: serving.get("pods", proxy)["status"]["podIP"] for proxy in serving.proxies()}
    destination = serving.get("services", "myapp")["spec"]["clusterIP"]
    port = {"name": "http", "port": 80, "targetPort": 8080}
    serving.put("v1", "Service", "caught", spec={"ports": [port], "selector": {"kanary.k8s.io/name": "rule"}})
    serving.wait_for(lambda: serving.get("endpointslices", "caught-0"))
    selecting = serving.get("services", "caught")["spec"]["clusterIP"]
    serving.backend("by-hand", *proxies.values(), destination, selecting, "10.0.3.1", "10.0.3.2")
    # The address is where connections go, whatever pod is named; and not every pod with our label is a proxy.
    named = {"absent": next(iter(proxies.values())), "unlabelled": "10.0.3.2"}
    serving.server.store.change("endpointslices", "by-hand-1", lambda found: _name_pods(found, named), NAMESPACE)
    serving.put("v1", "Pod", "unlabelled", labels={"app.kubernetes.io/managed-by": "kanary"}, spec={"containers": []})
    serving.declare(destination="myapp", routes=routes(myapp_v1=80, by_hand=10, caught=10))
    serving.wait_for(lambda: "caught:http has 2 proxies of this Kanary as endpoints" in serving.status()["message"])
    serving.wait_for(lambda: "by-hand:http has 4 proxies of this Kanary as endpoints" in serving.status()["message"])
    serving.wait_for(lambda: "10.0.3.1:9000" in serving.config() and "10.0.3.2:9000" in serving.config())
    assert [
        address for address in (*proxies.values(), destination, selecting) if f"server {address}:" in serving.config()
    ] == []


def test_connections_to_another_kanary_are_no_loop_until_it_sends_them_back(serving: Scene) -> None:
    selector = {"kanary.k8s.io/name": "rule"}
    port = {"name": "http", "port": 80, "targetPort": 8080}
    serving.put("v1", "Service", "chained", spec={"ports": [port], "selector": selector})
    serving.declare("other", destination="else", routes=routes(chained=100))
    serving.wait_for_phase("Ready", "other")
    assert serving.config("other").count("  server ") == 2
    serving.put("v1", "Service", "myapp-v2", spec={"ports": [port], "selector": {"kanary.k8s.io/name": "other"}})
    serving.wait_for(lambda: "2 proxies of Kanary other as endpoints" in serving.status()["message"])
    assert [p for p in serving.proxies("other") if serving.get("pods", p)["status"]["podIP"] in serving.config()] == []


def test_manual_edits_of_owned_objects_are_reverted(serving: Scene) -> None:
    def edit(service: dict) -> None:
        service["spec"]["selector"] = {"app": "elsewhere"}

    serving.server.store.change("services", "myapp", edit, NAMESPACE)
    serving.wait_for(lambda: "app" not in serving.get("services", "myapp")["spec"]["selector"] or None)
    serving.server.store.delete("deployments", "rule-haproxy", NAMESPACE)
    serving.wait_for(lambda: serving.get("deployments", "rule-haproxy"))
    serving.wait_for_phase("Ready")


@pytest.mark.parametrize("is_paused", [True, False], ids=["paused", "a Service is missing"])
def test_a_deleted_config_map_is_restored_although_the_spec_waits(serving: Scene, is_paused: bool) -> None:
    if is_paused:
        serving.declare(destination="myapp", routes=routes(myapp_v1=10, myapp_v2=90), paused=True)
        serving.wait_for_phase("Rendering", reason="Paused")
    else:
        serving.server.store.delete("services", "myapp-v2", NAMESPACE)
        serving.wait_for_phase("Degraded", reason="BackendNotFound")
    before, proxies = serving.get("configmaps", "rule-haproxy"), serving.proxies()
    assert before
    serving.server.store.delete("configmaps", "rule-haproxy", NAMESPACE)
    restored = serving.wait_for(lambda: serving.get("configmaps", "rule-haproxy"))
    assert restored["data"] == before["data"]
    assert serving.proxies() == proxies


@pytest.mark.parametrize(
    "spec",
    [
        {"ports": [{"name": "tcp", "port": 82, "protocol": "TCP", "targetPort": 8404}]},
        {
            "ports": [
                {"name": n, "port": p, "protocol": "TCP", "targetPort": "split"} for n, p in (("tcp", 80), ("b", 81))
            ]
        },
        {"selector": {"kanary.k8s.io/name": "rule", "app": "mine"}},
    ],
    ids=["another port of the same name", "one more port", "one more label to select by"],
)
def test_additions_to_the_destination_are_reverted(serving: Scene, spec: dict) -> None:
    before = serving.get("services", "myapp")["spec"]
    serving.server.store.change("services", "myapp", lambda service: service["spec"].update(spec), NAMESPACE)
    serving.wait_for(lambda: serving.get("services", "myapp")["spec"] == before)


def test_a_budget_that_others_gave_a_minimum_is_restored(serving: Scene) -> None:
    """It may not have both: an apply of ours alone is rejected."""

    def want_a_minimum(budget: dict) -> None:
        budget["spec"] = {"minAvailable": 1, "selector": budget["spec"]["selector"]}

    before = serving.get("poddisruptionbudgets", "rule-haproxy")["spec"]
    serving.server.store.change("poddisruptionbudgets", "rule-haproxy", want_a_minimum, NAMESPACE)
    serving.wait_for(lambda: serving.get("poddisruptionbudgets", "rule-haproxy")["spec"] == before)
    serving.wait_for_phase("Ready")


def test_what_is_spelt_otherwise_by_the_cluster_is_not_written_again_and_again(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.start_operator()
    scene.declare(destination="myapp", routes=routes(myapp_v1=100), proxy={"resources": {"requests": {"cpu": "0.5"}}})
    scene.wait_for_phase("Ready")

    def respell(deployment: dict) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "500m"

    # The tests' server keeps a quantity as it was sent; a real one normalizes it.
    scene.server.store.change("deployments", "rule-haproxy", respell, NAMESPACE)
    scene.wait_for_phase("Ready")


def test_a_cluster_without_endpoint_slices_and_disruption_budgets_is_served(scene: Scene) -> None:
    scene.server.withdraw("discovery.k8s.io", "v1", "endpointslices")
    scene.server.withdraw("policy", "v1", "poddisruptionbudgets")
    scene.put("v1", "Service", "myapp-v1", spec={"ports": [{"name": "http", "port": 80}]})
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 9000}]}
    scene.put("v1", "Endpoints", "myapp-v1", subsets=[subset])
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    scene.start_operator()
    scene.wait_for_phase("Ready")
    assert "10.0.0.1:9000" in scene.config()
    scene.server.store.delete("endpoints", "myapp-v1", NAMESPACE)
    scene.wait_for_phase("Degraded", reason="EndpointsUnknown")
    assert "10.0.0.1:9000" in scene.config()
    scene.put("v1", "Endpoints", "myapp-v1", subsets=[])
    scene.wait_for_phase("Degraded", reason="NoReadyEndpoints")


def test_the_version_of_the_cluster_and_the_setting_decide_on_kernel_parameters(scene: Scene) -> None:
    """The tests' server is older than 1.32."""
    scene.backend("myapp-v1", "10.0.0.1")
    running = scene.start_operator()
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    scene.wait_for_phase("Ready")
    assert [entry["name"] for entry in sysctls(scene)] == ["net.ipv4.ip_local_port_range"]
    assert "clitcpka-idle" in scene.config()
    running.stop()
    scene.start_operator(pod_sysctls=False)
    scene.wait_for(lambda: not sysctls(scene))
    scene.wait_for_phase("Ready")


def sysctls(scene: Scene) -> list[dict[str, str]]:
    template = scene.get("deployments", "rule-haproxy")["spec"]["template"]
    return list(template["spec"]["securityContext"].get("sysctls", ()))


def test_a_deleted_kanary_takes_what_it_made_and_nothing_else(serving: Scene) -> None:
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    ours = [("services", "myapp"), ("configmaps", "rule-haproxy"), ("deployments", "rule-haproxy")]
    serving.wait_for(lambda: not any(serving.get(*key) for key in [*ours, ("poddisruptionbudgets", "rule-haproxy")]))
    assert serving.get("services", "myapp-v1")
    assert serving.get("services", "myapp-v2")


def test_a_kanary_that_is_made_again_at_once_serves_again(serving: Scene) -> None:
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    serving.declare(destination="myapp", routes=routes(myapp_v1=10, myapp_v2=90))
    status = serving.wait_for_phase("Ready")
    uid = serving.kanary()["metadata"]["uid"]
    assert status["display"]["weights"] == "myapp-v1:http=10 myapp-v2:http=90"
    assert serving.get("services", "myapp")["metadata"]["ownerReferences"][0]["uid"] == uid


def test_the_old_destination_goes_after_the_new_one_serves(serving: Scene) -> None:
    serving.declare(destination="store", routes=routes(myapp_v1=80, myapp_v2=20))
    serving.wait_for(lambda: serving.get("services", "store"))
    serving.wait_for(lambda: not serving.get("services", "myapp"))
    deleted = serving.server.requests.wait_for("DELETE", "/services/myapp$")[0]
    created = serving.server.requests.find("POST", "/services$")[-1]
    log = [r for r in serving.server.requests.find() if r in (created, deleted)]
    assert log == [created, deleted]
    serving.wait_for_phase("Ready")


def test_another_port_replaces_the_one_that_the_destination_was_created_with(serving: Scene) -> None:
    serving.declare(destination="myapp", port=81, routes=routes(myapp_v1=80, myapp_v2=20))
    serving.wait_for(lambda: [p["port"] for p in serving.get("services", "myapp")["spec"]["ports"]] == [81])
    serving.wait_for_phase("Ready")


def test_objects_of_others_are_never_written(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.put("v1", "ConfigMap", "rule-haproxy", data={"theirs": "stays"})
    scene.start_operator()
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    status = scene.wait_for_phase("Degraded", reason="ObjectExists")
    assert 'ConfigMap "rule-haproxy" exists' in status["message"]
    assert scene.get("configmaps", "rule-haproxy")["data"] == {"theirs": "stays"}
    assert not scene.get("services", "myapp")
    scene.server.store.delete("configmaps", "rule-haproxy", NAMESPACE)
    scene.declare(destination="myapp", port=81, routes=routes(myapp_v1=100))
    scene.wait_for_phase("Ready")


def test_users_objects_are_only_read(serving: Scene) -> None:
    serving.declare(destination="myapp", routes=routes(myapp_v1=0, myapp_v2=100))
    serving.wait_for_phase("Ready", revision=2)
    for method in ("PUT", "PATCH", "POST", "DELETE"):
        for request in serving.server.requests.find(method):
            assert "myapp-v" not in request.path
            assert "/pods" not in request.path or "/pods/rule-haproxy-" in request.path


def test_two_kanaries_of_one_destination_the_older_keeps_it_and_hands_it_on(serving: Scene) -> None:
    serving.declare("younger", destination="myapp", routes=routes(myapp_v1=100))
    status = serving.wait_for_phase("Degraded", "younger", reason="DestinationTaken")
    assert "Kanary rule" in status["message"]
    assert serving.status()["phase"] == "Ready"
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    serving.wait_for_phase("Ready", "younger")


def test_a_fault_is_reported_by_one_event(serving: Scene) -> None:
    serving.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=30))
    serving.wait_for_phase("Degraded", reason="InvalidWeights")
    serving.endpoints("myapp-v1", "10.0.0.7")
    serving.wait_for(lambda: "10.0.0.7:9000" in serving.config())
    serving.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    serving.wait_for_phase("Ready")
    events = serving.wait_for(lambda: serving.events("InvalidWeights"))
    assert [(e["type"], e["count"]) for e in events] == [("Warning", 1)]
    assert events[0]["involvedObject"]["name"] == "rule"


def test_metrics_and_probes_tell_how_it_is(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    port = scene.start_operator().operator.http_port
    scene.wait_for_phase("Ready")
    assert page(port, "/healthz") == (200, "ok\n")
    assert page(port, "/readyz") == (200, "ok\n")
    labels = f'namespace="{NAMESPACE}",name="rule"'
    scene.wait_for(lambda: f'kanary_phase{{{labels},phase="Ready"}} 1\n' in page(port, "/metrics")[1])
    assert f'kanary_route_weight{{{labels},backend="myapp-v1:http"}} 100\n' in page(port, "/metrics")[1]
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    scene.wait_for(lambda: 'name="rule"' not in page(port, "/metrics")[1])


def test_many_kanaries_become_ready(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    for number in range(12):
        scene.declare(f"rule-{number}", destination=f"myapp-{number}", routes=routes(myapp_v1=100))
    scene.start_operator()
    for number in range(12):
        scene.wait_for_phase("Ready", f"rule-{number}")


def test_a_kanary_that_the_schema_no_longer_allows_does_not_disturb_the_others(
    lenient_scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    lenient_scene.backend("myapp-v1", "10.0.0.1")
    lenient_scene.declare("old", destination="old", routes=[])
    lenient_scene.server.store.put(CRD)
    lenient_scene.start_operator()
    lenient_scene.declare("new", destination="new", routes=routes(myapp_v1=100))
    lenient_scene.wait_for_phase("Ready", "new")
    lenient_scene.wait_for(lambda: "spec.routes" in caplog.text)
    assert "Traceback" not in caplog.text

"""Rollouts as stories. What each of them is about stands in its text, which is kept in `stories/`."""

import copy

import pytest

from engine.fleet.proxy import read_proxy
from engine.model.entries import WeightChange
from engine.ports import RetryLaterError
from engine.render.objects import Identity
from tests.traces.world import NAMESPACE, World, routes


@pytest.fixture
def serving(world: World) -> World:
    """A Kanary that serves 80 to 20, over two pods and one."""
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.run("two Services with pods, and a Kanary of 80 to 20")
    return world


def declare(world: World, v1: float, v2: float, **spec: object) -> None:
    world.apply_kanary(**{"destination": "myapp", "routes": routes(myapp_v1=v1, myapp_v2=v2), **spec})


def servers(world: World) -> list[str]:
    return [line.split()[2] for line in world.config().splitlines() if line.startswith("  server ")]


def test_everything_is_applied_in_any_order(world: World) -> None:
    declare(world, 80, 20)
    world.run("only the Kanary is there")
    world.create_service("myapp-v2", 0)
    world.run("the second Service, with no pod yet")
    world.create_service("myapp-v1", 0)
    world.run("the first Service")
    world.scale("myapp-v1", 2)
    world.run("the first version's pods become ready")
    world.scale("myapp-v2", 1)
    world.run("the second's")
    assert world.status()["display"] == {"weights": "myapp-v1:http=80 myapp-v2:http=20", "ready": "2/2"}


def test_a_new_kanary_waits_for_pods_that_are_about_to_be_ready(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    pods = world.objects["EndpointSlice", "myapp-v1"]["endpoints"]
    pods[1]["conditions"] = {"ready": False}
    declare(world, 80, 20)
    world.run("one of the first version's two pods is not ready yet")
    pods[1]["conditions"] = {"ready": True}
    world.run("it is")
    assert len(servers(world)) == 3


def test_a_new_kanary_does_not_wait_for_ever_for_one_backend(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 0)
    declare(world, 80, 20)
    world.run("the second version never gets a pod")
    world.wait(30)
    world.run("30 s later")
    assert len(servers(world)) == 2


def test_weights_are_shifted_step_by_step(serving: World) -> None:
    declare(serving, 50, 50)
    serving.run("50 to 50")
    declare(serving, 0, 100)
    serving.run("0 to 100")
    assert serving.status()["revision"] == 3
    assert [event for event in serving.events if "WeightsChanged" in event] == [
        "Normal WeightsChanged: weights changed from myapp-v1:http=80 myapp-v2:http=20 to "
        "myapp-v1:http=50 myapp-v2:http=50 (revision 2)",
        "Normal WeightsChanged: weights changed from myapp-v1:http=50 myapp-v2:http=50 to "
        "myapp-v1:http=0 myapp-v2:http=100 (revision 3)",
    ]


def test_a_backend_is_scaled_up_and_down(serving: World) -> None:
    serving.scale("myapp-v1", 5)
    serving.run("five pods")
    assert len(servers(serving)) == 6
    serving.scale("myapp-v1", 1)
    serving.run("one pod")
    assert servers(serving) == ["10.0.0.1:9000", "10.0.0.3:9000"]
    assert serving.status()["revision"] == 1


def test_endpoints_that_change_while_proxies_start_wait_for_them(serving: World) -> None:
    serving.slow_proxies = True
    serving.scale("myapp-v1", 3)
    serving.run("a third pod, while proxies start slowly")
    serving.scale("myapp-v1", 4)
    serving.run("a fourth")
    assert len(servers(serving)) == 4
    serving.slow_proxies = False
    serving.run("the proxies are ready")
    assert len(servers(serving)) == 5


def test_endpoints_do_not_wait_for_proxies_that_will_not_come(serving: World) -> None:
    serving.slow_proxies = True
    serving.scale("myapp-v1", 3)
    serving.run("a third pod, and proxies that do not start")
    serving.wait(60)
    serving.scale("myapp-v1", 4)
    serving.run("60 s later a fourth")
    assert len(servers(serving)) == 5


def test_a_change_of_the_spec_does_not_wait_for_proxies(serving: World) -> None:
    serving.slow_proxies = True
    declare(serving, 70, 30)
    serving.run("70 to 30, while proxies start slowly")
    declare(serving, 60, 40)
    serving.run("60 to 40")
    assert "00050003000200000000)\n" in serving.config()


def test_weights_with_a_decimal_are_shown_as_declared(serving: World) -> None:
    declare(serving, 12.5, 87.5)
    serving.run("80 to 20 becomes 12.5 to 87.5")
    assert serving.status()["weights"][0]["weight"] == 12.5
    before = serving.status()
    declare(serving, 50, 50)
    serving.run("50 to 50")
    declare(serving, 50.0, 50.0)
    serving.run("the same, written 50.0")
    assert serving.status()["revision"] == before["revision"] + 1


def test_bad_weights_leave_traffic_as_it_was(serving: World) -> None:
    before = serving.config()
    declare(serving, 80, 30)
    serving.run("80 to 30")
    assert serving.config() == before
    serving.scale("myapp-v1", 3)
    serving.run("endpoints change meanwhile, and are followed")
    assert len(servers(serving)) == 4
    declare(serving, 70, 30)
    serving.run("70 to 30")


def test_a_route_that_loses_its_pods_is_reported_and_the_others_take_its_share(serving: World) -> None:
    serving.scale("myapp-v2", 0)
    serving.run("the second version has no pod any more")
    serving.scale("myapp-v2", 2)
    serving.run("it has two")
    assert serving.status()["phase"] == "Ready"


def test_all_routes_lose_their_pods(serving: World) -> None:
    serving.scale("myapp-v1", 0)
    serving.scale("myapp-v2", 0)
    serving.run("no version has a pod any more")
    assert servers(serving) == []
    serving.scale("myapp-v1", 1)
    serving.run("the first has one")
    assert len(servers(serving)) == 1


def test_hold_keeps_the_last_good_weights_until_a_new_route_has_a_pod(serving: World) -> None:
    serving.create_service("myapp-v3", 0)
    three = routes(myapp_v1=50, myapp_v2=20, myapp_v3=30)
    serving.apply_kanary(destination="myapp", routes=three, onEmptyRoute="Hold")
    serving.run("a third route without a pod, to be held")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=80 myapp-v2:http=20"
    serving.scale("myapp-v3", 1)
    serving.run("its first pod")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=50 myapp-v2:http=20 myapp-v3:http=30"


def test_hold_keeps_unready_pods_but_never_the_address_of_one_that_is_gone(serving: World) -> None:
    declare(serving, 80, 20, onEmptyRoute="Hold")
    serving.run("empty routes are to be held")
    pods = serving.objects["EndpointSlice", "myapp-v1"]["endpoints"]
    serving.objects["EndpointSlice", "myapp-v1"]["endpoints"] = []
    serving.run("every pod of the first version is unready")
    assert servers(serving) == ["10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.3:9000"]
    serving.remove("BackendPod", pods[0]["targetRef"]["name"])
    serving.run("one of them is gone")
    assert servers(serving) == ["10.0.0.2:9000", "10.0.0.3:9000"]


def test_a_backend_service_is_deleted_and_comes_back(serving: World) -> None:
    serving.remove("Service", "myapp-v2")
    serving.run("the second Service is deleted; its pod lives on")
    assert servers(serving) == ["10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.3:9000"]
    serving.scale("myapp-v1", 1)
    serving.run("the other backend is followed as ever")
    assert servers(serving) == ["10.0.0.1:9000", "10.0.0.3:9000"]
    serving.create_service("myapp-v2", 2)
    serving.run("the Service is back")
    assert serving.status()["phase"] == "Ready"


def test_a_replaced_service_costs_no_share(serving: World) -> None:
    """`kubectl replace --force`, `helm upgrade --force`."""
    everything = ["10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.3:9000"]
    former = serving.objects["EndpointSlice", "myapp-v2"]
    former["metadata"]["ownerReferences"] = [{"kind": "Service", "uid": uid_of(serving, "myapp-v2")}]
    serving.remove("Service", "myapp-v2")
    serving.put_service("myapp-v2")
    serving.run("the second Service is replaced, and has no EndpointSlice yet")
    assert servers(serving) == everything
    serving.objects["EndpointSlice", "myapp-v2"] = former
    serving.run("the slice of the former Service is not deleted yet")
    assert servers(serving) == everything
    own = {**former["metadata"], "ownerReferences": [{"kind": "Service", "uid": uid_of(serving, "myapp-v2")}]}
    serving.objects["EndpointSlice", "myapp-v2"] = {**former, "metadata": own}
    serving.run("the Service has its own slice")
    assert servers(serving) == everything
    assert serving.status()["phase"] == "Ready"


def uid_of(world: World, service: str) -> str:
    return str(world.objects["Service", service]["metadata"]["uid"])


def test_a_service_without_a_slice_and_without_pods_is_an_empty_route(serving: World) -> None:
    serving.remove("Service", "myapp-v2")
    serving.put_service("myapp-v2")
    serving.run("the second Service is replaced")
    serving.remove("BackendPod", "myapp-v2-3")
    serving.run("its pod ends, and there is nothing left to hold")
    serving.apply_kanary(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0))
    serving.run("its weight is 0")
    assert serving.status()["phase"] == "Ready"


def test_a_new_kanary_does_not_wait_for_ever_for_a_service_without_a_slice(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.put_service("myapp-v2")
    declare(world, 80, 20)
    world.run("the second Service has no selector, and nobody has created a slice")
    world.wait(30)
    world.run("30 s later")
    assert len(servers(world)) == 2


def test_terminating_pods_serve_while_no_other_is_left(serving: World) -> None:
    pods = serving.objects["EndpointSlice", "myapp-v2"]["endpoints"]
    pods[0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    serving.run("the only pod of the second version terminates, and still serves")
    assert "10.0.0.3:9000" in servers(serving)
    serving.wait(1)
    serving.run("the status is written a second later")
    assert [route["ready"] for route in serving.status()["weights"]] == [2, 0]
    serving.scale("myapp-v2", 2)
    serving.run("another one is ready")
    assert "10.0.0.3:9000" not in servers(serving)
    serving.objects["EndpointSlice", "myapp-v2"]["endpoints"] = []
    serving.run("all are gone")


def test_ready_pods_without_the_port_are_reported(serving: World) -> None:
    piece = serving.objects["EndpointSlice", "myapp-v2"]
    serving.put_service("myapp-v2", {"name": "http", "port": 80, "targetPort": "web"})
    ports, piece["ports"] = piece["ports"], []
    serving.run("the Service names a port of the pods that they do not have")
    piece["ports"] = ports
    serving.run("they have it")
    assert serving.status()["phase"] == "Ready"


def test_a_port_that_is_renamed_costs_no_share(serving: World) -> None:
    """The slices have the name a moment later than the Service."""
    piece = serving.objects["EndpointSlice", "myapp-v2"]
    piece["metadata"]["ownerReferences"] = [{"kind": "Service", "uid": uid_of(serving, "myapp-v2")}]
    by_number = [*routes(myapp_v1=80), {"backend": {"serviceName": "myapp-v2", "servicePort": 80}, "weight": 20}]
    serving.apply_kanary(destination="myapp", routes=by_number)
    serving.run("the port of the second route is a number")
    before = servers(serving)
    serving.put_service("myapp-v2", {"name": "web", "port": 80})
    serving.run("the port of the second Service has another name")
    assert servers(serving) == before
    piece["ports"] = [{"name": "web", "port": 9000}]
    serving.run("so it has in the slice")
    assert servers(serving) == before
    assert serving.status()["phase"] == "Ready"


def proxies_of(world: World, name: str) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in world.proxy_pods(NAMESPACE, name))


def lead_to_proxies(world: World, service: str, kanary: str) -> None:
    """Have the Service select the proxies of a Kanary as well."""
    selected = [
        {"addresses": [f"10.1.0.{number}"], "targetRef": {"kind": "Pod", "name": name}}
        for number, name in enumerate(proxies_of(world, kanary), 1)
    ]
    world.objects["EndpointSlice", service]["endpoints"] += selected


def test_proxies_of_a_kanary_are_not_its_endpoints(serving: World) -> None:
    declare(serving, 80, 20, updateStrategy="Live")
    serving.run("running proxies load changes")
    before = servers(serving)
    lead_to_proxies(serving, "myapp-v2", "rule")
    serving.run("the second Service selects the proxies as well")
    assert servers(serving) == before
    serving.objects["EndpointSlice", "myapp-v2"]["endpoints"].pop(0)
    serving.run("and nothing else")
    assert servers(serving) == before[:-1]


def test_a_loop_through_other_kanaries_is_not_closed(serving: World) -> None:
    serving.create_service("through", 0)
    serving.create_service("back", 1)
    serving.apply_kanary("middle", destination="middle", updateStrategy="Live", routes=routes(back=100))
    serving.run("another Kanary", "middle")
    lead_to_proxies(serving, "through", "middle")
    serving.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(myapp_v1=80, through=20))
    serving.run("the first one sends a share to it, which is legitimate")
    assert len(servers(serving)) == 4
    lead_to_proxies(serving, "back", "rule")
    serving.run("it would send connections back, and yields", "middle")
    assert serving.config("middle").count("  server ") == 1
    serving.run("the first one keeps its share")
    assert len(servers(serving)) == 4
    serving.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(myapp_v1=100))
    serving.run("the first one sends no share to it any more")
    serving.run("it may send connections to the first one now", "middle")
    assert serving.config("middle").count("  server ") == 3


def test_of_two_kanaries_that_close_a_loop_at_once_the_older_keeps_its_connections(world: World) -> None:
    for name, service in (("older", "to-younger"), ("younger", "to-older")):
        world.create_service(service, 1)
        world.apply_kanary(
            name, destination=name, updateStrategy="Live", routes=routes(**{service.replace("-", "_"): 100})
        )
        world.settle(name)
        world.wait(10)
    lead_to_proxies(world, "to-younger", "younger")
    world.settle("older")
    sends_both = world.objects["ConfigMap", "older-haproxy"]
    world.objects["ConfigMap", "older-haproxy"] = {**sends_both, "data": {}}
    lead_to_proxies(world, "to-older", "older")
    world.settle("younger")
    world.objects["ConfigMap", "older-haproxy"] = sends_both
    assert [world.config(name).count("  server ") for name in ("older", "younger")] == [3, 3]
    world.run("both send connections to each other", "older")
    world.run("the younger one yields", "younger")
    assert [world.config(name).count("  server ") for name in ("older", "younger")] == [3, 1]


def test_a_new_route_names_a_service_that_does_not_exist(serving: World) -> None:
    serving.apply_kanary(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=20, myapp_v3=10))
    serving.run("a third route without a Service")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=80 myapp-v2:http=20"


def test_the_destination_is_renamed(serving: World) -> None:
    declare(serving, 80, 20, destination="shop")
    serving.step()
    serving.step()
    assert {"myapp", "shop"} <= {name for kind, name in serving.objects if kind == "Service"}
    serving.run("another destination: the old one goes when the new one serves")
    assert ("Service", "myapp") not in serving.objects


def test_the_destination_is_a_service_of_the_users(world: World) -> None:
    world.create_service("myapp-v1", 1)
    world.create_service("myapp", 1)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    theirs = world.objects["Service", "myapp"]
    world.run("the destination exists already")
    assert world.objects["Service", "myapp"] == theirs
    world.remove("Service", "myapp")
    world.run("the user deletes it")
    assert world.status()["phase"] == "Ready"


def test_a_service_of_the_users_is_adopted(world: World) -> None:
    world.create_service("myapp-v1", 1)
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
    world.create_service("myapp", 1, port=port, selector={"app": "myapp"})
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.run("the destination exists already")
    theirs = copy.deepcopy(world.objects["Service", "myapp"])
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100), adoptDestination=True)
    world.run("the user lets Kanary adopt it")
    assert world.objects["Service", "myapp"]["spec"]["selector"] == {"kanary.k8s.io/name": "rule"}
    assert world.status()["phase"] == "Ready"
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.run("the user takes that back")
    assert world.objects["Service", "myapp"]["spec"] == theirs["spec"]
    assert not world.objects["Kanary", "rule"]["metadata"]["finalizers"]


def test_the_older_of_two_kanaries_keeps_the_destination(serving: World) -> None:
    serving.wait(1)
    serving.apply_kanary("younger", destination="myapp", routes=routes(myapp_v1=100))
    serving.run("a second Kanary wants the same destination", "younger")
    serving.run("the first is not disturbed")
    serving.remove("Kanary", "rule")
    for kind, name in [key for key in serving.objects if key[0] in ("Service", "Deployment", "ConfigMap")]:
        owners = serving.objects[kind, name]["metadata"].get("ownerReferences")
        if owners and owners[0]["name"] == "rule":
            serving.remove(kind, name)
    serving.run("the first is deleted, and all that it owned", "younger")
    assert serving.status("younger")["phase"] == "Ready"


def test_an_image_that_cannot_be_pulled_is_reported_before_and_after_the_deadline(serving: World) -> None:
    serving.bad_images["haproxy:typo"] = "no such image"
    declare(serving, 80, 20, proxy={"image": "haproxy:typo"}, progressDeadlineSeconds=60)
    serving.run("a misspelt image")
    serving.wait(60)
    serving.run("60 s later")
    serving.run("nothing changes")
    declare(serving, 80, 20)
    serving.run("the image is put right")


def test_proxies_that_get_ready_after_the_deadline_are_ready(serving: World) -> None:
    serving.slow_proxies = True
    declare(serving, 50, 50, progressDeadlineSeconds=60)
    serving.run("proxies that start slowly")
    serving.wait(60)
    serving.run("60 s later")
    serving.slow_proxies = False
    serving.run("they are ready at last")
    assert serving.status()["phase"] == "Ready"


def test_paused_holds_the_weights_and_follows_endpoints(serving: World) -> None:
    declare(serving, 50, 50, paused=True)
    serving.run("50 to 50, but paused")
    serving.scale("myapp-v1", 3)
    serving.run("a third pod")
    assert len(servers(serving)) == 4
    declare(serving, 50, 50)
    serving.run("not paused any more")
    assert serving.status()["revision"] == 2


def test_a_proxy_is_lost_and_replaced(serving: World) -> None:
    serving.slow_proxies = True
    lost = serving.proxy_pods(NAMESPACE, "rule")[0]["metadata"]["name"]
    serving.remove("Pod", lost)
    serving.roll_proxies()
    serving.run("a node takes a proxy with it")
    serving.slow_proxies = False
    serving.run("its replacement is ready")
    assert serving.status()["phase"] == "Ready"


def test_the_api_server_rejects_an_object(world: World) -> None:
    world.create_service("myapp-v1", 1)
    world.rejections["Deployment"] = "exceeded quota: requests.cpu (403 Forbidden)"
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.run("a quota leaves no room for proxies")
    world.run("and goes on doing so")
    assert [event for event in world.events if event.startswith("Warning")] == [
        "Warning RejectedByCluster: " + world.status()["message"]
    ]
    world.rejections.clear()
    world.run("the quota is raised")
    assert world.status()["phase"] == "Ready"


def test_a_config_map_of_the_users_is_not_touched(world: World) -> None:
    world.create_service("myapp-v1", 1)
    world._put("ConfigMap", "rule-haproxy", {"data": {"theirs": "stays"}})
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.run("an object of the user's has the name of one of ours")
    assert world.objects["ConfigMap", "rule-haproxy"]["data"] == {"theirs": "stays"}


@pytest.mark.parametrize("garbage", ["garbage", {"phase": "Dancing", "revision": "x", "transitions": 3}, []])
def test_a_spoilt_status_is_recovered_from(garbage: object, request: pytest.FixtureRequest) -> None:
    world = World()
    world.create_service("myapp-v1", 1)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.run("a Kanary serves")
    world.objects["Kanary", "rule"]["status"] = garbage
    config = world.config()
    world.settle()
    assert world.status()["phase"] == "Ready"
    assert world.config() == config


@pytest.mark.parametrize("writes", range(7))
def test_a_process_that_dies_after_any_write_is_carried_on_from(writes: int) -> None:
    world = World()
    world.create_service("myapp-v1", 1)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.settle()
    declare(world, 10, 90, destination="shop")
    world.die_after = writes
    with pytest.raises(RetryLaterError):
        world.settle()
    world.die_after = None
    world.settle()
    status = world.status()
    assert (status["phase"], status["revision"]) == ("Ready", 2)
    assert status["display"]["weights"] == "myapp-v1:http=10 myapp-v2:http=90"
    assert ("Service", "myapp") not in world.objects
    numbers = [entry["number"] for entry in status["history"]["entries"]]
    assert numbers == sorted(set(numbers))
    changes = [entry for entry in world.entries.values() if isinstance(entry, WeightChange)]
    assert [change.revision for change in changes] == [1, 2]


def test_what_is_made_belongs_to_the_kanary(serving: World) -> None:
    uid = serving.objects["Kanary", "rule"]["metadata"]["uid"]
    owner = Identity(NAMESPACE, "rule", uid)
    ours = [("ConfigMap", "rule-haproxy"), ("Deployment", "rule-haproxy"), ("Service", "myapp")]
    for kind, name in [*ours, ("PodDisruptionBudget", "rule-haproxy")]:
        metadata = serving.objects[kind, name]["metadata"]
        assert metadata["ownerReferences"][0]["uid"] == uid
        assert owner.labels.items() <= metadata["labels"].items()


def test_time_spent_waiting_for_a_destination_does_not_count_against_the_deadline(serving: World) -> None:
    serving.wait(1)
    serving.apply_kanary("younger", destination="myapp", routes=routes(myapp_v1=100), progressDeadlineSeconds=60)
    serving.run("a second Kanary wants the same destination", "younger")
    serving.remove("Kanary", "rule")
    serving.remove("Service", "myapp")
    serving.wait(3600)
    serving.run("an hour later the first is gone", "younger")
    assert [move.reason for move in serving.moves("younger")] == [
        "DestinationTaken",
        "ConfigurationChanged",
        "RollingOut",
        "Serving",
    ]


def test_a_replaced_proxy_that_still_listens_keeps_the_kanary_from_being_ready(serving: World) -> None:
    serving.stop_slowly = True
    declare(serving, 50, 50)
    serving.run("50 to 50; the old proxies stop, and listen for a while longer")
    assert serving.status()["phase"] == "Rolling"
    serving.wait(7)
    serving.run("7 s later")
    assert serving.status()["phase"] == "Ready"


def test_endpoints_that_never_stop_changing_do_not_exceed_the_deadline_while_rollouts_arrive(serving: World) -> None:
    declare(serving, 80, 20, progressDeadlineSeconds=60)
    serving.settle()
    for pods in (3, 4, 5, 6):
        serving.scale("myapp-v1", pods)
        serving.step()
        serving.step()
        serving.roll_proxies()
        serving.wait(40)
    serving.run("more than 60 s of endpoints that change as soon as the proxies have arrived")
    assert "ProgressDeadlineExceeded" not in [move.reason for move in serving.moves()]
    assert serving.status()["phase"] == "Ready"


def test_a_record_that_is_damaged_is_written_again_and_the_revision_stays(serving: World) -> None:
    serving.objects["ConfigMap", "rule-haproxy"]["data"] = {"haproxy.cfg": "spoilt"}
    serving.run("a user edits the ConfigMap")
    assert "frontend split" in serving.config()
    assert serving.status()["revision"] == 1
    assert not [event for event in serving.events if "WeightsChanged" in event]


def test_a_selector_with_additions_is_corrected(serving: World) -> None:
    serving.objects["Service", "myapp"]["spec"]["selector"]["app"] = "mine"
    serving.run("a user adds to the destination's selector, which then selects no proxy")
    assert "app" not in serving.objects["Service", "myapp"]["spec"]["selector"]


def mounted(world: World) -> set[str]:
    return {name for kind, name in world.objects if kind == "ConfigMap" and name != "rule-haproxy"}


def test_what_the_last_good_proxies_mount_stays_until_the_next_ones_serve(serving: World) -> None:
    before = mounted(serving)
    serving.bad_images["haproxy:typo"] = "no such image"
    declare(serving, 50, 50, proxy={"image": "haproxy:typo"})
    serving.run("50 to 50 with a misspelt image")
    assert mounted(serving) > before
    declare(serving, 50, 50)
    serving.run("the image is put right")
    assert len(mounted(serving)) == 1
    assert not mounted(serving) & before


def test_weights_are_reported_as_they_are_served(serving: World) -> None:
    serving.slow_proxies = True
    declare(serving, 50, 50)
    serving.run("50 to 50, and proxies that do not start")
    assert serving.status()["display"] == {"weights": "myapp-v1:http=80 myapp-v2:http=20", "ready": "0/2"}
    assert [weight["weight"] for weight in serving.status()["weights"]] == [80, 20]
    serving.slow_proxies = False
    serving.run("they start at last")
    assert serving.status()["display"] == {"weights": "myapp-v1:http=50 myapp-v2:http=50", "ready": "2/2"}


def test_one_port_under_its_name_and_its_number_is_the_same_backend(serving: World) -> None:
    twice = [*routes(myapp_v1=50), {"backend": {"serviceName": "myapp-v1", "servicePort": 80}, "weight": 50}]
    serving.apply_kanary(destination="myapp", routes=twice)
    serving.run("myapp-v1 by name and by number")
    assert serving.status()["reason"] == "DuplicateBackend"


def test_proxies_that_are_reached_over_ipv6_listen_there_whatever_endpoints_there_are(world: World) -> None:
    world.family = "IPv6"
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.run("a cluster of IPv6")
    world.scale("myapp-v1", 0)
    world.scale("myapp-v2", 0)
    world.run("no endpoint is left")
    assert servers(world) == []
    assert world.config().count("v6only") == 2
    before = world.config()
    for pod in world.proxy_pods(NAMESPACE, "rule"):
        world.remove("Pod", pod["metadata"]["name"])
    world.run("all proxies are lost: new ones find the same configuration")
    assert world.config() == before


def names_of_pods(world: World) -> set[str]:
    """Of the ConfigMaps of the proxies that are there."""
    owner = Identity(NAMESPACE, "rule", "")
    proxies = (read_proxy(pod, None) for pod in world.proxy_pods(NAMESPACE, "rule"))
    return {owner.mounted_name(proxy.serves) for proxy in proxies if not proxy.has_ended}


def test_a_rollout_that_cannot_complete_leaves_no_config_maps_behind(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.run("two Services with pods, and a Kanary of 80 to 20")
    world.slow_proxies = True
    world.story.append("\n# no new proxy becomes ready, and endpoints change five times")
    for _ in range(5):
        world.scale("myapp-v1", 0)
        world.scale("myapp-v1", 3)
        world.wait(61)
        world.settle()
        assert mounted(world) == names_of_pods(world)
        assert len(mounted(world)) == 2


def test_what_a_stopping_proxy_mounts_stays_until_it_has_ended(serving: World) -> None:
    serving.stop_slowly = True
    before = mounted(serving)
    declare(serving, 50, 50)
    serving.run("50 to 50, and the old proxies drain")
    serving.wait(7)
    serving.run("they do not listen any more")
    assert serving.status()["phase"] == "Ready"
    assert before < mounted(serving) == names_of_pods(serving)
    for pod in serving.proxy_pods(NAMESPACE, "rule"):
        if "deletionTimestamp" in pod["metadata"]:
            serving.objects["Pod", pod["metadata"]["name"]]["status"]["phase"] = "Succeeded"
    serving.run("they have ended")
    assert not before & mounted(serving)


def test_what_a_lost_proxy_mounted_stays_while_its_replica_set_makes_another_one(serving: World) -> None:
    before = mounted(serving)
    serving.slow_proxies = True
    serving.templates = [serving.objects["Deployment", "rule-haproxy"]["spec"]["template"]]
    declare(serving, 50, 50)
    serving.run("50 to 50, and the new proxies do not become ready")
    for pod in serving.proxy_pods(NAMESPACE, "rule"):
        if pod["status"]["conditions"][0]["status"] == "True":
            serving.remove("Pod", pod["metadata"]["name"])
    serving.run("the old ones are lost")
    assert before < mounted(serving)
    serving.templates = []
    serving.run("their ReplicaSet is not to have any more")
    assert not before & mounted(serving)

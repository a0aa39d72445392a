"""Shows a Kanary at work on a kind cluster: ``make demo``.

Creates the cluster unless it runs already, installs the operator, applies ``examples/simple-stack.yml`` and counts the
answers to real connections, first at 80/20 and then at 50/50. Then a version that resets its connections is rolled out
by steps, and rolled back. Exits with 1 if a split is not the declared one.
"""

import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.e2e import operator
from tests.e2e.kind import ROOT, SCRIPTS, Cluster
from tests.e2e.kubectl import Kubectl, environment
from tests.e2e.scene import SPLIT_PORT, Scene, moves_of
from tests.e2e.traffic import Client, Count
from tests.e2e.waiting import wait_until

WIDTH = 100
NAME = "simple-kanary-rule"
DESTINATION = "myapp"
STACK = "examples/simple-stack.yml"
CONNECTIONS = 1000
CHANGES = 2
ROLLOUT = "examples/05-rollout"
MADE_BY_KANARY = ("-n", "default", "services,deployments,configmaps", "-l", "app.kubernetes.io/managed-by=kanary")
PATIENCE = 180
LOG = ROOT / "build" / "logs" / "demo.log"


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def title(text: str) -> None:
    """Begin a part of the demo."""
    say(f"\n{text}\n{'-' * len(text)}")


def step(what: str, expected: str, *command: str) -> None:
    """Run a long command: print its headlines and how long it took."""
    say(f"{what}\n    takes {expected}")
    began = time.monotonic()
    pipe = subprocess.PIPE
    # The commands are this project's own.
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    with LOG.open("a") as log, process:
        for line in process.stdout or ():
            log.write(line)
            if line.startswith("== "):
                say(f"    {line[3:].rstrip()[: WIDTH - 4]}")
    if process.returncode:
        sys.exit(f"{what}: failed\n{tail_of_log()}\nThe whole log is {LOG}")
    say(f"    done in {time.monotonic() - began:.0f} s")


def tail_of_log() -> str:
    """The last lines of what the steps printed."""
    return "\n".join(LOG.read_text().splitlines()[-20:])


def shown(kubectl: Kubectl, *arguments: str) -> None:
    """Run kubectl, and show both the command and its output."""
    say(f"$ kubectl {' '.join(arguments)}")
    say(kubectl(*arguments).rstrip())


class Phases:
    """Prints the phases of a Kanary as they change. Create it before the change."""

    def __init__(self, scene: Scene, name: str = NAME) -> None:
        self._scene = scene
        self._name = name
        self._began = time.monotonic()
        self._shown = ("", "")
        found = scene.kubectl.find("kanary", name) or {}
        self._number = max((move["number"] for move in moves_of(found.get("status", {}))), default=0)

    def follow(self, reason: str = "Serving") -> None:
        """Print until the Kanary has this reason, by default that of Ready. Exits if that takes too long."""
        say(f"{'TIME':>7}  {'PHASE':<10} {'REASON':<21} MESSAGE")
        while time.monotonic() < self._began + PATIENCE:
            status = self._scene.status(self._name)
            for move in moves_of(status):
                if move["number"] > self._number:
                    self._number = move["number"]
                    self._show(move["to"], move["reason"], move["message"])
            self._show(status.get("phase", ""), status.get("reason", ""), status.get("message", ""))
            if status.get("reason") == reason:
                return
            time.sleep(0.2)
        sys.exit(f"not {reason} within {PATIENCE} s; see: kubectl describe kanary {self._name}")

    def _show(self, phase: str, reason: str, message: str) -> None:
        if not phase or self._shown == (phase, message):
            return
        self._shown = (phase, message)
        head = f"{time.monotonic() - self._began:5.1f} s  {phase:<10} {reason:<21} "
        first, *more = textwrap.wrap(message, WIDTH - len(head))
        say(head + first)
        for line in more:
            say(" " * len(head) + line)


def show_count(counted: Count) -> None:
    """Print the answers by version, as a table."""
    for version, number in sorted(counted.versions.items()):
        share = number / counted.connections
        say(f"    {version:<4} {number:>5} connections  {share:6.1%}  {'#' * round(50 * share)}")
    for error, number in counted.errors.items():
        say(f"    {number:>5} connections failed: {error}")


def check_split(scene: Scene, client: Client, expected: dict[str, int]) -> None:
    """Count connections through the Service, and to one proxy, whose split has to be exact."""
    address = scene.service_address(DESTINATION)
    say(f"{CONNECTIONS} connections through Service {DESTINATION} ({address}), shared by two proxies:")
    through_service = client.count(address, 80, CONNECTIONS)
    show_count(through_service)
    proxy = scene.proxy_pods(NAME)[0]
    say(f"{CONNECTIONS} connections to one of the proxies ({proxy['metadata']['name']}):")
    at_one_proxy = client.count(proxy["status"]["podIP"], SPLIT_PORT, CONNECTIONS)
    show_count(at_one_proxy)
    exact = {version: CONNECTIONS * weight // 100 for version, weight in expected.items()}
    if at_one_proxy.versions != exact or through_service.errors:
        sys.exit(f"that is not the declared split: one proxy must give {exact}, and no connection may fail")
    say(f"Exactly as declared: {', '.join(f'{version} {number}' for version, number in exact.items())}.")


def prepare(name: str) -> Cluster:
    """Create the engine, the cluster and the images if they are missing."""
    title("Preparing")
    step("Docker engine", "seconds; minutes if it has to be installed", str(SCRIPTS / "docker-engine"))
    step(
        f"kind cluster {name} and its images",
        "1 to 2 minutes; without an image registry up to 8, the first time",
        sys.executable, "-m", "tests.e2e.kind", "up", name,
    )  # fmt: skip
    return Cluster(name)


def install(kubectl: Kubectl) -> None:
    """Install the operator, and remove what an earlier demo left."""
    say("operator, from manifests/kanary.yml\n    takes 10 to 30 s")
    began = time.monotonic()
    operator.install(kubectl)
    for made in (STACK, f"{ROLLOUT}/versions.yml", f"{ROLLOUT}/kanary-v1.yml"):
        kubectl("delete", "-f", made, "--ignore-not-found", "--timeout=60s")
    wait_until(lambda: not kubectl.get(*MADE_BY_KANARY)["items"], "the end of an earlier demo's proxies")
    say(f"    done in {time.monotonic() - began:.0f} s")


def show_first_split(scene: Scene) -> Client:
    """Apply the stack and show its 80/20."""
    title("Two versions and a Kanary: 80 % to v1, 20 % to v2")
    phases = Phases(scene)
    shown(scene.kubectl, "apply", "-f", STACK)
    say()
    phases.follow()
    client = Client(scene.kubectl)
    say()
    shown(scene.kubectl, "get", "ky")
    say()
    check_split(scene, client, {"v1": 80, "v2": 20})
    return client


def show_second_split(scene: Scene, client: Client) -> None:
    """Change the weights and show 50/50."""
    title("New weights: 50 % each")
    phases = Phases(scene)
    say(f"$ sed 's/weight: .*/weight: 50/' {STACK} | kubectl apply -f -")
    lines = (ROOT / STACK).read_text().replace("weight: 80", "weight: 50").replace("weight: 20", "weight: 50")
    say(scene.kubectl("apply", "-f", "-", given=lines).rstrip())
    say()
    phases.follow()
    say()
    shown(scene.kubectl, "get", "ky")
    say()
    check_split(scene, client, {"v1": 50, "v2": 50})


def show_history(scene: Scene) -> None:
    """Show both changes with `kanary history`."""
    title("The history of the changes")
    program = Path(sys.executable).with_name("kanary")
    command = [str(program), "history", NAME]

    def both_changes() -> str:
        # The command is part of this project.
        done = subprocess.run(  # noqa: S603
            command, env=environment(scene.kubectl), capture_output=True, text=True, check=False
        )
        return done.stdout if done.stdout.count("Ready") == CHANGES else ""

    lines = wait_until(both_changes, "both changes in the history")
    say(f"$ kanary history {NAME}")
    say(lines.rstrip())


def show_rollback(scene: Scene, client: Client) -> None:
    """Roll out a version that resets its connections, while clients connect."""
    title("A rollout by steps: v3 resets its connections")
    phases = Phases(scene, "pay")
    shown(scene.kubectl, "apply", "-f", f"{ROLLOUT}/versions.yml", "-f", f"{ROLLOUT}/kanary-v1.yml")
    say()
    phases.follow()
    say()
    with client.keep_counting(scene.service_address("pay"), 80) as counting:
        phases = Phases(scene, "pay")
        shown(scene.kubectl, "apply", "-f", f"{ROLLOUT}/kanary-v3.yml")
        say()
        phases.follow("RolledBack")
        counted = counting.stop_counting()
    say()
    say(f"{counted.connections} connections through Service pay meanwhile:")
    show_count(counted)
    say()
    shown(scene.kubectl, "get", "ky")
    if counted.versions.keys() != {"v1"} or not counted.errors:
        sys.exit("v3 must have failed, and v1 must have answered everything else")


def say_next_steps(cluster: Cluster) -> None:
    """Leave the user with a running cluster and something to do."""
    title("Next steps")
    for command, remark in (
        (f"export KUBECONFIG={cluster.kubeconfig_path}", ""),
        *([] if shutil.which("kubectl") else [(f"alias kubectl={cluster.kubectl_path}", "")]),
        (f"kubectl describe ky {NAME}", "conditions, history, Events"),
        (f"kubectl get configmap {NAME}-haproxy -o yaml", "the configuration of the proxies"),
        ("kubectl scale deployment myapp-v2 --replicas=3", "more pods, the same split"),
        (f"kubectl edit ky {NAME}", "other weights; try 80 and 30"),
        (f".venv/bin/kanary undo {NAME}", "restores the weights before"),
        ("less examples/README.md", "more examples"),
        ("make demo-down", "removes the cluster"),
    ):
        say(f"{command:<58}  # {remark}" if remark else command)


def main(name: str) -> None:
    """Run the demo on the cluster of that name."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    began = time.monotonic()
    cluster = prepare(name)
    kubectl = cluster.client()
    install(kubectl)
    scene = Scene(kubectl, "default")
    client = show_first_split(scene)
    show_second_split(scene, client)
    show_history(scene)
    show_rollback(scene, client)
    say_next_steps(cluster)
    say(f"\nThe demo took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "kanary-demo")

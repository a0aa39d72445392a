"""The commands about manifests: what they accept, and their help. Each imports its code when it runs."""

from __future__ import annotations

import sys
from typing import Any, Literal

import click

from kanary.cli import suggest
from kanary.cli.parameters import WholeNumber, age, cluster_options, file_option, namespace_option, text
from kanary.cli.parameters import name as object_name
from kanary.cli.traffic import read_burst, read_failing, read_rate


@click.command()
@file_option("Manifests with a Kanary; - for stdin.")
@click.option(
    "--endpoints",
    multiple=True,
    metavar="SERVICE=IP:PORT[,IP:PORT...]",
    help="Endpoints of a backend, e.g. myapp-v1=10.0.0.1:9000 or myapp-v1=[fd00::1]:9000; may be repeated.",
)
@click.option("--from-cluster", is_flag=True, help="Read endpoints that are not given from the cluster.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["objects", "config"]),
    default="objects",
    show_default=True,
    help="All objects, or haproxy.cfg only.",
)
@click.option("--proxy-image", metavar="IMAGE", help="Default HAProxy image.")
@click.option(
    "--pod-sysctls/--no-pod-sysctls",
    default=True,
    show_default=True,
    help="Kernel parameters of the proxies' pods, as the operator sets them.",
)
@cluster_options
def render(filename: str, output: Literal["objects", "config"], **options: Any) -> None:
    """Print the haproxy.cfg and the Kubernetes objects of a Kanary.

    This needs no cluster: endpoints are given, and the objects are those for a
    current Kubernetes. With --from-cluster, endpoints and version are read from
    the kubeconfig's context.
    """
    from kanary.cli.render import render_file

    sys.stdout.write(render_file(filename, output=output, **options))


@click.command()
@click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    metavar="FILE|DIR",
    shell_complete=suggest.files,
    help="Manifests; - for stdin. Of a folder all .yaml, .yml and .json files; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also if there are only warnings.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.argument("paths", nargs=-1, metavar="[FILE|DIR]...", shell_complete=suggest.files, help="The same as -f.")
def lint(filenames: tuple[str, ...], paths: tuple[str, ...], output: str, *, strict: bool) -> int:
    """Check manifests as the operator does, without a cluster.

    Each problem has its file, line and column. Kanaries and Services of one
    folder are checked together: a port that a Service does not have, or two
    Kanaries with one destination. Other objects are ignored.

    \b
      kanary lint -f web.yaml
      kanary lint deploy/ -o sarif > kanary.sarif

    The exit code is 0 if the operator would accept all Kanaries, otherwise 1.
    """
    if not filenames and not paths:
        raise click.UsageError("name a manifest or a folder: kanary lint -f FILE|DIR")
    from kanary.cli.lint import lint

    return lint((*filenames, *paths), output, strict=strict)


@click.command()
@file_option("Manifest with a Kanary; - for stdin.")
@click.option(
    "--rate", required=True, type=read_rate, metavar="N/s", help="Connections per second to all routes, e.g. 50/s."
)
@click.option(
    "--fail",
    "failing",
    multiple=True,
    type=read_failing,
    metavar="BACKEND=PERCENT%",
    help="How many connections to a version fail, e.g. myapp-v2=3%; may be repeated.  [default: none]",
)
@click.option(
    "--burst",
    "bursts",
    multiple=True,
    type=read_burst,
    metavar="PERCENT%@START+TIME",
    help="Failures of all versions for a time, e.g. 5%@10m+30s; may be repeated.",
)
@click.option(
    "--from",
    "start",
    type=text,
    metavar="BACKEND=WEIGHT[,...]",
    help="Weights before the rollout.  [default: 100 for the first route with weight 0]",
)
@click.option(
    "--promote-after",
    type=age,
    metavar="TIME",
    help="When steps that wait for a promotion are promoted.  [default: at once]",
)
@click.option("--runs", type=WholeNumber(1, 100_000), default=200, show_default=True, help="Number of runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another number gives other random runs.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def simulate(filename: str, **options: Any) -> None:
    """Simulate a rollout, to choose its steps and limits.

    The rules, weights and verdicts are those of the operator; the traffic is a
    model: connections arrive evenly, and each one fails independently. The
    first run is printed as a story. Of all runs, the results are: how often the
    rollout is rolled back, completes, or waits for a person because the
    evidence does not suffice; in which step, after which time, and after how
    many failed connections to the new version.

    \b
      kanary simulate -f web.yaml --rate 50/s --fail web-v1=0.1% --fail web-v2=3%

    Proxies serve each step at once, and pods are never missing. Windows,
    freezes, pauses, webhooks and Prometheus queries are left out. No cluster is
    needed.
    """
    from kanary.cli.simulate import simulate

    simulate(filename, **options)


@click.command()
@file_option("Manifest with Kanaries; - for stdin.")
@namespace_option("the context's; offline: default")
@click.option("--offline", is_flag=True, help="Use no cluster.")
@click.option(
    "--against",
    metavar="FILE",
    shell_complete=suggest.files,
    help="Compare with this manifest instead of a cluster, such as the version in Git; implies --offline.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 3 if anything would change.")
@click.option("--proxy-image", metavar="IMAGE", help="Default HAProxy image of the operator.  [default: that in use]")
@click.option(
    "--pod-sysctls/--no-pod-sysctls",
    default=True,
    show_default=True,
    help="Kernel parameters of new proxies' pods, as the operator sets them.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@cluster_options
def plan(*, offline: bool, against: str | None, kubeconfig: str | None, context: str | None, **options: Any) -> int:
    """Show what applying a manifest would change. Nothing is written.

    The operator's own code decides, as it would after `kubectl apply`: weights,
    the steps of a rollout, endpoints, Kubernetes objects, haproxy.cfg, and
    which open connections may end. Webhooks are not called, and count as
    passed.

    \b
      kanary plan -f web.yaml
      git show HEAD:web.yaml > old.yaml
      kanary plan -f web.yaml --against old.yaml

    This needs the rights to read Kanaries, Services, EndpointSlices, ConfigMaps,
    Deployments and pods of the namespace, and for the number of open connections
    to forward ports of the proxies. Without a cluster, each backend has one
    endpoint, an address of 192.0.2.0/24.

    Exit codes: 0, also if there are changes; 1 if the operator would not apply
    a spec, or for an error; with --exit-code, 3 if there are changes.
    """
    from kanary.cli.access import connect_or, reported
    from kanary.cli.plan import plan

    with reported():
        way_out = "plan without a cluster: --offline, or --against FILE"
        client = None if offline or against else connect_or(way_out, kubeconfig, context)
        return plan(client=client, against=against, **options)


@click.command()
@click.argument("service", type=object_name, help="A Service that has traffic.")
@click.option("--as", "kanary", type=object_name, metavar="NAME", help="Name of the Kanary.  [default: SERVICE]")
@namespace_option()
@cluster_options
def adopt(*, service: str, kanary: str | None, namespace: str | None, **way: str | None) -> None:
    """Print the manifest to adopt a Service with traffic.

    It has a Service for the present pods, one for those of the next version,
    and the Kanary with the weights 100 and 0. The steps are printed to the
    standard error output. Nothing is written to the cluster.

    \b
      kanary adopt web > web.yaml
      kanary adopt web --as web-split -n shop > web-split.yaml

    This needs the rights to read the Services, pods, Deployments and Kanaries of
    the namespace (ClusterRole kanary-view).
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.adopt import adopt

    with reported():
        client = connect(**way)
        adopt(client, namespace or client.namespace, service, kanary or service)


COMMANDS = (adopt, lint, plan, render, simulate)

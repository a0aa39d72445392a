"""The command line `kanary`. Each command imports what it needs, so that `--help` is fast."""

import argparse
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

from kanary.cli.arguments import add_commands, joined
from kanary.cli.failure import CommandError
from kanary.cli.text import one_line
from kanary.version import VERSION

_EPILOG = "Kanary splits the TCP connections of one Kubernetes Service between several, by weight, with HAProxy."


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 for success, 1 for an error that was told, 2 for wrong usage."""
    _have_streams()
    given = joined(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A sign that the terminal's encoding has not is shown in another way; nothing fails for it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _done(options)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _drop_output()
        return 0
    except OSError as error:
        _drop_output()
        print(f"kanary: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _have_streams() -> None:
    """Whoever closed one of them (`kanary ... >&-`) does not want it; Python has None in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 -- open to the end, as the others are


def _done(options: argparse.Namespace) -> int:
    try:
        code = int(options.run(options))
    except CommandError as error:
        # What was written before goes first.
        sys.stdout.flush()
        print(f"kanary: {one_line(str(error))}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    return code


def _drop_output() -> None:
    """Have what is left of the output go nowhere, or Python complains about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_program(), description=_EPILOG, formatter_class=_Help)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_render(commands)
    add_commands(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


class _Help(argparse.HelpFormatter):
    """With room for the longest command on the line of its help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        # Left alone, it forgets that commands are indented, and breaks the lines of the longest.
        self._action_max_length = 18


def _program() -> str:
    """What was called: kubectl runs `kubectl-kanary` for `kubectl kanary`."""
    return "kubectl kanary" if Path(sys.argv[0]).stem == "kubectl-kanary" else "kanary"


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="run the operator, in a cluster or from a laptop",
        description="Runs the operator. In a pod it uses the pod's service account, elsewhere a kubeconfig. Several "
        "replicas elect a leader. It serves /healthz, /readyz and /metrics.",
    )
    _add_cluster_options(run)
    run.add_argument("--namespace", help="work in this namespace only (default: all; env KANARY_NAMESPACE)")
    run.add_argument(
        "--proxy-image", help="HAProxy image where a Kanary names none (env KANARY_PROXY_IMAGE)", metavar="IMAGE"
    )
    run.add_argument("--workers", type=_positive, help="reconciles at the same time (default: 4)", metavar="N")
    run.add_argument("--http-port", type=_port, help="port of the HTTP endpoints (default: 8080, 0: any)")
    run.add_argument("--lease-namespace", help="namespace of the leader's Lease (default: the operator's own)")
    run.add_argument("--lease-name", help="name of the leader's Lease (default: kanary)")
    run.add_argument(
        "--no-leader-election", dest="leader_election", action="store_false", default=None, help="be the only operator"
    )
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="default: info")
    run.set_defaults(run=_run)


def _add_render(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    render = commands.add_parser(
        "render",
        help="print what a Kanary would become",
        description="Prints the haproxy.cfg and the Kubernetes objects that a Kanary would become. Needs no cluster: "
        "endpoints are given, or with --from-cluster taken from the kubeconfig's context.",
    )
    render.add_argument("-f", "--filename", required=True, metavar="FILE", help="manifests with a Kanary; - for stdin")
    render.add_argument(
        "--endpoints",
        action="append",
        default=[],
        metavar="SERVICE=IP:PORT[,IP:PORT...]",
        help="endpoints of a backend, e.g. myapp-v1=10.0.0.1:9000 or myapp-v1=[fd00::1]:9000; may be repeated",
    )
    render.add_argument(
        "--from-cluster", action="store_true", help="take endpoints that are not given from the cluster"
    )
    render.add_argument("-o", "--output", choices=("objects", "config"), default="objects", help="default: objects")
    render.add_argument("--proxy-image", metavar="IMAGE", help="HAProxy image where the Kanary names none")
    _add_cluster_options(render)
    render.set_defaults(run=_render)


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, then ~/.kube/config")
    parser.add_argument("--context", help="context of the kubeconfig (default: the current one)")


def _run(options: argparse.Namespace) -> int:
    from kanary.operator.run import run
    from kanary.operator.settings import Settings

    settings = Settings.from_environment()
    given = {name: value for name, value in vars(options).items() if value is not None and name != "run"}
    return run(replace(settings, **given))


def _render(options: argparse.Namespace) -> int:
    from kanary.cli.render import RenderError, render_file

    try:
        text = render_file(
            options.filename,
            endpoints=options.endpoints,
            from_cluster=options.from_cluster,
            output=options.output,
            proxy_image=options.proxy_image,
            kubeconfig=options.kubeconfig,
            context=options.context,
        )
    except RenderError as error:
        print(f"kanary: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


def _version(options: argparse.Namespace) -> int:  # noqa: ARG001  every command takes the options
    print(f"kanary {VERSION}")
    return 0


def _positive(text: str) -> int:
    return _whole(text, 1, 1000)


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

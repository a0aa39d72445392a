"""The command line, as a user meets it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import click
import pytest
import yaml

from kanary.cli.main import cli, main
from kanary.operator import run as run_module
from kanary.operator.settings import SETTINGS, Settings
from kanary.version import VERSION
from tests.cli.record import record, story
from tests.unit.kanaries import kanary
from tests.unit.responder import write_kubeconfig

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("kubernetes", "urllib3", "websocket", "pydantic", "pydantic_settings", "transitions", "yaml"),
    *("prometheus_client", "starlette", "uvicorn", "sqlalchemy", "alembic"),
}


def _commands(group: click.Group, *path: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*path, name]
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)


COMMANDS = tuple(path for path in _commands(cli) if path != ["version"])


def kanary_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kanary.cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, **options)


def imported_by(arguments: Sequence[str]) -> set[str]:
    """The top-level modules that are loaded once the command has run."""
    code = (
        "import sys\n"
        "from kanary.cli.main import cli, main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "finally:\n"
        "    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "kanary.yml"
    path.write_text(yaml.safe_dump(kanary()))
    return str(path)


@pytest.fixture
def settings_of_run(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the operator would be started with."""
    given: list[Settings] = []

    def run(settings: Settings) -> int:
        given.append(settings)
        return 7

    monkeypatch.setattr(run_module, "run", run)
    return given


# Start


@pytest.mark.parametrize("arguments", [["--help"], ["version"], *([*command, "--help"] for command in COMMANDS)])
def test_help_and_version_load_no_library(arguments: list[str]) -> None:
    expected = {"pydantic", "pydantic_settings"} if arguments[0] == "run" else set()
    assert imported_by(arguments) & HEAVY == expected


def test_rendering_from_a_file_loads_no_cluster_client(manifest: str) -> None:
    loaded = imported_by(["render", "-f", manifest, "--endpoints", "myapp-v1=10.0.0.1:1", "--endpoints", "myapp-v2="])
    assert loaded & {"kubernetes", "urllib3", "prometheus_client"} == set()
    assert "pydantic" in loaded


def test_simulating_from_a_file_loads_no_cluster_client(tmp_path: Path) -> None:
    filename = tmp_path / "kanary.yml"
    filename.write_text(yaml.safe_dump(kanary(rollout={"steps": [{"to": 100}]})))
    loaded = imported_by(["simulate", "-f", str(filename), "--rate", "50/s", "--runs", "1"])
    assert loaded & {"kubernetes", "urllib3", "prometheus_client"} == set()
    assert "pydantic" in loaded


@pytest.fixture
def history(tmp_path: Path) -> str:
    return record(tmp_path / "history.db", [story(namespace="default", name="web")])


@pytest.mark.parametrize("arguments", [["history"], ["history", "web", "--transitions"], ["diff", "web", "2"]])
def test_a_database_is_read_without_the_cluster_client(history: str, arguments: list[str]) -> None:
    loaded = imported_by([*arguments, "--db", history])
    assert loaded & HEAVY == {"pydantic", "sqlalchemy"}


def test_the_operator_is_asked_without_a_database(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    loaded = imported_by(["history", "web", "--kubeconfig", str(kubeconfig)])
    assert loaded & {"sqlalchemy", "alembic", "prometheus_client", "transitions"} == set()
    assert {"kubernetes", "pydantic"} <= loaded


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [("version", 0), ("history nobody --db /nowhere/history.db", 1)])
def test_streams_may_be_closed(closed: str, command: str, code: int) -> None:
    shell = ["sh", "-c", f'exec "$0" -m kanary.cli.main {command} {closed}', sys.executable]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == (1 if code == 0 and ">&-" not in closed.replace("2>&-", "") else 0)


# Usage


def test_help_names_the_commands() -> None:
    done = kanary_process("--help")
    assert done.returncode == 0
    names = [command[0] for command in COMMANDS]
    assert [name for name in (*names, "version") if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(command: list[str]) -> None:
    done = kanary_process(*command, "--help", env={**os.environ, "COLUMNS": "80"})
    assert done.stdout.startswith(f"Usage: kanary {' '.join(command)} ")
    # A command to be copied is not broken.
    lines = [line for line in done.stdout.splitlines() if "kubectl" not in line]
    assert [line for line in lines if len(line) > 80] == []


def test_as_a_plugin_of_kubectl_it_goes_by_that_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-kanary", "history", "web", "-A"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("Usage: kubectl kanary history ")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"kanary {VERSION}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["roll"],
        ["render"],
        ["simulate"],
        ["render", "-f"],
        ["render", "-f", "x", "-o", "json"],
        ["run", "--workers", "0"],
        ["run", "--workers", "many"],
        ["run", "--workers", "-1"],
        ["run", "--http-port", "65536"],
        ["run", "--log-level", "loud"],
        ["version", "--short"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(("Usage: kanary", "Error: "))


def test_a_number_out_of_range_is_reported_with_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--workers", "5000"]) == 2
    assert "5000 is not in the range 1<=x<=1000" in capsys.readouterr().err


# render


def test_what_is_rendered_goes_to_standard_output_and_notes_do_not(
    manifest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "-f", manifest, "--endpoints", "myapp-v1=10.0.0.1:9000"]) == 0
    printed = capsys.readouterr()
    assert next(yaml.safe_load_all(printed.out))["kind"] == "ConfigMap"
    assert printed.err.startswith("kanary: note: backend myapp-v2:9090 is rendered without endpoints")


def test_the_configuration_alone_is_printed_on_request(manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--endpoints", "myapp-v1=10.0.0.1:9000", "--endpoints", "myapp-v2=[fd00::1]:9000"]
    assert main(["render", "-f", manifest, "-o", "config", *both]) == 0
    printed = capsys.readouterr()
    assert "  server 10.0.0.1:9000 10.0.0.1:9000 " in printed.out
    assert "  server fd00::1:9000 [fd00::1]:9000 " in printed.out
    assert printed.err == ""


def test_the_proxies_image_is_an_option(manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", manifest, "--proxy-image", "mine:1"]) == 0
    assert "image: mine:1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-f", "none.yml"], "kanary: none.yml: cannot be read: No such file or directory\n"),
        (["--endpoints", "v9=10.0.0.1:80"], "kanary: --endpoints v9=...: no route has such a backend: use myapp-v1, "),
        (
            ["--endpoints", "myapp-v1=here:80"],
            "kanary: --endpoints myapp-v1=here:80: 'here:80': 'here' does not appear",
        ),
        (["--from-cluster", "--kubeconfig", "none"], "kanary: --from-cluster: "),
    ],
)
def test_an_error_is_reported_in_one_line_and_exits_with_1(
    manifest: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "-f", manifest, *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(told)
    assert printed.err.count("\n") == 1


def test_standard_input_is_read_from_a_pipe(manifest: str) -> None:
    done = kanary_process("render", "-f", "-", "-o", "config", input=Path(manifest).read_text())
    assert done.returncode == 0
    assert "frontend split" in done.stdout


def into(output: IO[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as from a shell, where what is printed is buffered."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "kanary.cli.main", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [["version"], ["render", "-o", "config"], ["render"]])
def test_a_closed_pipe_is_no_error(arguments: list[str], manifest: str) -> None:
    """As in `kanary render -f x.yml | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = into(pipe, *arguments, *(["-f", manifest] if "render" in arguments else []))
    assert [line for line in done.stderr.splitlines() if not line.startswith("kanary: note: ")] == []
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["version"], ["render"]])
def test_output_that_cannot_be_written_is_reported_in_one_line(arguments: list[str], manifest: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = into(full, *arguments, *(["-f", manifest] if "render" in arguments else []))
    told = [line for line in done.stderr.splitlines() if not line.startswith("kanary: note: ")]
    assert done.returncode == 1
    assert len(told) == 1
    assert told[0].startswith("kanary: ")
    assert "No space left on device" in told[0]


# run


def test_the_operator_is_started_with_its_defaults(
    settings_of_run: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_NAME", "kanary-0")
    assert main(["run"]) == 7
    assert settings_of_run == [Settings(pod_name="kanary-0")]


def test_every_setting_is_an_option_of_run(settings_of_run: list[Settings]) -> None:
    options = {
        "--kubeconfig": "config",
        "--context": "kind",
        "--namespace": "shop",
        "--proxy-image": "mine:1",
        "--proxy-defaults": "{disruptionBudget: false}",
        "--workers": "8",
        "--http-port": "0",
        "--history-port": "1",
        "--lease-namespace": "ops",
        "--lease-name": "blue",
        "--history-url": "",
        "--history-days": "0",
        "--history-changes": "7",
        "--allowed-hosts": "example.com",
        "--pod-name": "kanary-0",
        "--pod-uid": "u-1",
        "--log-level": "debug",
        "--log-format": "text",
    }
    assert {*options, "--leader-election", "--pod-sysctls"} == {setting.option for setting in SETTINGS}
    main(["run", "--no-leader-election", "--no-pod-sysctls", *(part for pair in options.items() for part in pair)])
    assert settings_of_run == [
        Settings(
            kubeconfig="config",
            context="kind",
            namespace="shop",
            proxy_image="mine:1",
            pod_sysctls=False,
            proxy_defaults="{disruptionBudget: false}",
            workers=8,
            http_port=0,
            history_port=1,
            leader_election=False,
            lease_namespace="ops",
            lease_name="blue",
            history_url="",
            history_days=0,
            history_changes=7,
            allowed_hosts="example.com",
            pod_name="kanary-0",
            pod_uid="u-1",
            log_level="debug",
            log_format="text",
        )
    ]


def test_an_option_takes_precedence_over_the_environment(
    settings_of_run: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANARY_PROXY_IMAGE", "theirs:1")
    monkeypatch.setenv("KANARY_NAMESPACE", "prod")
    main(["run", "--proxy-image", "mine:1"])
    (settings,) = settings_of_run
    assert (settings.proxy_image, settings.namespace) == ("mine:1", "prod")


def test_leader_election_can_be_enabled_against_the_environment(
    settings_of_run: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANARY_LEADER_ELECTION", "false")
    main(["run"])
    main(["run", "--leader-election"])
    assert [settings.leader_election for settings in settings_of_run] == [False, True]


def test_help_of_run_has_each_setting_with_its_variable_and_default() -> None:
    text = " ".join(kanary_process("run", "--help", env={**os.environ, "COLUMNS": "200"}).stdout.split())
    missing = [
        setting.name
        for setting in SETTINGS
        if not (f"{setting.option} " in text and setting.description in text and f"env var: {setting.variable}" in text)
    ]
    assert missing == []
    assert "[env var: KANARY_WORKERS; default: 4; 1<=x<=1000]" in text


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--namespace", "", "expected a value that is not empty, not ''"),
        ("--history-url", "mysql://u:s3cret@h/x", "unsupported database mysql"),
        ("--workers", "0", "0 is not in the range 1<=x<=1000"),
    ],
)
def test_a_bad_option_is_named_and_exits_with_2(
    option: str, value: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", option, value]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Error: Invalid value for '{option}': {problem}")
    assert "s3cret" not in last


def test_a_bad_variable_is_named_in_one_line_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KANARY_WORKERS", "many")
    assert main(["run", "--http-port", "0"]) == 1
    assert capsys.readouterr().err == "kanary: KANARY_WORKERS: expected a whole number from 1 to 1000, not 'many'\n"


def test_an_operator_without_a_cluster_names_the_missing_kubeconfig(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    done = kanary_process("run", "--kubeconfig", missing, "--http-port", "0")
    assert done.returncode == 1
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--http-port", "--history-port"])
def test_a_port_that_is_taken_is_reported_with_the_options_for_another(tmp_path: Path, option: str) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    ports = {"--http-port": "0", "--history-port": "0"}
    with socket.create_server(("", 0)) as taken:
        ports[option] = str(taken.getsockname()[1])
        done = kanary_process("run", "--kubeconfig", kubeconfig, *(part for pair in ports.items() for part in pair))
    assert done.returncode == 1
    (line,) = map(json.loads, done.stderr.splitlines())
    assert line["message"].startswith("cannot listen: ")
    assert ports[option] in line["message"]
    assert line["message"].endswith("choose other ports by --http-port and --history-port")

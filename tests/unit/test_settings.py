"""The operator's settings: their sources, and the errors for invalid values."""

import os
import socket
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.render.pods import DEFAULT_PROXY_IMAGE
from kanary import settings_page
from kanary.operator.settings import SETTINGS, BadSettingError, Setting, Settings
from tests.test_architecture import ROOT

OTHERS: dict[str, tuple[str, Any]] = {
    "kubeconfig": ("/etc/kubeconfig", "/etc/kubeconfig"),
    "context": ("kind", "kind"),
    "namespace": ("shop", "shop"),
    "proxy_image": ("mine:1", "mine:1"),
    "pod_sysctls": ("false", False),
    "proxy_defaults": ("{disruptionBudget: false}", "{disruptionBudget: false}"),
    "workers": ("8", 8),
    "http_port": ("0", 0),
    "history_port": ("1", 1),
    "leader_election": ("false", False),
    "lease_namespace": ("ops", "ops"),
    "lease_name": ("blue", "blue"),
    "history_url": ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    "history_days": ("0", 0),
    "history_changes": ("7", 7),
    "allowed_hosts": ("a.example.com:443, *.b", "a.example.com:443, *.b"),
    "pod_name": ("kanary-0", "kanary-0"),
    "pod_uid": ("u-1", "u-1"),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
"""For each setting a value other than the default: as text, and as it is read."""


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)


def load(variable: str, value: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, value)
        return Settings.load()


def test_the_defaults() -> None:
    settings = Settings.load()
    assert settings.pod_name == socket.gethostname()
    assert (settings.workers, settings.http_port, settings.history_port) == (4, 8080, 8081)
    assert settings.log_level == "info"
    assert (settings.leader_election, settings.lease_name) == (True, "kanary")
    assert (settings.history_days, settings.history_changes) == (400, 1000)
    assert settings.proxy_image == DEFAULT_PROXY_IMAGE
    assert settings.namespace is None


def test_the_defaults_are_valid() -> None:
    for setting in SETTINGS:
        field = Settings.model_fields[setting.name]
        TypeAdapter(field.rebuild_annotation()).validate_python(field.get_default(call_default_factory=True))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_setting_is_read_from_its_environment_variable(setting: Setting) -> None:
    text, value = OTHERS[setting.name]
    assert getattr(load(setting.variable, text), setting.name) == value != getattr(Settings.load(), setting.name)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_empty_variable_counts_as_not_set_except_that_of_the_history(setting: Setting) -> None:
    expected = "" if setting.name == "history_url" else getattr(Settings.load(), setting.name)
    assert getattr(load(setting.variable, ""), setting.name) == expected


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_option_takes_precedence_over_the_variable(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(Settings.load(pod_name="kanary-1"), setting.name)
    monkeypatch.setenv(setting.variable, OTHERS[setting.name][0])
    option = {} if default is None else {setting.name: default}
    assert getattr(Settings.load(**option), setting.name) == (OTHERS[setting.name][1] if default is None else default)


def test_variables_of_the_pod_have_no_prefix() -> None:
    unprefixed = {setting.variable for setting in SETTINGS if not setting.variable.startswith("KANARY_")}
    assert unprefixed == {"POD_NAME", "POD_UID"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("KANARY_WORKERS", "0", "KANARY_WORKERS: expected a whole number from 1 to 1000, not '0'"),
        ("KANARY_WORKERS", "many", "KANARY_WORKERS: expected a whole number from 1 to 1000, not 'many'"),
        ("KANARY_HTTP_PORT", "65536", "KANARY_HTTP_PORT: expected a whole number from 0 to 65535, not '65536'"),
        ("KANARY_HISTORY_DAYS", "-1", "KANARY_HISTORY_DAYS: expected a whole number from 0 to 1000000, not '-1'"),
        ("KANARY_LEADER_ELECTION", "maybe", "KANARY_LEADER_ELECTION: expected true or false, not 'maybe'"),
        ("KANARY_LOG_LEVEL", "l", "KANARY_LOG_LEVEL: expected one of debug, info, warning, error, not 'l'"),
        ("KANARY_NAMESPACE", " ", "KANARY_NAMESPACE: expected a value that is not empty, not ' '"),
        (
            "KANARY_WORKERS",
            "9" * 5000,
            "KANARY_WORKERS: expected a whole number from 1 to 1000, not '999999999999...9999999999999'",
        ),
        (
            "KANARY_ALLOWED_HOSTS",
            "a, http://b",
            "KANARY_ALLOWED_HOSTS: expected hosts such as hooks.slack.com, *.example.com or 10.0.0.1:9090, "
            "separated by commas, not 'http://b'",
        ),
        ("POD_NAME", "\n", "POD_NAME: expected a value that is not empty, not '\\n'"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_would_do(variable: str, value: str, message: str) -> None:
    with pytest.raises(BadSettingError) as raised:
        load(variable, value)
    assert str(raised.value) == message


@pytest.mark.parametrize("url", ["mysql://u:s3cret@h/db", "postgresql://u:s3@cret@h/db", "postgres/u:s3cret@h"])
def test_a_bad_database_url_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(BadSettingError, match="KANARY_HISTORY_URL: ") as raised:
        load("KANARY_HISTORY_URL", url)
    assert "cret" not in str(raised.value)


def test_settings_as_text_show_no_password() -> None:
    assert "s3cret" not in repr(load("KANARY_HISTORY_URL", "postgresql://u:s3cret@h/db"))


def test_other_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANARY_SERVICE_HOST", "10.0.0.1")
    assert "KANARY_SERVICE_HOST" in os.environ
    assert Settings.load() == Settings.load()


def test_the_page_of_the_settings_is_up_to_date() -> None:
    assert (ROOT / settings_page.PAGE).read_text() == settings_page.text(), "run: make manifests"


def test_other_pages_link_to_it() -> None:
    assert str(settings_page.PAGE) in (ROOT / "README.md").read_text()

"""The operator's settings: each field is an option of `kanary run` and an environment variable."""

from __future__ import annotations

import reprlib
import socket
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from engine.model.placement import BUILT_IN, ProxyDefaults
from engine.render.pods import DEFAULT_PROXY_IMAGE
from engine.resolve.validation import read_defaults
from kanary.history.wire import PORT
from kanary.outbound.allowed import AllowedHosts
from states.texts import one_line

DEFAULT_HISTORY_URL = "sqlite:////var/lib/kanary/history.db"
_PREFIX = "KANARY_"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError(f"expected a value that is not empty, not {text!r}")
    return text


def _database_url(url: str) -> str:
    from kanary.history.address import parse_address  # noqa: PLC0415 -- loads SQLAlchemy, which --help does not need

    if url:
        parse_address(url)
    return url


def _hosts(text: str) -> str:
    AllowedHosts.parse(text)
    return text


_Text = Annotated[str, AfterValidator(_not_blank)]
_Port = Annotated[int, Field(ge=0, le=65_535)]


def _proxy_defaults(text: str) -> str:
    read_proxies(text)
    return text


def read_proxies(text: str) -> ProxyDefaults:
    """The defaults of `KANARY_PROXY_DEFAULTS`, above the built-in ones. Raises ValueError."""
    import yaml  # noqa: PLC0415 -- not needed for the help

    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"expected YAML or JSON: {one_line(str(error))}") from None
    return read_defaults({} if raw is None else raw, "defaults").over(BUILT_IN)


class Settings(BaseSettings):
    """The operator's settings, from options, then environment variables, then defaults.

    An empty environment variable counts as not set; only an empty KANARY_HISTORY_URL has a meaning.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, validate_default=False, validate_by_name=True, hide_input_in_errors=True
    )

    kubeconfig: _Text | None = Field(
        None, description="Kubeconfig file. If not set: the service account of the pod, KUBECONFIG or ~/.kube/config."
    )
    context: _Text | None = Field(None, description="Context of the kubeconfig, if not its current one.")
    namespace: _Text | None = Field(None, description="Watch this namespace only, not all.")
    proxy_image: _Text = Field(DEFAULT_PROXY_IMAGE, description="HAProxy image of Kanaries that name none.")
    pod_sysctls: bool = Field(
        True,
        description="Set kernel parameters of the proxies' pods. Disable this if a policy of the cluster forbids it.",
    )
    proxy_defaults: Annotated[str, AfterValidator(_proxy_defaults)] = Field(
        "",
        description="What Kanaries may leave out, in YAML or JSON: `resources`, `agentResources`, `disruptionBudget` "
        "and `template` of spec.proxy. A field that a Kanary sets replaces the same field here.",
    )
    workers: int = Field(4, ge=1, le=1000, description="Concurrent reconciles of one namespace while others have none.")
    http_port: _Port = Field(8080, description="Port of probes and metrics; 0 selects a free one.")
    history_port: _Port = Field(PORT, description="Loopback port of the history API; 0 selects a free one.")
    leader_election: bool = Field(True, description="Elect a leader. Disable this for a single replica only.")
    lease_namespace: _Text | None = Field(
        None, description="Namespace of the Lease and of the signing key, if not the operator's."
    )
    lease_name: _Text = Field(
        "kanary",
        description="Name of the leader's Lease; `-signing-key` is appended for the Secret of the signing key.",
    )
    history_url: Annotated[str, AfterValidator(_database_url)] = Field(
        DEFAULT_HISTORY_URL,
        repr=False,  # it may contain a password
        description="Database of the history, SQLite or PostgreSQL; empty disables the history.",
    )
    history_days: int = Field(400, ge=0, le=1_000_000, description="Retention in days; 0 means no limit.")
    history_changes: int = Field(
        1_000, ge=0, le=10**9, description="Retained weight changes of each Kanary; 0 means no limit."
    )
    allowed_hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="Hosts that Prometheus queries and webhooks of every Kanary may use, beside Services of its "
        "namespace, such as `hooks.slack.com:443, *.example.com`; without a port, all ports.",
    )
    pod_name: _Text = Field(
        default_factory=lambda: socket.gethostname() or "kanary",
        validation_alias="POD_NAME",
        description="Name of this replica in the Lease and in Events, if not the host name.",
    )
    pod_uid: str = Field(
        "",
        validation_alias="POD_UID",
        description="UID of the operator's pod: a restarted container of the leader's pod leads again at once.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="One JSON object per line, or text; auto is text if the log goes to a terminal, else JSON."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The options and the environment; no files."""
        return init_settings, _Environment(settings_cls)

    @classmethod
    def load(cls, **options: Any) -> Self:
        """The settings, with these options by the names of fields. Raises BadSettingError."""
        try:
            return cls(**options)
        except ValidationError as error:
            raise _bad_setting(error.errors()[0]) from None


class _Environment(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        """An optional value of a manifest is empty where it is not set."""
        return {name: value for name, value in super().__call__().items() if value or name == "history_url"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What users see of one setting."""

    name: str
    variable: str
    """Its environment variable."""
    option: str
    default: str | int | None
    """None if it has none, or depends on the machine."""
    description: str
    choices: tuple[str, ...]
    """The only values, of a text; empty if others are allowed."""
    bounds: tuple[int, int] | None
    """Lowest and highest value of a number."""

    @property
    def expected(self) -> str:
        """The values that it may have."""
        if self.bounds:
            return "a whole number from {} to {}".format(*self.bounds)
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return "true or false" if isinstance(self.default, bool) else "text"


class BadSettingError(ValueError):
    """A setting has an invalid value; as text, it names the environment variable."""

    def __init__(self, setting: Setting, problem: str) -> None:
        super().__init__(f"{setting.variable}: {problem}")
        self.setting = setting
        self.problem = problem
        """What is wrong and what would do, without the name."""


def _setting(name: str, field: FieldInfo) -> Setting:
    lowest, highest = (
        next((getattr(limit, side) for limit in field.metadata if hasattr(limit, side)), None) for side in ("ge", "le")
    )
    return Setting(
        name,
        variable=str(field.validation_alias or f"{_PREFIX}{name.upper()}"),
        option=f"--{name.replace('_', '-')}",
        default=None if field.default_factory else field.default,
        description=field.description or "",
        choices=get_args(field.annotation) if get_origin(field.annotation) is Literal else (),
        bounds=None if lowest is None or highest is None else (lowest, highest),
    )


SETTINGS = tuple(_setting(name, field) for name, field in Settings.model_fields.items())
"""Every setting, in the order of `Settings`."""


def _bad_setting(error: ErrorDetails) -> BadSettingError:
    (setting,) = (each for each in SETTINGS if error["loc"][0] in {each.name, each.variable})
    if error["type"] == "value_error":
        # Our own check says it all, and a URL may contain a password.
        return BadSettingError(setting, str(error["ctx"]["error"]))
    return BadSettingError(setting, f"expected {setting.expected}, not {reprlib.repr(error['input'])}")

"""How users declare a rollout by steps (`spec.rollout`, `spec.freeze`)."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import Field

from engine.model.checks import MAX_CHECKS, PrometheusQuery, Webhook
from engine.model.durations import Duration, read_duration
from engine.model.shape import Shape, Time
from engine.model.weight import Weight
from states.rollout_snapshot import OnFailure, OnInconclusive

MAX_STEPS = 50
MAX_WINDOWS = 20
DEFAULT_STEP = read_duration("5m")
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
DAYS: tuple[Day, ...] = get_args(Day)

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Until(StrEnum):
    """What a step waits for beside its time."""

    PROMOTED = "Promoted"


class StepSpec(Shape):
    """One step of a rollout."""

    to: Weight = Field(
        description="How far of the way from the last good weights to the declared ones, in percent with at most one "
        "decimal. The steps rise, and the last one is 100."
    )
    duration: Duration | None = Field(
        default=None,
        alias="for",
        description="For how long the step is served and watched, such as 30s, 10m or 1h30m. Default: 5m; with "
        "until, none.",
    )
    until: Until | None = Field(default=None, description="Promoted: the step waits for `kanary promote` as well.")

    @property
    def time(self) -> timedelta:
        """For how long it is served at least."""
        if self.duration is not None:
            return self.duration
        return timedelta() if self.until else DEFAULT_STEP


class Tolerate(Shape):
    """Which version is good: one that keeps to either limit."""

    ratio: Annotated[Number, Field(ge=1, le=100)] = Field(
        default=1.5, description="It fails at most so many times as often as the other versions."
    )
    percent: Annotated[Number, Field(ge=0.000001, le=50)] = Field(
        default=0.1, description="At most so many of its connections fail."
    )


class Detect(Shape):
    """Which version has to be found."""

    percent: Annotated[Number, Field(ge=0.0001, le=100)] = Field(
        default=1,
        description="A step ends when its time has passed and a version of which so many connections fail would have "
        "been found with 95 % probability.",
    )


class RolloutAnalysis(Shape):
    """How a rollout judges itself."""

    false_alarms: Annotated[Number, Field(ge=1e-9, le=0.5)] = Field(
        default=0.001, description="How probable it may be that a good version is ever rolled back."
    )
    tolerate: Tolerate = Field(default_factory=Tolerate, description="Which version is good.")
    detect: Detect = Field(default_factory=Detect, description="Which version has to be found before a step ends.")
    max_wait: Duration = Field(
        default=read_duration("1h"),
        json_schema_extra={"default": "1h"},
        description="How long a step waits for evidence after its time has passed, such as 1h.",
    )
    on_inconclusive: OnInconclusive = Field(
        default=OnInconclusive.PAUSE,
        description="What follows then. Pause: the step waits for `kanary promote` or `kanary abort`. Proceed: the "
        "next step follows. Rollback: the last good weights return.",
    )
    prometheus: Annotated[tuple[PrometheusQuery, ...], Field(max_length=MAX_CHECKS)] = Field(
        default=(), description="Queries whose values have limits: what counts of connections cannot show."
    )


class Window(Shape):
    """When steps may start."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = Field(
        default=DAYS, description="Days of the week."
    )
    start: Annotated[str, Field(pattern=CLOCK, max_length=5)] = Field(
        default="00:00", description="When it opens, such as 09:00."
    )
    end: Annotated[str, Field(pattern=CLOCK, max_length=5)] = Field(
        default="00:00",
        description="When it closes, such as 16:30: on the next day if that is not after its start.",
    )
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = Field(
        default="UTC", description="A time zone of the IANA database, such as Europe/Berlin."
    )


class RolloutSpec(Shape):
    """How other weights are reached."""

    steps: Annotated[tuple[StepSpec, ...], Field(min_length=1, max_length=MAX_STEPS)] = Field(
        description="The steps, the last one to 100."
    )
    analysis: RolloutAnalysis = Field(
        default_factory=RolloutAnalysis,
        description="How the rollout judges itself by the failed connections of each version.",
    )
    windows: Annotated[tuple[Window, ...], Field(max_length=MAX_WINDOWS)] = Field(
        default=(), description="When steps may start; at any time if there are none. Rollbacks do not wait."
    )
    webhooks: Annotated[tuple[Webhook, ...], Field(max_length=MAX_CHECKS)] = Field(
        default=(), description="Receivers that are called before and after steps and may stop the rollout."
    )
    on_failure: OnFailure = Field(
        default=OnFailure.ROLLBACK,
        description="What follows when a step fails. Rollback: the last good weights return at once. Pause: the step "
        "stays until `kanary promote` or `kanary abort`.",
    )


class Freeze(Shape):
    """Blocks changes of the weights, except rollbacks."""

    until: Time | None = Field(
        default=None,
        description="When it ends, such as 2026-12-27T06:00:00Z. Default: when it is removed.",
        json_schema_extra={"maxLength": 40},
    )
    reason: Annotated[str, Field(max_length=200)] = Field(default="", description="Why, for the status.")

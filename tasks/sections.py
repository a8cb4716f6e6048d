"""What all sections of the configuration file share, and the sections that stand apart from storages and targets."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks.cron import checked_cron, checked_timezone
from tasks.secrets import SecretReference

Text = Annotated[str, Field(min_length=1)]
Hours = Annotated[float, Field(gt=0, le=876_000)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Api(Section):
    """The status API: where it listens, who may ask, and from when on a check is too old to be believed.

    port: 4210 is easy to remember beside Prefect's 4200, and below the range that systems hand out themselves.
    token: what a caller must send as `Authorization: Bearer …`. allow_without_token: listen without one even where
    other machines can reach it. stale_after_hours: left out, it follows from the schedules (tasks/limits.py).
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4210
    token: SecretReference | None = None
    allow_without_token: bool = False
    stale_after_hours: Hours | None = None


Cron = Annotated[str, AfterValidator(checked_cron)]


class Schedules(Section):
    """When the flows run by themselves: cron lines, read in `timezone` (an IANA name); `never` for not at all."""

    backup: Cron = "0 2 * * *"
    verify: Cron = "*/15 * * * *"
    drill: Cron = "0 4 * * 0"
    timezone: Annotated[str, AfterValidator(checked_timezone)] = "UTC"


class Serve(Section):
    """`rollcall serve`: where its own Prefect server listens (port left out: the last one, 4200, or a free one), and
    for how many seconds a stop waits for runs before it ends them; at_once: the most runs at a time."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    grace: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    at_once: Annotated[int, Field(ge=1, le=1000)] = 10


class Ping(Section):
    """A watcher outside that is told when a run begins and ends, and calls when it hears nothing: a URL in the manner
    of healthchecks.io, which lets anybody call, so it is named, never written.

    url: for the flows that have none of their own here.
    """

    url: SecretReference | None = None
    backup: SecretReference | None = None
    verify: SecretReference | None = None
    drill: SecretReference | None = None

    @model_validator(mode="after")
    def names_a_url(self) -> Ping:
        """An empty section looks like a watcher, and is none."""
        if not self.model_fields_set or None in (getattr(self, each) for each in self.model_fields_set):
            raise ValueError("names no URL; it takes url for all flows, or backup, verify and drill")
        return self

"""What all sections of the configuration file share, and the sections that belong to no target."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.secrets import SecretReference

Hours = Annotated[float, Field(gt=0, le=876_000)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Api(Section):
    """The status API: where it listens, who may ask, and from when on a check is too old to be believed.

    port: 4210 is easy to remember beside Prefect's 4200, and below the range that systems hand out themselves.
    token: what a caller must send as `Authorization: Bearer …`. allow_without_token: listen without one even where
    other machines can reach it. stale_after_hours: checks run every quarter of an hour, so four were missed by then.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4210
    token: SecretReference | None = None
    allow_without_token: bool = False
    stale_after_hours: Hours = 1.0

"""Prefect, asked late and in words: it may be imported only once its API is known, and its refusals are ours to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType

import httpx

from deployments.tracking import answers
from tasks.errors import RollcallError


def applied() -> ModuleType:
    """The module that speaks with Prefect: importing it imports Prefect, which reads the environment once."""
    from deployments.serving import applied

    return applied


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """What Prefect's API would not do, as a RollcallError. It quotes no address, for one may have a key in it."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status, path = error.response.status_code, error.request.url.path
        hint = "its log says why, and rollcall doctor whether it is of another version than the Prefect here"
        if status in {401, 403}:
            hint = "check PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING (a server of your own)"
        raise RollcallError(f"Prefect's API answered {path} with {status}; {hint}.") from None
    except httpx.HTTPError as error:
        raise RollcallError(f"Prefect's API does not answer any more ({type(error).__name__}); see to it.") from None
    except ValueError as error:  # As a proxy's page is, that comes with 200.
        raise RollcallError(
            f"Prefect's API gave an answer that is none of Prefect's ({type(error).__name__}); see whether "
            "PREFECT_API_URL ends in /api, and what stands between, as a proxy."
        ) from None


def see_that_it_answers(api: str, seconds: float = 5.0) -> None:
    """Raise RollcallError where it does not. Prefect's own client would try a server that hangs for minutes, and
    nothing else be done meanwhile."""
    if not answers(api, seconds):
        raise RollcallError("Prefect's API gives no answer.")


def in_utc(moment: datetime) -> str:
    """For people, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

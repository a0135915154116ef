"""Errors of stores: those that another try repeats, by the shapes in which each package raises them."""

from __future__ import annotations

import types
from typing import Any

import pytest

from dit_run.data.remote_errors import is_final, reason

LOGIN = "; keys come from the environment, as the package of the store documents it"


class HttpError(Exception):
    """An error with the name of gcsfs's."""


class NoCredentialsError(Exception):
    """An error with the name of botocore's."""


def shaped(error: Exception, **attributes: Any) -> Exception:
    vars(error).update(attributes)
    return error


def answered(status: int) -> list[Exception]:
    """Return an answer of a server as aiohttp, httpx, botocore and gcsfs raise it."""
    return [
        shaped(Exception("aiohttp"), status=status),
        shaped(OSError("httpx"), response=types.SimpleNamespace(status_code=status)),
        shaped(Exception("botocore"), response={"ResponseMetadata": {"HTTPStatusCode": status}}),
        shaped(HttpError("gcsfs"), code=status),
    ]


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("status", "final", "text"),
    [
        (401, True, f"the answer 401 Unauthorized{LOGIN}"),
        (403, True, f"the answer 403 Forbidden{LOGIN}"),
        (404, True, "the answer 404 Not Found"),
        (429, False, "the answer 429 Too Many Requests"),
        (503, False, "the answer 503 Service Unavailable"),
        (599, False, "the answer 599"),
    ],
)
def test_the_status_behind_an_error_decides(status: int, final: bool, text: str) -> None:
    for error in answered(status):
        for raised in (error, caused(FileNotFoundError("s3://birds/0.tar"), error)):
            assert (is_final(raised), reason(raised)) == (final, text)


@pytest.mark.parametrize(
    ("error", "final", "text"),
    [
        (FileNotFoundError("0.tar"), True, "it does not exist"),
        (PermissionError(13, "Permission denied"), True, "PermissionError: [Errno 13] Permission denied"),
        (ValueError("no bucket\nread more at"), True, "ValueError: no bucket"),
        (NoCredentialsError("Unable to locate"), True, f"NoCredentialsError: Unable to locate{LOGIN}"),
        (caused(FileNotFoundError("0.tar"), ConnectionResetError()), False, "ConnectionResetError"),
        (TimeoutError(), False, "TimeoutError"),
        (shaped(Exception("payload is not completed"), code=400), False, "Exception: payload is not completed"),
        (OSError(16, "Please reduce your request rate"), False, "OSError: [Errno 16] Please reduce your request rate"),
    ],
)
def test_errors_without_an_answer(error: Exception, final: bool, text: str) -> None:
    assert (is_final(error), reason(error)) == (final, text)

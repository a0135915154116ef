"""Errors of file systems: which of them another try would repeat, and what they say.

The packages behind fsspec share no class of errors, and call many failures a missing file; the status of the answer
behind them, where there is one, decides.
"""

from __future__ import annotations

from http.client import responses

__all__ = ["is_final", "reason"]

_TRANSIENT = (408, 425, 429)
"""Answers of servers below 500 after which another try makes sense."""
_LOGIN = (401, 403)
"""Answers of servers to requests without the right keys."""
_FINAL = (
    *(FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError),
    *(ValueError, TypeError, AttributeError, ImportError),
)
"""Errors that do not depend on the server: of paths, names, and packages that do not fit together."""
_NO_KEYS = ("CredentialsError", "ProfileNotFound")
"""Ends of the names of errors of botocore and google.auth without keys."""
_KEYS = "keys come from the environment, as the package of the store documents it"


def is_final(error: BaseException) -> bool:
    """Return True for an error that another try would repeat."""
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in _TRANSIENT
    root = _root(error)
    return isinstance(root, _FINAL) or type(root).__name__.endswith(_NO_KEYS)


def reason(error: BaseException) -> str:
    """Return the reason of an error in a line."""
    status, root = _status(error), _root(error)
    if status is not None:
        return f"the answer {status} {responses.get(status, '')}".rstrip() + (f"; {_KEYS}" if status in _LOGIN else "")
    if isinstance(root, FileNotFoundError):
        return "it does not exist"
    text = next(iter(str(root).splitlines()), "")
    said = f"{type(root).__name__}: {text}" if text else type(root).__name__
    return f"{said}; {_KEYS}" if type(root).__name__.endswith(_NO_KEYS) else said


def _root(error: BaseException) -> BaseException:
    """Return the first cause."""
    return error if error.__cause__ is None else _root(error.__cause__)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error or of its causes; None without one."""
    if error is None:
        return None
    response = getattr(error, "response", None)
    found = (
        getattr(error, "status", None),  # aiohttp
        getattr(response, "status_code", None),  # httpx and requests, and so the Hugging Face Hub
        response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None,  # botocore
        getattr(error, "code", None) if type(error).__name__ == "HttpError" else None,  # gcsfs
    )
    return next((status for status in found if isinstance(status, int)), None) or _status(error.__cause__)

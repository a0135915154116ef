"""Upload of an exported folder to a model hub: private unless asked otherwise, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dit_run.problems import DitRunError, InputError

__all__ = ["HubUpload"]

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


class HubUpload:
    """A repository on a hub that an exported folder goes to.

    The hub is huggingface.co, or that of ``HF_ENDPOINT``; the token is that of ``HF_TOKEN`` or of ``hf auth login``.
    """

    def __init__(self, name: str, *, public: bool = False) -> None:
        """Check name, token, hub and an existing repository, and change nothing there.

        ``name`` is ``owner/name``, or ``name`` for one of the user's own. Raises InputError for a name or a visibility
        that does not fit and for a missing token, DitRunError where the hub does not answer.
        """
        from huggingface_hub import HfApi, get_token

        if not _NAME.fullmatch(name):
            raise InputError(
                f"--push {name} is not the name of a repository: NAME or OWNER/NAME of letters, digits, -, _ and ."
            )
        if get_token() is None:
            raise InputError(
                f"--push {name} needs a token of the hub that may write: set HF_TOKEN, or run `hf auth login`"
            )
        self._api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="dit-run")
        self._public = public
        with self._errors(f"--push {name}"):
            user = self._api.whoami()["name"]
            self.name = name if "/" in name else f"{user}/{name}"
            self._refuse_other_visibility()

    @property
    def url(self) -> str:
        return f"{self._api.endpoint}/{self.name}"

    @property
    def visibility(self) -> str:
        return "public" if self._public else "private"

    def send(self, folder: Path) -> None:
        """Upload the files of a folder as one commit; files of the same names are replaced, others stay.

        Raises DitRunError where the hub does not take all of them: then it has none of them.
        """
        from huggingface_hub import CommitOperationAdd

        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in files}
        advice = (
            f"\nNone of the files are in the repository. The export in {folder} is complete; to upload it again, run\n"
            f"hf upload {self.name} {folder}"
        )
        with self._errors(f"the upload to {self.url} failed", advice):
            self._api.create_repo(self.name, private=not self._public, exist_ok=True)
            self._refuse_other_visibility()
            adding = [CommitOperationAdd(name, str(path)) for name, path in names.items()]
            commit = self._api.create_commit(self.name, adding, commit_message="Upload an export of dit-run")
        with self._errors(f"the files in {self.url} cannot be checked after the upload"):
            there = self._api.list_repo_files(self.name, revision=commit.oid)
        missing = sorted(set(names) - set(there))
        if missing:
            raise DitRunError(f"{self.url} has not all files of {folder} after the upload: {', '.join(missing)}")

    def _refuse_other_visibility(self) -> None:
        """Raise InputError for a repository that exists with another visibility than the one asked for."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            found = self._api.repo_info(self.name)
        except RepositoryNotFoundError:
            return
        if found.private and self._public:
            raise InputError(
                f"{self.url} exists and is private, and --public does not change that; make it public on its page, or "
                "leave --public out"
            )
        if not found.private and not self._public:
            raise InputError(
                f"{self.url} exists and is public; add --public to publish the weights there, or choose another name"
            )

    @contextlib.contextmanager
    def _errors(self, what: str, advice: str = "") -> Iterator[None]:
        """Translate the errors of the hub's library, which come from several packages."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the model card's fields
                yield
        except DitRunError:
            raise
        except Exception as error:
            raise DitRunError(f"{what}: {self._reason(error)}{advice}") from error

    def _reason(self, error: Any) -> str:
        """Return one line about an error, with the hub that did not answer or refused."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return f"{self._api.endpoint} refuses the token (status {status}); it needs the right to write"
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"{self._api.endpoint} does not answer as expected: {lines[0]}"

"""The folder of the cache: where it is by default, and what a user without a home folder is told."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from dit_run import InputError
from dit_run.cache.open_cache import cache_folder
from dit_run.digests import cache_home, file_digest
from dit_run.settings import CacheOptions


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_it_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/anna")
    assert cache_folder(CacheOptions()) == Path("/home/anna/.cache/dit-run")


def test_a_user_without_a_home_folder_is_told_what_to_set(homeless: None) -> None:
    with pytest.raises(InputError, match=rf"user {os.getuid()} has no home folder\. Set cache\.dir, or HOME"):
        cache_folder(CacheOptions())
    assert cache_folder(CacheOptions(dir="/data/cache")) == Path("/data/cache")


def test_a_user_without_a_home_folder_can_name_the_one_of_all_caches(
    homeless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/data")
    assert cache_home() == Path("/data/dit-run")


def test_large_files_have_a_digest_without_a_home_folder(homeless: None, tmp_path: Path) -> None:
    large = tmp_path / "weights"
    large.write_bytes(bytes(9 << 20))
    assert len(file_digest(large)) == 64

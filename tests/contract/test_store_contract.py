"""What every object store promises, run against the folder and against S3 over HTTP.

S3 is a moto server in this process, or the endpoint in LIKENESS_TEST_S3_URL (http://key:secret@host:port).
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likeness.v1 import types_pb2
from services.common.errors import LikenessError
from services.common.file_cache import FileCache
from services.common.settings import CommonSettings
from services.common.store import (
    ObjectStore,
    check_key,
    fetch_reference,
    media_reference,
    open_store,
    read_reference,
)
from services.common.store_folder import FolderStore
from services.common.store_s3 import S3Store


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    if given_url := os.environ.get("LIKENESS_TEST_S3_URL"):
        yield given_url
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://key:secret@{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    url = urlsplit(request.getfixturevalue("s3_url"))
    return S3Store(
        f"{url.hostname}:{url.port}",
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        access_key=url.username or "",
        secret_key=url.password or "",
        secure=url.scheme == "https",
        cache_dir=tmp_path / "cache",
    )


def reason(raised: pytest.ExceptionInfo[LikenessError]) -> str:
    return raised.value.reason


def test_what_was_put_is_got(store: ObjectStore) -> None:
    data = bytes(range(256)) * 1000
    stored = store.put("voices/a1/reference.wav", data, "audio/wav")
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert (stored.size_bytes, stored.content_type) == (256_000, "audio/wav")
    assert store.get("voices/a1/reference.wav") == data
    assert store.head("voices/a1/reference.wav") == stored


def test_empty_object(store: ObjectStore) -> None:
    stored = store.put("empty", b"")
    assert stored.size_bytes == 0
    assert store.get("empty") == b""
    assert store.head("empty") == stored


def test_put_replaces(store: ObjectStore) -> None:
    store.put("a", b"one", "text/plain")
    second = store.put("a", b"second", "audio/wav")
    assert store.get("a") == b"second"
    assert store.head("a") == second


def test_missing_is_not_found(store: ObjectStore) -> None:
    for ask in (store.get, store.head):
        with pytest.raises(LikenessError) as raised:
            ask("no/such/thing")
        assert reason(raised) == "NOT_FOUND"


def test_delete_is_idempotent(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    with pytest.raises(LikenessError) as raised:
        store.head("a/b")
    assert reason(raised) == "NOT_FOUND"


def test_list_by_prefix_in_order(store: ObjectStore) -> None:
    for key in ("a/2", "a/10", "ab", "b/1", "a/sub/x"):
        store.put(key, key.encode())
    assert [item.key for item in store.list("a/")] == ["a/10", "a/2", "a/sub/x"]
    assert [item.key for item in store.list("a")] == ["a/10", "a/2", "a/sub/x", "ab"]
    assert [item.key for item in store.list()] == ["a/10", "a/2", "a/sub/x", "ab", "b/1"]
    assert list(store.list("zzz")) == []
    assert next(iter(store.list("b"))).sha256 == hashlib.sha256(b"b/1").hexdigest()


def test_get_stops_at_max_bytes(store: ObjectStore) -> None:
    store.put("big", bytes(1000))
    assert len(store.get("big", max_bytes=1000)) == 1000
    with pytest.raises(LikenessError) as raised:
        store.get("big", max_bytes=999)
    assert reason(raised) == "MEDIA_TOO_LARGE"


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".hidden", "a/.meta/b", "a\x00b", "a\\b", "x" * 600, "ü"],
)
def test_malformed_keys_are_refused(store: ObjectStore, key: str) -> None:
    for act in (
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(LikenessError) as raised:
            act()
        assert reason(raised) == "INVALID_FIELD"


def test_concurrent_puts_leave_one_whole_object(store: ObjectStore) -> None:
    versions = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: store.put("contended", data), versions))
    data = store.get("contended")
    assert data in versions
    assert store.head("contended").sha256 == hashlib.sha256(data).hexdigest()


def test_reference_is_verified(store: ObjectStore) -> None:
    stored = store.put("media/x", b"original")
    reference = media_reference(store, stored)
    assert read_reference(store, reference, 100) == b"original"
    store.put("media/x", b"tampered")
    with pytest.raises(LikenessError) as raised:
        read_reference(store, reference, 100)
    assert reason(raised) == "MEDIA_CHECKSUM_MISMATCH"


@pytest.mark.parametrize(
    ("change", "expected", "field"),
    [
        ({"bucket": "another"}, "INVALID_FIELD", "clip.bucket"),
        ({"sha256": "ABC"}, "INVALID_FIELD", "clip.sha256"),
        ({"key": "../../etc/passwd"}, "INVALID_FIELD", "key"),
        ({"key": "gone"}, "NOT_FOUND", "key"),
        ({"size_bytes": 7}, "MEDIA_CHECKSUM_MISMATCH", "clip"),
        ({"size_bytes": 1000}, "MEDIA_TOO_LARGE", "key"),
    ],
)
def test_malformed_references_name_the_field(
    store: ObjectStore, change: dict[str, Any], expected: str, field: str
) -> None:
    stored = store.put("media/x", b"original")
    good = media_reference(store, stored)
    values = {name.name: value for name, value in good.ListFields()} | change
    with pytest.raises(LikenessError) as raised:
        read_reference(store, types_pb2.MediaReference(**values), 100, field="clip")
    assert (reason(raised), raised.value.field) == (expected, field)


def test_s3_outage_is_store_unavailable() -> None:
    store = S3Store("127.0.0.1:1", bucket="media", access_key="k", secret_key="s", secure=False)
    for act in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: list(store.list())):
        with pytest.raises(LikenessError) as raised:
            act()
        assert reason(raised) == "STORE_UNAVAILABLE"
        assert raised.value.retry_after_s


def test_folder_outage_is_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    store = FolderStore(tmp_path / "file" / "objects")
    with pytest.raises(LikenessError) as raised:
        store.put("a", b"x")
    assert reason(raised) == "STORE_UNAVAILABLE"


def test_folder_survives_a_crash_between_the_two_renames(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a.wav", b"old", "audio/wav")
    (tmp_path / "a.wav").write_bytes(b"new content")  # as if the process had died before describing it
    head = store.head("a.wav")
    assert head.sha256 == hashlib.sha256(b"new content").hexdigest()
    assert head.size_bytes == 11


def test_folder_reader_never_sees_half_an_object(tmp_path: Path) -> None:
    store, stop, seen = FolderStore(tmp_path), threading.Event(), set()
    store.put("a", b"0" * 200_000)

    def read() -> None:
        while not stop.is_set():
            seen.add(store.get("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        store.put("a", str(number % 10).encode() * 200_000)
    stop.set()
    reader.join()
    assert all(len(data) == 200_000 and len(set(data)) == 1 for data in seen)


def test_folder_leaves_no_temporary_files(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("x/y", b"1")
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_object_below_another_object_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a", b"1")
    with pytest.raises(LikenessError) as raised:
        store.put("a/b", b"2")
    assert reason(raised) == "INVALID_FIELD"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(min_size=1, max_size=40))
def test_any_accepted_key_stays_inside_the_folder(tmp_path: Path, key: str) -> None:
    try:
        check_key(key)
    except LikenessError:
        return
    assert (tmp_path / key).resolve().is_relative_to(tmp_path.resolve())
    assert not key.startswith(".")


@pytest.mark.parametrize(
    ("url", "kind"),
    [("", FolderStore), ("/srv/media", FolderStore), ("file:///srv/media", FolderStore), ("s3://h:9", S3Store)],
)
def test_open_store_by_url(url: str, kind: type) -> None:
    assert isinstance(open_store(CommonSettings(store_url=url)), kind)


def test_open_store_refuses_other_urls() -> None:
    with pytest.raises(ValueError, match="LIKENESS_STORE_URL"):
        open_store(CommonSettings(store_url="ftp://host"))


def test_a_file_goes_in_and_out_unchanged(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 30_000  # several blocks
    (tmp_path / "film.mp4").write_bytes(data)
    stored = store.put_file("films/a.mp4", tmp_path / "film.mp4", "video/mp4")
    assert (stored.sha256, stored.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert store.head("films/a.mp4") == stored
    assert store.get("films/a.mp4") == data
    with store.fetch("films/a.mp4") as path:
        assert path.read_bytes() == data


def test_a_fetched_file_outlives_its_object(store: ObjectStore) -> None:
    store.put("a", b"before")
    with store.fetch("a") as path:
        store.put("a", b"after")
        assert path.read_bytes() == b"before"
        store.delete("a")
        assert path.read_bytes() == b"before"
    assert not path.exists()


def test_fetch_says_what_is_missing_or_too_large(store: ObjectStore) -> None:
    store.put("a/b", bytes(1000))
    for key, max_bytes, expected in (
        ("a", 10**6, "NOT_FOUND"),
        ("a/b", 999, "MEDIA_TOO_LARGE"),
        ("../x", 1, "INVALID_FIELD"),
    ):
        with pytest.raises(LikenessError) as raised, store.fetch(key, max_bytes):
            pass
        assert reason(raised) == expected


def test_fetched_references_are_verified(store: ObjectStore) -> None:
    reference = media_reference(store, store.put("a", b"original"))
    with fetch_reference(store, reference, 100) as path:
        assert path.read_bytes() == b"original"
    store.put("a", b"tampered")
    with pytest.raises(LikenessError) as raised, fetch_reference(store, reference, 100, field="film"):
        pass
    assert (reason(raised), raised.value.field) == ("MEDIA_CHECKSUM_MISMATCH", "film")


def test_fetching_at_once_gives_everybody_the_whole(store: ObjectStore) -> None:
    data = bytes(3_000_000)
    store.put("a", data)

    def read(_: int) -> bool:
        with store.fetch("a") as path:
            return path.read_bytes() == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))


def test_fetching_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("x/y", b"1")
    with store.fetch("x/y"):
        pass
    with pytest.raises(LikenessError), store.fetch("x/z"):
        pass
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache, fetched = FileCache(tmp_path, max_bytes=250), []

    def use(name: str) -> bytes:
        def download(file: BinaryIO) -> None:
            fetched.append(name)
            file.write(name.encode() * 100)

        with cache.open(name, download) as path:
            return path.read_bytes()

    for name in ("a", "b", "a", "c", "a", "b"):
        assert use(name) == name.encode() * 100
    assert fetched == ["a", "b", "c", "b"]  # c took the place of b, and b that of c
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 250


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    def download(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("connection lost")

    with pytest.raises(OSError, match="lost"), FileCache(tmp_path).open("a", download):
        pass
    assert list(tmp_path.iterdir()) == []

"""What every object store promises, run against the folder and against S3 over HTTP.

S3 is a moto server in this process, or the endpoint in LIKENESS_TEST_S3_URL (see tests/object_stores.py).
"""

from __future__ import annotations

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import httpx
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
from services.common.store_s3_connection import ATTEMPTS
from tests.object_stores import s3_settings

MIB = 1024 * 1024  # S3 takes no part below five of them, but the last


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    return open_store(CommonSettings(data_dir=tmp_path, **s3_settings()))


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


def test_put_once_keeps_what_came_first(store: ObjectStore, tmp_path: Path) -> None:
    first = store.put_once("work/abc", b"made once", "text/plain")
    assert store.put_once("work/abc", b"made again", "audio/wav") == first == store.head("work/abc")
    assert store.get("work/abc") == b"made once"
    (tmp_path / "file").write_bytes(b"from a file")
    assert store.put_once("work/abc", tmp_path / "file") == first
    assert store.put_once("work/def", tmp_path / "file").sha256 == hashlib.sha256(b"from a file").hexdigest()
    large = bytes(2 * MIB)
    assert store.put_once("work/large", large) == store.put_once("work/large", large[:-1]) == store.head("work/large")


def test_of_many_that_put_once_all_get_the_same(store: ObjectStore) -> None:
    versions = [bytes([number]) * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        stored = set(pool.map(lambda data: store.put_once("contended", data).sha256, versions))
    assert stored == {hashlib.sha256(store.get("contended")).hexdigest()}


def test_ranges(store: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    store.put("a/b", data)
    for start, stop in ((0, None), (0, 1), (100, 300), (2_000_000, None), (len(data) - 1, len(data)), (5, 5)):
        with store.read("a/b", start, stop) as blocks:
            assert b"".join(blocks) == data[start:stop]
    for key in ("a", "a/c"):
        with pytest.raises(LikenessError) as raised, store.read(key) as blocks:
            b"".join(blocks)
        assert reason(raised) == "NOT_FOUND"


def test_what_is_read_may_be_left_at_any_time(store: ObjectStore) -> None:
    store.put("a", bytes(5 * MIB))
    for _ in range(20):
        with store.read("a") as blocks:
            assert next(iter(blocks))


def test_exists(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    assert store.exists("a/b")
    assert not store.exists("a/c")
    assert not store.exists("a")


def test_a_copy_has_its_own_life(store: ObjectStore) -> None:
    original = store.put("uploads/x", b"content", "application/octet-stream")
    copy = store.copy("uploads/x", "media/y.wav", sha256=original.sha256, content_type="audio/wav")
    store.delete("uploads/x")
    assert store.head("media/y.wav") == copy
    assert (copy.sha256, copy.content_type, copy.size_bytes) == (original.sha256, "audio/wav", 7)
    assert store.get("media/y.wav") == b"content"
    with pytest.raises(LikenessError) as raised:
        store.copy("uploads/x", "media/z", sha256=original.sha256, content_type="audio/wav")
    assert reason(raised) == "NOT_FOUND"


def test_keys_are_listed_with_size_and_age(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    store.put("a/1", b"12345")
    store.put("a/2/3", b"")
    listed = list(store.keys("a/"))
    assert [(item.key, item.size_bytes) for item in listed] == [("a/1", 5), ("a/2/3", 0)]
    assert all(before < item.modified_at < datetime.now(UTC) + timedelta(seconds=5) for item in listed)


def test_a_prefix_is_deleted_and_nothing_else(store: ObjectStore) -> None:
    for key in ("work/a/job_1/0", "work/a/job_1/x/1", "work/a/job_10/0", "work/b/job_1/0"):
        store.put(key, b"x")
    assert store.delete_prefix("work/a/job_1/") == 2
    assert store.delete_prefix("work/a/job_1/") == 0
    assert [item.key for item in store.keys("work/")] == ["work/a/job_10/0", "work/b/job_1/0"]
    with pytest.raises(ValueError, match="prefix"):
        store.delete_prefix("")


def test_a_folder_that_vanished_because_it_was_empty_is_made_again(store: ObjectStore) -> None:
    def work(number: int) -> bool:
        for _ in range(10):
            store.put(f"work/job_{number % 2}/{number}", b"x")
            store.delete_prefix(f"work/job_{number % 2}/")
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_parts_in_any_order_make_an_object(store: ObjectStore) -> None:
    pieces = [bytes([number]) * size for number, size in ((1, 5 * MIB), (2, 5 * MIB), (3, 1000))]
    upload = store.parts.begin("uploads/u1", "video/mp4")
    for number in (3, 1, 2):
        store.parts.put("uploads/u1", upload, number, io.BytesIO(pieces[number - 1]), len(pieces[number - 1]))
    parts = store.parts.list("uploads/u1", upload)
    assert [(part.number, part.size_bytes) for part in parts] == [(1, 5 * MIB), (2, 5 * MIB), (3, 1000)]
    assert not store.exists("uploads/u1")
    store.parts.complete("uploads/u1", upload, parts)
    assert store.get("uploads/u1") == b"".join(pieces)
    assert store.head("uploads/u1").sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert store.head("uploads/u1").content_type == "video/mp4"


def test_a_part_can_be_sent_again(store: ObjectStore) -> None:
    upload = store.parts.begin("uploads/u2")
    for content in (b"wrong", b"right!"):
        store.parts.put("uploads/u2", upload, 1, io.BytesIO(content), len(content))
    parts = store.parts.list("uploads/u2", upload)
    assert [part.size_bytes for part in parts] == [6]
    store.parts.complete("uploads/u2", upload, parts)
    assert store.get("uploads/u2") == b"right!"


def test_an_aborted_upload_is_gone(store: ObjectStore) -> None:
    upload = store.parts.begin("uploads/u3")
    store.parts.put("uploads/u3", upload, 1, io.BytesIO(b"x"), 1)
    store.parts.abort("uploads/u3", upload)
    store.parts.abort("uploads/u3", upload)
    with pytest.raises(LikenessError) as raised:
        store.parts.list("uploads/u3", upload)
    assert reason(raised) == "NOT_FOUND"
    assert not store.exists("uploads/u3")


def test_lost_uploads_are_aborted_by_age(store: ObjectStore) -> None:
    upload = store.parts.begin("uploads/u4")
    assert store.parts.abort_older(datetime(2001, 1, 1, tzinfo=UTC)) == 0  # moto says of all that they are of 2010
    assert store.parts.list("uploads/u4", upload) == []
    assert store.parts.abort_older(datetime.now(UTC) + timedelta(hours=1)) == 1
    with pytest.raises(LikenessError):
        store.parts.list("uploads/u4", upload)


def test_presigned_urls_work_without_credentials(store: ObjectStore) -> None:
    if isinstance(store, FolderStore):
        assert store.presigned_get("a", 60, content_type="x/y", disposition="inline") is None
        assert store.parts.presigned_put("a", "id", 1, 60) is None
        return
    upload = store.parts.begin("uploads/u5", "video/mp4")
    url = store.parts.presigned_put("uploads/u5", upload, 1, 60)
    assert url is not None
    sent = httpx.put(url, content=b"film", trust_env=False, timeout=60)
    assert (sent.status_code, bool(sent.headers["etag"])) == (200, True)
    store.parts.complete("uploads/u5", upload, store.parts.list("uploads/u5", upload))
    url = store.presigned_get("uploads/u5", 60, content_type="audio/wav", disposition='attachment; filename="a.wav"')
    assert url is not None
    got = httpx.get(url, headers={"Range": "bytes=1-2"}, trust_env=False, timeout=60)
    assert (got.status_code, got.content) == (206, b"il")
    assert got.headers["content-type"] == "audio/wav"
    assert got.headers["content-disposition"] == 'attachment; filename="a.wav"'


def test_presigned_urls_name_the_address_that_clients_know(tmp_path: Path) -> None:
    def urls(**settings: Any) -> list[str | None]:
        store = open_store(CommonSettings(data_dir=tmp_path, store_url="s3://store:9000", **settings))
        return [
            store.presigned_get("a", 60, content_type="x/y", disposition="inline"),
            store.parts.presigned_put("a", "id", 1, 60),
        ]

    keys: dict[str, Any] = {"store_access_key": "k", "store_secret_key": "s"}
    assert all(str(url).startswith("https://store:9000/likeness/a?") for url in urls(**keys))
    public = urls(store_public_url="https://s3.example.org", store_secure=False, **keys)
    assert all(str(url).startswith("https://s3.example.org/likeness/a?") for url in public)
    assert urls(store_presign=False, **keys) == [None, None]


def test_s3_outage_is_store_unavailable() -> None:
    store = S3Store("127.0.0.1:1", bucket="media", access_key="k", secret_key="s", secure=False)
    for act in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: list(store.list())):
        with pytest.raises(LikenessError) as raised:
            act()
        assert reason(raised) == "STORE_UNAVAILABLE"
        assert raised.value.retry_after_s


class FailingServer(ThreadingHTTPServer):
    """Answers with 503 as often as it is told to, then with an empty object; counts requests."""

    def __init__(self, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), _Failing)
        self.failures = failures
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Failing(BaseHTTPRequestHandler):
    def answer(self) -> None:
        server = self.server
        assert isinstance(server, FailingServer)
        server.requests.append(self.command)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.failures -= 1
        self.send_response(503 if server.failures >= 0 else 200)
        self.send_header("Retry-After", "600")
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"1"')
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = answer

    def log_message(self, *_: object) -> None:
        return None


def test_s3_is_tried_a_few_times_and_not_for_ever() -> None:
    def put(failures: int) -> tuple[str, int]:
        server = FailingServer(failures)
        endpoint = f"127.0.0.1:{server.server_port}"
        store = S3Store(endpoint, bucket="media", access_key="k", secret_key="s", secure=False)
        try:
            store.put("a", b"x")
            return "done", len(server.requests)
        except LikenessError as error:
            return error.reason, len(server.requests)
        finally:
            server.shutdown()
            server.server_close()

    assert put(ATTEMPTS - 1) == ("done", ATTEMPTS - 1 + 2), "asks for the bucket, then puts"
    assert put(1000) == ("STORE_UNAVAILABLE", ATTEMPTS)


def test_objects_are_encrypted_as_the_setting_says(tmp_path: Path) -> None:
    for kind, key_id, expected in (("", "", None), ("s3", "", "AES256"), ("kms", "key-1", "aws:kms")):
        settings = s3_settings(store_encryption=kind, store_kms_key_id=key_id)
        store = open_store(CommonSettings(data_dir=tmp_path, **settings))
        assert isinstance(store, S3Store)
        (tmp_path / "file").write_bytes(b"2")
        store.put("put", b"1")
        store.put_file("file", tmp_path / "file")
        store.put_once("once", b"3")
        store.copy("put", "copy", sha256=store.head("put").sha256, content_type="text/plain")
        upload = store.parts.begin("parts")
        store.parts.put("parts", upload, 1, io.BytesIO(b"4"), 1)
        store.parts.complete("parts", upload, store.parts.list("parts", upload))
        for key in ("put", "file", "once", "copy", "parts"):
            told = store.client.stat_object(store.bucket, key).metadata
            if expected is not None:
                assert told["x-amz-server-side-encryption"] == expected, key
            assert told.get("x-amz-server-side-encryption-aws-kms-key-id") == (key_id or None), key
    with pytest.raises(ValueError, match="KMS_KEY_ID"):
        open_store(CommonSettings(store_url="s3://h:9", store_encryption="kms"))


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

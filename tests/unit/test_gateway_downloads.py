"""A stored object read as a file, against a file in memory; file names in headers, against a parser of others."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from services.common.store_folder import FolderStore
from services.gateway.content_kinds import sniff
from services.gateway.downloads import StoredReader, content_disposition

CONTENT = bytes(range(256)) * 40
Step = tuple[str, int]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    made = FolderStore(tmp_path_factory.mktemp("downloads"))
    made.put("a", CONTENT)
    return made


@settings(max_examples=100)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "set", "move", "end"]), st.integers(0, len(CONTENT))), max_size=8
    ),
    stop=st.one_of(st.none(), st.integers(0, len(CONTENT) + 10)),
)
def test_a_stored_object_reads_as_a_file_does(store: FolderStore, steps: list[Step], stop: int | None) -> None:
    reader = StoredReader(store, "a", len(CONTENT), stop)
    oracle = io.BytesIO(CONTENT[:stop])
    for act, number in steps:
        if act == "read":
            expected = oracle.read(number)
            found = b""
            while len(found) < len(expected) and (piece := reader.read(number - len(found))):
                found += piece
            assert found == expected
        else:
            at = {"set": number, "move": oracle.tell() + number // 2, "end": len(CONTENT) - number}[act]
            whence, offset = {
                "set": (io.SEEK_SET, number),
                "move": (io.SEEK_CUR, number // 2),
                "end": (io.SEEK_END, -number),
            }[act]
            assert reader.seek(offset, whence) == oracle.seek(at) == reader.tell()
    reader.close()


def test_nothing_is_opened_before_it_is_read(tmp_path: Path) -> None:
    reader = StoredReader(FolderStore(tmp_path), "absent", 10)
    reader.seek(5)
    reader.close()


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=50)


@given(name=NAMES)
def test_any_file_name_comes_through_the_header(name: str) -> None:
    header = content_disposition("attachment", name)
    assert header.isascii() and "\n" not in header
    kind, options = parse_options_header(header)
    assert (kind, options["filename"]) == ("attachment", name)


@given(head=st.binary(max_size=64))
def test_no_beginning_of_a_file_breaks_the_sniffing(head: bytes) -> None:
    assert sniff(head) is None or "/" in str(sniff(head))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b'\n {"custom_id": 1}', "application/jsonl"),
        (b"<html>", None),
        (b"\xff\xd9", None),
        (b"", None),
    ],
)
def test_kinds_by_their_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind

"""What is held out is never trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.corpus import evaluation_recordings, read_manifest, training_recordings

HEADER = "path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext\n"


def write_manifest(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = [f"{speaker}.opus\t{corpus}\t{speaker}\tf\t30\t{split}\t3.5\tHI\n" for corpus, speaker, split in rows]
    (folder / "manifest.tsv").write_text(HEADER + "".join(lines))


def test_training_and_evaluation_share_no_speaker(tmp_path: Path) -> None:
    rows = [("librispeech", f"ls{i:03d}", "train") for i in range(30)]
    rows += [("speechocean762", "so1", "train"), ("speechocean762", "so2", "dev")]
    write_manifest(tmp_path, rows)
    recordings = read_manifest(tmp_path)
    trained = {r.speaker for r in training_recordings(recordings)}
    evaluated = {r.speaker for r in evaluation_recordings(recordings)}
    assert not trained & evaluated
    assert evaluated == {"so2"} | {f"ls{i:03d}" for i in range(10, 30)}
    assert trained | evaluated == {speaker for _, speaker, _ in rows}


def test_a_missing_manifest_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="manifest.tsv"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.tsv").write_text("path\tcorpus\na\tb\n")
    with pytest.raises(ValueError, match="speaker"):
        read_manifest(tmp_path)

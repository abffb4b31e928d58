"""The registry hands out the file the manifest means, or says why not."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from services.common import models
from services.common.errors import LikenessError
from services.common.models import ModelEntry, Registry, describe_file, register_model
from services.common.settings import REPOSITORY_ROOT

DESCRIPTION: dict[str, Any] = {"license": "Apache-2.0", "source": "a test", "data": "none"}


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "net.onnx").write_bytes(b"weights")
    register_model(tmp_path, describe_file(tmp_path / "stage/net.onnx", name="net", models_dir=tmp_path, **DESCRIPTION))
    return tmp_path


def refusal(registry: Registry, name: str) -> str:
    with pytest.raises(LikenessError) as raised:
        registry.path(name)
    assert raised.value.reason == "MODEL_INVALID"
    return raised.value.detail


def rewrite(models_dir: Path, **changes: Any) -> Registry:
    manifest = json.loads((models_dir / "manifest.json").read_text())
    manifest["models"][0] |= changes
    (models_dir / "manifest.json").write_text(json.dumps(manifest))
    return Registry(models_dir)


def test_registered_file_is_found(models_dir: Path) -> None:
    registry = Registry(models_dir)
    assert registry.path("net").read_bytes() == b"weights"
    entry = registry.entry("net")
    assert entry.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (entry.size_bytes, entry.format, entry.file) == (7, "onnx", "stage/net.onnx")


def test_changed_file_is_refused_even_after_it_was_fine(models_dir: Path) -> None:
    registry = Registry(models_dir)
    registry.path("net")
    (models_dir / "stage" / "net.onnx").write_bytes(b"Weights!")
    assert "SHA-256" in refusal(registry, "net")


def test_file_is_hashed_once(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def count(path: Path) -> str:
        hashed.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    models._cached_sha256.cache_clear()
    monkeypatch.setattr(models, "file_sha256", count)
    for _ in range(3):
        Registry(models_dir).path("net")
    assert len(hashed) == 1


def test_missing_file_and_unknown_name_say_what_to_do(models_dir: Path) -> None:
    (models_dir / "stage" / "net.onnx").unlink()
    registry = Registry(models_dir)
    assert "make setup" in refusal(registry, "net")
    assert "make setup" in refusal(registry, "other")


@pytest.mark.parametrize("file", ["../outside.onnx", "/etc/passwd"])
def test_path_outside_of_the_folder_is_refused(models_dir: Path, file: str) -> None:
    assert "outside" in refusal(rewrite(models_dir, file=file), "net")


def test_formats_that_can_run_code_are_refused(models_dir: Path) -> None:
    with pytest.raises(LikenessError, match="pickle"):
        rewrite(models_dir, format="pickle")
    (models_dir / "net.pt").write_bytes(b"x")
    with pytest.raises(LikenessError, match="only"):
        describe_file(models_dir / "net.pt", name="x", models_dir=models_dir, **DESCRIPTION)


@pytest.mark.parametrize("text", ["", "[]", '{"models": [{"name": "x"}]}', '{"models": 3}'])
def test_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LikenessError, match=r"manifest\.json"):
        Registry(tmp_path)


def test_local_manifest_wins(models_dir: Path) -> None:
    (models_dir / "mine.onnx").write_bytes(b"mine")
    entry = describe_file(models_dir / "mine.onnx", name="net", models_dir=models_dir, **DESCRIPTION)
    register_model(models_dir, entry, local=True)
    assert Registry(models_dir).path("net").read_bytes() == b"mine"
    assert len(json.loads((models_dir / "manifest.json").read_text())["models"]) == 1


def test_file_in_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bundledweights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "net.tflite").write_bytes(b"tiny")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(b"tiny").hexdigest()
    entry = ModelEntry("tiny", "net.tflite", digest, "tflite", package="bundledweights", **DESCRIPTION)
    register_model(tmp_path, entry)
    assert Registry(tmp_path).path("tiny") == (package / "net.tflite").resolve()
    assert "bundledweights" not in sys.modules


def test_missing_package_is_named(models_dir: Path) -> None:
    assert "no_such_package" in refusal(rewrite(models_dir, package="no_such_package"), "net")


def test_command_line_adds_and_checks(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKENESS_MODELS_DIR", str(models_dir))
    (models_dir / "new.safetensors").write_bytes(b"new")
    described = ["--license", "MIT", "--source", "s", "--data", "d", "--metric", "wer=0.1"]
    assert models.main(["add", "new", str(models_dir / "new.safetensors"), *described]) == 0
    assert Registry(models_dir).entry("new").metrics == {"wer": 0.1}
    assert models.main(["check"]) == 0
    (models_dir / "new.safetensors").write_bytes(b"changed")
    assert models.main(["check"]) == 1
    assert "invalid  new" in capsys.readouterr().out


def test_every_model_of_the_repository_is_what_the_manifest_says() -> None:
    registry = Registry(REPOSITORY_ROOT / "models")
    assert "face-mesh" in registry.names()
    for name in registry.names():
        assert registry.path(name).is_file()
        assert registry.entry(name).license

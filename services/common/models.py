"""The model registry: which weights exist, where they lie, and whether they are the ones we think.

`models/manifest.json` describes what the repository carries or finds in installed packages; `manifest.local.json`
next to it, which git ignores, adds what was exported or trained on this machine and wins where both name a model.
A file is handed out only after its SHA-256 was compared, once per process. Formats that can run code when they are
read (pickles) are not accepted.

    python -m services.common.models add NAME FILE --license Apache-2.0 --source URL --data TEXT
    python -m services.common.models check
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from services.common.errors import LikenessError
from services.common.settings import CommonSettings

ModelFormat = Literal["onnx", "safetensors", "tflite", "dlib"]
MANIFEST: Final = "manifest.json"
LOCAL_MANIFEST: Final = "manifest.local.json"
_FORMAT_BY_SUFFIX: Final[Mapping[str, ModelFormat]] = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".tflite": "tflite",
    ".dat": "dlib",
}


@dataclass(frozen=True)
class ModelEntry:
    """One row of the manifest.

    Attributes:
        file: path below the models folder, or below the package when `package` is set.
        package: name of an installed package that carries the file.
        source: where the weights come from: a URL, or the command that made them.
        data: what they were trained on.
        metrics: measured figures, by name.
        kind: what a model that an operator brought along is used as, such as `face-swapper`.
        license_file: the licence's text, below the models folder.
        license_accepted: when the operator accepted the licence (ISO 8601).
        parameters: how the model's input is to be made, where its kind leaves a choice.
    """

    name: str
    file: str
    sha256: str
    format: ModelFormat
    license: str
    source: str
    data: str
    package: str | None = None
    size_bytes: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    license_file: str | None = None
    license_accepted: str | None = None
    parameters: Mapping[str, Any] | None = None


def _invalid(detail: str) -> LikenessError:
    return LikenessError("MODEL_INVALID", detail)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=256)
def _cached_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Hashes a file once per process, and again when size or time of change differ."""
    return file_sha256(path)


def package_file(package: str, file: str) -> Path:
    """Path of a file in an installed package, found without importing it.

    Raises:
        LikenessError: MODEL_INVALID when package or file is missing.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = _below(Path(folder), file)
        if path.is_file():
            return path
    raise _invalid(f"The file {file} of the Python package {package!r} was not found; run `make setup`.")


def _below(folder: Path, file: str) -> Path:
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise _invalid(f"The model file {file!r} lies outside of {folder}.")
    return path


def _read_manifest(path: Path) -> list[ModelEntry]:
    if not path.is_file():
        return []
    known = {item.name for item in fields(ModelEntry)}
    try:
        rows = json.loads(path.read_text("utf-8"))["models"]
        entries = [ModelEntry(**{key: value for key, value in row.items() if key in known}) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _invalid(f"{path} is not a valid manifest: {error}") from error
    for entry in entries:
        if entry.format not in get_args(ModelFormat):
            allowed = ", ".join(get_args(ModelFormat))
            raise _invalid(f"Model {entry.name!r} has format {entry.format!r}; allowed are {allowed}.")
    return entries


class Registry:
    """The models of one folder. Reading the manifests happens at once, hashing when a path is asked for."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        found = [*_read_manifest(models_dir / MANIFEST), *_read_manifest(models_dir / LOCAL_MANIFEST)]
        self._entries = {entry.name: entry for entry in found}

    def names(self) -> list[str]:
        return sorted(self._entries)

    def of_kind(self, kind: str) -> list[str]:
        """Names of the models of a kind, sorted."""
        return sorted(name for name, entry in self._entries.items() if entry.kind == kind)

    def entry(self, name: str) -> ModelEntry:
        """Raises LikenessError MODEL_INVALID when no manifest names the model."""
        try:
            return self._entries[name]
        except KeyError:
            raise _invalid(f"There is no model {name!r} in {self.models_dir / MANIFEST}; run `make setup`.") from None

    def path(self, name: str) -> Path:
        """The verified file of a model.

        Raises:
            LikenessError: MODEL_INVALID when it is missing or its SHA-256 is not the manifest's.
        """
        entry = self.entry(name)
        if entry.package is not None:
            path = package_file(entry.package, entry.file)
        else:
            path = _below(self.models_dir, entry.file)
        if not path.is_file():
            raise _invalid(f"The file of model {name!r} is missing: {path}. Run `make setup`.")
        state = path.stat()
        found = _cached_sha256(path, state.st_size, state.st_mtime_ns)
        if found != entry.sha256:
            raise _invalid(
                f"{path} is not the registered model {name!r}: its SHA-256 is {found}, expected {entry.sha256}. "
                "Restore the file, or register the new one with `python -m services.common.models add`."
            )
        return path


def describe_file(path: Path, *, name: str, models_dir: Path, **description: Any) -> ModelEntry:
    """The manifest row of a file below `models_dir`, with its size and hash; `description` gives the other fields."""
    model_format = _FORMAT_BY_SUFFIX.get(path.suffix)
    if model_format is None:
        raise _invalid(f"{path.name}: only {', '.join(_FORMAT_BY_SUFFIX)} files can be registered.")
    if not path.is_file() or not path.resolve().is_relative_to(models_dir.resolve()):
        raise _invalid(f"{path} is not a file below {models_dir}.")
    return ModelEntry(
        name=name,
        file=path.resolve().relative_to(models_dir.resolve()).as_posix(),
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        format=model_format,
        **description,
    )


def register_model(models_dir: Path, entry: ModelEntry, *, local: bool = False) -> None:
    """Writes a row into manifest.json (or the local one), replacing the row of the same name. Atomic."""
    manifest = models_dir / (LOCAL_MANIFEST if local else MANIFEST)
    entries = {known.name: known for known in _read_manifest(manifest)} | {entry.name: entry}
    rows = [{key: value for key, value in asdict(row).items() if value is not None} for row in entries.values()]
    text = json.dumps({"models": sorted(rows, key=lambda row: str(row["name"]))}, indent=2) + "\n"
    models_dir.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=models_dir, prefix=".manifest-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(manifest)


def _parse_metrics(pairs: list[str]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            metrics[name] = float(value)
        except ValueError:
            metrics[name] = value
    return metrics


def _add(models_dir: Path, options: argparse.Namespace) -> None:
    description = {
        "license": options.license,
        "source": options.source,
        "data": options.data,
        "metrics": _parse_metrics(options.metric),
    }
    if options.package:
        path = package_file(options.package, options.file)
        suffix_format = _FORMAT_BY_SUFFIX.get(path.suffix)
        if suffix_format is None:
            raise _invalid(f"{path.name}: only {', '.join(_FORMAT_BY_SUFFIX)} files can be registered.")
        size, sha256 = path.stat().st_size, file_sha256(path)
        entry = ModelEntry(
            options.name, options.file, sha256, suffix_format, package=options.package, size_bytes=size, **description
        )
    else:
        path = Path(options.file)
        entry = describe_file(path, name=options.name, models_dir=models_dir, **description)
    register_model(models_dir, entry, local=options.local)
    print(f"{entry.name}: {entry.sha256} ({entry.size_bytes} bytes)")


def _check(models_dir: Path) -> int:
    registry, failures = Registry(models_dir), 0
    for name in registry.names():
        try:
            print(f"ok       {name}: {registry.path(name)}")
        except LikenessError as error:
            failures += 1
            print(f"invalid  {name}: {error.detail}")
    return 1 if failures else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line: `add` registers a file, `check` verifies all."""
    parser = argparse.ArgumentParser(prog="python -m services.common.models", description="Model registry")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="register a file, or a file in an installed package")
    add.add_argument("name")
    add.add_argument("file", help="path of the file; below the package when --package is given")
    add.add_argument("--package")
    for option in ("--license", "--source", "--data"):
        add.add_argument(option, required=True)
    add.add_argument("--metric", action="append", default=[], metavar="NAME=VALUE")
    add.add_argument("--local", action="store_true", help=f"write {LOCAL_MANIFEST} instead of {MANIFEST}")
    commands.add_parser("check", help="verify every registered file")
    options = parser.parse_args(arguments)
    models_dir = CommonSettings().models_dir
    try:
        if options.command == "check":
            return _check(models_dir)
        _add(models_dir, options)
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

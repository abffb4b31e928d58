"""docs/openapi.json, which people read and generate clients from, is what a gateway serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_document_is_current() -> None:
    command = [sys.executable, "scripts/openapi.py", "--check"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr


def test_the_committed_document_names_keys_and_scopes() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert isinstance(operation["security"], list), f"{method} {path}"
            if path.startswith("/v1/") and operation["security"]:
                assert {"401", "429"} <= set(operation["responses"])

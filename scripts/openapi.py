"""Writes docs/openapi.json, the document that a gateway serves; with --check, only says whether it is up to date."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "openapi.json"
sys.path.insert(0, str(ROOT))


def make_document() -> str:
    """What a gateway with default settings serves at /openapi.json, with its paths in order."""
    from services.gateway.app import create_app
    from services.gateway.settings import GatewaySettings

    for name in [name for name in os.environ if name.startswith("LIKENESS_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(GatewaySettings(data_dir=Path(folder), log_level="error"))
        try:
            served: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
        finally:
            app.extensions["likeness"].close()
    served["paths"] = dict(sorted(served["paths"].items()))
    return json.dumps(served, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    made = make_document()
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(made)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == made:
        return 0
    print("docs/openapi.json is not what the code serves; run `make gen`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

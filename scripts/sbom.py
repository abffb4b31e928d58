"""A bill of materials of the packages in a Python environment, as CycloneDX 1.6 JSON on standard output.

    python scripts/sbom.py [SITE_PACKAGES]     by default those of the Python that runs it

Of images: `docker buildx bake attested` has the builder list everything, the base image's packages too.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from typing import Any


def bill(path: str | None = None) -> dict[str, Any]:
    """Every distribution once, in the order of names: name, version, package URL, licence as it states it."""
    found = metadata.distributions(path=[path]) if path else metadata.distributions()
    parts = {part["purl"]: part for part in map(_component, found)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [parts[purl] for purl in sorted(parts)],
    }


def _component(distribution: metadata.Distribution) -> dict[str, Any]:
    about = distribution.metadata
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    part: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": distribution.version,
        "purl": f"pkg:pypi/{name}@{distribution.version}",
    }
    expression = about.get("License-Expression")
    classified = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")
    ]
    if expression:
        part["licenses"] = [{"expression": expression}]
    elif classified:
        part["licenses"] = [{"license": {"name": licence}} for licence in classified]
    return part


if __name__ == "__main__":
    json.dump(bill(*sys.argv[1:2]), sys.stdout, indent=1)
    print()

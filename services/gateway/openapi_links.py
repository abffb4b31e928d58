"""Links of the OpenAPI page: which operations take the id that another one answers with."""

from __future__ import annotations

import re
from typing import Any, Final

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_ONE: Final = "$response.body#/id"
_FIRST: Final = "$response.body#/data/0/id"


def add_links(paths: dict[str, Any]) -> None:
    """From what makes or lists objects of a collection to everything below `collection/{id}`."""
    for path, item in paths.items():
        below = {other: parameter for other in paths if (parameter := _parameter_below(path, other))}
        for method, expression in (("post", _ONE), ("get", _FIRST)):
            operation = item.get(method)
            if operation is None or not below:
                continue
            links = {
                target["operationId"]: {
                    "operationId": target["operationId"],
                    "parameters": {parameter: expression},
                }
                for other, parameter in below.items()
                for name, target in paths[other].items()
                if name in _METHODS and len(_parameters(other)) == 1
            }
            for status, response in operation["responses"].items():
                if status in ("200", "201", "202") and "application/json" in response.get("content", {}):
                    response["links"] = links


def _parameter_below(collection: str, path: str) -> str | None:
    found = re.match(re.escape(collection) + r"/\{([^{}]+)\}(/|$)", path)
    return found[1] if found else None


def _parameters(path: str) -> list[str]:
    return re.findall(r"\{([^{}]+)\}", path)

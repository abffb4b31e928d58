"""The OpenAPI 3.1 page: what APIFlask makes of views and models, and the problems that each view can answer with."""

from __future__ import annotations

import re
from typing import Any, Final

from apiflask import APIFlask

from services.common.errors import REASONS
from services.gateway.api.headers import header_parameters, request_bodies
from services.gateway.api.reasons import reasons_of
from services.gateway.openapi_conventions import SECURITY_SCHEMES, add_conventions
from services.gateway.openapi_links import add_links
from services.gateway.problems import CONTENT_TYPE, Problem, problem_type

_DESCRIPTION: Final = (
    "Consented voice cloning and face swapping. Every failure is a problem (RFC 9457) with a stable `reason`; the "
    "`error` member repeats it in the shape of OpenAI's API. Every response carries `X-Request-Id`."
)


_TAGS: Final = (  # in the order in which a newcomer meets them
    "Voice consents",
    "Voices",
    "Speech",
    "Face consents",
    "Faces",
    "Swaps",
    "Jobs",
    "Batches",
    "Webhooks",
    "Media",
    "Uploads",
    "Models",
    "Accounts",
    "Operation",
)
_SCHEMAS: Final = "#/components/schemas/"


def register_openapi(app: APIFlask) -> None:
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        INFO={"description": _DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        SERVERS=[{"url": "/"}],
        AUTO_SERVERS=False,
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_200_RESPONSE=False,
        VALIDATION_ERROR_STATUS_CODE=400,
    )

    @app.spec_processor
    def add_problems(spec: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(spec, str):
            raise TypeError("the specification is made as JSON")
        schemas = spec.setdefault("components", {}).setdefault("schemas", {})
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas["Problem"] = schema
        spec = _with_plain_names(spec)
        spec["components"]["securitySchemes"] = SECURITY_SCHEMES
        spec["tags"] = [{"name": name} for name in _TAGS]
        for rule in app.url_map.iter_rules():
            path = spec["paths"].get(re.sub(r"<(?:[^<:>]+:)?([^<>]+)>", r"{\1}", rule.rule), {})
            for method in rule.methods or ():
                operation = path.get(method.lower())
                if operation is not None:
                    view = app.view_functions[rule.endpoint]
                    if headers := header_parameters(view):
                        operation.setdefault("parameters", []).extend(headers)
                    if bodies := request_bodies(view):
                        operation["requestBody"] = {"content": bodies}
                    conventional = add_conventions(operation, view, rule.rule, method)
                    _add_responses(operation, (*reasons_of(view), *conventional))
        add_links(spec["paths"])
        return spec


def _plain_name(name: str) -> str:
    """`PageOut[VoiceOut].TrialOut` -> `TrialOut`; `PageOut[VoiceOut]` -> `VoiceOutPage`."""
    name = name.rpartition(".")[2]
    page = re.fullmatch(r"PageOut\[(\w+)\]", name)
    return f"{page[1]}Page" if page else name


def _with_plain_names(spec: dict[str, Any]) -> dict[str, Any]:
    """Each schema once, under a name that OpenAPI allows; APIFlask repeats the parts of every model."""

    def rename(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                return {**node, "$ref": _SCHEMAS + _plain_name(reference.removeprefix(_SCHEMAS))}
            return {key: rename(value) for key, value in node.items()}
        return [rename(item) for item in node] if isinstance(node, list) else node

    schemas: dict[str, Any] = {}
    for name, schema in spec["components"].pop("schemas").items():
        renamed = rename(schema)
        if schemas.setdefault(_plain_name(name), renamed) != renamed:
            raise ValueError(f"two different models are called {_plain_name(name)}")
    spec = rename(spec)
    spec["components"]["schemas"] = schemas
    return spec


def _add_responses(operation: dict[str, Any], reasons: tuple[str, ...]) -> None:
    listed = list(reasons)
    body = operation.get("requestBody")
    if body is not None:
        body["required"] = True
        listed += ["INVALID_FIELD", "MEDIA_TOO_LARGE", "REQUEST_MALFORMED"]
    if operation.get("parameters"):
        listed.append("INVALID_FIELD")
    for status in sorted({REASONS[reason].http_status for reason in listed}):
        of_status = [reason for reason in dict.fromkeys(listed) if REASONS[reason].http_status == status]
        text = "; ".join(f"{REASONS[reason].title} (`{problem_type(reason)}`)" for reason in of_status)
        operation["responses"].setdefault(str(status), _problem(text))
        if status in (429, 503):
            retry = {"description": "Seconds to wait.", "schema": {"type": "string"}}
            operation["responses"][str(status)]["headers"] = {"Retry-After": retry}
    operation["responses"].setdefault("default", _problem("Any other failure"))


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }

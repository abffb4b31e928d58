"""Strict schemas of the custom resources that the chart makes, for which the Kubernetes schemas have nothing.

Transcribed from the projects' API references: of each object the fields that the chart may use, and no others.
"""

from __future__ import annotations

from typing import Any, Final

from jsonschema import Draft202012Validator

from tests.chart.rendering import Document

_TEXT: Final = {"type": "string", "minLength": 1}
_LABELS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def _record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


def _many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


_SELECTOR: Final = _record({"matchLabels": _LABELS})
_RULE: Final = _record(
    {"alert": {"type": "string", "pattern": "^Likeness[A-Za-z]+$"}, "expr": _TEXT, "labels": _LABELS},
    annotations=_LABELS,
    **{"for": {"type": "string", "pattern": "^[0-9]+[smh]$"}},
)
_MATCH: Final = _record({"path": _record({"type": {"enum": ["Exact", "PathPrefix"]}, "value": _TEXT})})
_TRIGGER: Final = {
    "oneOf": [
        _record(
            {
                "type": {"const": "prometheus"},
                "metricType": {"const": "AverageValue"},
                "metadata": _record(
                    {"serverAddress": _TEXT, "query": _TEXT, "threshold": _TEXT},
                    ignoreNullValues={"enum": ["true", "false"]},
                ),
            }
        ),
        _record(
            {
                "type": {"const": "postgresql"},
                "metricType": {"const": "AverageValue"},
                "authenticationRef": _record({"name": _TEXT}),
                "metadata": _record({"query": _TEXT, "targetQueryValue": _TEXT}),
            }
        ),
    ]
}
_POLICY: Final = _record(
    {"type": {"enum": ["Pods", "Percent"]}, "value": {"type": "integer"}, "periodSeconds": {"type": "integer"}}
)
_SCALING: Final = _record({"stabilizationWindowSeconds": {"type": "integer"}}, policies=_many(_POLICY))

_HOURS: Final = {"type": "string", "pattern": "^[1-9][0-9]*h$"}
_ISSUER_REF: Final = _record({"name": _TEXT, "kind": _TEXT, "group": _TEXT})
_PRIVATE_KEY: Final = _record(
    {
        "algorithm": {"const": "ECDSA"},
        "size": {"enum": [256, 384, 521]},
        "encoding": {"enum": ["PKCS1", "PKCS8"]},
        "rotationPolicy": {"enum": ["Always", "Never"]},
    }
)

# (API version, specification)
CUSTOM: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    # https://prometheus-operator.dev/docs/api-reference/api/
    "PodMonitor": (
        "monitoring.coreos.com/v1",
        _record(
            {
                "selector": _SELECTOR,
                "podMetricsEndpoints": _many(_record({"port": _TEXT, "path": _TEXT, "interval": _TEXT})),
            }
        ),
    ),
    "PrometheusRule": (
        "monitoring.coreos.com/v1",
        _record({"groups": _many(_record({"name": _TEXT, "rules": _many(_RULE)}))}),
    ),
    # https://keda.sh/docs/latest/reference/scaledobject-spec/
    "ScaledObject": (
        "keda.sh/v1alpha1",
        _record(
            {
                "scaleTargetRef": _record({"apiVersion": {"const": "apps/v1"}, "kind": _TEXT, "name": _TEXT}),
                "minReplicaCount": {"type": "integer", "minimum": 0},
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "pollingInterval": {"type": "integer"},
                "triggers": _many(_TRIGGER),
            },
            advanced=_record(
                {
                    "horizontalPodAutoscalerConfig": _record(
                        {"behavior": _record({"scaleUp": _SCALING, "scaleDown": _SCALING})}
                    )
                }
            ),
        ),
    ),
    "TriggerAuthentication": (
        "keda.sh/v1alpha1",
        _record({"secretTargetRef": _many(_record({"parameter": _TEXT, "name": _TEXT, "key": _TEXT}))}),
    ),
    # https://cert-manager.io/docs/reference/api-docs/
    "Certificate": (
        "cert-manager.io/v1",
        {
            **_record(
                {"secretName": _TEXT, "issuerRef": _ISSUER_REF, "duration": _HOURS, "renewBefore": _HOURS},
                privateKey=_PRIVATE_KEY,
                isCA={"type": "boolean"},
                commonName={**_TEXT, "maxLength": 64},
                dnsNames=_many(_TEXT),
                usages=_many({"enum": ["digital signature", "key encipherment", "server auth", "client auth"]}),
            ),
            "anyOf": [{"required": ["commonName"]}, {"required": ["dnsNames"]}],  # a certificate of somebody
        },
    ),
    "Issuer": (
        "cert-manager.io/v1",
        {"oneOf": [_record({"selfSigned": _record({})}), _record({"ca": _record({"secretName": _TEXT})})]},
    ),
    # https://gateway-api.sigs.k8s.io/reference/spec/
    "HTTPRoute": (
        "gateway.networking.k8s.io/v1",
        _record(
            {
                "parentRefs": _many(_record({"name": _TEXT}, namespace=_TEXT, sectionName=_TEXT)),
                "rules": _many(
                    _record(
                        {
                            "matches": {**_many(_MATCH), "maxItems": 64},
                            "backendRefs": _many(_record({"name": _TEXT, "port": {"type": "integer"}})),
                        },
                        timeouts=_record({"request": _TEXT}),
                    )
                ),
            },
            hostnames=_many(_TEXT),
        ),
    ),
}


def check_custom(document: Document) -> None:
    """Raises jsonschema.ValidationError for a field that is not known or does not fit."""
    version, spec = CUSTOM[document["kind"]]
    metadata = _record({"name": _TEXT, "labels": _LABELS}, annotations=_LABELS)
    schema = _record({"apiVersion": {"const": version}, "kind": _TEXT, "metadata": metadata, "spec": spec})
    Draft202012Validator(schema).validate(document)

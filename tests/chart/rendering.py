"""A rendered chart as Python objects, and the questions that tests ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import helm_python as helm
import yaml  # type: ignore[import-untyped]

from services.common.settings import CommonSettings

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "likeness"
STAGES: Final = ("encoder", "synthesizer", "vocoder", "faceswap")
PROGRAMS: Final = (*STAGES, "gateway")
SCENARIOS: Final = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

PLACEHOLDERS: Final = {
    "LIKENESS_DATABASE_URL": "postgresql://likeness:word@database/likeness",
    "LIKENESS_BOOTSTRAP_KEY": "lk_0123456789ab_" + "s" * 43,
    "LIKENESS_RATE_LIMIT_STORAGE": "redis://redis:6379",
    "LIKENESS_WORKER_ID": "likeness-worker-0",
}

Document = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """Kubernetes objects and the notes that Helm prints."""

    documents: list[Document]
    notes: str

    def of_kind(self, *kinds: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] in kinds]

    def one(self, kind: str, name: str) -> Document:
        (found,) = (document for document in self.of_kind(kind) if document["metadata"]["name"] == name)
        return found

    @property
    def workloads(self) -> list[Document]:
        """Everything that makes pods, or is one."""
        return [one for one in self.documents if one["kind"] == "Pod" or "template" in one.get("spec", {})]

    def running(self, component_name: str) -> list[tuple[Document, Document]]:
        """The containers of that name, with their workload: a worker may stand alone or beside the gateway."""
        found = [(workload, item) for workload in self.workloads for item in containers(workload)]
        return [(workload, item) for workload, item in found if item["name"] == component_name]


def scenario_values(scenario: str) -> dict[str, Any]:
    return helm.values_from_yaml((CHART / "ci" / f"{scenario}-values.yaml").read_text())


def render(chart: helm.Chart, values: Mapping[str, Any], *, name: str = "likeness") -> Rendered:
    manifests = chart.render(dict(values), name=name, namespace="media")
    notes = "".join(text for path, text in manifests.items() if path.endswith("NOTES.txt"))
    texts = [text for path, text in manifests.items() if path.endswith(".yaml")]
    return Rendered([document for text in texts for document in yaml.safe_load_all(text) if document], notes)


def pod_spec(workload: Document) -> Document:
    return dict(_pod(workload)["spec"])


def pod_labels(workload: Document) -> dict[str, str]:
    return dict(_pod(workload)["metadata"]["labels"])


def _pod(workload: Document) -> Document:
    return workload if workload["kind"] == "Pod" else dict(workload["spec"]["template"])


def component(document: Document) -> str:
    return str(document["metadata"]["labels"]["app.kubernetes.io/component"])


def containers(workload: Document) -> Iterator[Document]:
    spec = pod_spec(workload)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, [])


def plain_environment(container: Document) -> dict[str, str]:
    """Variables as the program sees them; those that come from a Secret or a field hold a placeholder."""
    return {
        entry["name"]: entry.get("value", PLACEHOLDERS.get(entry["name"], "from-secret")) for entry in container["env"]
    }


def settings_class(program: str) -> type[CommonSettings]:
    """The class that services/<program>/settings.py defines."""
    module = import_module(f"services.{program}.settings")
    (found,) = (
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, CommonSettings) and item.__module__ == module.__name__
    )
    return found

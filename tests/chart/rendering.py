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
        """Everything that makes pods."""
        return [document for document in self.documents if "template" in document.get("spec", {})]


def scenario_values(scenario: str) -> dict[str, Any]:
    return helm.values_from_yaml((CHART / "ci" / f"{scenario}-values.yaml").read_text())


def render(chart: helm.Chart, values: Mapping[str, Any], *, name: str = "likeness") -> Rendered:
    manifests = chart.render(dict(values), name=name, namespace="media")
    notes = "".join(text for path, text in manifests.items() if path.endswith("NOTES.txt"))
    texts = [text for path, text in manifests.items() if path.endswith(".yaml")]
    return Rendered([document for text in texts for document in yaml.safe_load_all(text) if document], notes)


def pod_spec(workload: Document) -> Document:
    return dict(workload["spec"]["template"]["spec"])


def pod_labels(workload: Document) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def component(document: Document) -> str:
    return str(document["metadata"]["labels"]["app.kubernetes.io/component"])


def containers(workload: Document) -> Iterator[Document]:
    spec = pod_spec(workload)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, [])


def plain_environment(container: Document) -> dict[str, str]:
    """Variables as the program sees them; those that come from a Secret hold a placeholder."""
    return {entry["name"]: entry.get("value", "from-secret") for entry in container["env"]}


def settings_class(program: str) -> type[CommonSettings]:
    """The class that services/<program>/settings.py defines."""
    module = import_module(f"services.{program}.settings")
    (found,) = (
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, CommonSettings) and item.__module__ == module.__name__
    )
    return found

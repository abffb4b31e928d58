"""report.json of the demonstration: what was measured, with which versions, on which machine."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

from likeness._demo.walk import PERSONA, SENTENCE, SOURCE, TARGET, DemoOutput
from services.common.audio import SAMPLE_RATE_HZ
from services.common.models import Registry
from services.common.settings import CommonSettings

PACKAGES: Final = (
    "likeness",
    "ai-edge-litert",
    "av",
    "dlib-bin",
    "flask",
    "grpcio",
    "gunicorn",
    "numba",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "protobuf",
    "sqlalchemy",
)


def write_report(output: DemoOutput) -> dict[str, Any]:
    """Writes report.json into the demonstration's folder and returns what it holds."""
    report = {
        "voice": {
            "reference": PERSONA.name,
            "text": SENTENCE,
            "audio_seconds": round(len(output.samples) / SAMPLE_RATE_HZ, 3),
            **asdict(output.speech.figures),
            "formant_warp": output.voice.formant_warp,
            "reference_quality": dict(output.voice.quality),
        },
        "face": {
            "source": SOURCE.name,
            "target": TARGET.name,
            "swapped": [dict(face) for face in output.swap.faces],
            "seconds": output.swap.seconds,
        },
        "film": dict(output.film.figures),
        "timings_s": output.timings_s,
        "idle_memory_mb": {item.name: round(item.size_bytes / 1e6, 1) for item in output.memory}
        | {"together": round(sum(item.size_bytes for item in output.memory) / 1e6, 1)},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "models": _models(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (output.folder / "report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _models() -> dict[str, str]:
    registry = Registry(CommonSettings().models_dir)
    return {name: registry.entry(name).sha256 for name in registry.names()}


def _processor() -> str:
    """The name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

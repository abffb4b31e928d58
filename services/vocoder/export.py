"""Publishes trained weights: copies a run's best ones into the models folder and registers them.

python -m services.vocoder.export --run out/vocoder [--models-dir models] [--metric name=value ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from services.common.models import ModelEntry, describe_file, register_model
from services.common.settings import CommonSettings
from services.vocoder.engines import WAVENET_MODEL
from services.vocoder.packed import load_packed

LARGEST_BYTES: Final = 8 * 1024 * 1024
DATA: Final = (
    "speechocean762 adults (CC BY 4.0), LibriSpeech train-clean-100 excerpts (CC BY 4.0), PhilippMatthes/dc_tts "
    "recordings (Apache-2.0), Picovoice speech-to-intent-benchmark clean set (Apache-2.0); no held-out speakers"
)


def export(run: Path, models_dir: Path, metrics: dict[str, Any]) -> ModelEntry:
    """Copies `best.safetensors`, after reading it as the engine would, and writes the manifest's row.

    Raises:
        LikenessError: MODEL_INVALID when the file is no WaveNet.
        ValueError: it is larger than a repository should carry.
    """
    best = run / "best.safetensors"
    load_packed(best)
    content = best.read_bytes()
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{best} has {len(content)} bytes, more than {LARGEST_BYTES}")
    with safe_open(best, framework="numpy") as file:
        facts = file.metadata()
    target = models_dir / "vocoder" / "wavenet.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    known = {name: json.loads(facts[name]) for name in ("step", "audio_seconds", "dev_nll")}
    entry = describe_file(
        target,
        name=WAVENET_MODEL,
        models_dir=models_dir,
        license="Apache-2.0",
        source="python -m services.vocoder.train",
        data=DATA,
        metrics=known | metrics,
    )
    register_model(models_dir, entry)
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish trained WaveNet weights")
    parser.add_argument("--run", type=Path, default=Path("out/vocoder"))
    parser.add_argument("--models-dir", type=Path, default=CommonSettings().models_dir)
    parser.add_argument("--metric", action="append", default=[], help="name=value, noted in the manifest")
    arguments = parser.parse_args()
    pairs = (metric.partition("=") for metric in arguments.metric)
    entry = export(arguments.run, arguments.models_dir, {name: float(value) for name, _, value in pairs})
    print(f"{entry.name}: {entry.sha256} ({entry.size_bytes} bytes), {dict(entry.metrics)}")


if __name__ == "__main__":
    main()

"""Stages for load tests: real gRPC servers of the project, behind which there is nothing but a wait of known length.

`python -m benchmarks.serve_stages --data-dir D --wait-ms 5` serves encoder, synthesizer and vocoder on free ports,
prints {"encoder": port, ...} as a line of JSON, and runs until SIGTERM. Each call waits so long, in one place of
`--concurrency`; further calls queue as at the real stages, and are refused when the queue is full.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from likeness.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    synthesizer_pb2,
    synthesizer_pb2_grpc,
    types_pb2,
    vocoder_pb2,
    vocoder_pb2_grpc,
)
from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ
from services.common.keys import make_keys
from services.common.server import StageServer
from services.common.settings import StageSettings
from services.common.wire import frames_from_wire, frames_to_wire

FRAMES_PER_CHARACTER: Final = 5
EMBEDDING: Final = [1.0 / 16.0] * 256


class _Stage:
    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s

    def load(self) -> None:
        return None

    def work(self) -> None:
        time.sleep(self._wait_s)


class Encoder(_Stage, encoder_pb2_grpc.EncoderServiceServicer):
    """Always the same speaker."""

    def EmbedSpeech(self, request_iterator: Iterator[Any], context: Any) -> encoder_pb2.EmbedSpeechResponse:
        size_bytes = sum(len(part.samples_s16) for part in request_iterator)
        self.work()
        profile = types_pb2.SpeakerProfile(
            embedding=EMBEDDING,
            log_f0_median=5.0,
            log_f0_spread=0.1,
            mel_mean=[-5.0] * MEL_BINS,
            mel_spread=[1.0] * MEL_BINS,
        )
        seconds = size_bytes / 2 / SAMPLE_RATE_HZ
        quality = encoder_pb2.ReferenceQuality(total_seconds=seconds, speech_seconds=seconds, snr_db=40.0)
        return encoder_pb2.EmbedSpeechResponse(profile=profile, quality=quality)


class Synthesizer(_Stage, synthesizer_pb2_grpc.SynthesizerServiceServicer):
    """As many frames as the text has characters, times five."""

    def SynthesizeMel(self, request: Any, context: Any) -> Iterator[synthesizer_pb2.SynthesizeMelResponse]:
        self.work()
        frames = np.full((FRAMES_PER_CHARACTER * len(request.text), FRAME_CHANNELS), -5.0, np.float32)
        frames[:, MEL_BINS:] = (5.0, 1.0)  # log-F0 and voicing
        yield synthesizer_pb2.SynthesizeMelResponse(frames=frames_to_wire(frames), sentence_count=1)


class Vocoder(_Stage, vocoder_pb2_grpc.VocoderServiceServicer):
    """Silence of the right length."""

    def SynthesizeWaveform(
        self, request_iterator: Iterator[Any], context: Any
    ) -> Iterator[vocoder_pb2.SynthesizeWaveformResponse]:
        for request in request_iterator:
            if request.WhichOneof("part") != "frames":
                continue
            self.work()
            count = frames_from_wire(request.frames).shape[0] * HOP_SAMPLES
            yield vocoder_pb2.SynthesizeWaveformResponse(
                samples_s16=bytes(2 * count), sample_rate_hz=SAMPLE_RATE_HZ, engine="draft"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--wait-ms", type=float, default=5.0)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--queue", type=int, default=32)
    arguments = parser.parse_args()
    make_keys(arguments.data_dir / "keys")
    settings = StageSettings(
        data_dir=arguments.data_dir,
        max_concurrency=arguments.concurrency,
        max_queue_size=arguments.queue,
        drain_wait_s=0.0,
        drain_grace_s=0.5,
        log_level="error",
    )
    wait_s = arguments.wait_ms / 1000.0
    servers = {
        "encoder": _serve(settings, "Encoder", Encoder(wait_s), encoder_pb2, encoder_pb2_grpc),
        "synthesizer": _serve(settings, "Synthesizer", Synthesizer(wait_s), synthesizer_pb2, synthesizer_pb2_grpc),
        "vocoder": _serve(settings, "Vocoder", Vocoder(wait_s), vocoder_pb2, vocoder_pb2_grpc),
    }
    print(json.dumps({name: server.port for name, server in servers.items()}), flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    for server in servers.values():
        server.drain()


def _serve(settings: StageSettings, name: str, servicer: Any, messages: Any, services: Any) -> StageServer:
    return StageServer(
        settings,
        service_name=f"{name}Service",
        servicer=servicer,
        add_to_server=getattr(services, f"add_{name}ServiceServicer_to_server"),
        descriptor=messages.DESCRIPTOR,
    ).start()


if __name__ == "__main__":
    main()

"""One fake stage in a process of its own, which can be killed: `python -m tests.contract.gateway_stage_process
faceswap 50054`; `LIKENESS_*` settings say where the store is."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from likeness.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    faceswap_pb2,
    faceswap_pb2_grpc,
    synthesizer_pb2,
    synthesizer_pb2_grpc,
    vocoder_pb2,
    vocoder_pb2_grpc,
)
from services.common.server import StageServer
from services.common.settings import StageSettings
from tests.contract.gateway_fake_faces import FakeFaceSwap
from tests.contract.gateway_fakes import Doings, FakeEncoder, FakeSynthesizer, FakeVocoder


def start(stage: str, port: int) -> StageServer:
    settings = StageSettings(port=port, drain_wait_s=0.0, drain_grace_s=0.2, max_concurrency=8, log_level="error")
    doings = Doings()
    parts: dict[str, tuple[str, Any, Any, Any]] = {
        "encoder": ("Encoder", FakeEncoder(doings), encoder_pb2, encoder_pb2_grpc),
        "synthesizer": ("Synthesizer", FakeSynthesizer(doings), synthesizer_pb2, synthesizer_pb2_grpc),
        "vocoder": ("Vocoder", FakeVocoder(settings, doings), vocoder_pb2, vocoder_pb2_grpc),
        "faceswap": ("FaceSwap", FakeFaceSwap(doings, settings), faceswap_pb2, faceswap_pb2_grpc),
    }
    name, servicer, messages, services = parts[stage]
    server = StageServer(
        settings,
        service_name=f"{name}Service",
        servicer=servicer,
        add_to_server=getattr(services, f"add_{name}ServiceServicer_to_server"),
        descriptor=messages.DESCRIPTOR,
    )
    return server.start()


if __name__ == "__main__":
    running = start(sys.argv[1], int(sys.argv[2]))
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    print("ready", flush=True)
    stopping.wait()
    running.drain()

"""The synthesizer's server: `python -m services.synthesizer`."""

from __future__ import annotations

from likeness.v1 import synthesizer_pb2, synthesizer_pb2_grpc
from services.common.server import run_stage
from services.synthesizer.servicer import SynthesizerServicer
from services.synthesizer.settings import SynthesizerSettings

if __name__ == "__main__":
    settings = SynthesizerSettings()
    raise SystemExit(
        run_stage(
            settings,
            service_name="SynthesizerService",
            servicer=SynthesizerServicer(settings),
            add_to_server=synthesizer_pb2_grpc.add_SynthesizerServiceServicer_to_server,
            descriptor=synthesizer_pb2.DESCRIPTOR,
        )
    )

"""Runs the vocoder stage: python -m services.vocoder."""

import sys

from likeness.v1 import vocoder_pb2, vocoder_pb2_grpc
from services.common.server import run_stage
from services.vocoder.servicer import VocoderServicer
from services.vocoder.settings import VocoderSettings

if __name__ == "__main__":
    settings = VocoderSettings()
    sys.exit(
        run_stage(
            settings,
            service_name="likeness.v1.VocoderService",
            servicer=VocoderServicer(settings),
            add_to_server=vocoder_pb2_grpc.add_VocoderServiceServicer_to_server,
            descriptor=vocoder_pb2.DESCRIPTOR,
        )
    )

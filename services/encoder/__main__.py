"""Runs the encoder stage: python -m services.encoder."""

import sys

from likeness.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.server import run_stage
from services.encoder.servicer import EncoderServicer
from services.encoder.settings import EncoderSettings

if __name__ == "__main__":
    settings = EncoderSettings()
    sys.exit(
        run_stage(
            settings,
            service_name="likeness.v1.EncoderService",
            servicer=EncoderServicer(settings),
            add_to_server=encoder_pb2_grpc.add_EncoderServiceServicer_to_server,
            descriptor=encoder_pb2.DESCRIPTOR,
        )
    )

"""Runs the face swap stage: python -m services.faceswap."""

import sys

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc
from services.common.server import run_stage
from services.faceswap.servicer import FaceSwapServicer
from services.faceswap.settings import FaceSwapSettings

if __name__ == "__main__":
    settings = FaceSwapSettings()
    sys.exit(
        run_stage(
            settings,
            service_name="likeness.v1.FaceSwapService",
            servicer=FaceSwapServicer(settings),
            add_to_server=faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server,
            descriptor=faceswap_pb2.DESCRIPTOR,
        )
    )

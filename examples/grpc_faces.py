"""Which faces are in a picture? Asks the faceswap stage directly, over plain gRPC.

python examples/grpc_faces.py group.jpg --who "the people in it" --faceswap 127.0.0.1:50054
"""

import argparse
import os
from pathlib import Path

import grpc

import likeness
from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("picture", type=Path, help="PNG, JPEG or WebP of at most 1 MiB")
    parser.add_argument("--who", required=True, help="who is in it, and has agreed to be looked for")
    parser.add_argument("--faceswap", default="127.0.0.1:50054")
    arguments = parser.parse_args()

    client = likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000"))
    consent = client.face_consents.create(
        who=arguments.who, kind="attested", attested_by="whoever runs this example", evidence="asked before"
    )
    grant = client.grants.create(face_consent=consent.id)
    with grpc.insecure_channel(arguments.faceswap) as channel:
        stub = faceswap_pb2_grpc.FaceSwapServiceStub(channel)
        picture = faceswap_pb2.Picture(encoded=arguments.picture.read_bytes())
        answer = stub.DetectFaces(faceswap_pb2.DetectFacesRequest(picture=picture), timeout=30, metadata=grant.metadata)
    print(f"{answer.width_px} x {answer.height_px} pixels, {len(answer.faces)} faces, the largest first")
    for face in answer.faces:
        box = face.box
        print(f"  {box.width:.0f} x {box.height:.0f} at ({box.left:.0f}, {box.top:.0f}), score {face.score:.2f}")


if __name__ == "__main__":
    main()

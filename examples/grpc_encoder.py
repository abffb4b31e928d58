"""How alike do two recordings sound? Asks the encoder stage directly, over plain gRPC.

python examples/grpc_encoder.py a.wav b.flac --who "Ada" --encoder 127.0.0.1:50051
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

import likeness
from likeness.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.decode import decode_audio
from services.common.wire import chunked, samples_to_s16


def requests(path: Path) -> Iterator[encoder_pb2.EmbedSpeechRequest]:
    yield encoder_pb2.EmbedSpeechRequest(options=encoder_pb2.EmbedSpeechOptions(label=path.name))
    for chunk in chunked(samples_to_s16(decode_audio(path.read_bytes()).samples)):
        yield encoder_pb2.EmbedSpeechRequest(samples_s16=chunk)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recordings", type=Path, nargs=2)
    parser.add_argument("--who", required=True, help="who speaks in them, and has agreed to be measured")
    parser.add_argument("--encoder", default="127.0.0.1:50051")
    arguments = parser.parse_args()

    client = likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000"))
    consent = client.voice_consents.create(
        who=arguments.who, kind="attested", attested_by="whoever runs this example", evidence="asked before"
    )
    grant = client.grants.create(voice_consent=consent.id)
    embeddings = []
    with grpc.insecure_channel(arguments.encoder) as channel:
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        for path in arguments.recordings:
            answer = stub.EmbedSpeech(requests(path), timeout=60, metadata=grant.metadata)
            quality = answer.quality
            print(f"{path.name}: {quality.speech_seconds:.1f} s of speech, {quality.snr_db:.0f} dB above the noise")
            for advice in quality.advice:
                print(f"  {advice}")
            embeddings.append(np.array(answer.profile.embedding))
    print(f"cosine {float(embeddings[0] @ embeddings[1]):.3f} (1 is the same voice)")


if __name__ == "__main__":
    main()

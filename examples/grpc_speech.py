"""Text to audio with the stages alone: recording -> encoder -> synthesizer -> vocoder -> WAV.

    python examples/grpc_speech.py --text "Good morning." --out hello.wav

This is what the gateway does for /v1/audio/speech, without its consent, records and marking: for development only.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import grpc
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
from services.common.decode import decode_audio
from services.common.encode_audio import encode_audio
from services.common.wire import chunked, samples_from_s16, samples_to_s16

PERSONA = Path(__file__).parent / "persona" / "persona.flac"
TIMEOUT_S = 120


def profile_of(recording: Path, encoder: str) -> types_pb2.SpeakerProfile:
    samples = decode_audio(recording.read_bytes()).samples
    with grpc.insecure_channel(encoder) as channel:
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        pieces = (encoder_pb2.EmbedSpeechRequest(samples_s16=piece) for piece in chunked(samples_to_s16(samples)))
        return stub.EmbedSpeech(pieces, timeout=TIMEOUT_S).profile


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", default="Good morning. These words went through three programs.")
    parser.add_argument("--recording", type=Path, default=PERSONA)
    parser.add_argument("--out", type=Path, default=Path("out/grpc.wav"))
    parser.add_argument("--encoder", default="127.0.0.1:50051")
    parser.add_argument("--synthesizer", default="127.0.0.1:50052")
    parser.add_argument("--vocoder", default="127.0.0.1:50053")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    speaker = profile_of(arguments.recording, arguments.encoder)
    with grpc.insecure_channel(arguments.synthesizer) as lower, grpc.insecure_channel(arguments.vocoder) as upper:
        frames = synthesizer_pb2_grpc.SynthesizerServiceStub(lower).SynthesizeMel(
            synthesizer_pb2.SynthesizeMelRequest(text=arguments.text, speaker=speaker, seed=1), timeout=TIMEOUT_S
        )

        def requests() -> Iterator[vocoder_pb2.SynthesizeWaveformRequest]:
            for answer in frames:  # each is sent on as soon as it is there
                for word in answer.words:
                    print(f"{word.start_seconds:6.2f} s  {word.word}")
                if answer.frames.frame_count:
                    yield vocoder_pb2.SynthesizeWaveformRequest(frames=answer.frames)

        answers = vocoder_pb2_grpc.VocoderServiceStub(upper).SynthesizeWaveform(requests(), timeout=TIMEOUT_S)
        samples = np.concatenate([samples_from_s16(answer.samples_s16) for answer in answers])
    arguments.out.write_bytes(encode_audio(samples, "wav"))
    print(f"{arguments.out}: {len(samples) / 16_000:.2f} s")


if __name__ == "__main__":
    main()

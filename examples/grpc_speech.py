"""Text to audio with the stages themselves: an enrolled voice -> synthesizer -> vocoder -> WAV.

    python examples/grpc_speech.py --text "Good morning." --out hello.wav

The gateway enrols the voice and grants the calls; the vocoder marks what it makes with the grant's number.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

import likeness
from likeness.v1 import synthesizer_pb2, synthesizer_pb2_grpc, types_pb2, vocoder_pb2, vocoder_pb2_grpc
from services.common.encode_audio import encode_audio
from services.common.wire import samples_from_s16

PERSONA = Path(__file__).parent / "persona" / "persona.flac"
TIMEOUT_S = 120


def enrolled(client: likeness.Client, name: str) -> str:
    """The persona's voice, which nobody has."""
    for voice in client.voices.list():
        if voice.name == name:
            return name
    consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="examples/persona/README.md")
    return client.voices.enrol(name, PERSONA, consent=consent.id).name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", default="Good morning. These words went through two programs.")
    parser.add_argument("--voice", help="id or name of an enrolled voice; by default the persona's")
    parser.add_argument("--out", type=Path, default=Path("out/grpc.wav"))
    parser.add_argument("--synthesizer", default="127.0.0.1:50052")
    parser.add_argument("--vocoder", default="127.0.0.1:50053")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    client = likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000"))
    grant = client.grants.create(voice=arguments.voice or enrolled(client, "juniper-over-grpc"))
    speaker = types_pb2.SpeakerProfile(**grant.profile)
    granted = {"timeout": TIMEOUT_S, "metadata": grant.metadata}
    with grpc.insecure_channel(arguments.synthesizer) as lower, grpc.insecure_channel(arguments.vocoder) as upper:
        frames = synthesizer_pb2_grpc.SynthesizerServiceStub(lower).SynthesizeMel(
            synthesizer_pb2.SynthesizeMelRequest(text=arguments.text, speaker=speaker, seed=1), **granted
        )

        def requests() -> Iterator[vocoder_pb2.SynthesizeWaveformRequest]:
            for answer in frames:  # each is sent on as soon as it is there
                for word in answer.words:
                    print(f"{word.start_seconds:6.2f} s  {word.word}")
                if answer.frames.frame_count:
                    yield vocoder_pb2.SynthesizeWaveformRequest(frames=answer.frames)

        answers = vocoder_pb2_grpc.VocoderServiceStub(upper).SynthesizeWaveform(requests(), **granted)
        samples = np.concatenate([samples_from_s16(answer.samples_s16) for answer in answers])
    arguments.out.write_bytes(encode_audio(samples, "wav"))
    print(f"{arguments.out}: {len(samples) / 16_000:.2f} s, marked with {grant.mark:08x}")


if __name__ == "__main__":
    main()

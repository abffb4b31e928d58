"""Clones the persona's voice and lets it speak, through `likeness.Client`.

python examples/client_speech.py --text "Good morning." --out hello.wav
"""

import argparse
import os
from pathlib import Path

import likeness

PERSONA = Path(__file__).parent / "persona" / "persona.flac"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", default="Good morning. This voice belongs to nobody.")
    parser.add_argument("--out", type=Path, default=Path("out/client.wav"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    with likeness.Client(os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000")) as client:
        consent = client.voice_consents.create(
            who="Juniper", kind="synthetic", evidence="examples/persona/README.md tells how the voice was made"
        )
        voice = client.voices.enrol(f"juniper of {consent.id}", PERSONA, consent=consent.id)
        print(f"{voice.quality['speech_seconds']:.1f} s of speech in the recording")

        with arguments.out.open("wb") as file:
            speech = client.speak(arguments.text, voice=voice.id, seed=1, to=file)
        print(f"{arguments.out}: {speech.size_bytes} bytes, {speech.figures}")

        # From here on nobody can speak with this voice any more.
        client.voice_consents.revoke(consent.id)
        try:
            client.speak("Not any more.", voice=voice.id)
        except likeness.LikenessAPIError as error:
            print(f"{error.status} {error.reason}: {error.detail}")


if __name__ == "__main__":
    main()

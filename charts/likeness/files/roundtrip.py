"""`helm test`: from a recording to speech in its voice, through the gateway and three stages, and back to nothing.

    python roundtrip.py URL RECORDING

The key is read from LIKENESS_API_KEY, where one is needed. What it made it deletes again; the consent is revoked.
"""

import io
import sys
import uuid
import wave

import likeness

SENTENCE = "This is a test of the whole path."


def main(url: str, recording: str) -> int:
    name = f"helm-test-{uuid.uuid4().hex[:8]}"
    with likeness.Client(url, timeout=180.0) as client:
        consent = client.voice_consents.create(
            who="Juniper, a persona made by a program", kind="synthetic", evidence="No real person; used by helm test."
        )
        try:
            voice = client.voices.enrol(name, recording, consent=consent.id, fast=True)
            try:
                speech = client.speak(SENTENCE, voice=voice.id, seed=1)
            finally:
                client.voices.delete(voice.id)
        finally:
            client.voice_consents.revoke(consent.id)
    with wave.open(io.BytesIO(speech.audio)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    print(f"{seconds:.1f} s of speech in an enrolled voice")
    return 0 if 1.0 < seconds < 10.0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

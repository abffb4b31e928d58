"""Speaks with the official `openai` package: only the address is another one. The voice must be enrolled.

python examples/openai_speech.py --voice juniper --text "Good morning." --out hello.mp3
"""

import argparse
import os
from pathlib import Path

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--voice", required=True, help="id or name of an enrolled voice")
    parser.add_argument("--text", default="Good morning. I was told to read this with another voice than yours.")
    parser.add_argument("--out", type=Path, default=Path("out/openai.mp3"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)

    url = os.environ.get("LIKENESS_URL", "http://127.0.0.1:8000")
    client = OpenAI(base_url=f"{url}/v1", api_key="not needed on this machine")
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=arguments.voice, input=arguments.text, response_format="mp3"
    ) as response:
        response.stream_to_file(arguments.out)
        print(f"{arguments.out}: first audio after {response.headers['X-Likeness-Time-To-First-Audio-Ms']} ms")


if __name__ == "__main__":
    main()

"""What the marks survive, and what they cost: `python -m benchmarks.provenance --json [--speech-dir DIR]`.

Puts together what the parts measure, each of which runs alone, too: `provenance_audio`, `provenance_pictures`,
`provenance_films`, `provenance_manifests`. With the default sizes some twenty minutes of one core; `--items` and
`--unmarked` make it shorter, and its shares coarser.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks import provenance_audio, provenance_films, provenance_manifests, provenance_pictures
from benchmarks.machine import describe_machine

ITEMS: Final = 100
UNMARKED: Final = 10_000
FILMS_PER_ITEM: Final = 0.12  # a film takes as long as many pictures
UNMARKED_FILMS_SHARE: Final = 0.2


def measure(speech_dir: Path | None = None, items: int = ITEMS, unmarked: int = UNMARKED) -> dict[str, Any]:
    """All figures, one object for each kind of media.

    Args:
        speech_dir: recordings; without them only speech that the project makes is marked.
        items: pieces of speech and pictures that are marked and attacked.
        unmarked: pairs of an unmarked item and a key that are searched, of each of sound and pictures.
    """
    _say("speech")
    audio = provenance_audio.measure(speech_dir, items=items, unmarked=unmarked)
    _say("pictures")
    image = provenance_pictures.measure(items=items, unmarked=unmarked)
    _say("films")
    films = max(2, round(FILMS_PER_ITEM * items))
    video = provenance_films.measure(films=films, unmarked=round(UNMARKED_FILMS_SHARE * unmarked))
    _say("manifests")
    manifests = provenance_manifests.measure()
    return {
        "audio": audio,
        "image": image,
        "video": video,
        "c2pa_valid_share": manifests["c2pa_valid_share"],
        "manifests": manifests,
        "machine": describe_machine(),
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON, which it does in any case")
    parser.add_argument("--speech-dir", type=Path)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--unmarked", type=int, default=UNMARKED)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.speech_dir, arguments.items, arguments.unmarked), indent=2))


if __name__ == "__main__":
    main()

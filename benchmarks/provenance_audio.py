"""Measures the mark of speech: what it survives, what unmarked speech is taken for, what it costs.

    python -m benchmarks.provenance_audio --json [--speech-dir DIR] [--items 100] [--unmarked 10000]

Speech is the draft vocoder's, and where a folder of recordings is given nine tenths are pieces of these. An unmarked
item is a piece of speech and a key: the piece carries nothing, or every fourth time the mark of another key.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.provenance_speech import ATTACKS, own_speech, recorded_speech
from benchmarks.timing import least_s
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.marking.audio import AudioMarker, AudioMarkSearch, confirms_audio_mark, find_audio_mark

KEYS_PER_PIECE: Final = 20
OWN_SHARE: Final = 0.1  # of the pieces, where there are recordings
GATE_S: Final = (1.0, 3.0)  # stretches that a release gate looks at
_log = logging.getLogger(__name__)


def measure(
    speech_dir: Path | None = None, items: int = 100, unmarked: int = 10_000, rated: int = 40, seed: int = 7
) -> dict[str, Any]:
    """All figures.

    Args:
        speech_dir: a folder of recordings; without it only speech that the project makes is used.
        items: pieces that are marked and attacked.
        unmarked: how many pairs of a piece and a key are searched in vain.
        rated: of the pieces, how many are rated before and after marking.
        seed: of everything that is drawn but keys and numbers.
    """
    found, wrong = _found(speech_dir, items, seed)
    false_finds, pairs = _false_finds(speech_dir, unmarked, seed + 1)
    return {
        "found_share": found,
        "items": items,
        "payload_errors": wrong,
        "false_positive_rate": false_finds / pairs if pairs else None,
        "items_unmarked": pairs,
        "quality_cost": _quality_cost(speech_dir, rated, seed + 2),
        "gate": _gate(speech_dir, items, seed + 3),
        **_times(seed),
        "machine": describe_machine(),
    }


def pieces(speech_dir: Path | None, count: int, seed: int) -> Iterator[FloatArray]:
    """That many pieces of speech of 3 s at least; they come again when there are no more."""
    random = np.random.default_rng(seed)
    own, recorded = _again(lambda: own_speech(random)), None
    if speech_dir is not None:
        folder = speech_dir
        recorded = _again(lambda: recorded_speech(folder, random))
    for _ in range(count):
        yield next(own if recorded is None or random.random() < OWN_SHARE else recorded)


def _again(source: Callable[[], Iterator[FloatArray]]) -> Iterator[FloatArray]:
    while True:
        empty = True
        for piece in source():
            empty = False
            yield piece
        if empty:
            raise ValueError("there is no speech of 3 s or more to measure with")


def marked(samples: FloatArray, key: bytes, number: int) -> FloatArray:
    """As they leave the vocoder: marked in pieces of 0.1 s, then rounded to 16 bits."""
    marker = AudioMarker(key, number)
    step = SAMPLE_RATE_HZ // 10
    out = [marker.write(samples[start : start + step]) for start in range(0, samples.size, step)]
    return np.asarray(np.rint(32767 * np.concatenate([*out, marker.finish()])) / 32768, np.float32)


def _drawn() -> tuple[bytes, int]:
    return secrets.token_bytes(32), secrets.randbelow(2**32 - 1) + 1


def _found(speech_dir: Path | None, items: int, seed: int) -> tuple[dict[str, float], int]:
    random = np.random.default_rng(seed)
    found, wrong = dict.fromkeys(ATTACKS, 0), 0
    for index, piece in enumerate(pieces(speech_dir, items, seed)):
        key, number = _drawn()
        work = marked(piece, key, number)
        for name, attack in ATTACKS.items():
            mark = find_audio_mark(*attack(work, random), key)
            found[name] += mark is not None and mark.number == number
            wrong += mark is not None and mark.number != number
            if mark is None:
                _log.info("piece %d of %.1f s was missed after %s", index, piece.size / SAMPLE_RATE_HZ, name)
    return {name: count / items for name, count in found.items()}, wrong


def _false_finds(speech_dir: Path | None, pairs: int, seed: int) -> tuple[int, int]:
    """Marks found where there are none, and pairs looked at."""
    false_finds, looked_at = 0, 0
    for index, piece in enumerate(pieces(speech_dir, -(-pairs // KEYS_PER_PIECE), seed)):
        search = AudioMarkSearch(marked(piece, *_drawn()) if index % 4 == 3 else piece, SAMPLE_RATE_HZ)
        for _ in range(KEYS_PER_PIECE):
            false_finds += search.find(secrets.token_bytes(32)) is not None
            looked_at += 1
        if index % 20 == 19:
            _log.info("%d unmarked items searched, %d marks found", looked_at, false_finds)
    return false_finds, looked_at


def _quality_cost(speech_dir: Path | None, rated: int, seed: int) -> dict[str, float]:
    """Drop of DNSMOS, and level of the speech over what marking changes."""
    drops, ratios_db = [], []
    for piece in pieces(speech_dir, rated, seed):
        work = marked(piece, *_drawn())
        drops.append(overall_mos(piece) - overall_mos(work))
        ratios_db.append(10 * np.log10(np.sum(np.square(piece)) / np.sum(np.square(work - piece))))
    return {
        "dnsmos_drop": float(np.mean(drops)),
        "dnsmos_drop_error": float(np.std(drops) / np.sqrt(rated)),
        "dnsmos_drop_max": float(np.max(drops)),
        "signal_to_mark_db": float(np.mean(ratios_db)),
    }


def _gate(speech_dir: Path | None, items: int, seed: int) -> dict[str, dict[str, float]]:
    """Of the loudest stretches of pieces: how many confirm their number, and how many one of which a bit is another."""
    random = np.random.default_rng(seed)
    counts = {seconds: [0, 0] for seconds in GATE_S}
    for piece in pieces(speech_dir, items, seed):
        key, number = _drawn()
        other = number ^ 1 << int(random.integers(32)) or 1
        work = marked(piece, key, number)
        for seconds, count in counts.items():
            size = int(seconds * SAMPLE_RATE_HZ)
            total = np.cumsum(np.abs(work), dtype=np.float64)
            start = int((total[size - 1 :] - total[: total.size - size + 1]).argmax())
            stretch = work[start : start + size]
            count[0] += confirms_audio_mark(stretch, SAMPLE_RATE_HZ, key, number, begins_at=start)
            count[1] += confirms_audio_mark(stretch, SAMPLE_RATE_HZ, key, other, begins_at=start)
    return {
        f"{seconds:g}_s": {"confirmed_share": own / items, "other_number_confirmed_share": wrong / items}
        for seconds, (own, wrong) in counts.items()
    }


def _times(seed: int) -> dict[str, float]:
    """Processor time of one core, the least of several runs."""
    speech = np.concatenate(list(pieces(None, 6, seed)))[: 10 * SAMPLE_RATE_HZ]
    key = secrets.token_bytes(32)
    work = marked(speech, key, 1)
    seconds = speech.size / SAMPLE_RATE_HZ
    return {
        "marking_time_share": least_s(lambda: marked(speech, key, 1), 7) / seconds,
        "search_s_10s": least_s(lambda: find_audio_mark(work, SAMPLE_RATE_HZ, key), 3),
        "search_s_10s_unmarked": least_s(lambda: find_audio_mark(speech, SAMPLE_RATE_HZ, key), 3),
        "search_s_60s_unmarked": least_s(lambda: find_audio_mark(np.tile(speech, 6), SAMPLE_RATE_HZ, key), 2),
        "confirm_s_3s": least_s(lambda: confirms_audio_mark(work[:48_000], SAMPLE_RATE_HZ, key, 1, begins_at=0), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="JSON on stdout, which is what is printed anyway")
    parser.add_argument(
        "--speech-dir", type=Path, help="folder of recordings; without it only speech made here is used"
    )
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--unmarked", type=int, default=10_000)
    parser.add_argument("--rated", type=int, default=40)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    print(json.dumps(measure(given.speech_dir, given.items, given.unmarked, given.rated), indent=2))


if __name__ == "__main__":
    main()

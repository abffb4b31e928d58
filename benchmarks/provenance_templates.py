"""How often templates of protected people are missed, and how often others are taken for them.

    python -m benchmarks.provenance_templates --speech-dir DIR [--json]

Voices: of every speaker of DIR with enough recordings, some seconds stand for what a protected person says, other
recordings for what somebody enrols; all pairs of different speakers are impostors. Recordings of one speaker are of one
session, so misses are understated. Faces: seven people out of installed packages, one photograph each; what is enrolled
is the same photograph turned in three dimensions, darker, smaller, coarser. So misses are understated much, and 42
pairs of people say little of how often a stranger is taken for somebody else: below a rate of 1 in 42 x variants
nothing can be told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face_film import NECK, sample_heads, turn_about, warped
from benchmarks.flite_reference import read_audio
from benchmarks.machine import describe_machine
from benchmarks.speakers import embed, join
from benchmarks.verification import equal_error_rate
from services.common.audio import FloatArray
from services.common.corpus import Recording, read_manifest
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper
from services.faceswap.shape import head_pose
from services.gateway.settings import GatewaySettings

Picture = NDArray[np.uint8]
Scores = NDArray[np.float64]

PROOF_S: Final = 12.0  # what a protected person says: the phrase takes about so long
SAMPLE_S: Final = 8.0  # of what somebody enrols
SAMPLES: Final = 2  # of each speaker
VOICE_THRESHOLDS: Final = (0.70, 0.75, 0.78, 0.80, 0.82, 0.84, 0.86, 0.88, 0.90)
FACE_THRESHOLDS: Final = (0.45, 0.50, 0.55, 0.60)
VIEWS: Final = ((-20, 0), (-10, 0), (10, 0), (20, 0), (0, -12), (0, 12))  # degrees about the y and the x axis
FACE_SIDE_PX: Final = 320


def measure(speech_dir: Path | None, *, speakers: int = 0) -> dict[str, Any]:
    """The rates of both kinds of templates, by threshold; without a folder of speech, of faces alone.

    Args:
        speakers: at most so many; 0 is all.
    """
    figures: dict[str, Any] = {"faces": faces()}
    if speech_dir is not None:
        figures["voices"] = voices(speech_dir, speakers)
    return figures


def voices(speech_dir: Path, speakers: int = 0) -> dict[str, Any]:
    """Cosines of speaker embeddings: the same speaker's, and those of others."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in read_manifest(speech_dir):
        by_speaker.setdefault(recording.speaker, []).append(recording)
    proofs: list[FloatArray] = []
    samples: list[FloatArray] = []
    owners: list[int] = []
    for _, recordings in sorted(by_speaker.items()):
        pieces = _pieces(recordings, [PROOF_S, *[SAMPLE_S] * SAMPLES])
        if pieces is None or not recordings[0].speaker or (speakers and len(proofs) >= speakers):
            continue
        try:
            vectors = [embed(join([read_audio(item.path) for item in piece])) for piece in pieces]
        except LikenessError:  # too little speech in it
            continue
        owners += [len(proofs)] * SAMPLES
        proofs.append(vectors[0])
        samples += vectors[1:]
    cosines = np.stack(samples).astype(np.float64) @ np.stack(proofs).astype(np.float64).T
    own = np.array(owners)[:, np.newaxis] == np.arange(len(proofs))
    chosen = GatewaySettings().protected_voice_similarity
    rates = {
        f"{threshold:.2f}": _rates(cosines[own] >= threshold, cosines[~own] >= threshold)
        for threshold in sorted({*VOICE_THRESHOLDS, chosen})
    }
    return {
        "speakers": len(proofs),
        "same_trials": int(own.sum()),
        "different_trials": int((~own).sum()),
        "equal_error_rate": round(equal_error_rate(cosines[own], cosines[~own]), 4),
        "threshold": chosen,
        "by_threshold": rates,
    }


def faces() -> dict[str, Any]:
    """Distances of face descriptors: the same person's in other views, and those of others."""
    cv2.setNumThreads(1)
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir), threads=1)
    templates, views, owners = [], [], []
    for head in sample_heads(swapper):
        picture, points = _cut_out(head.picture, head.points)
        found = swapper.find(picture)
        if not found:
            continue
        templates.append(swapper.descriptor(picture, found[0]))
        for changed in _variants(picture, points):
            seen = swapper.find(changed)
            if seen:
                views.append(swapper.descriptor(changed, seen[0]))
                owners.append(len(templates) - 1)
    distances = np.linalg.norm(np.stack(views)[:, np.newaxis] - np.stack(templates), axis=2).astype(np.float64)
    own = np.array(owners)[:, np.newaxis] == np.arange(len(templates))
    chosen = GatewaySettings().protected_face_distance
    rates = {
        f"{threshold:.2f}": _rates(distances[own] <= threshold, distances[~own] <= threshold)
        for threshold in sorted({*FACE_THRESHOLDS, chosen})
    }
    return {
        "people": len(templates),
        "same_trials": int(own.sum()),
        "different_trials": int((~own).sum()),
        "least_distance_of_others": round(float(distances[~own].min()), 3),
        "largest_distance_of_same": round(float(distances[own].max()), 3),
        "threshold": chosen,
        "by_threshold": rates,
    }


def _rates(same_taken: NDArray[np.bool_], others_taken: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "false_reject_rate": round(1.0 - float(same_taken.mean()), 5),
        "false_accept_rate": round(float(others_taken.mean()), 5),
    }


def _pieces(recordings: list[Recording], seconds: list[float]) -> list[list[Recording]] | None:
    """The recordings dealt out to pieces of at least so many seconds; None when there are too few."""
    left = sorted(recordings, key=lambda recording: str(recording.path))
    pieces = []
    for wanted in seconds:
        piece: list[Recording] = []
        while sum(item.seconds for item in piece) < wanted:
            if not left:
                return None
            piece.append(left.pop(0))
        pieces.append(piece)
    return pieces


def _cut_out(picture: Picture, points: NDArray[Any]) -> tuple[Picture, NDArray[np.float64]]:
    """The surroundings of a face, about as large as a portrait, and the mesh in its pixels."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    size, centre = float((high - low).max()), (low + high) / 2
    scale = FACE_SIDE_PX / (2.2 * size)
    move = np.array([[scale, 0, 0], [0, scale, 0]]) + 0.0
    move[:, 2] = FACE_SIDE_PX / 2 - scale * centre
    cut = cv2.warpAffine(
        picture, move, (FACE_SIDE_PX, FACE_SIDE_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    moved = points.astype(np.float64) * scale
    moved[:, :2] += move[:, 2]
    return np.asarray(cut, np.uint8), moved


def _variants(picture: Picture, points: NDArray[np.float64]) -> list[Picture]:
    """What another picture of the person might look like."""
    pose = head_pose(points)
    head = pose.apply(points)
    turned = [
        warped(picture, points, pose.inverse().apply((head - NECK) @ turn_about(*view).T + NECK)) for view in VIEWS
    ]
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coarse = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
    changes: list[Callable[[Picture], Any]] = [
        lambda p: cv2.convertScaleAbs(p, alpha=0.55, beta=0),
        lambda p: cv2.convertScaleAbs(p, alpha=1.35, beta=15),
        lambda p: cv2.GaussianBlur(p, (0, 0), 2.0),
        lambda p: p[:, ::-1],
    ]
    return [
        *turned,
        np.asarray(half),
        np.asarray(coarse),
        *(np.ascontiguousarray(change(picture)) for change in changes),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech-dir", type=Path, help="folder with manifest.tsv and recordings")
    parser.add_argument("--speakers", type=int, default=0, help="at most so many; 0: all")
    parser.add_argument("--json", action="store_true", help="print JSON, with the machine")
    options = parser.parse_args(arguments)
    figures = measure(options.speech_dir, speakers=options.speakers)
    print(json.dumps({"machine": describe_machine(), **figures} if options.json else figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

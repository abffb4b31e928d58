"""Turns of the head as a task: drawn at random, and recognised in how a head is posed over time.

A task is a few of four directions, in an order that nobody can know before: with `TURNS` of them a film that was made
earlier has a chance of 1 in 4 ** TURNS to fit. Directions are the person's own: left is the picture's right.

A head that is turned is also looked at from another side, which moves the nose against the ears. A flat picture that is
held aslant only changes its perspective: a homography takes one view of it exactly into the other. What a homography
cannot explain of the mesh's motion is called parallax here, and is demanded of every turn.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError

Turn = Literal["left", "right", "up", "down"]
State = Literal["left", "right", "up", "down", "middle", "between"]
FloatArray = NDArray[np.float32]

DIRECTIONS: Final[tuple[Turn, ...]] = get_args(Turn)
TURNS: Final = 4
# Degrees from how the head was held at the beginning. The mesh sees about 0.7 of how far a head is really turned.
YAW_DEGREES: Final = 15.0
PITCH_DEGREES: Final = 10.0
MIDDLE_SHARE: Final = 0.5  # of these: the head is back in the middle
DIAGONAL_SHARE: Final = 0.65  # of the larger share: a turn in two directions at once is none
STEADY_SAMPLES: Final = 2  # a state must last so long to count
BEGINNING_S: Final = 0.5  # the head is in the middle
FRONT_DEGREES: Final = (25.0, 35.0)  # yaw, pitch: the middle must be a view from the front
MIN_PARALLAX: Final = 0.013  # of the face's size


@dataclass(frozen=True, eq=False)
class Pose:
    """A head at one time: degrees as in `likeness.v1.Pose`, and its mesh (468, 3) in pixels."""

    time_s: float
    yaw: float
    pitch: float
    mesh: FloatArray


@dataclass(frozen=True)
class TurnMade:
    """One turn as it was seen: its largest angle from the middle in degrees, and the parallax there (share)."""

    turn: Turn
    degrees: float
    parallax: float

    def to_json(self) -> dict[str, Any]:
        return {"turn": self.turn, "degrees": round(self.degrees, 1), "parallax": round(self.parallax, 4)}


def draw_turns() -> list[Turn]:
    """A task, from the operating system's randomness. The same direction may come twice."""
    return [secrets.choice(DIRECTIONS) for _ in range(TURNS)]


def require_turns(poses: Sequence[Pose], wanted: Sequence[Turn], *, field: str) -> list[TurnMade]:
    """The turns of a film, which must be those wanted, in their order, with the head back in the middle between them.

    Raises:
        LikenessError: PROOF_TASK_FAILED for other turns; PROOF_NOT_LIVE where the motion is that of a flat picture.
    """
    middle = _middle(poses, field)
    states = [state_of(pose.yaw - middle[0], pose.pitch - middle[1]) for pose in poses]
    runs = [run for run in _runs(states) if run[0] != "between"]
    seen = [state for state, _ in groupby(runs, key=lambda run: run[0])]
    expected: list[State] = ["middle"]
    for turn in wanted:
        expected += [turn, "middle"]
    if seen != expected:
        raise LikenessError("PROOF_TASK_FAILED", _told(seen, wanted), field=field)
    front = min(
        (pose for pose, state in zip(poses, states, strict=True) if state == "middle"),
        key=lambda pose: float(np.hypot(pose.yaw - middle[0], pose.pitch - middle[1])),
    )
    made = []
    for turn, spans in groupby((run for run in runs), key=lambda run: run[0]):
        if turn not in DIRECTIONS:
            continue
        within = [pose for _, span in spans for pose in poses[span]]
        furthest = max(within, key=lambda pose: _angle(pose, middle, turn))
        made.append(TurnMade(turn, _angle(furthest, middle, turn), parallax(front.mesh, furthest.mesh)))
    flat = [item for item in made if item.parallax < MIN_PARALLAX]
    if flat:
        detail = (
            f"Turning {flat[0].turn} moved the face as a flat picture would move ({100 * flat[0].parallax:.1f} % of "
            f"its size beyond perspective; {100 * MIN_PARALLAX:.1f} % are expected). Film the person, not a picture."
        )
        raise LikenessError("PROOF_NOT_LIVE", detail, field=field)
    return made


def state_of(yaw: float, pitch: float) -> State:
    """Where a head looks that is turned by so many degrees from its middle."""
    shares = yaw / YAW_DEGREES, pitch / PITCH_DEGREES
    larger, smaller = sorted((abs(share) for share in shares), reverse=True)
    if larger <= MIDDLE_SHARE:
        return "middle"
    if larger < 1.0 or smaller > DIAGONAL_SHARE * larger:
        return "between"
    if abs(shares[0]) == larger:
        return "left" if yaw > 0 else "right"
    return "up" if pitch > 0 else "down"


def parallax(front: FloatArray, turned: FloatArray) -> float:
    """What a homography leaves unexplained between two meshes (468, 3): root mean square, as a share of the size."""
    source, target = front[:, :2].astype(np.float64), turned[:, :2].astype(np.float64)
    matrix, _ = cv2.findHomography(source, target, 0)
    if matrix is None:
        return 0.0
    mapped = cv2.perspectiveTransform(source[np.newaxis], matrix)[0]
    size = float(np.ptp(target, axis=0).max())
    return float(np.sqrt(((mapped - target) ** 2).sum(axis=1).mean()) / max(size, 1e-6))


def _middle(poses: Sequence[Pose], field: str) -> tuple[float, float]:
    """Yaw and pitch at the beginning."""
    first = [pose for pose in poses if pose.time_s - poses[0].time_s <= BEGINNING_S] if poses else []
    if not first:
        raise LikenessError("PROOF_UNUSABLE", "The film shows no face.", field=field)
    yaw, pitch = (float(np.median([getattr(pose, name) for pose in first])) for name in ("yaw", "pitch"))
    if abs(yaw) > FRONT_DEGREES[0] or abs(pitch) > FRONT_DEGREES[1]:
        detail = (
            f"The film begins with the head turned by {yaw:.0f} degrees to the left and {pitch:.0f} up. Begin by "
            "looking into the camera, which should stand in front of the face."
        )
        raise LikenessError("PROOF_TASK_FAILED", detail, field=field)
    return yaw, pitch


def _runs(states: Sequence[State]) -> list[tuple[State, slice]]:
    """Stretches of one state that are long enough to count."""
    runs, start = [], 0
    for state, group in groupby(states):
        length = len(list(group))
        if length >= STEADY_SAMPLES:
            runs.append((state, slice(start, start + length)))
        start += length
    return runs


def _angle(pose: Pose, middle: tuple[float, float], turn: State) -> float:
    """By how many degrees a head is turned that way."""
    yaw, pitch = pose.yaw - middle[0], pose.pitch - middle[1]
    return {"left": yaw, "right": -yaw, "up": pitch, "down": -pitch}[turn]


def _told(seen: Sequence[State], wanted: Sequence[Turn]) -> str:
    turns = [state for state in seen if state != "middle"]
    shown = ", ".join(turns) or "no turn"
    mirrored = [{"left": "right", "right": "left"}.get(turn, turn) for turn in wanted]
    hint = " Is the film mirrored, as some front cameras do it?" if turns == mirrored != list(wanted) else ""
    return (
        f"Asked for were the turns {', '.join(wanted)}, each with a return to the middle; seen is {shown}.{hint} "
        f"Turn the head clearly (about {1.6 * YAW_DEGREES:.0f} degrees) and one way at a time."
    )

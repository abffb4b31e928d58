"""Poses of heads: the geometry, and what the real mesh makes of a rendered head and of a print held aslant."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap.pose import angles_of, head_angles
from services.faceswap.template import template
from services.faceswap.weights import load_finder
from services.gateway.consents.head_turns import MIN_PARALLAX, Pose, parallax, require_turns
from tests.contract.face_stage import a_woman
from tests.head_turns import ANGLES, StillHead, swing

degrees = st.floats(-60, 60)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """As documented: first rolled clockwise, then pitched up, then turned to the person's own left."""
    about = [((0, 0, 1), roll), ((1, 0, 0), -pitch), ((0, 1, 0), -yaw)]
    total = np.eye(3)
    for axis, angle in about:
        total = cv2.Rodrigues(np.radians(angle) * np.array(axis, np.float64))[0] @ total
    return total


@given(yaw=degrees, pitch=degrees, roll=degrees)
def test_angles_come_back(yaw: float, pitch: float, roll: float) -> None:
    found = angles_of(rotation(yaw, pitch, roll))
    assert np.allclose((found.yaw, found.pitch, found.roll), (yaw, pitch, roll), atol=1e-6)


@given(yaw=degrees, pitch=degrees, scale=st.floats(20, 400))
def test_the_mean_head_is_read_as_it_is_posed_wherever_it_is(yaw: float, pitch: float, scale: float) -> None:
    points = template().points.astype(np.float64) @ rotation(yaw, pitch, 0.0).T * scale + [300.0, 200.0, 0.0]
    found = head_angles(points)
    assert np.allclose((found.yaw, found.pitch, found.roll), (yaw, pitch, 0.0), atol=0.05)


@pytest.mark.parametrize(("angle", "direction"), [("yaw", (1, 0)), ("pitch", (0, -1))])
def test_signs_are_those_of_the_person(angle: str, direction: tuple[int, int]) -> None:
    """To the own left is to the right of the picture, and up is up: where the tip of the nose goes."""
    turned = template().points @ rotation(**{"yaw": 0.0, "pitch": 0.0, "roll": 0.0, angle: 20.0}).T
    moved = (turned - template().points)[1, :2]
    assert moved @ direction > 0.05 and abs(moved @ direction) > 3 * abs(moved @ direction[::-1])


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[StillHead, object]]:
    finder = load_finder(Registry(CommonSettings().models_dir), threads=1)

    def find(picture: np.ndarray) -> list[np.ndarray]:
        return [face.mesh.points for face in finder.find(picture, only_largest=True)]

    yield StillHead(a_woman(), find), find


def posed(find: object, picture: np.ndarray, time_s: float) -> Pose:
    mesh = find(picture)[0]  # type: ignore[operator]
    angles = head_angles(mesh)
    return Pose(time_s, angles.yaw, angles.pitch, mesh)


def test_the_real_mesh_sees_the_turns_of_a_head(head: tuple[StillHead, object]) -> None:
    still, find = head
    looks = list(swing(["left", "down"]))[::3]
    poses = [posed(find, still.turned(*look), 0.2 * number) for number, look in enumerate(looks)]
    made = require_turns(poses, ["left", "down"], field="film")
    assert [turn.turn for turn in made] == ["left", "down"]
    assert all(turn.degrees > 11 and turn.parallax > 1.5 * MIN_PARALLAX for turn in made)
    with pytest.raises(LikenessError) as caught:
        require_turns(poses, ["down", "left"], field="film")
    assert caught.value.reason == "PROOF_TASK_FAILED"


@pytest.mark.parametrize("turn", ["left", "up"])
def test_a_print_that_is_held_aslant_is_no_turn(head: tuple[StillHead, object], turn: str) -> None:
    still, find = head
    front = posed(find, still.picture, 0.0)
    aslant = posed(find, still.aslant(*(1.2 * angle for angle in ANGLES[turn])), 1.0)
    assert parallax(front.mesh, aslant.mesh) < MIN_PARALLAX
    assert abs(aslant.yaw - front.yaw) < 8 and abs(aslant.pitch - front.pitch) < 6

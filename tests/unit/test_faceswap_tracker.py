"""Tracks through a world of coloured discs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.faceswap.canvas import PictureCanvas
from services.faceswap.finder import Face
from services.faceswap.mesh import Mesh
from services.faceswap.pieces import detection_of
from services.faceswap.tracker import FaceTracker, Tracked
from tests.unit.faceswap_discs import GREEN, RED, ColourRecogniser, Disc, DiscFinder, disc_points, scene


class World:
    """Runs a tracker over frames at 30 a second."""

    def __init__(self) -> None:
        self.finder, self.recogniser = DiscFinder(), ColourRecogniser()
        self.tracker = FaceTracker(self.finder, self.recogniser, smooth=False)  # type: ignore[arg-type]
        self.number = 0

    def show(self, seen: Sequence[Disc], background: int = 0) -> Tracked:
        self.frame = scene(seen, background)
        tracked = self.tracker.update(PictureCanvas(self.frame), self.number / 30)
        self.number += 1
        return tracked

    def colours(self, tracked: Tracked) -> dict[int, str]:
        """Which colour each track is on."""
        names = {}
        for track in tracked.tracks:
            x, y = track.mesh.points[:, :2].mean(axis=0).astype(int)
            names[track.id] = "bgr"[int(np.argmax(self.frame[y, x]))]
        return names


def test_a_moving_face_is_one_track_and_is_followed_without_the_detector() -> None:
    world = World()
    for n in range(60):
        tracked = world.show([(100 + 6 * n, 150 + 40 * np.sin(n / 8), RED)])
        assert [track.id for track in tracked.tracks] == [0]
        assert tracked.cut == (n == 0)
        assert np.allclose(
            tracked.tracks[0].mesh.points[:, :2].mean(axis=0), [100 + 6 * n, 150 + 40 * np.sin(n / 8)], atol=2
        )
    assert world.recogniser.asked == 0
    assert world.finder.looks <= 7 + 4


def test_a_face_that_comes_later_gets_its_own_track() -> None:
    world = World()
    for n in range(40):
        seen = [(200.0, 150.0, RED)] + ([(450.0, 200.0, GREEN)] if n >= 10 else [])
        tracked = world.show(seen)
    assert world.colours(tracked) == {0: "r", 1: "g"}


def test_a_face_lost_for_some_frames_keeps_its_track() -> None:
    world = World()
    counts = []
    for n in range(40):
        tracked = world.show([(300.0 + n, 150.0, RED)] if not 15 <= n < 23 else [])
        counts.append(len(tracked.tracks))
    assert [track.id for track in tracked.tracks] == [0]
    assert counts[15:23] == [0] * 8
    assert counts[30:] == [1] * 10


def test_a_face_that_returns_after_long_is_new() -> None:
    world = World()
    for n in range(90):
        tracked = world.show([(300.0, 150.0, RED)] if n < 20 or n >= 60 else [])
    assert [track.id for track in tracked.tracks] == [1]


@pytest.mark.parametrize("touching", [False, True])
def test_identities_survive_a_crossing(touching: bool) -> None:
    """Two faces walk past each other; for a while one hides the other."""
    world = World()
    gap = 0.0 if touching else 60.0
    for n in range(80):
        left, right = 120 + 5 * n, 520 - 5 * n
        seen = [(float(left), 170.0 - gap / 2, RED), (float(right), 170.0 + gap / 2, GREEN)]
        tracked = world.show(seen)
        if n == 0:
            first = world.colours(tracked)
    assert world.colours(tracked) == first
    assert sorted(first.values()) == ["g", "r"]
    assert 2 <= world.recogniser.asked <= 12


def test_tracks_that_change_places_unseen_change_back() -> None:
    """Side by side, from one frame to the next, the two faces change places."""
    world = World()
    for n in range(60):
        apart = max(42.0, 150.0 - 10 * n) if n < 30 else min(150.0, 42.0 + 10 * (n - 30))
        left, right = (RED, GREEN) if n < 20 else (GREEN, RED)
        tracked = world.show([(320.0 - apart, 170.0, left), (320.0 + apart, 170.0, right)])
        if n in (0, 25):
            assert world.colours(tracked) == ({0: "r", 1: "g"} if n == 0 else {0: "g", 1: "r"})
    assert world.colours(tracked) == {0: "r", 1: "g"}
    assert world.recogniser.asked == 4


def test_a_turnaround_behind_each_other_is_no_crossing() -> None:
    """They meet, and each goes back where it came from."""
    world = World()
    for n in range(80):
        step = 5 * min(n, 79 - n)
        tracked = world.show([(120.0 + step, 170.0, RED), (520.0 - step, 170.0, GREEN)])
        if n == 0:
            first = world.colours(tracked)
    assert world.colours(tracked) == first


def test_a_new_shot_begins_anew() -> None:
    world = World()
    for _ in range(10):
        world.show([(300.0, 150.0, RED)])
    tracked = world.show([(310.0, 150.0, GREEN)], background=5)
    assert tracked.cut
    assert [track.id for track in tracked.born] == [1]
    assert [track.id for track in tracked.tracks] == [1]


def test_faces_that_are_too_small_are_left_alone() -> None:
    world = World()
    world.finder.find_fast = lambda picture, known=(), part=None: [  # type: ignore[method-assign, misc, assignment]
        Face(detection_of(mesh), mesh) for mesh in [Mesh(disc_points(100, 100, 8), 0.99)]
    ]
    assert world.show([]).tracks == ()

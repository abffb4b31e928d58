"""The demonstration's film: its length, its sound, and that the camera moves and sees what is there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from likeness._demo.film import FRAME_RATE, look, make_film, some_frames
from likeness._demo.pictures import ASTRONAUT


def test_a_film_with_sound(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    assert make_film(ASTRONAUT, path, seconds=0.5, side_px=96) == 12
    with av.open(str(path)) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio"]
        assert film.streams.video[0].average_rate == FRAME_RATE
        assert sum(1 for _ in film.decode(video=0)) == 12
    first, last = some_frames(path, 2)
    assert first.shape == last.shape == (96, 96, 3)


def test_the_camera_returns_to_where_it_was() -> None:
    still = ASTRONAUT.pixels()
    np.testing.assert_array_equal(look(still, 0.0, 96), look(still, 1.0, 96))
    assert np.abs(look(still, 0.25, 96).astype(int) - look(still, 0.75, 96)).mean() > 5


def test_the_middle_stays_in_sight() -> None:
    """A dot in the middle of the picture never leaves the frame."""
    still = np.zeros((200, 200, 3), np.uint8)
    still[95:105, 95:105] = 255
    for moment in np.linspace(0, 1, 9):
        seen = look(still, float(moment), 100)
        rows, columns = np.nonzero(seen[:, :, 0] > 128)
        assert abs(rows.mean() - 50) < 2 and abs(columns.mean() - 50) < 10

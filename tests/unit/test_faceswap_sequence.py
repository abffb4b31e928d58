"""Who is put onto which face of a sequence, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.faceswap.face_engine import Memory
from services.faceswap.selection import Person, Selector
from services.faceswap.sequence import SequenceSwapper, SwappedFrame
from tests.unit.faceswap_discs import BLUE, GREEN, RADIUS, RED, ColourEngine, Disc, disc_swapper, scene

RATE = 30.0


def person(selection: Any = "largest", engine: ColourEngine | None = None, **settings: Any) -> Person:
    return Person(engine or ColourEngine(), (250, 250, 250), None, Selector(selection, **settings))


def play(people: list[Person], frames: list[list[Disc]], radii: dict[int, int] | None = None) -> list[SwappedFrame]:
    sequence = SequenceSwapper(disc_swapper(), people, smooth=False)
    return [sequence.swap(scene(seen), n / RATE) for n, seen in enumerate(frames)]


def swapped_at(frame: SwappedFrame) -> set[int]:
    """Tracks that were painted on."""
    return {face.track_id for face in frame.faces if face.painted is not None}


def test_only_what_was_painted_changes() -> None:
    seen: list[Disc] = [(200.0, 150.0, RED), (430.0, 220.0, GREEN)]
    frame = scene(seen)
    kept = frame.copy()
    result = SequenceSwapper(disc_swapper(), [person("all")]).swap(frame, 0.0)
    assert np.array_equal(frame, kept)
    changed = np.zeros(frame.shape[:2], bool)
    for face in result.faces:
        assert face.painted is not None
        part = changed[face.painted.region.rows, face.painted.region.columns]
        part |= face.painted.changed
        assert abs(face.painted.region.centre[0] - face.face.mesh.points[:, 0].mean()) < 1
    assert np.array_equal(result.picture[~changed], kept[~changed])
    assert (result.picture[changed] == 250).all()
    assert changed.sum() > 2 * 0.7 * np.pi * (RADIUS / 2) ** 2


def test_the_largest_stays_chosen_while_it_is_there() -> None:
    frames: list[list[Disc]] = [[(200.0, 150.0, RED)] for _ in range(20)]
    frames += [[(200.0, 150.0, RED), (450.0, 200.0, GREEN)] for _ in range(30)]
    frames += [[(450.0, 200.0, GREEN)] for _ in range(40)]
    result = play([person("largest")], frames)
    assert all(swapped_at(frame) == {0} for frame in result[:50])
    assert result[49].faces[1].track_id == 1 or result[49].faces[0].track_id == 1
    assert all(swapped_at(frame) == set() for frame in result[50:])  # the one who stays was not meant


def test_a_lost_face_comes_back_as_the_same_person() -> None:
    frames: list[list[Disc]] = [[(200.0 + n, 150.0, RED)] if not 10 <= n < 16 else [] for n in range(40)]
    result = play([person("largest")], frames)
    assert [len(swapped_at(frame)) for frame in result[10:16]] == [0] * 6
    assert swapped_at(result[-1]) == {0}


def test_each_person_goes_to_its_own_face() -> None:
    reference = np.array(GREEN) / 200.0
    people = [person("reference", reference=reference.astype(np.float32), threshold=0.3), person("index", index=0)]
    frames: list[list[Disc]] = [
        [(150.0 + 3 * n, 120.0, RED), (500.0 - 3 * n, 240.0, GREEN), (590.0, 60.0, BLUE)] for n in range(40)
    ]
    for frame in play(people, frames):
        owners = {face.track_id: face.person_index for face in frame.faces}
        assert sorted(owners.values(), key=str) == [0, 1, None]
    by_place = {face.person_index: face.face.mesh.points[:, 0].mean() for face in frame.faces}
    assert by_place[0] < 400 and by_place[1] > 240  # they have walked past each other


def test_a_reference_that_was_not_recognised_is_asked_for_again() -> None:
    """A face seen from behind at first."""
    swapper = disc_swapper()
    known = np.array(GREEN) / 200.0
    look = person("reference", reference=known.astype(np.float32), threshold=0.3)
    sequence = SequenceSwapper(swapper, [look], smooth=False)
    painted = []
    for n in range(60):
        colour = RED if n < 12 else GREEN
        painted.append(len(swapped_at(sequence.swap(scene([(300.0, 150.0, colour)]), n / RATE))))
    assert painted[:12] == [0] * 12
    assert painted[-1] == 1
    assert swapper.recogniser.asked <= 6


def test_a_cut_chooses_anew() -> None:
    sequence = SequenceSwapper(disc_swapper(), [person("largest")], smooth=False)
    first = [sequence.swap(scene([(300.0, 150.0, RED)]), n / RATE) for n in range(5)][-1]
    second = sequence.swap(scene([(500.0, 250.0, GREEN)], background=4), 5 / RATE)
    assert not first.cut
    assert second.cut
    assert swapped_at(second) == {1}


def test_each_track_and_person_has_one_memory() -> None:
    engine = ColourEngine()
    frames: list[list[Disc]] = [[(200.0, 150.0, RED), (450.0, 200.0, GREEN)] for _ in range(10)]
    play([person("all", engine)], frames)
    memories = {id(memory) for memory in engine.memories}
    assert len(engine.memories) == 20
    assert len(memories) == 2
    assert all(isinstance(memory, Memory) for memory in engine.memories)

"""Which faces a segment showed, for how long, and how near the swap came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.faceswap.mesh import Mesh
from services.faceswap.recogniser import distance
from services.faceswap.selection import Person
from services.faceswap.sequence import SwappedTrack
from services.faceswap.swapper import FaceSwapper


@dataclass(frozen=True, eq=False)
class SegmentTrack:
    """A face that was followed through part of a segment.

    Attributes:
        first_pts, last_pts: of the pictures in which it was seen.
        frames_swapped: pictures in which it was replaced.
        person_index: who was put onto it; None for nobody.
        distance_to_source, distance_to_target: by the recogniser, in the picture in which the face was largest;
            negative where not measured.
    """

    id: int
    first_pts: int
    last_pts: int
    frames_swapped: int
    person_index: int | None
    distance_to_source: float = -1.0
    distance_to_target: float = -1.0


@dataclass(eq=False)
class _Entry:
    first_pts: int
    last_pts: int
    person_index: int | None
    frames_swapped: int = 0
    largest: SwappedTrack | None = None


class TrackLog:
    """Takes note of each picture's faces; keeps one piece of picture for each face."""

    def __init__(self, swapper: FaceSwapper, people: Sequence[Person]) -> None:
        self._swapper = swapper
        self._people = people
        self._entries: dict[int, _Entry] = {}

    def add(self, pts: int, faces: Sequence[SwappedTrack]) -> None:
        for face in faces:
            entry = self._entries.setdefault(face.track_id, _Entry(pts, pts, face.person_index))
            entry.last_pts = pts
            if face.painted is None:
                continue
            entry.person_index = face.person_index
            entry.frames_swapped += 1
            if entry.largest is None or face.face.size_px > 1.1 * entry.largest.face.size_px:
                entry.largest = face

    def tracks(self, *, measure: bool = False) -> tuple[SegmentTrack, ...]:
        """In the order of appearance.

        Args:
            measure: whether the recogniser judges each track once.
        """
        return tuple(
            SegmentTrack(
                number,
                entry.first_pts,
                entry.last_pts,
                entry.frames_swapped,
                entry.person_index,
                *(self._distances(entry.largest) if measure and entry.largest is not None else (-1.0, -1.0)),
            )
            for number, entry in sorted(self._entries.items())
        )

    def _distances(self, face: SwappedTrack) -> tuple[float, float]:
        """Of the swapped face to the source's and to the target's."""
        if face.painted is None or face.piece is None or face.person_index is None:
            return -1.0, -1.0
        piece, region = face.piece, face.painted.region
        mesh = Mesh(piece.inside(face.face.mesh.points), face.face.mesh.score)
        after = piece.picture.copy()
        rows = slice(region.top - piece.top, region.top - piece.top + region.height)
        columns = slice(region.left - piece.left, region.left - piece.left + region.width)
        after[rows, columns][face.painted.changed] = face.painted.pixels[face.painted.changed]
        found = self._swapper.recogniser.descriptor(after, mesh)
        wanted = self._people[face.person_index].descriptor
        original = self._swapper.recogniser.descriptor(piece.picture, mesh)
        return -1.0 if wanted is None else distance(found, wanted), distance(found, original)

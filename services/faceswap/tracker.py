"""Follows faces through the frames of a film or a live stream.

The detector looks for faces at the beginning of a shot and now and then after; between, the mesh of a frame is found
from that of the frame before. A face that is lost keeps its track for a moment. The recogniser is asked only where
places cannot tell who is who: after two faces came close to each other, and when a lost one is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from services.faceswap.aside import aside
from services.faceswap.canvas import Canvas
from services.faceswap.detector import Detection
from services.faceswap.finder import MIN_MESH_SCORE, Face, FaceFinder, unknown
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh
from services.faceswap.pieces import Piece, cut_around, detection_of
from services.faceswap.recogniser import SAME_PERSON_DISTANCE, FaceRecogniser, distance
from services.faceswap.shots import CutDetector, thumbnail_step
from services.faceswap.smoothing import MeshSmoother

KEEP_SCORE: Final = 0.5  # of the mesh network: a face that is followed may be less sure than a new one
KEEP_LOST_S: Final = 0.6  # a lost face found within this time is the same track
LOOK_EVERY_S: Final = 0.5  # for new faces, while some are followed
SEARCH_EVERY_S: Final = 0.12  # while none is, or one was lost
CROWDED: Final = 1.8  # from which what is painted on one may reach into the other's surroundings
NEAR: Final = 1.1  # distance of two faces, in their mean size, from which they can be mixed up
MAX_JUMP: Final = 0.5  # of a face's size, further than expected: from one frame to the next this is another face
MAX_GROWTH: Final = 1.35
# Share of a new frame in the motion by which the next place is guessed. The network's answer leans against an error of
# its crop; a guess that follows every frame's motion makes three times as much of a swing from frame to frame, and so
# keeps it going.
MOTION_SHARE: Final = 0.3
SWITCH_MARGIN: Final = 0.1  # by how much the recogniser must be surer before two tracks change places
MIN_FACE_PX: Final = 24.0
EVERYWHERE: Final = (None, 0, 1, 2, 3, 4, 5)


@dataclass(eq=False)
class Track:
    """One face through time.

    Attributes:
        id: counts from 0 in the order of appearance.
        mesh: where it is, as the network says; `points` (468, 3) are the same, smoothed.
        lost_since_s: None while it is seen.
        descriptor: the recogniser's numbers (128,), where they were needed.
        doubts: tracks with which it may have been mixed up.
    """

    id: int
    mesh: Mesh
    points: FloatArray
    seen_s: float
    lost_since_s: float | None = None
    descriptor: FloatArray | None = None
    doubts: set[int] = field(default_factory=set)
    crowded: bool = False
    piece: Piece | None = None  # of the frame in which it was last looked for
    motion: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))  # pixels per second
    smoother: MeshSmoother = field(default_factory=MeshSmoother)

    @property
    def size_px(self) -> float:
        return max(self.mesh.box[2:])

    @property
    def face(self) -> Face:
        """As if it had been found in a picture."""
        return Face(detection_of(self.mesh), self.mesh)


@dataclass(frozen=True, eq=False)
class Tracked:
    """What is in a frame: tracks that are seen, those of them that are new, and whether a shot begins here."""

    tracks: tuple[Track, ...]
    born: tuple[Track, ...]
    cut: bool


class FaceTracker:
    """Follows all faces of one sequence of frames; not for several threads at once.

    Args:
        smooth: whether points are smoothed in time.
        mirrored: see `FaceMesh.follow`.
    """

    def __init__(
        self, finder: FaceFinder, recogniser: FaceRecogniser, *, smooth: bool = True, mirrored: bool = False
    ) -> None:
        self._finder = finder
        self._recogniser = recogniser
        self._smooth = smooth
        self._mirrored = mirrored
        self._cuts = CutDetector()
        self._tracks: list[Track] = []
        self._next_id = 0
        self._looked_s = -np.inf
        self._looks = 0
        self._glance: Future[list[Detection]] | None = None  # at the frame before
        self._time_s = -np.inf

    def update(self, canvas: Canvas, time_s: float) -> Tracked:
        """Takes the next frame; `time_s` ascends."""
        cut = self._cuts.is_cut(canvas.luma(thumbnail_step(canvas.height, canvas.width)))
        if cut:
            self._tracks = []
            self._glance = None
            self._looked_s = -np.inf
        for track in self._tracks:
            self._follow(track, canvas, time_s)
        self._part_doubles(time_s)
        born = self._look(canvas, time_s)
        self._tracks = [t for t in self._tracks if t.lost_since_s is None or time_s - t.lost_since_s <= KEEP_LOST_S]
        self._keep_apart(canvas)
        self._time_s = time_s
        seen = tuple(track for track in self._tracks if track.lost_since_s is None)
        return Tracked(seen, tuple(track for track in born if track.lost_since_s is None), cut)

    def piece(self, canvas: Canvas, track: Track) -> Piece:
        """A track that is seen with its surroundings, as they are in the frame now."""
        if track.piece is None or track.crowded or not track.piece.holds(track.points, canvas):
            return cut_around(canvas, track.points)
        return track.piece

    def descriptor(self, canvas: Canvas, track: Track) -> FloatArray:
        """The recogniser's numbers (128,) of a track that is seen; taken now unless they are known."""
        if track.descriptor is None:
            track.descriptor = self._describe(track.mesh, canvas)
        return track.descriptor

    def _follow(self, track: Track, canvas: Canvas, time_s: float) -> None:
        step_s = time_s - track.seen_s
        expected = track.mesh.points.copy()
        if step_s <= KEEP_LOST_S:
            expected[:, :2] += track.motion * min(step_s, 0.1)
        piece = track.piece = cut_around(canvas, expected)
        found = self._finder.mesh.follow(piece.picture, piece.inside(expected), mirrored=self._mirrored)
        mesh = Mesh(piece.outside(found.points), found.score)
        jump = np.linalg.norm(_middle(mesh.points) - _middle(expected)) / track.size_px
        growth = max(mesh.box[2:]) / track.size_px
        kept = KEEP_SCORE if track.lost_since_s is None else MIN_MESH_SCORE
        if mesh.score < kept or jump > MAX_JUMP or not 1 / MAX_GROWTH < growth < MAX_GROWTH:
            self._lose(track, time_s)
            return
        self._see(track, mesh, time_s)

    def _see(self, track: Track, mesh: Mesh, time_s: float) -> None:
        step_s = time_s - track.seen_s
        if 0 < step_s <= 0.2:
            motion = (_middle(mesh.points) - _middle(track.mesh.points)) / step_s
            track.motion = (track.motion + MOTION_SHARE * (motion - track.motion)).astype(np.float32)
        else:
            track.motion = np.zeros(2, np.float32)
        track.mesh, track.seen_s, track.lost_since_s = mesh, time_s, None
        track.points = track.smoother.smooth(mesh.points, time_s) if self._smooth else mesh.points

    def _lose(self, track: Track, time_s: float) -> None:
        if track.lost_since_s is None:
            track.lost_since_s = time_s

    def _part_doubles(self, time_s: float) -> None:
        """Of two tracks on one face the one that was there for longer keeps it."""
        seen = [track for track in self._tracks if track.lost_since_s is None]
        for number, track in enumerate(seen):
            for other in seen[number + 1 :]:
                if track.lost_since_s is None and _apart(track, other) < 0.3:
                    self._lose(other, time_s)

    def _look(self, canvas: Canvas, time_s: float) -> list[Track]:
        """Looks for faces that are not followed, when it is time to.

        While some are followed and none is lost, what a look finds is known in the next frame.
        """
        seen = [track for track in self._tracks if track.lost_since_s is None]
        lost = [track for track in self._tracks if track.lost_since_s is not None]
        known = [track.mesh for track in seen]
        proposals, self._glance = [] if self._glance is None else unknown(self._glance.result(), known), None
        if proposals:
            return self._welcomed(self._finder.verified(canvas.whole(), proposals, known), canvas, time_s)
        every_s = LOOK_EVERY_S if seen and not lost else SEARCH_EVERY_S
        if time_s - self._looked_s < every_s - 1e-6:
            return []
        first = self._looked_s == -np.inf
        self._looked_s = time_s
        whole = canvas.whole()
        if seen and not lost:  # nobody waits for more: the detector runs beside what else the frame needs
            self._glance = aside(self._finder.glance(whole, self._next_part()))
            return []
        faces: list[Face] = []
        for part in EVERYWHERE if first else (self._next_part(),):
            faces += self._finder.find_fast(whole, [*known, *(face.mesh for face in faces)], part=part)
        if first and not faces:
            faces = self._finder.find(whole)  # also aslant and upside down
        return self._welcomed(faces, canvas, time_s)

    def _next_part(self) -> int | None:
        """Where to look: at the whole and at one part in turns."""
        self._looks += 1
        return None if self._looks % 2 else self._looks // 2

    def _welcomed(self, faces: Sequence[Face], canvas: Canvas, time_s: float) -> list[Track]:
        """The new tracks of faces that were found."""
        lost = [track for track in self._tracks if track.lost_since_s is not None]
        faces = [face for face in faces if face.size_px >= MIN_FACE_PX]
        return [track for face in faces if (track := self._welcome(face, lost, canvas, time_s)) is not None]

    def _welcome(self, face: Face, lost: list[Track], canvas: Canvas, time_s: float) -> Track | None:
        """Gives a found face to the lost track that it is, or to a new one, which is returned."""
        mesh = self._settled(face.mesh, canvas)
        near = [t for t in lost if np.linalg.norm(_middle(t.mesh.points) - _middle(mesh.points)) < 2.0 * t.size_px]
        if near and (track := self._most_alike(mesh, near, canvas)) is not None:
            lost.remove(track)
            track.smoother = MeshSmoother()
            self._see(track, mesh, time_s)
            return None
        track = Track(self._next_id, mesh, mesh.points, time_s)
        self._next_id += 1
        self._see(track, mesh, time_s)
        self._tracks.append(track)
        return track

    def _settled(self, mesh: Mesh, canvas: Canvas) -> Mesh:
        """The mesh as following will see it, so that nothing jumps in the second frame."""
        piece = cut_around(canvas, mesh.points)
        found = self._finder.mesh.follow(piece.picture, piece.inside(mesh.points), mirrored=self._mirrored)
        return Mesh(piece.outside(found.points), found.score)

    def _most_alike(self, mesh: Mesh, lost: Sequence[Track], canvas: Canvas) -> Track | None:
        """Which of the lost tracks near by this face is; the recogniser decides where it knows them."""
        nearest = min(lost, key=lambda t: float(np.linalg.norm(_middle(t.mesh.points) - _middle(mesh.points))))
        known = [track for track in lost if track.descriptor is not None]
        # Where another may have taken its place, both are looked at together (`_keep_apart`).
        mixed = any(other.id in nearest.doubts for other in self._tracks if other.lost_since_s is None)
        if not known or (len(lost) == 1 and mixed):
            return nearest
        found = self._describe(mesh, canvas)
        best = min(known, key=lambda track: _distance(track, found))
        return best if _distance(best, found) < SAME_PERSON_DISTANCE else None

    def _describe(self, mesh: Mesh, canvas: Canvas) -> FloatArray:
        piece = cut_around(canvas, mesh.points)
        return self._recogniser.descriptor(piece.picture, Mesh(piece.inside(mesh.points), mesh.score))

    def _keep_apart(self, canvas: Canvas) -> None:
        """Learns who is who before faces come close, and looks again once they have parted."""
        seen = [track for track in self._tracks if track.lost_since_s is None]
        alive = {track.id for track in self._tracks}
        for track in seen:
            track.doubts &= alive
            track.crowded = False
        for number, track in enumerate(seen):
            for other in seen[number + 1 :]:
                apart = _apart(track, other)
                track.crowded |= apart < CROWDED
                other.crowded |= apart < CROWDED
                if apart < NEAR:
                    for one, another in ((track, other), (other, track)):
                        self.descriptor(canvas, one)
                        one.doubts.add(another.id)
                elif other.id in track.doubts:
                    self._tell_apart(track, other, canvas)

    def _tell_apart(self, a: Track, b: Track, canvas: Canvas) -> None:
        """Lets two tracks that were mixed up change places."""
        a.doubts.discard(b.id)
        b.doubts.discard(a.id)
        found_a, found_b = self._describe(a.mesh, canvas), self._describe(b.mesh, canvas)
        kept = _distance(a, found_a) + _distance(b, found_b)
        swapped = _distance(a, found_b) + _distance(b, found_a)
        if swapped < kept - SWITCH_MARGIN:
            for name in ("mesh", "points", "motion", "smoother", "piece"):
                ours, theirs = getattr(a, name), getattr(b, name)
                setattr(a, name, theirs)
                setattr(b, name, ours)


def _middle(points: FloatArray) -> FloatArray:
    return np.asarray(points[:, :2].mean(axis=0), np.float32)


def _apart(a: Track, b: Track) -> float:
    """Distance of two faces in their mean size."""
    return float(np.linalg.norm(_middle(a.mesh.points) - _middle(b.mesh.points)) / ((a.size_px + b.size_px) / 2))


def _distance(track: Track, found: FloatArray) -> float:
    return 1.0 if track.descriptor is None else distance(track.descriptor, found)

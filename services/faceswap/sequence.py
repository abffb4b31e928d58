"""Swaps faces in the frames of a film or a live stream, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from services.faceswap.canvas import Canvas, PictureCanvas
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Look, Memory, Painted
from services.faceswap.finder import Face
from services.faceswap.litert import FloatArray
from services.faceswap.pieces import Piece
from services.faceswap.selection import Person, choose
from services.faceswap.swapper import FaceSwapper
from services.faceswap.tracker import FaceTracker, Track, Tracked

RECONSIDER_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)  # age of a track at which a reference is compared with it again


@dataclass(frozen=True, eq=False)
class SwappedTrack:
    """One face of a frame.

    Attributes:
        track_id: the same as long as the face is followed.
        face: where it is; its mesh is smoothed in time.
        person_index: who is put onto it; None for nobody.
        painted: what was put there, in pixels of the frame; None where nothing was.
        piece: the face and its surroundings before, in that case.
    """

    track_id: int
    face: Face
    person_index: int | None = None
    painted: Painted | None = None
    piece: Piece | None = None


@dataclass(frozen=True, eq=False)
class SwappedFrame:
    """A frame (H, W, 3) with its faces; `cut` tells whether a shot begins with it."""

    picture: Picture
    faces: tuple[SwappedTrack, ...]
    cut: bool


@dataclass(eq=False)
class _Choice:
    """Who is put onto a track, made when it begins."""

    person: int | None
    born_s: float
    reconsidered: int = 0
    memories: dict[int, Memory] = field(default_factory=dict)


class SequenceSwapper:
    """Swaps one sequence of frames; not for several threads at once.

    Who is put onto a face is decided when the face appears, and stays. A selector that names one face (the largest, an
    index) names no second one as long as the first is there.

    Args:
        people: see `selection.choose`.
        smooth: whether faces are smoothed in time.
        mirrored: whether each face is also looked at in the mirror, which takes longer and trembles half as much.
    """

    def __init__(
        self,
        swapper: FaceSwapper,
        people: Sequence[Person],
        look: Look | None = None,
        *,
        smooth: bool = True,
        mirrored: bool = True,
    ) -> None:
        self._people = tuple(people)
        self._look = look or Look()
        self._tracker = FaceTracker(swapper.finder, swapper.recogniser, smooth=smooth, mirrored=mirrored)
        self._choices: dict[int, _Choice] = {}

    def swap(self, frame: Picture, time_s: float) -> SwappedFrame:
        """The next frame, BGR (H, W, 3), all of one size; `time_s` ascends. The frame itself is not changed."""
        canvas = PictureCanvas(frame.copy())
        faces, cut = self.swap_canvas(canvas, time_s)
        return SwappedFrame(canvas.picture, faces, cut)

    def swap_canvas(
        self, canvas: Canvas, time_s: float, *, paint: bool = True
    ) -> tuple[tuple[SwappedTrack, ...], bool]:
        """The same on a frame in any form, which is changed.

        Args:
            paint: False only follows the faces, for frames before those that are wanted.

        Returns:
            The faces of the frame, and whether a shot begins with it.
        """
        tracked = self._tracker.update(canvas, time_s)
        self._choose(tracked, canvas, time_s)
        faces = []
        # Far faces first, so that near ones come to lie over them.
        for track in sorted(tracked.tracks, key=lambda track: track.size_px):
            choice = self._choices[track.id]
            painted = piece = None
            if paint and choice.person is not None:
                piece = self._tracker.piece(canvas, track)
                painted = self._paint(canvas, piece, track, choice)
            mesh = replace(track.mesh, points=track.points)
            faces.append(SwappedTrack(track.id, replace(track.face, mesh=mesh), choice.person, painted, piece))
        return tuple(faces), tracked.cut

    def _paint(self, canvas: Canvas, piece: Piece, track: Track, choice: _Choice) -> Painted:
        person = self._people[choice.person or 0]
        memory = choice.memories.setdefault(choice.person or 0, Memory())
        painted = person.engine.paint(person.source, piece.picture, piece.inside(track.points), self._look, memory)
        region = painted.region
        before = piece.picture[region.rows, region.columns]
        left, top = region.left + piece.left, region.top + piece.top
        canvas.paste(left, top, before, painted.pixels, painted.changed)
        centre = (region.centre[0] + piece.left, region.centre[1] + piece.top)
        return replace(painted, region=replace(region, left=left, top=top, centre=centre))

    def _choose(self, tracked: Tracked, canvas: Canvas, time_s: float) -> None:
        if tracked.cut:
            self._choices = {}
        again = [track for track in tracked.tracks if self._worth_asking_again(track, time_s)]
        undecided = [*tracked.born, *again]
        if not undecided:
            return
        tracks = tracked.tracks
        owners = choose(
            [track.face for track in tracks], self._people, lambda n: self._described(canvas, tracks[n], again)
        )
        taken = {choice.person for choice in self._choices.values() if choice.person is not None}
        for track, owner in zip(tracks, owners, strict=True):
            if track not in undecided:
                continue
            if owner in taken and self._people[owner or 0].selector.selection in ("largest", "index"):
                owner = None
            choice = self._choices.setdefault(track.id, _Choice(None, time_s))
            choice.person = owner

    def _worth_asking_again(self, track: Track, time_s: float) -> bool:
        """Whether nobody was chosen, but a reference may not have been recognised: from the side, or blurred."""
        choice = self._choices.get(track.id)
        if choice is None or choice.person is not None or choice.reconsidered >= len(RECONSIDER_S):
            return False
        if time_s - choice.born_s < RECONSIDER_S[choice.reconsidered]:
            return False
        choice.reconsidered += 1
        return any(person.selector.selection == "reference" for person in self._people)

    def _described(self, canvas: Canvas, track: Track, again: Sequence[Track]) -> FloatArray:
        if track in again:
            track.descriptor = None
        return np.asarray(self._tracker.descriptor(canvas, track), np.float32)

"""Which faces a picture really holds: proposals of the detector, each verified by the mesh network's own confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from services.faceswap.detector import EYE_LEFT, EYE_RIGHT, Detection, FaceDetector, Picture, same_face
from services.faceswap.mesh import HOPELESS_SCORE, FaceMesh, Mesh
from services.faceswap.pieces import detection_of
from services.faceswap.template import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

MIN_MESH_SCORE: Final = 0.9975  # what is no face reaches 0.994, faces of 20 pixels stay above 0.99999
SURE_MESH_SCORE: Final = 1.0 - 1e-6  # a face read aslant by 90 degrees or upside down stays below
FINE_LEVEL: Final = 2
ASLANT: Final = np.radians(10.0)
DOMINANT_TILE_SHARE: Final = 0.3  # beside a face of this share of a tile's side there is hardly a larger one, turned
RELIABLE_TILE_SHARE: Final = 0.1  # no face of at least this share of a tile's side is missed at that level


@dataclass(frozen=True)
class Face:
    """One face: where the detector saw it, and its mesh."""

    detection: Detection
    mesh: Mesh

    @property
    def size_px(self) -> float:
        """The shorter side of the box around the mesh: the size of a face, tilted or not."""
        return min(self.mesh.box[2:])


class FaceFinder:
    """Finds faces and their meshes; safe to call from several threads at once."""

    def __init__(self, detector: FaceDetector, mesh: FaceMesh) -> None:
        self._detector = detector
        self.mesh = mesh

    def find(self, picture: Picture, *, only_largest: bool = False) -> list[Face]:
        """Faces of a BGR picture (H, W, 3), at any angle, largest first; empty when there is none.

        The finest tiles are only looked at upright and in the turns in which larger faces were found. With
        `only_largest` at most one is returned, and finer levels are skipped once they could find none that is larger.
        """
        faces: list[Face] = []
        sides = self._detector.tile_sides(picture)
        for level, tile_px in enumerate(sides):
            if only_largest and faces and faces[0].detection.size >= RELIABLE_TILE_SHARE * sides[level - 1]:
                break
            likely = {0, *(_quarter_turns(face.mesh) for face in faces)}
            turns = likely if faces and level >= FINE_LEVEL else (0, 1, 3, 2)
            for quarter_turns in turns:
                if only_largest and any(face.detection.size >= DOMINANT_TILE_SHARE * tile_px for face in faces):
                    break
                for proposal in self._detector.level(picture, tile_px, quarter_turns):
                    self._add(picture, proposal, faces)
            faces.sort(key=lambda face: -face.detection.width * face.detection.height)
        return faces[:1] if only_largest else faces

    def _add(self, picture: Picture, proposal: Detection, faces: list[Face]) -> None:
        """Adds what the detector proposes to the faces, if it is a face and none of them."""
        if any(same_face(proposal, face.detection) for face in faces):
            return
        located = self.mesh.locate(picture, proposal)
        mesh = self._upright(picture, self._straightened(picture, proposal, located))
        if mesh.score >= MIN_MESH_SCORE and not any(_same_mesh(mesh, face.mesh) for face in faces):
            if mesh is not located:  # the proposal's keypoints are not where the face has them
                proposal = replace(detection_of(mesh), score=proposal.score)
            faces.append(Face(proposal, mesh))

    def _straightened(self, picture: Picture, proposal: Detection, mesh: Mesh) -> Mesh:
        """The mesh, looked at once more where the detector told another angle, as it does of faces aslant."""
        eyes = proposal.keypoints[EYE_LEFT] - proposal.keypoints[EYE_RIGHT]
        off = _angle(mesh) - float(np.arctan2(eyes[1], eyes[0]))
        if mesh.score >= HOPELESS_SCORE and abs((off + np.pi) % (2 * np.pi) - np.pi) > ASLANT:
            return self.mesh.turned(picture, mesh, 0.0)
        return mesh

    def _upright(self, picture: Picture, mesh: Mesh) -> Mesh:
        """The mesh, or a surer one of the same place: the detector also sees faces that are turned by 90 degrees or
        more, but then not which way up they are."""
        if mesh.score >= SURE_MESH_SCORE:
            return mesh
        others = [self.mesh.turned(picture, mesh, turn) for turn in (np.pi / 2, np.pi, -np.pi / 2)]
        return max([mesh, *others], key=lambda each: each.score)

    def find_fast(self, picture: Picture, known: Sequence[Mesh] = (), *, part: int | None = None) -> list[Face]:
        """Faces of a frame that are not among the `known` ones: one detector run, and the mesh of what is new.

        For films and live pictures, about 7 ms for 1280 x 720 pixels on one core when there is nothing new. It finds
        upright faces of at least a tenth of the picture's longer side; with `part` (see `FaceDetector.coarse`) of half
        that size in a part of the picture. Largest first.
        """
        return self.verified(picture, unknown(self.glance(picture, part)(), known), known)

    def glance(self, picture: Picture, part: int | None = None) -> Callable[[], list[Detection]]:
        """The detector's part of `find_fast`: returns what runs it, once, in any thread; the frame may change."""
        return self._detector.coarse(picture, part)

    def verified(self, picture: Picture, proposals: Sequence[Detection], known: Sequence[Mesh] = ()) -> list[Face]:
        """Those of the proposals that are faces of the frame, and none of the `known` ones. Largest first."""
        faces: list[Face] = []
        for proposal in proposals:
            mesh = self.mesh.locate(picture, proposal)
            seen = (*known, *(face.mesh for face in faces))
            if mesh.score >= MIN_MESH_SCORE and not any(_same_mesh(mesh, other) for other in seen):
                faces.append(Face(proposal, mesh))
        return faces

    def locate(self, picture: Picture, detection: Detection) -> Face:
        """A face at a place that is known already."""
        return Face(detection, self.mesh.locate(picture, detection))


def unknown(proposals: Sequence[Detection], known: Sequence[Mesh]) -> list[Detection]:
    """The proposals that show none of the known faces."""
    return [proposal for proposal in proposals if not any(_is_of(proposal, mesh) for mesh in known)]


def _quarter_turns(mesh: Mesh) -> int:
    """By how many quarter turns counter-clockwise the picture has to be turned for the face to stand upright."""
    return round(_angle(mesh) / (np.pi / 2)) % 4


def _angle(mesh: Mesh) -> float:
    """By how much the line between the eyes is turned clockwise, in radians."""
    eyes = mesh.points[LEFT_EYE_OUTER, :2] - mesh.points[RIGHT_EYE_OUTER, :2]
    return float(np.arctan2(eyes[1], eyes[0]))


def _same_mesh(a: Mesh, b: Mesh) -> bool:
    distance = np.linalg.norm(a.points[:, :2].mean(axis=0) - b.points[:, :2].mean(axis=0))
    return bool(distance < 0.3 * min(max(a.box[2:]), max(b.box[2:])))


def _is_of(detection: Detection, mesh: Mesh) -> bool:
    """Whether a detection shows the face of a mesh."""
    left, top, width, height = mesh.box
    return same_face(detection, Detection(left, top, width, height, 1.0, detection.keypoints))

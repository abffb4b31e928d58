"""Which faces a picture really holds: proposals of the detector, each verified by the mesh network's own confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.faceswap.detector import Detection, FaceDetector, Picture, same_face, turn_back
from services.faceswap.mesh import FaceMesh, Mesh

MIN_MESH_SCORE: Final = 0.9  # crockery reaches 0.83, real faces down to 30 pixels stay above 0.99
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
        """Faces of a BGR picture (H, W, 3), largest first; empty when there is none.

        When none stands upright the picture is tried turned by 90, 270 and 180 degrees. With `only_largest` at most
        one is returned, and finer levels are skipped once they could find none that is larger.
        """
        for quarter_turns in (0, 1, 3, 2):
            turned = np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture
            faces: list[Face] = []
            for tile_px, detections in self._detector.levels(turned):
                for detection in detections:
                    proposal = turn_back(detection, quarter_turns, picture.shape[:2])
                    if not any(same_face(proposal, face.detection) for face in faces):
                        mesh = self.mesh.locate(picture, proposal)
                        if mesh.score >= MIN_MESH_SCORE and not any(_same_mesh(mesh, face.mesh) for face in faces):
                            faces.append(Face(proposal, mesh))
                faces.sort(key=lambda face: -face.detection.size)
                if only_largest and faces and faces[0].detection.size >= RELIABLE_TILE_SHARE * tile_px:
                    break
            if faces:
                return faces[:1] if only_largest else faces
        return []

    def find_fast(self, picture: Picture, known: Sequence[Mesh] = (), *, part: int | None = None) -> list[Face]:
        """Faces of a frame that are not among the `known` ones: one detector run, and the mesh of what is new.

        For films and live pictures, about 7 ms for 1280 x 720 pixels on one core when there is nothing new. It finds
        upright faces of at least a tenth of the picture's longer side; with `part` (see `FaceDetector.coarse`) of half
        that size in a part of the picture. Largest first.
        """
        faces: list[Face] = []
        for proposal in self._detector.coarse(picture, part):
            if any(_is_of(proposal, mesh) for mesh in known):
                continue
            mesh = self.mesh.locate(picture, proposal)
            seen = (*known, *(face.mesh for face in faces))
            if mesh.score >= MIN_MESH_SCORE and not any(_same_mesh(mesh, other) for other in seen):
                faces.append(Face(proposal, mesh))
        return faces

    def locate(self, picture: Picture, detection: Detection) -> Face:
        """A face at a place that is known already."""
        return Face(detection, self.mesh.locate(picture, detection))


def _same_mesh(a: Mesh, b: Mesh) -> bool:
    distance = np.linalg.norm(a.points[:, :2].mean(axis=0) - b.points[:, :2].mean(axis=0))
    return bool(distance < 0.3 * min(max(a.box[2:]), max(b.box[2:])))


def _is_of(detection: Detection, mesh: Mesh) -> bool:
    """Whether a detection shows the face of a mesh."""
    left, top, width, height = mesh.box
    return same_face(detection, Detection(left, top, width, height, 1.0, detection.keypoints))

"""Who a face looks like: 128 numbers of dlib's ResNet; a distance below 0.6 means the same person.

Independent of the swap: no part of the engine sees these numbers. The model takes a 150-pixel crop aligned by dlib's
own five landmarks, which start from a box; that box is derived from the mesh the way dlib's detector would place it.

Model: King 2017, http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html (public domain).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import dlib
import numpy as np

from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh

SAME_PERSON_DISTANCE: Final = 0.6
FEATURES: Final = [33, 263, 61, 291, 1]  # outer eye corners, mouth corners, nose tip


class FaceRecogniser:
    """dlib's face descriptor of faces that were found already."""

    def __init__(self, landmarks_path: Path, resnet_path: Path) -> None:
        self._landmarks = dlib.shape_predictor(str(landmarks_path))
        self._resnet = dlib.face_recognition_model_v1(str(resnet_path))
        self._lock = threading.Lock()  # the network keeps its activations inside

    def descriptor(self, picture: Picture, mesh: Mesh) -> FloatArray:
        """Descriptor (128,) of one face of a BGR picture (H, W, 3)."""
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        with self._lock:
            shape = self._landmarks(rgb, _detector_box(mesh))
            chip = dlib.get_face_chip(rgb, shape, 150, 0.25)
            return np.array(self._resnet.compute_face_descriptor(chip), np.float32)


def distance(a: FloatArray, b: FloatArray) -> float:
    """Euclidean distance of two descriptors."""
    return float(np.linalg.norm(a - b))


def _detector_box(mesh: Mesh) -> dlib.rectangle:
    """The square that dlib's frontal detector puts around a face: centred on the features, not on the outline."""
    _, top, width, height = mesh.box
    side = 0.97 * (width + height) / 2
    centre_x = float(mesh.points[FEATURES, 0].mean())
    centre_y = top + 0.52 * height
    return dlib.rectangle(
        round(centre_x - side / 2), round(centre_y - side / 2), round(centre_x + side / 2), round(centre_y + side / 2)
    )

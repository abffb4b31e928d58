"""The stage's model files, found through the registry, and the objects made from them."""

from __future__ import annotations

from services.common.models import Registry
from services.faceswap.detector import FaceDetector
from services.faceswap.finder import FaceFinder
from services.faceswap.litert import LiteRtModel
from services.faceswap.mesh import FaceMesh
from services.faceswap.recogniser import FaceRecogniser


def load_finder(registry: Registry, *, threads: int = 1, average_mirrored: bool = True) -> FaceFinder:
    """Detector and mesh; raises LikenessError MODEL_INVALID when a file is missing or changed."""
    short_range, full_range, mesh = (
        LiteRtModel(registry.path(name), threads=threads)
        for name in ("face-detector-short", "face-detector-full", "face-mesh")
    )
    return FaceFinder(FaceDetector(short_range, full_range), FaceMesh(mesh, average_mirrored=average_mirrored))


def load_recogniser(registry: Registry) -> FaceRecogniser:
    """The identity score; raises LikenessError MODEL_INVALID when a file is missing or changed."""
    return FaceRecogniser(registry.path("face-landmarks-5"), registry.path("face-recogniser"))

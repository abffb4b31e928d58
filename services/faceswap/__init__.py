"""Faces: finds them, and puts people onto them in pictures, films and live."""

from services.faceswap.face_engine import FACE_REGIONS, FaceEngine, Look
from services.faceswap.finder import Face
from services.faceswap.selection import Person, Selector
from services.faceswap.swapper import MIN_FACE_PX, FaceSwapper, Swap, SwapOptions, SwappedFace

__all__ = [
    "FACE_REGIONS",
    "MIN_FACE_PX",
    "Face",
    "FaceEngine",
    "FaceSwapper",
    "Look",
    "Person",
    "Selector",
    "Swap",
    "SwapOptions",
    "SwappedFace",
]

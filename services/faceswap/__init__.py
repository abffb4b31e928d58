"""Faces: finds them, and puts one person's onto another's in a picture."""

from services.faceswap.finder import Face
from services.faceswap.swapper import MIN_FACE_PX, FaceSwapper, Swap, SwapOptions, SwappedFace

__all__ = ["MIN_FACE_PX", "Face", "FaceSwapper", "Swap", "SwapOptions", "SwappedFace"]

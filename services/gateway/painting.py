"""How a face is put on: what requests may ask of the engine, and how a stage is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from likeness.v1 import faceswap_pb2

FaceRegion = Literal["skin", "brows", "eyes", "nose", "mouth"]
PictureFormat = Literal["png", "jpeg", "webp"]
_REGIONS: Final = {
    "skin": faceswap_pb2.FACE_REGION_SKIN,
    "brows": faceswap_pb2.FACE_REGION_BROWS,
    "eyes": faceswap_pb2.FACE_REGION_EYES,
    "nose": faceswap_pb2.FACE_REGION_NOSE,
    "mouth": faceswap_pb2.FACE_REGION_MOUTH,
}
_FORMATS: Final = {
    "png": faceswap_pb2.PICTURE_FORMAT_PNG,
    "jpeg": faceswap_pb2.PICTURE_FORMAT_JPEG,
    "webp": faceswap_pb2.PICTURE_FORMAT_WEBP,
}


@dataclass(frozen=True)
class Painting:
    """Options of a swap; None and empty leave the choice to the engine, see `SwapOptions` in faceswap.proto."""

    engine: str = ""
    regions: tuple[FaceRegion, ...] = ()
    keep_occluders: bool | None = None
    shape_strength: float | None = None
    feather: float | None = None
    pixel_boost: int | None = None
    enhancer: str = ""

    def message(self, picture_format: PictureFormat = "png") -> faceswap_pb2.SwapOptions:
        given = {
            name: getattr(self, name)
            for name in ("keep_occluders", "shape_strength", "feather", "pixel_boost")
            if getattr(self, name) is not None
        }
        return faceswap_pb2.SwapOptions(
            format=_FORMATS[picture_format],
            engine=self.engine,
            enhancer=self.enhancer,
            regions=[_REGIONS[region] for region in self.regions],
            **given,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"regions": list(self.regions)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "regions": tuple(value["regions"])})

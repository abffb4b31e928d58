from likeness.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FaceSelection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_SELECTION_UNSPECIFIED: _ClassVar[FaceSelection]
    FACE_SELECTION_LARGEST: _ClassVar[FaceSelection]
    FACE_SELECTION_ALL: _ClassVar[FaceSelection]

class PictureFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PICTURE_FORMAT_UNSPECIFIED: _ClassVar[PictureFormat]
    PICTURE_FORMAT_PNG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_JPEG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_WEBP: _ClassVar[PictureFormat]
FACE_SELECTION_UNSPECIFIED: FaceSelection
FACE_SELECTION_LARGEST: FaceSelection
FACE_SELECTION_ALL: FaceSelection
PICTURE_FORMAT_UNSPECIFIED: PictureFormat
PICTURE_FORMAT_PNG: PictureFormat
PICTURE_FORMAT_JPEG: PictureFormat
PICTURE_FORMAT_WEBP: PictureFormat

class Picture(_message.Message):
    __slots__ = ("encoded", "media")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    media: _types_pb2.MediaReference
    def __init__(self, encoded: _Optional[bytes] = ..., media: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "score", "keypoints", "descriptor")
    BOX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    box: Box
    score: float
    keypoints: _containers.RepeatedCompositeFieldContainer[Point]
    descriptor: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., score: _Optional[float] = ..., keypoints: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., descriptor: _Optional[_Iterable[float]] = ...) -> None: ...

class DetectFacesRequest(_message.Message):
    __slots__ = ("picture", "with_descriptors")
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    WITH_DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    picture: Picture
    with_descriptors: bool
    def __init__(self, picture: _Optional[_Union[Picture, _Mapping]] = ..., with_descriptors: _Optional[bool] = ...) -> None: ...

class DetectFacesResponse(_message.Message):
    __slots__ = ("width_px", "height_px", "faces")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ...) -> None: ...

class SwapOptions(_message.Message):
    __slots__ = ("selection", "shape_strength", "feather", "format")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    SHAPE_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    FEATHER_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    selection: FaceSelection
    shape_strength: float
    feather: float
    format: PictureFormat
    def __init__(self, selection: _Optional[_Union[FaceSelection, str]] = ..., shape_strength: _Optional[float] = ..., feather: _Optional[float] = ..., format: _Optional[_Union[PictureFormat, str]] = ...) -> None: ...

class SwapPictureRequest(_message.Message):
    __slots__ = ("source", "target", "options", "destination")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    source: Picture
    target: Picture
    options: SwapOptions
    destination: _types_pb2.MediaReference
    def __init__(self, source: _Optional[_Union[Picture, _Mapping]] = ..., target: _Optional[_Union[Picture, _Mapping]] = ..., options: _Optional[_Union[SwapOptions, _Mapping]] = ..., destination: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ...) -> None: ...

class SwappedFace(_message.Message):
    __slots__ = ("target", "distance_to_source", "distance_to_target")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_SOURCE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_TARGET_FIELD_NUMBER: _ClassVar[int]
    target: Face
    distance_to_source: float
    distance_to_target: float
    def __init__(self, target: _Optional[_Union[Face, _Mapping]] = ..., distance_to_source: _Optional[float] = ..., distance_to_target: _Optional[float] = ...) -> None: ...

class SwapPictureResponse(_message.Message):
    __slots__ = ("result", "faces", "width_px", "height_px")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    result: Picture
    faces: _containers.RepeatedCompositeFieldContainer[SwappedFace]
    width_px: int
    height_px: int
    def __init__(self, result: _Optional[_Union[Picture, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[SwappedFace, _Mapping]]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

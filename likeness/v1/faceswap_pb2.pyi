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
    FACE_SELECTION_INDEX: _ClassVar[FaceSelection]
    FACE_SELECTION_REFERENCE: _ClassVar[FaceSelection]

class FaceRegion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_REGION_UNSPECIFIED: _ClassVar[FaceRegion]
    FACE_REGION_SKIN: _ClassVar[FaceRegion]
    FACE_REGION_BROWS: _ClassVar[FaceRegion]
    FACE_REGION_EYES: _ClassVar[FaceRegion]
    FACE_REGION_NOSE: _ClassVar[FaceRegion]
    FACE_REGION_MOUTH: _ClassVar[FaceRegion]

class PictureFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PICTURE_FORMAT_UNSPECIFIED: _ClassVar[PictureFormat]
    PICTURE_FORMAT_PNG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_JPEG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_WEBP: _ClassVar[PictureFormat]

class FilmCodec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILM_CODEC_UNSPECIFIED: _ClassVar[FilmCodec]
    FILM_CODEC_H264: _ClassVar[FilmCodec]
    FILM_CODEC_VP9: _ClassVar[FilmCodec]

class LiveOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIVE_OUTCOME_UNSPECIFIED: _ClassVar[LiveOutcome]
    LIVE_OUTCOME_SWAPPED: _ClassVar[LiveOutcome]
    LIVE_OUTCOME_UNCHANGED: _ClassVar[LiveOutcome]
    LIVE_OUTCOME_DROPPED: _ClassVar[LiveOutcome]
    LIVE_OUTCOME_UNREADABLE: _ClassVar[LiveOutcome]
FACE_SELECTION_UNSPECIFIED: FaceSelection
FACE_SELECTION_LARGEST: FaceSelection
FACE_SELECTION_ALL: FaceSelection
FACE_SELECTION_INDEX: FaceSelection
FACE_SELECTION_REFERENCE: FaceSelection
FACE_REGION_UNSPECIFIED: FaceRegion
FACE_REGION_SKIN: FaceRegion
FACE_REGION_BROWS: FaceRegion
FACE_REGION_EYES: FaceRegion
FACE_REGION_NOSE: FaceRegion
FACE_REGION_MOUTH: FaceRegion
PICTURE_FORMAT_UNSPECIFIED: PictureFormat
PICTURE_FORMAT_PNG: PictureFormat
PICTURE_FORMAT_JPEG: PictureFormat
PICTURE_FORMAT_WEBP: PictureFormat
FILM_CODEC_UNSPECIFIED: FilmCodec
FILM_CODEC_H264: FilmCodec
FILM_CODEC_VP9: FilmCodec
LIVE_OUTCOME_UNSPECIFIED: LiveOutcome
LIVE_OUTCOME_SWAPPED: LiveOutcome
LIVE_OUTCOME_UNCHANGED: LiveOutcome
LIVE_OUTCOME_DROPPED: LiveOutcome
LIVE_OUTCOME_UNREADABLE: LiveOutcome

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

class Pose(_message.Message):
    __slots__ = ("yaw_degrees", "pitch_degrees", "roll_degrees")
    YAW_DEGREES_FIELD_NUMBER: _ClassVar[int]
    PITCH_DEGREES_FIELD_NUMBER: _ClassVar[int]
    ROLL_DEGREES_FIELD_NUMBER: _ClassVar[int]
    yaw_degrees: float
    pitch_degrees: float
    roll_degrees: float
    def __init__(self, yaw_degrees: _Optional[float] = ..., pitch_degrees: _Optional[float] = ..., roll_degrees: _Optional[float] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "score", "keypoints", "descriptor", "pose", "mesh")
    BOX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    box: Box
    score: float
    keypoints: _containers.RepeatedCompositeFieldContainer[Point]
    descriptor: _containers.RepeatedScalarFieldContainer[float]
    pose: Pose
    mesh: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., score: _Optional[float] = ..., keypoints: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., descriptor: _Optional[_Iterable[float]] = ..., pose: _Optional[_Union[Pose, _Mapping]] = ..., mesh: _Optional[_Iterable[float]] = ...) -> None: ...

class DetectFacesRequest(_message.Message):
    __slots__ = ("picture", "with_descriptors", "with_pose")
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    WITH_DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    WITH_POSE_FIELD_NUMBER: _ClassVar[int]
    picture: Picture
    with_descriptors: bool
    with_pose: bool
    def __init__(self, picture: _Optional[_Union[Picture, _Mapping]] = ..., with_descriptors: _Optional[bool] = ..., with_pose: _Optional[bool] = ...) -> None: ...

class DetectFacesResponse(_message.Message):
    __slots__ = ("width_px", "height_px", "faces")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ...) -> None: ...

class FaceSelector(_message.Message):
    __slots__ = ("selection", "index", "reference", "threshold")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    selection: FaceSelection
    index: int
    reference: Picture
    threshold: float
    def __init__(self, selection: _Optional[_Union[FaceSelection, str]] = ..., index: _Optional[int] = ..., reference: _Optional[_Union[Picture, _Mapping]] = ..., threshold: _Optional[float] = ...) -> None: ...

class FaceAssignment(_message.Message):
    __slots__ = ("sources", "faces")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Picture]
    faces: FaceSelector
    def __init__(self, sources: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., faces: _Optional[_Union[FaceSelector, _Mapping]] = ...) -> None: ...

class SwapOptions(_message.Message):
    __slots__ = ("selection", "shape_strength", "feather", "format", "engine", "regions", "keep_occluders", "pixel_boost", "enhancer", "skip_distances")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    SHAPE_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    FEATHER_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    KEEP_OCCLUDERS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_BOOST_FIELD_NUMBER: _ClassVar[int]
    ENHANCER_FIELD_NUMBER: _ClassVar[int]
    SKIP_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    selection: FaceSelection
    shape_strength: float
    feather: float
    format: PictureFormat
    engine: str
    regions: _containers.RepeatedScalarFieldContainer[FaceRegion]
    keep_occluders: bool
    pixel_boost: int
    enhancer: str
    skip_distances: bool
    def __init__(self, selection: _Optional[_Union[FaceSelection, str]] = ..., shape_strength: _Optional[float] = ..., feather: _Optional[float] = ..., format: _Optional[_Union[PictureFormat, str]] = ..., engine: _Optional[str] = ..., regions: _Optional[_Iterable[_Union[FaceRegion, str]]] = ..., keep_occluders: _Optional[bool] = ..., pixel_boost: _Optional[int] = ..., enhancer: _Optional[str] = ..., skip_distances: _Optional[bool] = ...) -> None: ...

class SwapPictureRequest(_message.Message):
    __slots__ = ("source", "target", "options", "destination", "assignments")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    source: Picture
    target: Picture
    options: SwapOptions
    destination: _types_pb2.MediaReference
    assignments: _containers.RepeatedCompositeFieldContainer[FaceAssignment]
    def __init__(self, source: _Optional[_Union[Picture, _Mapping]] = ..., target: _Optional[_Union[Picture, _Mapping]] = ..., options: _Optional[_Union[SwapOptions, _Mapping]] = ..., destination: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ..., assignments: _Optional[_Iterable[_Union[FaceAssignment, _Mapping]]] = ...) -> None: ...

class SwappedFace(_message.Message):
    __slots__ = ("target", "distance_to_source", "distance_to_target", "assignment")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_SOURCE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_TARGET_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    target: Face
    distance_to_source: float
    distance_to_target: float
    assignment: int
    def __init__(self, target: _Optional[_Union[Face, _Mapping]] = ..., distance_to_source: _Optional[float] = ..., distance_to_target: _Optional[float] = ..., assignment: _Optional[int] = ...) -> None: ...

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

class FilmOptions(_message.Message):
    __slots__ = ("codec", "crf", "height_px")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CRF_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    codec: FilmCodec
    crf: int
    height_px: int
    def __init__(self, codec: _Optional[_Union[FilmCodec, str]] = ..., crf: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class SwapSegmentRequest(_message.Message):
    __slots__ = ("film", "start_pts", "end_pts", "assignments", "options", "film_options", "destination")
    FILM_FIELD_NUMBER: _ClassVar[int]
    START_PTS_FIELD_NUMBER: _ClassVar[int]
    END_PTS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FILM_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    film: _types_pb2.MediaReference
    start_pts: int
    end_pts: int
    assignments: _containers.RepeatedCompositeFieldContainer[FaceAssignment]
    options: SwapOptions
    film_options: FilmOptions
    destination: _types_pb2.MediaReference
    def __init__(self, film: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ..., start_pts: _Optional[int] = ..., end_pts: _Optional[int] = ..., assignments: _Optional[_Iterable[_Union[FaceAssignment, _Mapping]]] = ..., options: _Optional[_Union[SwapOptions, _Mapping]] = ..., film_options: _Optional[_Union[FilmOptions, _Mapping]] = ..., destination: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ...) -> None: ...

class SegmentProgress(_message.Message):
    __slots__ = ("frames_done", "frames_total")
    FRAMES_DONE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    frames_done: int
    frames_total: int
    def __init__(self, frames_done: _Optional[int] = ..., frames_total: _Optional[int] = ...) -> None: ...

class FaceTrack(_message.Message):
    __slots__ = ("id", "first_pts", "last_pts", "frames_swapped", "assignment", "distance_to_source", "distance_to_target")
    ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_PTS_FIELD_NUMBER: _ClassVar[int]
    LAST_PTS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SWAPPED_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_SOURCE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_TARGET_FIELD_NUMBER: _ClassVar[int]
    id: int
    first_pts: int
    last_pts: int
    frames_swapped: int
    assignment: int
    distance_to_source: float
    distance_to_target: float
    def __init__(self, id: _Optional[int] = ..., first_pts: _Optional[int] = ..., last_pts: _Optional[int] = ..., frames_swapped: _Optional[int] = ..., assignment: _Optional[int] = ..., distance_to_source: _Optional[float] = ..., distance_to_target: _Optional[float] = ...) -> None: ...

class SegmentResult(_message.Message):
    __slots__ = ("segment", "frames", "width_px", "height_px", "tracks")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    segment: _types_pb2.MediaReference
    frames: int
    width_px: int
    height_px: int
    tracks: _containers.RepeatedCompositeFieldContainer[FaceTrack]
    def __init__(self, segment: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ..., frames: _Optional[int] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., tracks: _Optional[_Iterable[_Union[FaceTrack, _Mapping]]] = ...) -> None: ...

class SwapSegmentResponse(_message.Message):
    __slots__ = ("progress", "result")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    progress: SegmentProgress
    result: SegmentResult
    def __init__(self, progress: _Optional[_Union[SegmentProgress, _Mapping]] = ..., result: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class LiveSetup(_message.Message):
    __slots__ = ("assignments", "options", "jpeg_quality")
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    assignments: _containers.RepeatedCompositeFieldContainer[FaceAssignment]
    options: SwapOptions
    jpeg_quality: int
    def __init__(self, assignments: _Optional[_Iterable[_Union[FaceAssignment, _Mapping]]] = ..., options: _Optional[_Union[SwapOptions, _Mapping]] = ..., jpeg_quality: _Optional[int] = ...) -> None: ...

class LiveFrame(_message.Message):
    __slots__ = ("id", "encoded", "deadline_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    encoded: bytes
    deadline_ms: int
    def __init__(self, id: _Optional[int] = ..., encoded: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class SwapLiveRequest(_message.Message):
    __slots__ = ("setup", "frame")
    SETUP_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    setup: LiveSetup
    frame: LiveFrame
    def __init__(self, setup: _Optional[_Union[LiveSetup, _Mapping]] = ..., frame: _Optional[_Union[LiveFrame, _Mapping]] = ...) -> None: ...

class SwapLiveResponse(_message.Message):
    __slots__ = ("id", "outcome", "encoded", "faces", "latency_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    outcome: LiveOutcome
    encoded: bytes
    faces: int
    latency_ms: float
    def __init__(self, id: _Optional[int] = ..., outcome: _Optional[_Union[LiveOutcome, str]] = ..., encoded: _Optional[bytes] = ..., faces: _Optional[int] = ..., latency_ms: _Optional[float] = ...) -> None: ...

"""Pictures of people and a target picture -> one picture: which faces, the engine for each, and how near it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.canvas import lay_over
from services.faceswap.detector import Picture
from services.faceswap.engines import Engines
from services.faceswap.face_engine import FaceEngine, Look, Memory, Painted, View
from services.faceswap.finder import Face, FaceFinder
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh
from services.faceswap.occlusion import warm_occlusion
from services.faceswap.recogniser import FaceRecogniser, distance
from services.faceswap.selection import Person, Selector, choose, mean_descriptor
from services.faceswap.template import template
from services.faceswap.weights import load_finder, load_recogniser

MIN_FACE_PX: Final = 24.0  # shorter side of the mesh's box; below, no texture is left to carry over
SURROUNDINGS: Final = 1.0  # what is kept of a source picture on each side of the face, in sizes of the face
MAX_SOURCES: Final = 16


@dataclass(frozen=True)
class SwapOptions:
    """How one person is put onto a picture; the numbers are those of `Look`.

    Attributes:
        selection: which faces of the target.
        measure: whether the recogniser judges the result; it takes longer than the swap.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range.
    """

    selection: Literal["largest", "all"] = "largest"
    shape_strength: float = Look.shape_strength
    feather: float = Look.feather
    measure: bool = True

    def __post_init__(self) -> None:
        _ = self.look

    @property
    def look(self) -> Look:
        return Look(shape_strength=self.shape_strength, feather=self.feather)


@dataclass(frozen=True, eq=False)
class SwappedFace:
    """One face of the target that was replaced.

    Attributes:
        face: as it was in the target.
        painted: what the engine made of it.
        person: index of the person it became.
        distance_to_source, distance_to_target: of the result's face, by the recogniser; below 0.6 is the same person,
            -1 where it was not measured.
    """

    face: Face
    painted: Painted
    person: int = 0
    distance_to_source: float = -1.0
    distance_to_target: float = -1.0


@dataclass(frozen=True, eq=False)
class Swap:
    """The result: BGR picture (H, W, 3), and what was replaced in it."""

    picture: Picture
    faces: tuple[SwappedFace, ...]


class FaceSwapper:
    """The stage without its server. One instance serves any number of threads.

    Pictures are uint8: BGR (H, W, 3), or grey (H, W), which counts as BGR of equal channels.

    Attributes:
        finder: finds faces and their meshes.
        recogniser: tells who they look like.
        engines: by name, what paints them.
    """

    def __init__(self, finder: FaceFinder, recogniser: FaceRecogniser, engines: Engines) -> None:
        self.finder = finder
        self.recogniser = recogniser
        self.engines = engines

    @classmethod
    def load(cls, registry: Registry, *, threads: int = 1, providers: Sequence[str] = ()) -> FaceSwapper:
        """Raises LikenessError MODEL_INVALID when a model file is missing or was changed."""
        engines = Engines(registry, threads=threads, providers=providers)
        return cls(load_finder(registry, threads=threads), load_recogniser(registry), engines)

    def warm_up(self) -> None:
        """Runs the networks once, and a swap on a picture of nothing, so that all that numba compiles is compiled."""
        picture = np.random.default_rng(0).integers(100, 160, (256, 256, 3), np.uint8)
        self.finder.find(picture)
        points = (template().points * 90.0 + [128.0, 110.0, 0.0]).astype(np.float32)
        self.recogniser.descriptor(picture, Mesh(points, 1.0))
        engine, memory = self.engines.load(), Memory()
        person = engine.prepare([View(picture, points)])
        for remembered in (None, memory, memory):
            engine.paint(person, picture, points, Look(), remembered)
        warm_occlusion()

    def find(self, picture: Picture) -> list[Face]:
        """All faces, largest first."""
        return self.finder.find(as_bgr(picture))

    def descriptor(self, picture: Picture, face: Face) -> FloatArray:
        """The recogniser's numbers (128,) of a face of the picture."""
        return self.recogniser.descriptor(as_bgr(picture), face.mesh)

    def describe(self, picture: Picture, *, field: str = "reference") -> FloatArray:
        """The same of the picture's largest face.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL, naming `field`.
        """
        picture = as_bgr(picture)
        return self.descriptor(picture, self._usable(picture, field, only_largest=True)[0])

    def person(
        self, pictures: Sequence[Picture], selector: Selector | None = None, *, engine: FaceEngine | str = ""
    ) -> Person:
        """Prepares somebody from 1 to 16 pictures, of each of which the largest face counts.

        Args:
            engine: one of `engines`, or its name; empty is the mesh engine.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL, its field naming the picture, such as "sources[0]";
                INVALID_FIELD for the number of pictures or the engine's name.
        """
        if not 1 <= len(pictures) <= MAX_SOURCES:
            detail = f"Give 1 to {MAX_SOURCES} pictures of a person, got {len(pictures)}."
            raise LikenessError("INVALID_FIELD", detail, field="sources")
        found = []
        for number, picture in enumerate(pictures):
            picture = as_bgr(picture)
            found.append((picture, self._usable(picture, f"sources[{number}]", only_largest=True)[0]))
        return self.person_of(found, selector, engine=engine)

    def person_of(
        self,
        found: Sequence[tuple[Picture, Face]],
        selector: Selector | None = None,
        *,
        engine: FaceEngine | str = "",
        describe: bool = True,
    ) -> Person:
        """The same from faces that were found before; without `describe` no distance to this person can be told."""
        engine = self.engines.load(engine) if isinstance(engine, str) else engine
        source = engine.prepare([face_view(as_bgr(picture), face) for picture, face in found])
        descriptor = mean_descriptor([self.descriptor(picture, face) for picture, face in found]) if describe else None
        return Person(engine, source, descriptor, selector or Selector())

    def swap_people(
        self, target: Picture, people: Sequence[Person], look: Look | None = None, *, measure: bool = True
    ) -> Swap:
        """Puts people onto the faces that their selectors name. Every pixel outside of what changed is the target's.

        Args:
            measure: whether the recogniser judges the result.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL with field "target", also when no selector names a face.
        """
        target = as_bgr(target)
        only_largest = all(person.selector.selection == "largest" for person in people)
        faces = self._usable(target, "target", only_largest=only_largest)
        known: dict[int, FloatArray] = {}

        def descriptor_of(index: int) -> FloatArray:
            known[index] = self.descriptor(target, faces[index])
            return known[index]

        owners = choose(faces, people, descriptor_of)
        result, swapped = target.copy(), []
        for index, owner in enumerate(owners):
            if owner is not None:
                painted = _put(people[owner], faces[index], result, look or Look())
                swapped.append((index, SwappedFace(faces[index], painted, owner)))
        if not swapped:
            seen = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
            detail = f"The target picture shows {seen}, but the selection names none of them."
            raise LikenessError("FACE_NOT_FOUND", detail, field="target")
        if not measure:
            return Swap(result, tuple(face for _, face in swapped))
        judged = []
        for index, face in swapped:
            original = known[index] if index in known else descriptor_of(index)
            judged.append(self._measured(face, people[face.person].descriptor, original, result))
        return Swap(result, tuple(judged))

    def swap(self, source: Picture, target: Picture, options: SwapOptions | None = None) -> Swap:
        """One person, one picture: puts the source's largest face onto the target's largest, or onto all of them.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL; its field, "source" or "target", says in which picture.
        """
        options = options or SwapOptions()
        source = as_bgr(source)
        face = self._usable(source, "source", only_largest=True)[0]
        person = self.person_of([(source, face)], Selector(options.selection), describe=options.measure)
        return self.swap_people(target, [person], options.look, measure=options.measure)

    def replace(
        self, source: Picture, source_face: Face, target: Picture, target_faces: Sequence[Face], options: SwapOptions
    ) -> Swap:
        """The same for faces that were found before; the options' selection does not count."""
        target = as_bgr(target)
        person = self.person_of([(source, source_face)], describe=options.measure)
        result = target.copy()
        swapped = [SwappedFace(face, _put(person, face, result, options.look)) for face in target_faces]
        if options.measure:
            swapped = [
                self._measured(each, person.descriptor, self.descriptor(target, each.face), result) for each in swapped
            ]
        return Swap(result, tuple(swapped))

    def locate_again(self, picture: Picture, face: Face) -> Face:
        """A face of another version of its picture, such as the result of a swap."""
        return self.finder.locate(as_bgr(picture), face.detection)

    def _measured(
        self, swapped: SwappedFace, wanted: FloatArray | None, original: FloatArray, result: Picture
    ) -> SwappedFace:
        found = self.descriptor(result, self.locate_again(result, swapped.face))
        return replace(
            swapped,
            distance_to_source=-1.0 if wanted is None else distance(found, wanted),
            distance_to_target=distance(found, original),
        )

    def _usable(self, picture: Picture, field: str, *, only_largest: bool) -> list[Face]:
        """The faces that are large enough, largest first, at least one."""
        faces = self.finder.find(picture, only_largest=only_largest)
        if not faces:
            height, width = picture.shape[:2]
            detail = (
                f"No face was found in the picture of {width} x {height} pixels; "
                "use one in which a face is seen well, from the front or half from the side."
            )
            raise LikenessError("FACE_NOT_FOUND", detail, field=field)
        large_enough = [face for face in faces if face.size_px >= MIN_FACE_PX]
        if not large_enough:
            detail = (
                f"The largest face of the picture measures {faces[0].size_px:.0f} pixels; "
                f"at least {MIN_FACE_PX:.0f} are needed."
            )
            raise LikenessError("FACE_TOO_SMALL", detail, field=field)
        return large_enough


def _put(person: Person, face: Face, picture: Picture, look: Look) -> Painted:
    """Paints a person onto a face of the picture, which is changed."""
    painted = person.engine.paint(person.source, picture, face.mesh.points, look)
    lay_over(picture[painted.region.rows, painted.region.columns], painted.pixels, painted.changed)
    return painted


def face_view(picture: Picture, face: Face) -> View:
    """What an engine sees of a source picture: the face and its surroundings, so that the rest need not be kept."""
    left, top, width, height = face.mesh.box
    margin = SURROUNDINGS * max(width, height)
    x, y = max(0, int(left - margin)), max(0, int(top - margin))
    part = picture[y : int(top + height + margin) + 1, x : int(left + width + margin) + 1]
    return View(np.ascontiguousarray(part), face.mesh.points - np.array([x, y, 0], np.float32))


def as_bgr(picture: Picture) -> Picture:
    """Grey (H, W) becomes BGR (H, W, 3). Raises ValueError for anything else than uint8 pixels."""
    if picture.dtype == np.uint8 and picture.ndim == 2:
        return np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected uint8 pixels of shape (H, W, 3) or (H, W), got {picture.dtype} {picture.shape}")
    return np.ascontiguousarray(picture)

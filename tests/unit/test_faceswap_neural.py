"""Neural engines: agreement with insightface on the same files, and what may change in a picture."""

from __future__ import annotations

import importlib
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.faceswap import neural_align
from services.faceswap.enhancer import EnhancedEngine, Enhancer
from services.faceswap.face_engine import FACE_REGIONS, Look, Painted, View
from services.faceswap.neural import Latent, NeuralEngine, SwapNet
from services.faceswap.neural_align import alignment, crop, five_points, layout_points
from services.faceswap.neural_boost import join_phases, split_phases
from services.faceswap.neural_embed import FaceEmbedder
from services.faceswap.neural_session import Compute
from services.faceswap.template import FACE_OVAL, template
from tests.unit import faceswap_networks as networks

CPU = Compute()
ALL = Look(feather=0.05, keep_occluders=False)  # the picture of these tests shows no skin


def face_points(centre: tuple[float, float] = (160, 130), width: float = 90.0, turn_deg: float = 8.0) -> Any:
    """The mean face's mesh (468, 3) somewhere in a picture; width between the outer corners of the eyes."""
    turn = np.radians(turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return (template().points @ rotation.T * width + [*centre, 0.0]).astype(np.float32)


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """Smooth colours with some texture, (300, 320, 3)."""
    rng = np.random.default_rng(11)
    coarse = cv2.resize(rng.integers(40, 216, (10, 11, 3)).astype(np.uint8), (320, 300), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    networks.swapper(folder / "swapper.onnx")
    networks.identity_swapper(folder / "identity.onnx")
    networks.embedder(folder / "embedder.onnx")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> NeuralEngine:
    return NeuralEngine("tiny", SwapNet(folder / "swapper.onnx", CPU), FaceEmbedder(folder / "embedder.onnx", CPU))


def insightface_face(points: Any, embedding: Any = None) -> Any:
    face = types.SimpleNamespace(kps=five_points(points))
    face.normed_embedding = embedding
    return face


# --- the same numbers as insightface ---


@pytest.mark.parametrize("own_normalisation", [False, True])
def test_embedding_is_that_of_insightface(tmp_path: Path, picture: Any, own_normalisation: bool) -> None:
    zoo = importlib.import_module("insightface.model_zoo.arcface_onnx")
    path = networks.embedder(tmp_path / "w600k.onnx", own_normalisation=own_normalisation)
    points = face_points()
    theirs = zoo.ArcFaceONNX(str(path)).get(picture, insightface_face(points))
    ours = FaceEmbedder(path, CPU).embed(View(picture, points))
    np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs), atol=1e-5)


@pytest.mark.parametrize("size", [128, 256])
def test_swapped_crop_is_that_of_insightface(tmp_path: Path, folder: Path, picture: Any, size: int) -> None:
    zoo = importlib.import_module("insightface.model_zoo.inswapper")
    path = networks.swapper(tmp_path / "swapper.onnx", size)
    engine = NeuralEngine("tiny", SwapNet(path, CPU), FaceEmbedder(folder / "embedder.onnx", CPU))
    source, target = face_points((150, 150), 70, -5), face_points()
    embedding = FaceEmbedder(folder / "embedder.onnx", CPU).embed(View(picture, source))
    theirs, their_matrix = zoo.INSwapper(str(path)).get(
        picture, insightface_face(target), insightface_face(source, embedding), paste_back=False
    )
    person = engine.prepare([View(picture, source)])
    ours, matrix = engine.swap_crop(person, picture, five_points(target))
    np.testing.assert_allclose(matrix, their_matrix, atol=1e-4)
    # insightface cuts fractions off, this engine keeps them: 0 to 1 level more, half a level on average. Its fit of the
    # alignment is another one, so that a pixel of the crop may be rounded the other way.
    difference = ours - theirs.astype(np.float32)
    assert difference.min() > -0.25 and difference.max() < 1.25
    assert 0.4 < difference.mean() < 0.6


def test_pasted_picture_is_that_of_insightface_where_both_show_the_network(
    folder: Path, engine: NeuralEngine, picture: Any
) -> None:
    zoo = importlib.import_module("insightface.model_zoo.inswapper")
    source, target = face_points((150, 150), 70, -5), face_points()
    embedding = FaceEmbedder(folder / "embedder.onnx", CPU).embed(View(picture, source))
    theirs = zoo.INSwapper(str(folder / "swapper.onnx")).get(
        picture, insightface_face(target), insightface_face(source, embedding)
    )
    painted = engine.paint(engine.prepare([View(picture, source)]), picture, target, ALL)
    core = cv2.erode((painted.alpha > 0.999).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    assert core.sum() > 5000
    there = theirs[painted.region.rows, painted.region.columns].astype(float)
    difference = np.abs(painted.pixels.astype(float) - there)[core]
    swapped_by = np.abs(there - picture[painted.region.rows, painted.region.columns])[core]
    assert difference.mean() < 2.0 < swapped_by.mean() / 3


# --- what changes in a picture ---


def result(picture: Any, painted: Painted) -> Any:
    out = picture.copy()
    part = out[painted.region.rows, painted.region.columns]
    part[painted.changed] = painted.pixels[painted.changed]
    return out


def test_nothing_changes_outside_of_the_face(engine: NeuralEngine, picture: Any) -> None:
    points = face_points()
    painted = engine.paint(engine.prepare([View(picture, points)]), picture, points, ALL)
    out = result(picture, painted)
    everywhere = np.ones(picture.shape[:2], bool)
    everywhere[painted.region.rows, painted.region.columns] = ~painted.changed
    assert np.array_equal(out[everywhere], picture[everywhere])
    unpainted = painted.pixels[~painted.changed]
    assert np.array_equal(unpainted, picture[painted.region.rows, painted.region.columns][~painted.changed])
    assert np.array_equal(painted.changed, painted.alpha > 0)
    assert np.abs(out.astype(int) - picture).max() > 20  # and inside something did


@pytest.mark.parametrize("centre", [(0, 130), (160, 299), (318, 2), (160, 130)])
def test_identity_network_gives_the_picture_back_even_at_its_edge(
    folder: Path, picture: Any, centre: tuple[float, float]
) -> None:
    engine = NeuralEngine(
        "same", SwapNet(folder / "identity.onnx", CPU), FaceEmbedder(folder / "embedder.onnx", CPU), pixel_boost=2
    )
    points = face_points(centre)
    smooth = cv2.GaussianBlur(picture, (0, 0), 2)
    painted = engine.paint(Latent(np.zeros((1, 512), np.float32)), smooth, points, ALL)
    inside = painted.alpha > 0
    before = smooth[painted.region.rows, painted.region.columns].astype(float)
    assert inside.sum() > 1000
    # at the picture's edge the crop is black beyond it: the outermost pixel may mix with that
    assert np.abs(painted.pixels - before)[2:-2, 2:-2][inside[2:-2, 2:-2]].mean() < 1.0


def test_prefilter_does_not_move_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[0:700, 0:900]
    ramp = np.stack([x * 255 / 900, y * 255 / 700, (x + y) * 255 / 1600], axis=2).round().astype(np.uint8)
    five = five_points(face_points((430, 300), 260, 15))
    matrix = alignment(five, 128)
    reduced = crop(ramp, matrix, 128).astype(float)
    monkeypatch.setattr(neural_align, "PREFILTER_FROM", 1e9)
    plain = crop(ramp, matrix, 128).astype(float)
    inside = cv2.erode((plain > 0).all(axis=2).astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0) > 0
    assert inside.sum() > 8000
    assert np.abs(reduced - plain)[inside].max() <= 2.0 and abs((reduced - plain)[inside].mean()) < 0.1


def test_regions_add_up_to_the_face(engine: NeuralEngine, picture: Any) -> None:
    points = face_points()
    person = engine.prepare([View(picture, points)])
    alphas = {
        part: engine.paint(person, picture, points, replace(ALL, regions=frozenset({part}))).alpha
        for part in FACE_REGIONS
    }
    whole = engine.paint(person, picture, points, ALL).alpha
    assert np.abs(sum(alphas.values()) - whole).max() < 0.3 and abs((sum(alphas.values()) - whole).mean()) < 0.01
    areas = {part: float(alpha.sum() / whole.sum()) for part, alpha in alphas.items()}
    assert areas["skin"] > 0.5 and all(0.005 < area < 0.3 for part, area in areas.items() if part != "skin")
    region = engine.paint(person, picture, points, ALL).region
    nose = np.round(points[4, :2] - [region.left, region.top]).astype(int)
    assert alphas["nose"][nose[1], nose[0]] > 0.9 > 0.1 > alphas["skin"][nose[1], nose[0]]


def test_crop_of_another_layout_and_size_puts_points_where_they_belong() -> None:
    five = layout_points(512, "ffhq") * 0.3 + 40
    for size, layout in ((112, "arcface"), (128, "arcface"), (512, "ffhq")):
        matrix = alignment(five, size, layout)  # type: ignore[arg-type]
        there = five @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(there - layout_points(size, layout)).max() < 0.06 * size  # type: ignore[arg-type]
    np.testing.assert_allclose(layout_points(256), 2 * layout_points(128))


# --- pixel boost ---


@given(k=st.integers(1, 4), size=st.integers(1, 9), seed=st.integers(0, 1000))
def test_phases_join_to_what_was_split(k: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((k * size, k * size, 3)).astype(np.float32)
    phases = split_phases(pixels, k)
    assert phases.shape == (k * k, size, size, 3)
    assert np.array_equal(join_phases(phases, k), pixels)
    assert np.array_equal(phases[k * k - 1][0, 0], pixels[k - 1, k - 1])


def test_boost_keeps_detail_that_the_small_crop_cannot_hold(folder: Path) -> None:
    y, x = np.mgrid[0:700, 0:800]
    stripes = np.repeat(((np.sin(x * np.pi / 3) * 60) + 128)[:, :, None], 3, axis=2).round().astype(np.uint8)
    points = face_points((400, 300), 250, 0)
    errors = []
    for boost in (1, 4):
        net = SwapNet(folder / "identity.onnx", CPU)
        engine = NeuralEngine("same", net, FaceEmbedder(folder / "embedder.onnx", CPU), pixel_boost=boost)
        painted = engine.paint(Latent(np.zeros((1, 512), np.float32)), stripes, points, ALL)
        before = stripes[painted.region.rows, painted.region.columns].astype(float)
        errors.append(np.abs(painted.pixels - before)[painted.alpha > 0.99].mean())
    assert errors[1] < errors[0] / 4


def test_free_batch_axis_gives_the_same_in_one_run(tmp_path: Path, folder: Path, picture: Any) -> None:
    made = []
    for batch in (1, "n"):
        net = SwapNet(networks.swapper(tmp_path / f"{batch}.onnx", 128, batch), CPU)
        engine = NeuralEngine("tiny", net, FaceEmbedder(folder / "embedder.onnx", CPU), pixel_boost=3)
        person = engine.prepare([View(picture, face_points())])
        made.append(engine.swap_crop(person, picture, five_points(face_points()))[0])
    assert made[0].shape == (384, 384, 3)
    np.testing.assert_allclose(made[0], made[1], atol=1e-3)


# --- people ---


def test_several_pictures_of_a_person_are_their_mean_direction(folder: Path, picture: Any) -> None:
    embedder = FaceEmbedder(folder / "embedder.onnx", CPU)
    views = [View(picture, face_points((150, 150), 70, -5)), View(picture, face_points())]
    one, other = (embedder.embed(view) for view in views)
    both = embedder.embed_all(views)
    assert np.isclose(np.linalg.norm(both), 1.0) and np.isclose(both @ one, both @ other, atol=1e-5)
    assert both @ one > one @ other


# --- the enhancer ---


@pytest.mark.parametrize("fidelity", [False, True])
def test_enhancer_shows_only_where_the_engine_painted(
    tmp_path: Path, engine: NeuralEngine, picture: Any, fidelity: bool
) -> None:
    path = networks.enhancer(tmp_path / "enhancer.onnx", 256, fidelity=fidelity)
    enhancer = Enhancer("negative", path, CPU, strength=1.0, fidelity=1.0)
    points = face_points()
    person = engine.prepare([View(picture, points)])
    plain = engine.paint(person, picture, points, ALL)
    enhanced = EnhancedEngine(engine, enhancer).paint(person, picture, points, ALL)
    assert np.array_equal(enhanced.changed, plain.changed)
    assert np.array_equal(enhanced.pixels[~plain.changed], plain.pixels[~plain.changed])
    core = cv2.erode((plain.alpha > 0.999).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    difference = enhanced.pixels[core].astype(float) - (255.0 - plain.pixels[core])
    assert np.abs(difference).mean() < 4.0  # the network turns a face into its negative


def test_enhancer_of_no_strength_changes_nothing(tmp_path: Path, engine: NeuralEngine, picture: Any) -> None:
    points = face_points()
    painted = engine.paint(engine.prepare([View(picture, points)]), picture, points, ALL)
    enhancer = Enhancer("negative", networks.enhancer(tmp_path / "enhancer.onnx"), CPU, strength=0.0)
    assert np.array_equal(enhancer.enhance(picture, points, painted).pixels, painted.pixels)


def test_what_lies_before_the_face_stays_there(folder: Path) -> None:
    """A blue box over the cheek and jaw of a face of even skin: kept unless it is asked to be painted over."""
    engine = NeuralEngine("tiny", SwapNet(folder / "swapper.onnx", CPU), FaceEmbedder(folder / "embedder.onnx", CPU))
    points = face_points((160, 130), 110, 0)
    picture = np.full((300, 320, 3), (60, 60, 60), np.uint8)
    cv2.fillPoly(picture, [np.rint(points[list(FACE_OVAL), :2]).astype(np.int32)], (120, 150, 205))
    picture[150:260, 60:130] = (200, 60, 30)
    person = engine.prepare([View(picture, points)])
    kept, over = (engine.paint(person, picture, points, Look(keep_occluders=keep)) for keep in (True, False))
    left, top = kept.region.left, kept.region.top
    rows = slice(165 - top, 195 - top)
    box, cheek = (rows, slice(100 - left, 120 - left)), (rows, slice(190 - left, 210 - left))
    assert kept.alpha[box].max() < 0.1 and over.alpha[box].min() > 0.9
    assert kept.alpha[cheek].min() > 0.9

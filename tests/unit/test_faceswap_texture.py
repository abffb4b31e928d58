"""A person's texture and the painting of it, on faces drawn by formula: identities and properties, no model needed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.blend import blend, lay_texture, with_share
from services.faceswap.engine import MOST_TURN_DEG, MeshEngine
from services.faceswap.face_engine import FACE_REGIONS, Look, Memory, View
from services.faceswap.geometry import Similarity, rotation_angle_deg
from services.faceswap.shape import head_pose
from services.faceswap.template import CHIN, template
from services.faceswap.texture import LEVELS, unroll
from services.faceswap.zones import eye_openings, region_mask, replaced, texels

SKIN = np.array([120.0, 150.0, 200.0])
ALL = frozenset(FACE_REGIONS)


def mesh(angle_deg: float = 0.0, scale: float = 70.0) -> np.ndarray:
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return Similarity(scale, turn, np.array([140.0, 110.0, 0.0])).apply(template().points.astype(np.float64))


def face(tint: float = 1.0, seed: int = 0) -> np.ndarray:
    """Skin all over (280, 280), with fine noise."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 40, (280, 280, 1)), (0, 0), 2.0)[..., None]
    return np.clip(SKIN * tint + noise, 0, 255).astype(np.uint8)


def test_a_texture_of_even_skin_is_even_and_complete() -> None:
    texture = unroll([View(face(), mesh())])
    assert [level.shape for level in texture.levels] == [(n, n, 4) for n in LEVELS]
    assert np.abs(texture.levels[-1][:, :, :3].astype(float) - SKIN).max() < 25
    assert texture.known.min() >= 0.39 and texture.known[100:160, 100:160].min() > 0.95


@pytest.mark.parametrize("angle", [-45.0, 45.0])
def test_the_far_half_of_a_turned_head_is_the_mirror_image_of_the_near_one(angle: float) -> None:
    points = mesh(angle)
    near_x = points[template().points[:, 0] * (1 if angle > 0 else -1) > 0.2, 0]
    far_x = points[template().points[:, 0] * (1 if angle > 0 else -1) < -0.2, 0]
    if np.ptp(far_x) > np.ptp(near_x):
        near_x, far_x = far_x, near_x
    picture = face()
    middle = round(float(points[[1, 6, CHIN], 0].mean()))
    far = slice(0, middle) if far_x.mean() < middle else slice(middle, None)
    picture[:, far] = (200, 60, 60)
    level = unroll([View(picture, points)]).levels[4][:, :, :3].astype(float)
    left, right = level[70:90, 30:45].mean(axis=(0, 1)), level[70:90, -45:-30].mean(axis=(0, 1))
    assert np.abs(left - right).max() < 12
    assert right[2] > right[0] + 30, "the near side's skin, not what lies behind the far one"


def test_another_picture_shows_what_the_first_does_not() -> None:
    """A mole on the cheek that only the second picture shows, and that no mirror image could."""
    spot = int(np.argmin(np.linalg.norm(template().points[:, :2] - [0.3, 0.4], axis=1)))
    hiding, showing = View(face(), mesh(-40.0)), View(face(seed=1), mesh(40.0))
    x, y = showing.points[spot, :2].round().astype(int)
    cv2.circle(showing.picture, (int(x), int(y)), 4, (20, 20, 60), -1)
    column, row = texels(128)[spot].round().astype(int)
    alone = unroll([hiding]).levels[4][row, column, 2]
    level = unroll([hiding, showing]).levels[4][:, :, 2]
    assert level[row, column] < 120 < min(alone, level[row, 127 - column])


def test_hair_over_the_forehead_is_taken_out_of_the_texture() -> None:
    picture, points = face(), mesh()
    brow = points[[70, 300, 105, 334], 1].min()
    picture[: int(brow) - 14] = (20, 30, 40)
    texture = unroll([View(picture, points)])
    forehead = texture.levels[4][4:24, 50:78, :3].astype(float)
    assert forehead[:, :, 2].min() > 120, "skin continued, no fringe"
    assert texture.known[4:20, 100:156].max() < 0.6


def test_laying_a_texture_out_flat_is_the_texture() -> None:
    points = np.array([[0, 0, 0], [63, 0, 0], [0, 63, 0], [63, 63, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    texture = np.random.default_rng(0).integers(0, 255, (64, 64, 4), np.uint8)
    texture = with_share(texture, np.ones((32, 32), np.float32))
    laid = lay_texture(points, triangles, points[:, :2], texture, 64, 64)
    assert np.abs(laid[:, :, :3].astype(int) - texture[:, :, :3])[:-1, :-1].max() <= 1
    assert laid[:, :, 3].min() >= 254


def test_blending_no_share_is_the_target_and_full_share_the_lit_texture() -> None:
    around = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    laid = np.full((20, 30, 4), 100, np.uint8)
    laid[:, :, 3] = 255
    fields = np.full((20, 30, 4), 1.5, np.float32)
    fields[:, :15, 3], fields[:, 15:, 3] = 0.0, 1.0
    pixels, alpha = blend(around, laid, fields)
    assert (pixels[:, :15] == around[:, :15]).all() and (pixels[:, 15:] == 150).all()
    assert (alpha == fields[:, :, 3]).all()


def test_regions_add_up_to_the_whole_and_eyes_and_mouth_stay_the_targets() -> None:
    parts = sum(region_mask(frozenset({region})) for region in FACE_REGIONS)
    np.testing.assert_allclose(parts, region_mask(ALL), atol=1e-5)
    assert (replaced(ALL, 16, 0) <= replaced(ALL, 0, 0)).all()
    assert eye_openings(16).sum() > eye_openings(0).sum() > 0
    eye = texels(256)[[33, 133]].mean(axis=0).round().astype(int)
    assert replaced(ALL, 0, 16)[eye[1], eye[0]] < 0.1


def test_nothing_outside_of_what_changed_differs_and_the_light_is_the_targets() -> None:
    engine = MeshEngine()
    target, points = face(0.6, seed=3), mesh(10.0)
    before = target.copy()
    painted = engine.paint(engine.prepare([View(face(), mesh())]), target, points, Look())
    assert (target == before).all()
    original = target[painted.region.rows, painted.region.columns]
    assert (painted.pixels[~painted.changed] == original[~painted.changed]).all()
    inside = painted.alpha > 0.9
    assert inside.sum() > 3000
    np.testing.assert_allclose(painted.pixels[inside].mean(axis=0), original[inside].mean(axis=0), atol=12)


def test_only_the_regions_asked_for_change() -> None:
    engine = MeshEngine()
    person = engine.prepare([View(face(1.2), mesh())])
    look = Look(regions=frozenset({"mouth"}), shape_strength=0.0)
    painted = engine.paint(person, face(0.7, seed=3), mesh(), look)
    rows = np.nonzero(painted.alpha > 0.2)[0] + painted.region.top
    lips = mesh()[[61, 291, 0, 17], 1]
    assert lips.min() - 10 < rows.min() and rows.max() < lips.max() + 10


def test_the_first_frame_of_a_film_is_the_picture_and_a_still_film_stands_still() -> None:
    engine = MeshEngine()
    person = engine.prepare([View(face(), mesh())])
    target, points, memory = face(0.8, seed=5), mesh(5.0), Memory()
    alone = engine.paint(person, target, points, Look())
    frames = [engine.paint(person, target, points, Look(), memory) for _ in range(3)]
    for frame in frames:
        assert np.abs(frame.pixels.astype(int) - alone.pixels).max() <= 2


def test_a_pose_read_wrongly_is_turned_back_within_limits() -> None:
    """Whoever measures says that the result is turned by 20 degrees; it is turned back by the most allowed."""
    asked = []

    def measure(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        asked.append(picture.shape)
        angle = np.radians(20.0)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return (points - points.mean(axis=0)) @ turn.T + points.mean(axis=0)

    engine, memory = MeshEngine(measure), Memory()
    person = engine.prepare([View(face(), mesh())])
    engine.paint(person, face(0.8), mesh(), Look(), memory)
    engine.paint(person, face(0.8), mesh(), Look(), memory)
    assert len(asked) == 2, "once per face of a film, in two rounds"
    assert rotation_angle_deg(memory.values["turn"]) == pytest.approx(MOST_TURN_DEG, abs=0.1)


@pytest.mark.parametrize("scale", [12.0, 70.0])
def test_a_face_at_the_pictures_edge_is_painted(scale: float) -> None:
    engine = MeshEngine()
    person = engine.prepare([View(face(), mesh())])
    points = mesh(scale=scale) - [130.0, 80.0, 0.0]
    painted = engine.paint(person, face(0.8), points, Look())
    assert painted.pixels.shape[:2] == (painted.region.height, painted.region.width) == painted.alpha.shape
    assert head_pose(points).scale > 0 and painted.changed.any()


def test_no_picture_is_no_person() -> None:
    with pytest.raises(ValueError, match="at least one"):
        MeshEngine().prepare([])

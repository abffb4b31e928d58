"""Similarities, the template, and the transfer of shape: identities and properties that need no model."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from services.faceswap.detector import Detection, same_face, ssd_anchors, suppress_doubles, turn_back
from services.faceswap.geometry import Similarity, fit_similarity, rotation_angle_deg
from services.faceswap.shape import head_pose, mouth_opening, transfer_shape
from services.faceswap.template import (
    CHIN,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LOWER_LIP_INNER,
    OUTER_LIPS,
    RIGHT_EYE,
    UPPER_LIP_INNER,
    template,
)


def posed(points: np.ndarray, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, scale: float = 80.0):
    """The template's points as pixels of a picture, turned by degrees."""
    rotation = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    return Similarity(scale, rotation, np.array([200.0, 150.0, 0.0])).apply(points)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 50.0), st.tuples(*[st.floats(-170, 170)] * 3), st.tuples(*[st.floats(-99, 99)] * 3))
def test_a_similarity_is_recovered_and_undone(scale: float, angles: tuple, shift: tuple) -> None:
    points = np.random.default_rng(1).normal(size=(20, 3))
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    known = Similarity(scale, rotation, np.array(shift))
    found = fit_similarity(points, known.apply(points))
    assert found.scale == pytest.approx(scale, rel=1e-6)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(found.inverse().apply(known.apply(points)), points, atol=1e-6)


def test_a_mirror_image_is_not_fitted_by_a_reflection() -> None:
    points = np.random.default_rng(2).normal(size=(20, 3))
    found = fit_similarity(points, points * [-1.0, 1.0, 1.0])
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_points_of_weight_zero_do_not_count() -> None:
    points = np.random.default_rng(3).normal(size=(10, 2))
    moved = points + 3.0
    moved[0] += 100.0
    weights = np.ones(10)
    weights[0] = 0.0
    np.testing.assert_allclose(fit_similarity(points, moved, weights).shift, [3.0, 3.0], atol=1e-9)


def test_the_angle_of_a_rotation() -> None:
    assert rotation_angle_deg(Rotation.from_euler("y", 30, degrees=True).as_matrix()) == pytest.approx(30.0)


def test_the_template_is_symmetric_and_its_triangles_face_the_viewer() -> None:
    mesh = template()
    assert (mesh.mirror[mesh.mirror] == np.arange(468)).all()
    np.testing.assert_allclose(mesh.points[mesh.mirror] * [-1, 1, 1], mesh.points, atol=1e-5)
    corners = mesh.points[mesh.triangles][:, :, :2]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    assert (area > 0).mean() > 0.97  # but for the wings of the nose and the closed lips
    assert set(np.unique(mesh.triangles)) == set(range(468))


def test_the_template_is_one_sheet_whose_only_border_is_the_outline() -> None:
    edges = Counter(
        frozenset((int(triangle[i]), int(triangle[(i + 1) % 3]))) for triangle in template().triangles for i in range(3)
    )
    assert set(edges.values()) == {1, 2}
    border = {edge for edge, count in edges.items() if count == 1}
    assert border == {frozenset(pair) for pair in zip(FACE_OVAL, FACE_OVAL[1:] + FACE_OVAL[:1], strict=True)}
    for ring in (RIGHT_EYE, LEFT_EYE, INNER_LIPS, OUTER_LIPS):
        assert all(frozenset(pair) in edges for pair in zip(ring, ring[1:] + ring[:1], strict=True))
    assert (len(template().eyes), len(template().mouth)) == (2 * (16 - 2), 20 - 2)  # polygons of 16 and 20 corners


def test_no_strength_leaves_the_target_as_it_is() -> None:
    target = posed(template().points, yaw=20)
    source = posed(template().points * [1.2, 0.9, 1.0], yaw=-10)
    np.testing.assert_allclose(transfer_shape(source, target, 0.0), target, atol=1e-9)


@pytest.mark.parametrize(("yaw", "pitch", "roll", "scale"), [(35, 0, 0, 40), (0, 20, -50, 300), (-25, -15, 170, 80)])
def test_the_same_face_in_another_pose_changes_nothing(yaw: float, pitch: float, roll: float, scale: float) -> None:
    target = posed(template().points, yaw=10)
    source = posed(template().points, yaw, pitch, roll, scale)
    np.testing.assert_allclose(transfer_shape(source, target, 1.0), target, atol=1e-3)


def test_a_longer_chin_is_carried_over_in_the_targets_pose() -> None:
    points = template().points.astype(np.float64)
    longer = points.copy()
    longer[points[:, 1] > 0.9, 1] += 0.2
    target = posed(points, yaw=30, roll=20)
    moved = transfer_shape(posed(longer, yaw=-20), target, 1.0)
    expected = posed(longer, yaw=30, roll=20)
    np.testing.assert_allclose(moved[CHIN], expected[CHIN], atol=1.0)
    half = transfer_shape(posed(longer, yaw=-20), target, 0.5)
    np.testing.assert_allclose(half, (moved + target) / 2, atol=1e-6)


def test_an_open_mouth_of_the_source_does_not_open_the_targets() -> None:
    points = template().points.astype(np.float64)
    open_mouth = points.copy()
    lower = [LOWER_LIP_INNER, 17, 87, 317, 84, 314, 178, 402, 181, 405]
    open_mouth[lower, 1] += 0.2
    target = posed(points)
    result = head_pose(target).apply(transfer_shape(posed(open_mouth), target, 1.0))
    before = mouth_opening(head_pose(target).apply(target))
    assert mouth_opening(result) == pytest.approx(before, abs=0.03)
    assert result[UPPER_LIP_INNER, 1] == pytest.approx(points[UPPER_LIP_INNER, 1], abs=0.08)


def test_the_lids_stay_as_open_as_the_targets() -> None:
    points = template().points.astype(np.float64)
    closed = points.copy()
    closed[list(RIGHT_EYE[9:]), 1] += 0.06
    result = head_pose(posed(points)).apply(transfer_shape(posed(closed), posed(points), 1.0))
    opening = result[RIGHT_EYE[4], 1] - result[RIGHT_EYE[12], 1]
    assert opening == pytest.approx(points[RIGHT_EYE[4], 1] - points[RIGHT_EYE[12], 1], abs=0.01)


def test_anchors_are_as_many_as_the_networks_answer() -> None:
    assert ssd_anchors(128, ((8, 2), (16, 6))).shape == (896, 2)
    assert ssd_anchors(192, ((4, 1),)).shape == (2304, 2)
    np.testing.assert_allclose(ssd_anchors(192, ((4, 1),)).mean(axis=0), [0.5, 0.5], atol=1e-6)


def detection(left: float, top: float, side: float, score: float = 0.9) -> Detection:
    keypoints = np.array([[left + side * k / 6, top + side * k / 7] for k in range(6)], np.float32)
    return Detection(left, top, side, side, score, keypoints)


def test_of_doubles_the_surest_stays_and_faces_apart_all_do() -> None:
    kept = suppress_doubles([detection(0, 0, 50, 0.7), detection(4, 3, 52, 0.9), detection(200, 0, 30, 0.6)])
    assert [d.score for d in kept] == [0.9, 0.6]
    assert same_face(detection(0, 0, 100), detection(30, 30, 40))  # a part of the other
    assert not same_face(detection(0, 0, 50), detection(45, 0, 50))


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_detection_in_the_turned_picture_is_found_again_in_the_upright_one(quarter_turns: int) -> None:
    height, width = 40, 60
    marked = np.zeros((height, width))
    marked[10:20, 30:45] = 1.0
    turned = np.rot90(marked, quarter_turns)
    rows, columns = np.nonzero(turned)
    top, left = rows.min(), columns.min()
    box_height, box_width = rows.max() + 1 - top, columns.max() + 1 - left
    centre = [left + box_width / 2, top + box_height / 2]
    box = np.array([centre, [box_width, box_height], *[centre] * 6], np.float32)
    back = turn_back(box, quarter_turns, (height, width))
    np.testing.assert_allclose(back, [[37.5, 15.0], [15.0, 10.0], *[[37.5, 15.0]] * 6])

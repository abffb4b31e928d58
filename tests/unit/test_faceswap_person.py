"""Person models: samples, a short training, its resumption, the export and the engine, all tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap import engines, export, train
from services.faceswap.face_engine import Look, View
from services.faceswap.neural_session import Compute
from services.faceswap.person_crop import crop_outline, person_alignment
from services.faceswap.person_data import KEPT_PX, REACH, Faces, Sampler, frames
from services.faceswap.person_engine import PersonEngine, in_light_of
from services.faceswap.person_model import PersonConfig, PersonModel
from services.faceswap.register import Offer, register
from services.faceswap.template import template
from tests.unit import faceswap_networks as networks

SIZE = 32
DESCRIPTORS = {"source": np.full(128, 0.1, np.float32), "target": np.full(128, -0.1, np.float32)}


def face_points(centre: tuple[float, float], width: float) -> Any:
    return (template().points * width + [*centre, 0.0]).astype(np.float32)


def people(name: str, count: int = 20) -> Faces:
    """Ovals of one colour before grey, with a mouth that opens; the last two are held out."""
    colour = (90, 120, 210) if name == "source" else (150, 190, 140)
    points = face_points((200, 200), 100)
    matrix = person_alignment(points, KEPT_PX, REACH)
    outline = crop_outline(points, matrix)
    crops = []
    for number in range(count):
        picture = np.full((KEPT_PX, KEPT_PX, 3), 128, np.uint8)
        cv2.fillPoly(picture, [np.rint(outline).astype(np.int32)], colour)
        mouth = (KEPT_PX // 2, round(0.66 * KEPT_PX))
        cv2.ellipse(picture, mouth, (14, 2 + number % 8), 0, 0, 360, (30, 30, 60), -1)
        crops.append(picture)
    held_out = np.arange(count) >= count - 2
    return Faces(np.stack(crops), np.repeat(outline[np.newaxis], count, axis=0), held_out, DESCRIPTORS[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training, at once and then resumed."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("source", "target"):
        people(name).save(folder / f"{name}.npz")
    torch.set_num_threads(1)
    common = [
        "--source=none",
        "--target=none",
        f"--out={folder}",
        f"--size={SIZE}",
        "--width=16",
        "--batch=4",
        "--device=cpu",
    ]
    common += ["--threads=1", "--check-every=20", "--preview-every=40"]
    assert train.main([*common, "--steps=40"]) == 0
    assert train.main([*common, "--steps=60", "--resume"]) == 0
    return folder


# --- samples ---


def test_crop_holds_the_whole_face_upright() -> None:
    points = face_points((300, 220), 80)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    for mesh in (points, (points @ turn.T).astype(np.float32)):
        outline = crop_outline(mesh, person_alignment(mesh, 64))
        assert outline.min() > 1 and outline.max() < 62
        assert outline[:, 1].argmin() == 0  # the forehead's highest point is the first of the ring
    mouth_open = points.copy()
    mouth_open[template().points[:, 1] > 0.75, 1] += 20
    np.testing.assert_allclose(person_alignment(mouth_open, 64), person_alignment(points, 64))


def test_plain_samples_are_the_crop_at_the_size_of_the_network() -> None:
    samples = Sampler(people("source"), 64, held_out=True).plain(8)
    assert samples.inputs.shape == (2, 64, 64, 3) and samples.masks.shape == (2, 64, 64)
    assert np.array_equal(samples.inputs, samples.answers)
    inside = samples.masks[0] > 0.99
    assert np.allclose(np.median(samples.answers[0][inside], axis=0) * 255, (90, 120, 210), atol=1)
    assert np.allclose(samples.answers[0][samples.masks[0] == 0] * 255, 128, atol=1)


def test_drawn_samples_move_mask_and_face_together_and_bend_only_the_input() -> None:
    sampler = Sampler(people("source"), 64, held_out=False)
    samples = sampler.draw(16, np.random.default_rng(0))
    assert len(sampler) == 18
    again = sampler.draw(16, np.random.default_rng(0))
    assert np.array_equal(samples.inputs, again.inputs)
    for face, mask in zip(samples.answers, samples.masks, strict=True):
        # the face's colour is redder than grey under any light of the samples
        redness = face[:, :, 2] - face[:, :, 0]
        dark_mouth = face.max(axis=2) < 0.35
        found = (redness > 0.2) | (dark_mouth & (mask > 0.5))
        assert np.mean(found == (mask > 0.5)) > 0.97
    assert np.abs(samples.inputs - samples.answers).mean(axis=(1, 2, 3)).min() > 0.002
    assert np.ptp(samples.masks.mean(axis=(1, 2))) > 0.01


def test_held_out_faces_are_never_drawn() -> None:
    faces = people("source")
    faces.crops[faces.held_out] = 0
    samples = Sampler(faces, 32, held_out=False).draw(64, np.random.default_rng(1))
    assert samples.answers.reshape(64, -1).max(axis=1).min() > 0.3


def test_every_tenth_picture_is_held_out(tmp_path: Path) -> None:
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), np.full((8, 9, 3), number, np.uint8))
    found = list(frames(tmp_path))
    assert [int(picture[0, 0, 0]) for picture, _ in found] == list(range(20))
    assert [number for number, (_, held) in enumerate(found) if held] == [9, 19]


def test_empty_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--source={tmp_path}", f"--target={tmp_path}", f"--out={tmp_path / 'run'}"]
    assert train.main(arguments) == 1
    assert "no picture or film" in capsys.readouterr().err


# --- training ---


def test_training_learns_and_resumes(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60]
    errors = [sum(line["held_out"].values()) / 2 for line in lines]
    assert errors[-1] < 25 and errors[-1] < errors[0]  # a grey picture would be off by some 50 levels
    card = json.loads((run / "card.json").read_text())
    assert card["steps"] == 60 and card["held_out_error"] == pytest.approx(min(errors), abs=0.01)
    assert {path.name for path in (run / "preview").iterdir()} == {"000040.png", "000060.png"}
    preview = cv2.imread(str(run / "preview" / "000060.png"))
    assert preview is not None and preview.shape == (6 * SIZE, 2 * SIZE, 3)


def test_decoders_are_two_and_the_encoder_is_one() -> None:
    torch.manual_seed(0)
    model = PersonModel(PersonConfig(size=32, width=8))
    face = torch.rand(2, 3, 32, 32)
    (source, mask), (target, _) = model(face, face)
    assert source.shape == (2, 3, 32, 32) and mask.shape == (2, 1, 32, 32)
    assert not torch.allclose(source, target)
    assert torch.allclose(model.swap(face)[0], source)
    source.sum().backward()
    assert all(parameter.grad is None for parameter in model.target.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    with pytest.raises(ValueError, match="multiple of 16"):
        PersonConfig(size=50)


# --- export and engine ---


def test_exported_graph_is_the_network(run: Path, tmp_path: Path) -> None:
    export.export_run(run, tmp_path / "person.onnx")
    engine = PersonEngine("person", tmp_path / "person.onnx", Compute(), lambda view: DESCRIPTORS["source"])
    config = PersonConfig(**json.loads((run / "config.json").read_text()))
    model = PersonModel(config)
    model.load_state_dict(train.load_file(run / "best.safetensors"))
    faces = torch.rand(3, 3, SIZE, SIZE)
    with torch.no_grad():
        colours, mask = model.eval().swap(faces)
    made, made_mask = engine._net.run(faces.numpy())
    np.testing.assert_allclose(made, colours.numpy(), atol=1e-4)
    np.testing.assert_allclose(made_mask, mask.numpy(), atol=1e-4)


def test_engine_paints_its_person_and_nothing_else(run: Path, tmp_path: Path) -> None:
    export.export_run(run, tmp_path / "person.onnx")
    engine = PersonEngine("person", tmp_path / "person.onnx", Compute(), lambda view: DESCRIPTORS["source"])
    picture = np.full((240, 260, 3), 128, np.uint8)
    points = face_points((130, 90), 80)
    cv2.fillPoly(picture, [np.rint(crop_outline(points, np.eye(2, 3))).astype(np.int32)], (150, 190, 140))
    person = engine.prepare([View(picture, points)])
    painted = engine.paint(person, picture, points, Look(keep_occluders=False))
    before = picture[painted.region.rows, painted.region.columns]
    assert np.array_equal(painted.pixels[~painted.changed], before[~painted.changed])
    assert painted.alpha.max() > 0.8 and (painted.alpha > 0.5).mean() > 0.2
    assert np.abs(painted.pixels.astype(int) - before).max() > 5


def test_model_is_not_lent_to_somebody_else(run: Path, tmp_path: Path) -> None:
    export.export_run(run, tmp_path / "person.onnx")
    engine = PersonEngine("anna", tmp_path / "person.onnx", Compute(), lambda view: DESCRIPTORS["target"])
    with pytest.raises(LikenessError, match="'anna' gives one person's face only") as raised:
        engine.prepare([View(np.zeros((9, 9, 3), np.uint8), face_points((4, 4), 3))])
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", "options.engine")


def test_export_registers_an_engine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKENESS_MODELS_DIR", str(tmp_path))
    assert export.main([f"--run={run}", "--name=anna"]) == 0
    registry = Registry(tmp_path)
    entry = registry.entry("anna")
    assert (entry.kind, entry.metrics["steps"]) == ("face-person", 60)
    assert engines.Engines(registry).names() == ["mesh", "anna"]
    loaded = engines.load_engine("anna", registry)
    assert isinstance(loaded, PersonEngine)
    np.testing.assert_allclose(loaded.descriptor, DESCRIPTORS["source"])
    assert export.main([f"--run={tmp_path}", "--name=bert"]) == 1
    assert export.main([f"--run={run}", "--name=mesh"]) == 1
    assert "not the folder of a finished training" in capsys.readouterr().err


def test_model_trained_elsewhere_is_registered_as_it_is(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "anna.onnx"
    export.export_run(run, file)
    models_dir = tmp_path / "models"
    register(models_dir, Offer("anna", file, "face-person", "MIT", "another machine"), accepted=True)
    assert isinstance(engines.load_engine("anna", Registry(models_dir)), PersonEngine)
    other = networks.enhancer(tmp_path / "e.onnx")
    with pytest.raises(LikenessError, match="is no person model"):
        register(models_dir, Offer("bert", other, "face-person", "MIT", "a test"), accepted=True)


def test_light_of_the_target_is_taken_within_the_mask() -> None:
    rng = np.random.default_rng(0)
    made = rng.uniform(0.3, 0.6, (32, 32, 3)).astype(np.float32)
    mask = np.zeros((32, 32), np.float32)
    mask[8:24, 8:24] = 1.0
    seen = np.clip(made * np.float32([0.8, 0.9, 1.1]), 0, 1)
    lit = in_light_of(made, seen, mask)
    inside = mask > 0
    assert np.abs(lit - seen)[inside].mean() < 0.3 * np.abs(made - seen)[inside].mean()
    np.testing.assert_allclose(in_light_of(made, made, mask), made, atol=2e-3)
    assert in_light_of(made, seen, np.zeros_like(mask)) is made

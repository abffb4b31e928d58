"""Networks that an operator brings along: nothing is used whose licence was not accepted, or that is something else."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from likeness._cli.app import run
from services.common import models
from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.engines import Engines, load_engine
from services.faceswap.neural import NeuralEngine
from services.faceswap.register import Offer, accepted_before, register, terms
from tests.unit import faceswap_networks as networks


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def swapper(tmp_path: Path) -> Offer:
    text = tmp_path / "terms.txt"
    text.write_text("For research only.\n", "utf-8")
    file = networks.swapper(tmp_path / "downloads" / "swap 128.onnx")
    return Offer("inswapper", file, "face-swapper", "Non-commercial", "https://example.org", license_text=text)


@pytest.fixture
def embedder(tmp_path: Path) -> Offer:
    file = networks.embedder(tmp_path / "downloads" / "w600k.onnx")
    return Offer("arcface", file, "face-embedder", "MIT", "a test")


def refusal(models_dir: Path, offer: Offer, accepted: bool = True) -> LikenessError:
    with pytest.raises(LikenessError) as raised:
        register(models_dir, offer, accepted=accepted)
    assert not Registry(models_dir).names()
    return raised.value


# --- what is recorded ---


def test_file_licence_and_acceptance_are_recorded(models_dir: Path, swapper: Offer) -> None:
    entry = register(models_dir, swapper, accepted=True)
    registry = Registry(models_dir)
    assert registry.entry("inswapper") == entry
    assert entry.sha256 == hashlib.sha256(swapper.file.read_bytes()).hexdigest()
    assert (entry.kind, entry.license) == ("face-swapper", "Non-commercial")
    assert entry.license_accepted is not None and entry.license_accepted.endswith("+00:00")
    assert registry.path("inswapper").read_bytes() == swapper.file.read_bytes()
    assert entry.license_file is not None
    assert (models_dir / entry.license_file).read_text() == "For research only.\n"
    assert not (models_dir / "manifest.json").exists() and (models_dir / "manifest.local.json").is_file()


def test_licence_is_shown_and_asked_for_once(models_dir: Path, swapper: Offer) -> None:
    assert terms(swapper).endswith("For research only.") and "https://example.org" in terms(swapper)
    error = refusal(models_dir, swapper, accepted=False)
    assert error.field == "accept_license" and "was not accepted" in error.detail
    register(models_dir, swapper, accepted=True)
    assert accepted_before(models_dir, swapper)
    register(models_dir, swapper, accepted=False)
    assert swapper.license_text is not None
    swapper.license_text.write_text("Other terms.\n")
    assert not accepted_before(models_dir, swapper)
    swapper.license_text.write_text("For research only.\n")
    networks.swapper(swapper.file, seed=4)
    assert not accepted_before(models_dir, swapper)


def test_licence_that_is_not_well_known_needs_its_text(models_dir: Path, swapper: Offer) -> None:
    assert refusal(models_dir, replace(swapper, license_text=None)).field == "license_text"
    register(models_dir, replace(swapper, license="MIT", license_text=None), accepted=True)


def test_row_without_acceptance_is_not_used(models_dir: Path, swapper: Offer, embedder: Offer) -> None:
    for offer in (swapper, embedder):
        register(models_dir, offer, accepted=True)
    manifest = models_dir / "manifest.local.json"
    rows = json.loads(manifest.read_text())
    for row in rows["models"]:
        row.pop("license_accepted")
    manifest.write_text(json.dumps(rows))
    with pytest.raises(LikenessError, match="was not accepted") as raised:
        load_engine("inswapper", Registry(models_dir))
    assert raised.value.reason == "MODEL_INVALID"


# --- what is refused ---


@pytest.mark.parametrize("name", ["mesh", "", "../x", "Name", "a b", "x" * 65])
def test_bad_names(models_dir: Path, swapper: Offer, name: str) -> None:
    assert refusal(models_dir, replace(swapper, name=name)).field == "name"


def test_names_of_the_platforms_own_models(models_dir: Path, swapper: Offer) -> None:
    models_dir.mkdir()
    net = networks.embedder(models_dir / "net.onnx")
    own = models.describe_file(net, name="face-mesh", models_dir=models_dir, license="MIT", source="s", data="d")
    models.register_model(models_dir, own)
    with pytest.raises(LikenessError) as raised:
        register(models_dir, replace(swapper, name="face-mesh"), accepted=True)
    assert raised.value.reason == "ALREADY_EXISTS"


def test_files_of_another_kind(models_dir: Path, tmp_path: Path, swapper: Offer, embedder: Offer) -> None:
    assert "no face swapper" in refusal(models_dir, replace(swapper, file=embedder.file)).detail
    assert "no face embedder" in refusal(models_dir, replace(embedder, file=swapper.file)).detail
    assert "no face enhancer" in refusal(models_dir, replace(swapper, kind="face-enhancer")).detail
    assert refusal(models_dir, replace(swapper, kind="voice")).field == "kind"
    pickle = tmp_path / "model.pth"
    pickle.write_bytes(b"\x80\x04.")
    assert "exported to ONNX" in refusal(models_dir, replace(swapper, file=pickle)).detail
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x")
    assert "cannot be read" in refusal(models_dir, replace(swapper, file=broken)).detail


def test_weights_in_other_files(models_dir: Path, tmp_path: Path, swapper: Offer) -> None:
    spread = tmp_path / "spread.onnx"
    model = onnx.load(str(swapper.file))
    onnx.save_model(model, str(spread), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert "save it as one file" in refusal(models_dir, replace(swapper, file=spread)).detail


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"layout": "square"}, "must be one of arcface, ffhq"),
        ({"strength": "0.5"}, "has no parameter 'strength'"),
        ({"pixel_range": "0..255"}, "must be one of 0..1, -1..1"),
    ],
)
def test_bad_parameters(models_dir: Path, swapper: Offer, parameters: dict[str, str], said: str) -> None:
    assert said in refusal(models_dir, replace(swapper, parameters=parameters)).detail


def test_enhancers_strength_is_a_share(models_dir: Path, tmp_path: Path) -> None:
    offer = Offer("gfpgan", networks.enhancer(tmp_path / "e.onnx"), "face-enhancer", "Apache-2.0", "a test")
    assert "between 0 and 1" in refusal(models_dir, replace(offer, parameters={"strength": "2"})).detail
    entry = register(models_dir, replace(offer, parameters={"strength": "0.5"}), accepted=True)
    assert entry.parameters == {"strength": 0.5}
    assert Registry(models_dir).entry("gfpgan").parameters == {"strength": 0.5}


# --- what is used ---


def test_registered_networks_become_engines(models_dir: Path, tmp_path: Path, swapper: Offer, embedder: Offer) -> None:
    register(models_dir, swapper, accepted=True)
    with pytest.raises(LikenessError, match="needs a face embedder.*none is registered"):
        load_engine("inswapper", Registry(models_dir))
    register(models_dir, embedder, accepted=True)
    offer = Offer("gfpgan", networks.enhancer(tmp_path / "e.onnx"), "face-enhancer", "Apache-2.0", "a test")
    register(models_dir, offer, accepted=True)
    engines = Engines(Registry(models_dir))
    assert (engines.names(), engines.enhancers()) == (["mesh", "inswapper"], ["gfpgan"])
    plain, boosted = engines.load("inswapper"), engines.load("inswapper", pixel_boost=2)
    assert isinstance(plain, NeuralEngine) and isinstance(boosted, NeuralEngine)
    assert plain is engines.load("inswapper") and plain is not boosted
    assert plain._net is boosted._net and plain._embedder is boosted._embedder
    assert engines.load("inswapper", enhancer="gfpgan").name == "inswapper+gfpgan"
    assert engines.load("", enhancer="gfpgan").name == "mesh+gfpgan"


def test_swapper_names_its_embedder_where_there_are_several(models_dir: Path, swapper: Offer, embedder: Offer) -> None:
    for offer in (swapper, embedder, replace(embedder, name="other")):
        register(models_dir, offer, accepted=True)
    with pytest.raises(LikenessError, match="there are several: arcface, other"):
        load_engine("inswapper", Registry(models_dir))
    register(models_dir, replace(swapper, parameters={"embedder": "other"}), accepted=True)
    assert isinstance(load_engine("inswapper", Registry(models_dir)), NeuralEngine)


def test_changed_file_is_refused(models_dir: Path, swapper: Offer, embedder: Offer) -> None:
    for offer in (swapper, embedder):
        register(models_dir, offer, accepted=True)
    networks.swapper(models_dir / "local" / "inswapper.onnx", seed=9)
    with pytest.raises(LikenessError, match="is not the registered model 'inswapper'"):
        load_engine("inswapper", Registry(models_dir))


# --- the command line ---


def command(models_dir: Path, offer: Offer, *more: str) -> list[str]:
    arguments = ["models", "add", offer.name, str(offer.file), "--kind", offer.kind, "--license", offer.license]
    if offer.license_text:
        arguments += ["--license-text", str(offer.license_text)]
    return [*arguments, "--source", offer.source, "--models-dir", str(models_dir), *more]


def test_command_shows_the_licence_and_registers(
    models_dir: Path, swapper: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(models_dir, swapper, "--accept-license", "--parameter", "layout=ffhq")) == 0
    shown = capsys.readouterr()
    assert "For research only." in shown.err and shown.out.startswith("inswapper: ")
    assert Registry(models_dir).entry("inswapper").parameters == {"layout": "ffhq"}
    assert run(command(models_dir, swapper)) == 0  # accepted already: not asked again
    assert "For research only." not in capsys.readouterr().err
    assert run(["models", "list", "--json", "--models-dir", str(models_dir)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kind"] == "face-swapper"


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_command_registers_nothing_that_was_not_accepted(
    models_dir: Path, swapper: Offer, answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert run(command(models_dir, swapper)) == 1
    assert "was not registered" in capsys.readouterr().err
    assert not Registry(models_dir).names()


def test_command_says_what_is_wrong_with_a_file(
    models_dir: Path, swapper: Offer, embedder: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(models_dir, replace(embedder, file=swapper.file), "--accept-license")) == 1
    assert "no face embedder" in capsys.readouterr().err
    assert run(command(models_dir, swapper, "--accept-license", "--parameter", "layout")) == 2

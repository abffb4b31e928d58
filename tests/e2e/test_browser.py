"""The pages in a real browser: a film swapped and played, the camera's pictures swapped live. Stages are fakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.reading_aloud import read_aloud
from services.common.encode_audio import encode_audio
from services.gateway.accounts.secrets import make_key
from tests.contract.gateway_fake_faces import film, portrait
from tests.contract.gateway_fakes import FakeStages, sine
from tests.contract.gateway_process import GatewayProcess
from tests.contract.gateway_worker import WorkerProcess
from tests.e2e.chromium import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
CAMERA_SIZE = (640, 360)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("browser"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def gateway(stages: FakeStages) -> Iterator[GatewayProcess]:
    settings = {"segment_seconds": 1.0, "consent_interval_s": 0.2, **stages.targets()}
    process = GatewayProcess(stages.data_dir, **settings)
    worker = WorkerProcess(stages.data_dir, **settings)
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = process.client.post("/v1/face_consents", json=body).json()["id"]
    files = {"picture": ("p.png", portrait(220))}
    made = process.client.post("/v1/faces", data={"consent": consent, "name": "Ada"}, files=files)
    assert made.status_code == 201
    yield process
    process.close()
    worker.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("chromium")
    width, height = CAMERA_SIZE
    camera = folder / "camera.mjpeg"
    grey = np.full((height, width, 3), 100, np.uint8)
    camera.write_bytes(cv2.imencode(".jpg", grey)[1].tobytes() * 3)
    opened = Browser(folder / "profile", camera=camera)
    yield opened
    opened.close()


def submit(browser: Browser, form: str) -> None:
    browser.run(f"document.querySelector({form!r}).requestSubmit()")


def outcome(browser: Browser, form: str) -> str:
    return str(browser.run(f"document.querySelector('{form} .outcome').textContent"))


def test_a_film_is_swapped_and_plays(browser: Browser, gateway: GatewayProcess, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(film(3.0, size=(320, 240)))
    browser.open(gateway.url)
    browser.until("document.querySelector('#swap-form').elements.face.value")
    browser.choose_file("#swap-form input[name=target]", target)
    assert not browser.run("document.querySelector('#swap-form [data-film]').hidden"), "the film's options are offered"
    submit(browser, "#swap-form")
    browser.until("!document.querySelector('#swapped-film').hidden")
    assert outcome(browser, "#swap-form").startswith("Done.")
    browser.until("document.querySelector('#swapped-film').currentTime > 0.2")
    # Seeking asks for a range of the file; what is then seen is the source's grey in the middle.
    seen: Any = browser.run(
        """(async () => {
          const film = document.querySelector("#swapped-film");
          film.pause();
          const there = new Promise((done) => film.addEventListener("seeked", done, { once: true }));
          film.currentTime = 2.0;
          await there;
          const canvas = new OffscreenCanvas(film.videoWidth, film.videoHeight), context = canvas.getContext("2d");
          context.drawImage(film, 0, 0);
          const pixel = (x, y) => context.getImageData(x, y, 1, 1).data[0];
          return [film.videoWidth, film.duration, pixel(160, 120), pixel(300, 10)];
        })()"""
    )
    assert seen[0] == 320 and seen[1] == pytest.approx(3.0, abs=0.1)
    assert seen[2] > 180 and seen[3] < 150
    assert browser.console == []


def test_who_reads_the_phrase_is_enrolled_with_it(browser: Browser, gateway: GatewayProcess, tmp_path: Path) -> None:
    form, shown = "document.querySelector('#voice-form')", "document.querySelector('#phrase').textContent"
    browser.open(gateway.url)
    browser.run(f"{form}.elements.who.value = 'Grace Hopper'; {form}.elements.name.value = 'Grace'")
    browser.run(f"{form}.querySelector('input[value=spoken]').click(); document.querySelector('#ask-phrase').click()")
    browser.until(f"{shown}.includes('Grace Hopper')")
    said = tmp_path / "phrase.wav"
    said.write_bytes(encode_audio(read_aloud(str(browser.run(shown))), "wav"))
    browser.choose_file("#voice-form input[name=audio_sample]", said)
    submit(browser, "#voice-form")
    told = str(
        browser.until("document.querySelector('#voice-form .outcome.good, #voice-form .outcome.bad')?.textContent")
    )
    assert told.startswith("Grace is enrolled"), told
    (consent,) = gateway.client.get("/v1/audio/voice_consents").json()["data"]
    assert (consent["who"], consent["kind"]) == ("Grace Hopper", "spoken")
    assert "used up" in str(browser.run(shown)) and browser.console == []


def test_a_file_is_verified_on_its_page(gateway: GatewayProcess, browser: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    picture.write_bytes(portrait(80))
    browser.open(f"{gateway.url}/verify")
    browser.choose_file("#verify-form input[name=file]", picture)
    submit(browser, "#verify-form")
    told = browser.until("document.querySelector('#findings').childElementCount && document.body.innerText")
    assert "proves nothing" in told and "none found" in told and "nothing found" in told
    assert browser.console == []


def test_a_film_is_cancelled(browser: Browser, gateway: GatewayProcess, stages: FakeStages, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(film(2.0))
    browser.open(gateway.url)
    browser.until("document.querySelector('#swap-form').elements.face.value")
    browser.choose_file("#swap-form input[name=target]", target)
    stages.doings.segments_held.set()
    submit(browser, "#swap-form")
    browser.until("document.querySelector('#swap-progress').value > 0")
    browser.run("document.querySelector('#swap-cancel').click()")
    browser.until("document.querySelector('#swap-form .outcome').textContent.includes('Cancelled')")
    stages.doings.segments_held.clear()


def test_the_camera_is_swapped_live(browser: Browser, gateway: GatewayProcess, tmp_path: Path) -> None:
    browser.open(f"{gateway.url}/live")
    browser.until("document.querySelector('#live-form').elements.face.value")
    submit(browser, "#live-form")
    browser.until("document.querySelector('#state').textContent === 'live'")
    middle = """(() => {
      const canvas = document.querySelector("#swapped");
      const at = (x, y) => canvas.getContext("2d").getImageData(x, y, 1, 1).data[0];
      return [canvas.width, canvas.height, at(canvas.width / 2, canvas.height / 2), at(5, 5)];
    })()"""
    browser.until(f"{middle}[2] > 180")
    width, height, inside, outside = browser.run(middle)
    assert (width, height) == CAMERA_SIZE and inside > 190 and 70 < outside < 130
    browser.until("Number(document.querySelector('#figures dd')?.textContent) > 0")
    browser.picture(tmp_path / "live.png")
    browser.run("document.querySelector('#stop').click()")
    browser.until("document.querySelector('#state').textContent === 'stopped'")
    assert browser.console == []


def test_the_page_tells_when_the_consent_is_taken_back(browser: Browser, gateway: GatewayProcess) -> None:
    browser.open(f"{gateway.url}/live")
    browser.until("document.querySelector('#live-form').elements.face.value")
    submit(browser, "#live-form")
    browser.until("document.querySelector('#state').textContent === 'live'")
    (face,) = gateway.client.get("/v1/faces").json()["data"]
    gateway.client.post(f"/v1/face_consents/{face['consent']}/revoke")
    browser.until("document.querySelector('#state').textContent === 'ended'")
    assert "was revoked" in outcome(browser, "#live-form")
    browser.open(f"{gateway.url}/live")
    browser.until("document.querySelector('.outcome').textContent.includes('no face with a live consent')")


def test_pages_ask_for_a_key_and_keep_it_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    """A gateway that asks for keys: a picture is swapped and shown, live frames flow, and no address holds the key."""
    key = make_key().text
    stages = FakeStages(tmp_path)
    process = GatewayProcess(tmp_path, **stages.targets(), auth="keys", bootstrap_key=key)
    bearer = {"Authorization": f"Bearer {key}"}
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = process.client.post("/v1/face_consents", json=body, headers=bearer).json()["id"]
    files = {"picture": ("p.png", portrait(220))}
    process.client.post("/v1/faces", data={"consent": consent, "name": "Ada"}, files=files, headers=bearer)
    picture = tmp_path / "target.png"
    picture.write_bytes(portrait(80))
    try:
        browser.open(process.url)
        for attempt, told in ((make_key().text, "asks for an API key"), (key, "opens nothing")):
            browser.until(f"document.querySelector('#key-dialog')?.innerText.includes({told!r})")
            browser.run(f"document.querySelector('#key-dialog input').value = {attempt!r}")
            browser.run("document.querySelector('#key-dialog form').requestSubmit()")
        browser.until("document.querySelector('#swap-form').elements.face.value")
        browser.choose_file("#swap-form input[name=target]", picture)
        submit(browser, "#swap-form")
        browser.until("document.querySelector('#swapped').naturalWidth > 0")
        assert str(browser.run("document.querySelector('#swapped').src")).startswith("blob:")
        assert browser.run("sessionStorage.length") == 1 and browser.run("localStorage.length") == 0
        asked: Any = browser.run("performance.getEntriesByType('resource').map(({ name }) => name)")
        assert asked and not [address for address in asked if "lk_" in address]
        browser.open(f"{process.url}/live")
        browser.until("document.querySelector('#live-form').elements.face.value")
        submit(browser, "#live-form")
        browser.until("document.querySelector('#state').textContent === 'live'")
        browser.run("document.querySelector('#stop').click()")
        browser.run("document.querySelector('#forget-key').click()")
        browser.until("document.querySelector('#key-dialog') !== null")
    finally:
        process.close()
        stages.close()


def test_a_text_is_spoken_with_its_words(browser: Browser, gateway: GatewayProcess, stages: FakeStages) -> None:
    form = "document.querySelector('#speak-form')"
    consent = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    made = gateway.client.post("/v1/audio/voice_consents", json=consent).json()["id"]
    sample = {"audio_sample": ("s.wav", encode_audio(sine(200.0, 3.0), "wav"), "audio/wav")}
    fields = {"name": "Speaker", "consent": made, "calibration": "fast"}
    voice = gateway.client.post("/v1/audio/voices", data=fields, files=sample).json()["id"]
    browser.console.clear()  # of what other tests asked for without a key
    browser.open(gateway.url)
    browser.until(f"[...{form}.elements.voice.options].some((option) => option.value === '{voice}')")
    browser.run(
        f"{form}.elements.voice.value = '{voice}'; {form}.elements.temperature.value = '0.5';"
        f"{form}.elements.input.value = 'Hello there, <break time=\"500ms\"/> world.';"
        f"{form}.elements.dictionary.value = 'GIF = JH IH1 F'"
    )
    submit(browser, "#speak-form")
    browser.until("document.querySelector('#speech-words').childElementCount === 3")
    assert browser.run("document.querySelector('#speech-words').textContent") == "Hello there, world. "
    browser.until("document.querySelector('#speech-words .heard') !== null || document.querySelector('#speech').paused")
    browser.run("document.querySelector('#speech-words').lastElementChild.click()")
    assert browser.run("document.querySelector('#speech').currentTime") > 0.5
    request = stages.doings.speeches[-1]
    assert dict(request.dictionary) == {"GIF": "JH IH1 F"} and request.temperature == 0.5
    assert browser.console == []

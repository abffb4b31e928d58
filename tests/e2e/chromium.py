"""A headless Chromium driven over the DevTools protocol, with a camera that shows a picture."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import simple_websocket

from tests.waiting import PATIENCE_S

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a browser of its own.

    Args:
        folder: of its profile.
        camera: an MJPEG or Y4M file that the fake camera plays.
    """

    def __init__(self, folder: Path, *, camera: Path | None = None) -> None:
        arguments = [
            str(CHROMIUM),
            "--headless=new",
            "--no-sandbox",  # containers have no user namespaces
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--autoplay-policy=no-user-gesture-required",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "--window-size=1280,1400",
        ]
        if camera is not None:
            arguments.append(f"--use-file-for-fake-video-capture={camera}")
        self._log = (folder.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen([*arguments, "about:blank"], stderr=self._log, stdout=self._log)
        self._numbers = itertools.count(1)
        self.console: list[str] = []
        try:
            self._ws: Any = simple_websocket.Client(self._page_address(folder))
            for domain in ("Page", "Runtime", "DOM", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _page_address(self, folder: Path) -> str:
        import httpx

        port_file = folder / "DevToolsActivePort"
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            if port_file.exists() and port_file.read_text().strip():
                port = port_file.read_text().split()[0]
                pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json()
                found = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
                if found:
                    return str(found[0])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._ws.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._ws.receive(timeout=PATIENCE_S)
            assert message is not None, f"no answer to {method}"
            answer = json.loads(message)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: Any) -> None:
        """Keeps errors of the page."""
        if event.get("method") == "Runtime.exceptionThrown":
            self.console.append(json.dumps(event["params"]["exceptionDetails"])[:500])
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.console.append(json.dumps(event["params"]["entry"])[:500])

    def open(self, url: str) -> None:
        """A page, and a console without what earlier pages wrote."""
        self.console.clear()
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, timeout_s: float = PATIENCE_S) -> Any:
        """The first true value of an expression."""
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.1)
        page = re.sub(r"\s+", " ", str(self.run("document.body.innerText")))
        raise TimeoutError(f"{script} did not come true; the page says: {page[:1500]}; {self.console}")

    def choose_file(self, selector: str, *paths: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def picture(self, path: Path) -> None:
        """A PNG of the page."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._log.close()

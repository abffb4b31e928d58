"use strict";
// Camera to socket to canvas. A frame is the length of its header (4 bytes, big-endian), the header as JSON, and a JPEG;
// both directions alike. At most IN_FLIGHT frames are on their way, so that none waits behind others.

const $ = (selector) => document.querySelector(selector);
const IN_FLIGHT = 2;
const QUALITY = 0.8;
const SHOWN_MS = 2000;  // what the figures look back on
const form = $("#live-form"), camera = $("#camera"), canvas = $("#swapped"), stopButton = $("#stop");
let session = null;

function say(text, kind = "") {
  $(".outcome").textContent = text;
  $(".outcome").className = `outcome ${kind}`;
}

function showState(text, kind = "") {
  $("#state").textContent = text;
  $("#state").className = `pill ${kind}`;
}

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  return new Error(problem.detail || `${response.status} ${response.statusText}`);
}

async function everyPage(path) {
  const found = [];
  for (let after = ""; ; ) {
    const response = await keyedFetch(`${path}?limit=100${after && `&after=${after}`}`);
    if (!response.ok) throw await problemOf(response);
    const page = await response.json();
    found.push(...page.data);
    if (!page.has_more) return found;
    after = page.last_id;
  }
}

async function listFaces() {
  const [faces, consents] = await Promise.all(["/v1/faces", "/v1/face_consents"].map(everyPage));
  const live = new Set(consents.filter((consent) => consent.state === "live").map((consent) => consent.id));
  const options = faces.filter((face) => live.has(face.consent)).map((face) => {
    const option = document.createElement("option");
    option.value = face.id;
    option.textContent = face.name || face.id;
    return option;
  });
  form.elements.face.replaceChildren(...options);
  if (!options.length) say("There is no face with a live consent yet; enrol one on the workbench.", "bad");
}

function pack(header, jpeg) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const message = new Uint8Array(4 + text.length + jpeg.byteLength);
  new DataView(message.buffer).setUint32(0, text.length);
  message.set(text, 4);
  message.set(new Uint8Array(jpeg), 4 + text.length);
  return message;
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, jpeg: new Uint8Array(buffer, 4 + length) };
}

class Session {
  constructor(stream, setup) {
    this.stream = stream;
    this.sent = new Map();  // frames on their way: when they were sent, and how they looked
    this.answers = [];  // of the last SHOWN_MS: {at, outcome, roundTrip, stage}
    this.nextId = 0;
    this.shownId = -1;
    this.still = new OffscreenCanvas(camera.videoWidth, camera.videoHeight);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/v1/swaps/live`, socketProtocols());
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.socket.send(JSON.stringify({ type: "setup", ...setup }));
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.hear(JSON.parse(data)) : this.receive(unpack(data)));
    this.socket.onclose = ({ reason }) => this.end(reason);
    this.timer = setInterval(() => this.showFigures(), 250);
  }

  hear(message) {
    if (message.type === "error") {
      this.failure = message.problem.detail;
      say(this.failure, "bad");
      return;
    }
    showState("live", "good");
    say("");
    this.look();
  }

  // Called for every new picture of the camera.
  look() {
    if (this.ended) return;
    camera.requestVideoFrameCallback(() => this.look());
    if (this.sent.size < IN_FLIGHT) this.send();
  }

  async send() {
    const id = this.nextId++;
    const { width, height } = this.still;
    const context = this.still.getContext("2d");
    context.drawImage(camera, 0, 0, width, height);
    const bitmap = await createImageBitmap(this.still);
    this.sent.set(id, { at: performance.now(), bitmap });
    const blob = await this.still.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    const jpeg = await blob.arrayBuffer();
    if (this.ended || this.socket.readyState !== WebSocket.OPEN) return;
    const frame = this.sent.get(id);
    if (frame) frame.at = performance.now();
    this.socket.send(pack({ id }, jpeg));
  }

  async receive({ header, jpeg }) {
    const frame = this.sent.get(header.id);
    this.sent.delete(header.id);
    if (!frame) return;
    const now = performance.now();
    this.answers.push({ at: now, outcome: header.outcome, roundTrip: now - frame.at, stage: header.latency_ms });
    if (header.outcome === "swapped") this.draw(header.id, await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })));
    else if (header.outcome === "unchanged") this.draw(header.id, frame.bitmap);
  }

  draw(id, bitmap) {
    if (id < this.shownId) return;  // a newer one is shown already
    this.shownId = id;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
  }

  showFigures() {
    const now = performance.now();
    this.answers = this.answers.filter((answer) => now - answer.at < SHOWN_MS);
    const shown = this.answers.filter((answer) => answer.outcome === "swapped" || answer.outcome === "unchanged");
    const mean = (values) => (values.length ? `${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(0)} ms` : "–");
    const rows = {
      "frames per second": (shown.length / (SHOWN_MS / 1000)).toFixed(1),
      "latency, whole way": mean(shown.map((answer) => answer.roundTrip)),
      "latency, stage": mean(shown.map((answer) => answer.stage)),
      "dropped": String(this.answers.filter((answer) => answer.outcome === "dropped").length),
      "without a face": String(this.answers.filter((answer) => answer.outcome === "unchanged").length),
    };
    $("#figures").replaceChildren(...Object.entries(rows).map(([name, value]) => {
      const item = document.createElement("div"), term = document.createElement("dt"), detail = document.createElement("dd");
      [term.textContent, detail.textContent] = [name, value];
      item.append(term, detail);
      return item;
    }));
  }

  end(reason) {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.timer);
    this.stream.getTracks().forEach((track) => track.stop());
    this.socket.close();
    if (!this.failure) say(reason || "");
    showState(this.failure ? "ended" : "stopped", this.failure ? "bad" : "");
    stopButton.disabled = true;
    form.querySelector("button").disabled = false;
    session = null;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (session) return;
  form.querySelector("button").disabled = true;
  showState("starting");
  say("");
  try {
    const height = Number(form.elements.height.value);
    const wanted = { height: { ideal: height }, width: { ideal: Math.round((height * 16) / 9) }, frameRate: { ideal: 30 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    camera.srcObject = stream;
    await camera.play();
    const setup = { face: form.elements.face.value, selection: form.elements.selection.value, deadline_ms: 500 };
    if (form.elements.engine.value) setup.engine = form.elements.engine.value;
    session = new Session(stream, setup);
    stopButton.disabled = false;
  } catch (error) {
    showState("stopped");
    say(`The camera cannot be used: ${error.message}`, "bad");
    form.querySelector("button").disabled = false;
  }
});
stopButton.addEventListener("click", () => session?.end(""));
listFaces().catch((error) => say(error.message, "bad"));

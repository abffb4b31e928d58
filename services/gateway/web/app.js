"use strict";
// The workbench: forms over the public API, nothing that the API does not offer to everybody.

const $ = (selector, root = document) => root.querySelector(selector);

async function call(path, options = {}) {
  const response = await keyedFetch(path, options);
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail || `${response.status} ${response.statusText}`);
}

const getJson = async (path) => (await call(path)).json();
const postJson = async (path, body) =>
  (await call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();

async function everyPage(path) {
  const found = [];
  for (let after = ""; ; ) {
    const page = await getJson(`${path}?limit=100${after && `&after=${after}`}`);
    found.push(...page.data);
    if (!page.has_more) return found;
    after = page.last_id;
  }
}

function element(name, text = "", attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

function say(form, text, kind = "") {
  const outcome = $(".outcome", form);
  outcome.textContent = text;
  outcome.className = `outcome ${kind}`;
}

function onSubmit(form, busyText, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter || $("button:not([type])", form);
    button.disabled = true;
    say(form, busyText);
    try {
      say(form, await work(new FormData(form)), "good");
    } catch (error) {
      say(form, error.message, "bad");
    } finally {
      button.disabled = false;
    }
  });
}

function showFigures(list, figures) {
  list.replaceChildren(...Object.entries(figures).map(([name, value]) => {
    const item = element("div");
    item.append(element("dt", name), element("dd", value));
    return item;
  }));
  list.hidden = false;
}

// --- consent ---
for (const form of [$("#voice-form"), $("#face-form")]) {
  form.addEventListener("change", () => {
    const kind = form.elements.kind.value;
    showPart(form, ".attested", kind === "attested");
    showPart(form, ".vouched", kind !== "spoken");
    showPart(form, ".spoken", kind === "spoken");
  });
}

function showPart(form, selector, shown) {
  const part = $(selector, form);
  if (!part) return;
  part.hidden = !shown;
  for (const field of part.querySelectorAll("input, textarea")) field.required = shown;
}

// A phrase is for one recording; the recording of it is also the voice's sample.
let challenge = null;
function showPhrase(given) {
  challenge = given;
  $("#phrase").textContent = given ? given.phrase : "That phrase is used up.";
  $("#ask-phrase").textContent = given ? "Another phrase" : "Show a new phrase";
}

$("#ask-phrase").addEventListener("click", async () => {
  const form = $("#voice-form");
  if (!form.elements.who.reportValidity()) return;
  try {
    showPhrase(await postJson("/v1/audio/voice_consents/challenges", { who: form.elements.who.value }));
    say(form, "Record the phrase now, or choose a recording of it.");
  } catch (error) {
    say(form, error.message, "bad");
  }
});

async function spokenConsent(recording) {
  if (!challenge) throw new Error("Show the phrase first, and record it.");
  const proof = new FormData();
  proof.append("challenge", challenge.id);
  proof.append("recording", recording, recording.name || "phrase");
  try {
    return await (await call("/v1/audio/voice_consents", { method: "POST", body: proof })).json();
  } finally {
    showPhrase(null);
  }
}

async function recordConsent(path, data) {
  const attested = data.get("kind") === "attested";
  return postJson(path, {
    who: data.get("who"),
    kind: data.get("kind"),
    evidence: data.get("evidence"),
    ...(attested && { attested_by: data.get("attested_by") }),
  });
}

// A consent whose enrolment failed is used again on the next attempt, unless the form says something else by then.
const unused = {};
async function consentFor(path, data, proof) {
  const said = ["who", "kind", "evidence", "attested_by"].map((name) => data.get(name)).join("\n");
  if (unused[path]?.said !== said || unused[path].proof !== proof) {
    const consent = await (data.get("kind") === "spoken" ? spokenConsent(proof) : recordConsent(path, data));
    unused[path] = { said, proof, consent };
  }
  return unused[path].consent.id;
}

// --- recording ---
let recorder = null;
let recording = null;
$("#record").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  if (recorder?.state === "recording") return recorder.stop();
  const form = $("#voice-form");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      recording = new Blob(pieces, { type: recorder.mimeType });
      const player = $("#recorded");
      player.src = URL.createObjectURL(recording);
      player.hidden = false;
      button.textContent = "Record again";
      button.classList.remove("recording");
      say(form, "The recording will be used, unless you choose files.");
    };
    recorder.start();
    button.textContent = "Stop recording";
    button.classList.add("recording");
  } catch (error) {
    say(form, `The microphone cannot be used: ${error.message}`, "bad");
  }
});

// --- the four forms ---
onSubmit($("#voice-form"), "Listening and calibrating; this takes up to half a minute …", async (data) => {
  const upload = new FormData();
  const files = data.getAll("audio_sample").filter((file) => file.size);
  if (!files.length && recording) files.push(recording);
  if (!files.length) throw new Error("Choose a recording, or record one.");
  const spoken = data.get("kind") === "spoken";
  files.forEach((file) => upload.append("audio_sample", file, file.name || "recording"));
  upload.append("name", data.get("name"));
  upload.append("consent", await consentFor("/v1/audio/voice_consents", data, spoken ? files[0] : undefined));
  const voice = await (await call("/v1/audio/voices", { method: "POST", body: upload })).json();
  delete unused["/v1/audio/voice_consents"];
  await refresh();
  $("#speak-form").elements.voice.value = voice.id;
  const likeness = voice.similarity === null ? "" : ` Likeness ${voice.similarity.toFixed(2)}.`;
  return `${voice.name} is enrolled from ${voice.quality.speech_seconds.toFixed(1)} s of speech.${likeness} ${voice.quality.advice.join(" ")}`;
});

const digitsOf = { speed: 2, pitch_shift: 1, temperature: 1 };
for (const name of Object.keys(digitsOf)) {
  const range = $("#speak-form").elements[name];
  range.addEventListener("input", () => { $("output", range.parentElement).value = Number(range.value).toFixed(digitsOf[name]); });
}

function readDictionary(text) {
  const entries = {};
  for (const line of text.split("\n").filter((line) => line.trim())) {
    const [word, ...sound] = line.split("=");
    if (!word.trim() || !sound.join("").trim()) throw new Error(`Write a pronunciation like GIF = JH IH1 F, not ${line}`);
    entries[word.trim()] = sound.join("=").trim();
  }
  return entries;
}

// The words that are spoken: the one being heard is marked, and a click goes to it.
function showWords(words) {
  const player = $("#speech");
  const spans = words.map((word) => {
    const span = element("span", `${word.punctuated_word} `);
    span.addEventListener("click", () => { player.currentTime = word.start; });
    return span;
  });
  $("#speech-words").replaceChildren(...spans);
  $("#speech-words").hidden = false;
  player.ontimeupdate = () => {
    words.forEach(({ start, end }, i) => spans[i].classList.toggle("heard", start <= player.currentTime && player.currentTime < end));
  };
}

onSubmit($("#speak-form"), "Speaking …", async (data) => {
  const body = Object.fromEntries(data);
  for (const name of [...Object.keys(digitsOf), "seed"]) body[name] = Number(body[name]);
  body.dictionary = readDictionary(body.dictionary);
  body.timestamps = true;
  if (!body.vocoder) delete body.vocoder;
  const response = await call("/v1/audio/speech", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const player = $("#speech");
  const timed = await response.json();
  const audio = Uint8Array.from(atob(timed.audio), (character) => character.charCodeAt(0));
  player.src = URL.createObjectURL(new Blob([audio], { type: timed.content_type }));
  showWords(timed.words);
  player.hidden = false;
  player.play().catch(() => {});  // browsers may want a click first
  const job = await finishedJob(timed.job);
  const { ttfa_ms, real_time_factor, speaker_similarity, audio_seconds, vocoder } = job.figures;
  showFigures($("#speech-figures"), {
    "first audio": `${ttfa_ms.toFixed(0)} ms`,
    "real-time factor": real_time_factor.toFixed(3),
    "likeness": speaker_similarity === null ? "unmeasured" : speaker_similarity.toFixed(3),
    "duration": `${audio_seconds.toFixed(1)} s`,
    "engine": vocoder,
  });
  return "Done.";
});

async function finishedJob(id) {
  for (let wait = 50; ; wait = Math.min(1000, wait * 1.6)) {
    const job = await getJson(`/v1/jobs/${id}`);
    if (!["queued", "processing"].includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

onSubmit($("#face-form"), "Looking for the face …", async (data) => {
  const upload = new FormData();
  data.getAll("picture").forEach((picture) => upload.append("picture", picture));
  upload.append("name", data.get("name"));
  upload.append("consent", await consentFor("/v1/face_consents", data));
  const face = await (await call("/v1/faces", { method: "POST", body: upload })).json();
  delete unused["/v1/face_consents"];
  await refresh();
  $("#swap-form").elements.face.value = face.id;
  const several = face.faces_found > 1 ? ` ${face.faces_found} faces were found; the largest is taken.` : "";
  return `${face.name} is enrolled.${several}`;
});

for (const input of document.querySelectorAll("input[type=file][accept^='image']")) {
  input.addEventListener("change", () => {
    const preview = $(`.preview[data-of=${input.name}]`, input.form);
    const [file] = input.files;
    const shown = Boolean(file) && file.type.startsWith("image/");
    if (shown) preview.src = URL.createObjectURL(file);
    preview.hidden = !shown;
    if (preview.parentElement.tagName === "FIGURE") preview.parentElement.hidden = !shown;
  });
}

// --- what is kept ---
async function refresh() {
  const [voices, faces, voiceConsents, faceConsents] = await Promise.all(
    ["/v1/audio/voices", "/v1/faces", "/v1/audio/voice_consents", "/v1/face_consents"].map(everyPage));
  const consents = new Map([...voiceConsents, ...faceConsents].map((consent) => [consent.id, consent]));
  fillSelect($("#speak-form").elements.voice, voices, "enrol a voice first");
  fillSelect($("#swap-form").elements.face, faces, "enrol a face first");
  fillSelect($("#swap-form").elements.reference_face, faces, "enrol a face first");
  const rows = [
    ...voices.map((voice) => likenessRow(voice, consents.get(voice.consent), "/v1/audio/voices", "/v1/audio/voice_consents",
      voice.similarity === null ? "" : `likeness ${voice.similarity.toFixed(2)}`)),
    ...faces.map((face) => likenessRow(face, consents.get(face.consent), "/v1/faces", "/v1/face_consents",
      `face score ${face.score.toFixed(2)}`)),
  ];
  const empty = element("tr");
  empty.append(element("td", "Nothing yet.", { colSpan: 5 }));
  $("#likenesses").replaceChildren(...(rows.length ? rows : [empty]));
}

function fillSelect(select, items, emptyText) {
  const before = select.value;
  const options = items.map((item) => element("option", item.name || item.id, { value: item.id }));
  select.replaceChildren(...(options.length ? options : [element("option", emptyText, { value: "", disabled: true })]));
  if (items.some((item) => item.id === before)) select.value = before;
}

function likenessRow(item, consent, path, consentPath, measured) {
  const row = element("tr");
  const actions = element("td");
  if (consent.state === "live") {
    actions.append(actionButton("Revoke consent", `Revoke the consent of ${consent.who}? This cannot be undone.`,
      () => call(`${consentPath}/${consent.id}/revoke`, { method: "POST" })));
  }
  actions.append(actionButton("Delete", `Delete ${item.name || item.id}?`,
    () => call(`${path}/${item.id}`, { method: "DELETE" })));
  const state = element("td");
  state.append(element("span", consent.state, { className: `pill ${consent.state === "live" ? "good" : "bad"}` }));
  row.append(element("td", item.name || item.id), element("td", `${consent.who} (${consent.kind})`), state,
    element("td", measured), actions);
  return row;
}

function actionButton(text, question, act) {
  const button = element("button", text, { type: "button", className: "quiet" });
  button.addEventListener("click", async () => {
    if (!confirm(question)) return;
    try { await act(); } catch (error) { alert(error.message); }
    await refresh();
  });
  return button;
}

async function showReadiness() {
  const pill = $("#ready");
  try {
    const { status, checks } = await (await fetch("/readyz")).json();
    const missing = Object.keys(checks).filter((name) => !checks[name].ok);
    pill.textContent = status === "ready" ? "all stages ready" : `not ready: ${missing.join(", ")}`;
    pill.className = `pill ${status === "ready" ? "good" : "bad"}`;
  } catch {
    pill.textContent = "gateway does not answer";
    pill.className = "pill bad";
  }
}

showReadiness();
setInterval(showReadiness, 10000);
refresh().catch((error) => { $("#ready").textContent = error.message; });

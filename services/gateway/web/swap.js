"use strict";
// Swaps of pictures, which are answered when done, and of films, whose progress is asked for again and again.

const swapForm = $("#swap-form");
const swapFields = swapForm.elements;
const FORMATS = { picture: ["png", "jpeg", "webp"], film: ["mp4", "webm", "gif", "webp"] };
const STILL = ["image/png", "image/jpeg", "image/bmp"];
const UNFINISHED = ["queued", "processing"];
let running = null;

// What a file is, the server finds out by its content; this only chooses which fields are shown.
const looksLikeFilm = () => {
  const [file] = swapFields.target.files;
  return Boolean(file) && !STILL.includes(file.type) && file.type !== "image/webp";
};

function fitSwapForm() {
  const film = looksLikeFilm();
  for (const label of swapForm.querySelectorAll("[data-for]")) label.hidden = label.dataset.for !== swapFields.selection.value;
  for (const label of swapForm.querySelectorAll("[data-film]")) label.hidden = !film;
  const chosen = swapFields.format.value;
  const names = FORMATS[film ? "film" : "picture"];
  swapFields.format.replaceChildren(element("option", "as it is", { value: "" }), ...names.map((name) => element("option", name)));
  if (names.includes(chosen)) swapFields.format.value = chosen;
}
swapForm.addEventListener("change", fitSwapForm);
fitSwapForm();

swapFields.shape_strength.addEventListener("input", () => {
  delete swapFields.shape_strength.dataset.untouched;
  $("output", swapFields.shape_strength.parentElement).value = Number(swapFields.shape_strength.value).toFixed(2);
});

function swapUpload() {
  const film = looksLikeFilm();
  const upload = new FormData();
  upload.append("face", swapFields.face.value);
  upload.append("target", swapFields.target.files[0]);
  upload.append("selection", swapFields.selection.value);
  if (swapFields.selection.value === "index") upload.append("index", swapFields.index.value);
  if (swapFields.selection.value === "reference") upload.append("reference_face", swapFields.reference_face.value);
  const optional = ["format", "engine", ...(film ? ["start_s", "end_s", "height_px"] : [])];
  for (const name of optional) if (swapFields[name].value) upload.append(name, swapFields[name].value);
  if (!("untouched" in swapFields.shape_strength.dataset)) upload.append("shape_strength", swapFields.shape_strength.value);
  upload.append("keep_occluders", swapFields.keep_occluders.checked);
  return upload;
}

function showSwapProgress(progress) {
  const bar = $("#swap-progress");
  bar.hidden = false;
  if (progress?.frames_total) bar.value = progress.frames_done / progress.frames_total;
  else bar.removeAttribute("value");
  if (!progress) return;
  const words = { waiting: "Waiting", probing: "Reading", swapping: "Swapping", joining: "Joining" };
  const told = [words[progress.phase]];
  if (progress.frames_total) told.push(`${progress.frames_done} of ${progress.frames_total} frames`);
  if (progress.frames_per_second) told.push(`${progress.frames_per_second.toFixed(1)} per second`);
  if (progress.seconds_left !== null) told.push(`${Math.ceil(progress.seconds_left)} s left`);
  say(swapForm, told.join(", "));
}

async function endOfSwap(swap) {
  for (let wait = 200; UNFINISHED.includes(swap.status); wait = Math.min(1000, wait * 1.3)) {
    showSwapProgress(swap.progress);
    await new Promise((resolve) => setTimeout(resolve, wait));
    swap = await getJson(`/v1/swaps/${swap.id}`);
  }
  return swap;
}

async function showSwapResult(swap, isVideo) {
  const picture = $("#swapped"), film = $("#swapped-film"), link = $("a", $("#swap-download"));
  const source = await mediaSource(swap.media_url);
  film.hidden = !isVideo;
  picture.parentElement.hidden = isVideo;
  if (isVideo) {
    film.src = source;
    film.muted = true;  // or the browser does not start it on its own
    film.play().catch(() => {});
  } else {
    picture.src = source;
  }
  link.href = source;
  $("#swap-download").hidden = false;
}

function swapFigures({ figures }) {
  const distance = (value) => (value === null ? "not measurable" : value.toFixed(2));
  const shown = { "took": `${figures.seconds.toFixed(2)} s` };
  if (figures.frames) {
    shown["frames"] = String(figures.frames);
    shown["per second"] = figures.frames_per_second.toFixed(1);
  } else {
    shown["faces"] = String(figures.faces.length);
  }
  const [first] = figures.frames ? figures.people : figures.faces;
  if (first) {
    shown["distance to source"] = distance(first.distance_to_source);
    shown["distance to target"] = distance(first.distance_to_target);
  }
  return shown;
}

onSubmit(swapForm, "Sending …", async () => {
  $("#swap-download").hidden = true;
  $("#swap-figures").hidden = true;
  try {
    const begun = await (await call("/v1/swaps", { method: "POST", body: swapUpload() })).json();
    running = begun.id;
    $("#swap-cancel").hidden = !UNFINISHED.includes(begun.status);
    const swap = await endOfSwap(begun);
    if (swap.status !== "succeeded") throw new Error(swap.error.detail);
    const head = await call(swap.media_url, { method: "HEAD" });
    await showSwapResult(swap, head.headers.get("Content-Type").startsWith("video/"));
    showFigures($("#swap-figures"), swapFigures(swap));
  } finally {
    running = null;
    $("#swap-cancel").hidden = true;
    $("#swap-progress").hidden = true;
  }
  return "Done. Distances below 0.6 count as the same person.";
});

$("#swap-cancel").addEventListener("click", async () => {
  try { if (running) await call(`/v1/swaps/${running}/cancel`, { method: "POST" }); } catch (error) { say(swapForm, error.message, "bad"); }
});

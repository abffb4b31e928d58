"use strict";
// Sends a file to /v1/verify and shows what was found: in words first, then what they rest on.

const verifyForm = document.querySelector("#verify-form");
const findings = document.querySelector("#findings");
const verdict = document.querySelector("#verdict");
const EVIDENCE = { file: "the whole file", manifest: "its manifest", mark: "its mark" };
const PLACES = { sound: "in the sound", picture: "in the picture", film: "in the film" };

function show(rows) {
  findings.replaceChildren(...rows.flatMap(([name, value]) => {
    const term = document.createElement("dt"), description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  }));
}

function rowsOf(found) {
  const rows = [["Manifest", found.manifest.state]];
  if (found.manifest.issuer) rows.push(["Signed by", found.manifest.issuer]);
  if (found.manifest.problems.length) rows.push(["What does not fit", found.manifest.problems.join(", ")]);
  rows.push(["Marks", found.marks.map((mark) => `${PLACES[mark.place]}, confidence ${mark.confidence.toFixed(6)}`).join("; ") || "none found"]);
  for (const origin of found.origins) {
    rows.push(["Made", new Date(origin.made_at).toLocaleString()]);
    rows.push(["Known by", origin.evidence.map((by) => EVIDENCE[by]).join(", ")]);
    if (origin.job) rows.push(["Job", origin.job]);
    if (origin.consent) rows.push(["Consent", `${origin.consent.id} (${origin.consent.kind ?? "record deleted"}, ${origin.consent.state})`]);
  }
  rows.push(["SHA-256", found.sha256]);
  return rows;
}

verifyForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const outcome = verifyForm.querySelector(".outcome"), button = verifyForm.querySelector("button");
  const upload = new FormData();
  const [file] = verifyForm.elements.file.files, [manifest] = verifyForm.elements.manifest.files;
  upload.append("file", file);
  if (manifest) upload.append("manifest", manifest);
  if (file.name.endsWith(".pcm")) upload.append("format", "pcm");
  outcome.textContent = "Looking…";
  outcome.classList.remove("bad");
  button.disabled = true;
  show([]);
  try {
    const response = await keyedFetch("/v1/verify", { method: "POST", body: upload });
    const found = await response.json();
    if (!response.ok) throw new Error(found.detail || found.title);
    outcome.textContent = found.summary;
    verdict.textContent = found.made_here ? "made here" : "nothing found";
    show(rowsOf(found));
  } catch (error) {
    outcome.textContent = error.message;
    outcome.classList.add("bad");
    verdict.textContent = "not verified";
  } finally {
    button.disabled = false;
  }
});

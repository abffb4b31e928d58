"use strict";
// The API key, where the gateway asks for one: kept for this tab alone (sessionStorage), sent as a header, and never a
// part of an address.

const KEY_ITEM = "likeness-api-key";
const storedKey = () => sessionStorage.getItem(KEY_ITEM) || "";
let asking = null;

// As fetch; asks for a key as long as the gateway does not know who is there.
async function keyedFetch(path, options = {}) {
  for (;;) {
    const key = storedKey();
    const headers = new Headers(options.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    if (storedKey() === key) await askForKey(key ? "This key opens nothing." : "This gateway asks for an API key.");
  }
}

// What an element may name as its source: elements send no headers, so that with a key the file is fetched first.
async function mediaSource(path) {
  if (!storedKey()) return path;
  const response = await keyedFetch(path);
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return URL.createObjectURL(await response.blob());
}

// For new WebSocket(): one of these is the key, the other one is what the gateway answers with.
const socketProtocols = () => (storedKey() ? ["likeness.live", `likeness.key.${storedKey()}`] : []);

function askForKey(why) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.createElement("dialog"), form = document.createElement("form");
    const label = document.createElement("label"), field = document.createElement("input");
    const open = document.createElement("button"), cancel = document.createElement("button");
    dialog.id = "key-dialog";
    form.method = "dialog";
    Object.assign(field, { type: "password", name: "key", required: true, autocomplete: "off", placeholder: "lk_…" });
    label.append(why, field);
    open.textContent = "Use this key";
    Object.assign(cancel, { textContent: "Cancel", type: "button", className: "quiet" });
    cancel.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", () => sessionStorage.setItem(KEY_ITEM, field.value.trim()));
    dialog.addEventListener("close", () => {
      asking = null;
      dialog.remove();
      showKey();
      if (field.value && storedKey() === field.value.trim()) resolve();
      else reject(new Error("An API key is needed here."));
    });
    form.append(label, open, cancel);
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

// A button in the page's head forgets the key.
function showKey() {
  let button = document.querySelector("#forget-key");
  if (!button) {
    button = Object.assign(document.createElement("button"), { id: "forget-key", type: "button", className: "quiet", textContent: "Forget key" });
    button.addEventListener("click", () => { sessionStorage.removeItem(KEY_ITEM); location.reload(); });
    document.querySelector("header.top nav").append(button);
  }
  button.hidden = !storedKey();
}
showKey();

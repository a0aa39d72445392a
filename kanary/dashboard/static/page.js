// Swaps the parts of the page that the server sends when they change, and shows forms of actions in a dialog.
// Without it, the page is what it was when it was loaded, and actions are pages of their own.
"use strict";

const dialog = document.getElementById("dialog");
const lost = document.getElementById("lost");

// Parts

function swap({ id, html }) {
  const old = document.getElementById(id);
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  if (!old || old.dataset.hash === fresh.dataset.hash) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  for (const region of old.querySelectorAll(".wide[id]")) {
    const same = template.content.getElementById(region.id);
    if (same) same.dataset.left = region.scrollLeft;
  }
  for (const details of old.querySelectorAll("details[open][id]")) {
    const same = template.content.getElementById(details.id);
    if (same) same.open = true;
  }
  old.replaceWith(fresh);
  for (const region of fresh.querySelectorAll("[data-left]")) region.scrollLeft = region.dataset.left;
  if (focused) (document.getElementById(focused) || document.getElementById("main")).focus({ preventScroll: true });
}

let stream = null;

function listen() {
  stream = new EventSource(document.body.dataset.stream);
  stream.addEventListener("open", () => { lost.hidden = true; });
  stream.addEventListener("error", () => {
    lost.hidden = false;
    // A browser gives up after a response that is no stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(relisten, 3000);
  });
  stream.addEventListener("part", (event) => swap(JSON.parse(event.data)));
  stream.addEventListener("title", (event) => { document.title = JSON.parse(event.data); });
  stream.addEventListener("spoken", (event) => {
    document.getElementById("spoken").textContent = JSON.parse(event.data);
  });
}

function relisten() {
  if (stream) stream.close();
  if (!document.hidden && document.body.dataset.stream) listen();
}

// A browser has few connections to one server: a page that nobody sees needs none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream && stream.close();
  else relisten();
});
relisten();

// Actions

async function show(url, options) {
  try {
    const response = await fetch(url, { ...options, headers: { "x-part": "1" } });
    dialog.innerHTML = await response.text();
  } catch (error) {
    // Let the browser show why.
    location.assign(url);
    return;
  }
  if (!dialog.open) dialog.showModal();
  const first = dialog.querySelector("#reason, #do, #close");
  if (first) first.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (dialog.contains(form)) {
    event.preventDefault();
    form.querySelector("#do").disabled = true;
    show(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  } else if (form.closest(".actions")) {
    event.preventDefault();
    opener = form.querySelector("button").id;
    show(form.action);
  }
});

let opener = "";

dialog.addEventListener("click", (event) => {
  if (!event.target.closest("#close")) return;
  event.preventDefault();
  dialog.close();
});

dialog.addEventListener("close", () => {
  dialog.replaceChildren();
  // The button may have been swapped, or gone with what it did.
  (document.getElementById(opener) || document.getElementById("main")).focus({ preventScroll: true });
});

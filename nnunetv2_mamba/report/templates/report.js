"use strict";

// Without this script every target is shown, one below the other.
const radios = [...document.querySelectorAll(".targets input")];
function showTarget(chosen) {
  for (const block of document.querySelectorAll(".of-target")) block.hidden = block.dataset.target !== chosen;
}
for (const radio of radios) radio.addEventListener("change", () => showTarget(radio.value));
if (radios.length) {
  document.body.classList.add("one-target");
  showTarget(radios.find((radio) => radio.checked).value);
}

// A case in a plot leads to its row, which may be in a closed table.
document.addEventListener("click", (event) => {
  const link = event.target.closest("figure.plot a");
  if (!link) return;
  const row = document.getElementById(link.getAttribute("href").slice(1));
  row.closest("details").open = true;
  row.scrollIntoView({ block: "center" });
  for (const other of document.querySelectorAll("tr.chosen")) other.classList.remove("chosen");
  row.classList.add("chosen");
  event.preventDefault();
});

const dialog = document.getElementById("enlarged");
const stage = document.getElementById("enlarged-stage");
let shown = null;
function visibleButtons() {
  return [...document.querySelectorAll("button.enlarge")].filter((button) => button.offsetParent !== null);
}
function enlarge(button) {
  shown = button;
  stage.replaceChildren(button.querySelector("svg").cloneNode(true));
  document.getElementById("enlarged-title").textContent = button.dataset.title;
  if (!dialog.open) dialog.showModal();
}
function turn(step) {
  const buttons = visibleButtons();
  enlarge(buttons[(buttons.indexOf(shown) + step + buttons.length) % buttons.length]);
}
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => enlarge(button));
}
document.getElementById("enlarged-before").addEventListener("click", () => turn(-1));
document.getElementById("enlarged-after").addEventListener("click", () => turn(1));
dialog.addEventListener("keydown", (event) => {
  if (event.target.type === "checkbox") return;
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => shown && shown.focus());
for (const box of dialog.querySelectorAll("input[data-kind]")) {
  box.addEventListener("change", () => stage.classList.toggle("without-" + box.dataset.kind, !box.checked));
}

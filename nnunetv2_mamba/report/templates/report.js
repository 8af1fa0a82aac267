"use strict";

// Without this script all targets are shown, one below the other.
const radios = [...document.querySelectorAll(".targets input")];
function showTarget(chosen) {
  for (const block of document.querySelectorAll(".of-target")) block.hidden = block.dataset.target !== chosen;
}
for (const radio of radios) radio.addEventListener("change", () => showTarget(radio.value));
if (radios.length) {
  document.body.classList.add("one-target");
  showTarget(radios.find((radio) => radio.checked).value);
}

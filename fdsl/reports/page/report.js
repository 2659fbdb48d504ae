"use strict";
const ROWS_PER_PAGE = 8;
const find = (id) => document.getElementById(id);

// Pages of the contact sheet
const rows = [...document.querySelectorAll("#sheet .row")];
const nPages = Math.ceil(rows.length / ROWS_PER_PAGE);
let page = 0;
function turnTo(number) {
  page = Math.min(Math.max(number, 0), nPages - 1);
  rows.forEach((row, k) => { row.hidden = Math.floor(k / ROWS_PER_PAGE) !== page; });
  find("page").textContent = `page ${page + 1} of ${nPages}`;
  find("previous").disabled = page === 0;
  find("next").disabled = page === nPages - 1;
}
find("previous").addEventListener("click", () => turnTo(page - 1));
find("next").addEventListener("click", () => turnTo(page + 1));
find("images").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.id === "size") return;
  event.preventDefault();
  turnTo(page + step);
  const focus = document.activeElement;  // its row may be hidden now
  if (focus.closest("#sheet")) rows[page * ROWS_PER_PAGE].querySelector("button").focus();
});
find("size").addEventListener("input", (event) => {
  find("sheet").style.setProperty("--tile", `${event.target.value}px`);
});
document.querySelector("#images .tools").hidden = false;
turnTo(0);

// One image, enlarged
const viewer = find("viewer");
let shown = null;
function show(button) {
  if (!button) return;
  shown = button;
  const image = button.querySelector("img"), enlarged = viewer.querySelector("img"), key = button.textContent.trim();
  enlarged.src = image.src;
  enlarged.alt = image.alt;
  find("viewer-key").textContent = key;
  find("viewer-facts").textContent = button.dataset.facts;
  const command = find("viewer-command");
  if (command) command.textContent = key;
  if (!viewer.open) viewer.showModal();
}
function move(step) {
  const buttons = [...shown.closest("section").querySelectorAll(".picture")];
  const next = buttons[buttons.indexOf(shown) + step];
  if (next && next.closest("#sheet")) turnTo(Math.floor(rows.indexOf(next.closest(".row")) / ROWS_PER_PAGE));
  show(next);
}
document.addEventListener("click", (event) => show(event.target.closest(".picture")));
find("viewer-previous").addEventListener("click", () => move(-1));
find("viewer-next").addEventListener("click", () => move(1));
find("viewer-close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
viewer.addEventListener("close", () => shown.focus());

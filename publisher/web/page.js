// What the page does better with a script. It works without one: see page.html.
"use strict";

/** One row of "Further fields", made from the page's own. */
function rowLike(row, number) {
  const made = row.cloneNode(true);
  for (const label of made.querySelectorAll("label")) {
    label.htmlFor = label.htmlFor.replace(/\d+$/, number);
  }
  for (const input of made.querySelectorAll("input")) {
    input.id = input.id.replace(/\d+$/, number);
    input.value = "";
  }
  made.setAttribute("aria-label", `Field ${number}`);
  return made;
}

function button(text, name, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  made.textContent = text;
  if (name) made.setAttribute("aria-label", name);
  made.addEventListener("click", onClick);
  return made;
}

/** Blank rows go; "Add a field" and "Remove" come instead. */
function growing(rows) {
  const pattern = rows.lastElementChild.cloneNode(true);
  let last = rows.children.length;
  const add = button("Add a field", "", () => {
    const row = rowLike(pattern, (last += 1));
    removable(row);
    rows.append(row);
    row.querySelector("input").focus();
  });
  function removable(row) {
    const name = `Remove ${row.getAttribute("aria-label").toLowerCase()}`;
    row.append(
      button("Remove", name, () => {
        const next = row.nextElementSibling || row.previousElementSibling;
        row.remove();
        (next ? next.querySelector("input") : add).focus();
      }),
    );
  }
  const blank = (row) => [...row.querySelectorAll("input")].every((input) => !input.value);
  const [first, ...others] = rows.children;
  for (const row of others) if (blank(row)) row.remove();
  if (blank(first) && rows.children.length > 1) first.remove();
  for (const row of rows.children) removable(row);
  rows.after(add);
}

/** A second click while the first is on its way is held back. */
function once(form) {
  const send = form.querySelector("[type=submit]");
  const idle = send.textContent;
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
    send.setAttribute("aria-disabled", "true");
    send.textContent = send.dataset.busy;
  });
  // The browser may show this very page again on the way back.
  window.addEventListener("pageshow", () => {
    sent = false;
    send.removeAttribute("aria-disabled");
    send.textContent = idle;
  });
}

// Not every browser minds `autofocus` on what is no field.
document.querySelector("[data-focus]")?.focus();
const rows = document.getElementById("rows");
if (rows) growing(rows);
const form = document.querySelector("form");
if (form) once(form);

// Sorting, filtering, the origin of numbers, light and dark.  Everything can be read without it.
"use strict";

const known = JSON.parse(document.getElementById("sources").textContent);

function make(tag, text, attributes) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  return element;
}

// ------------------------------------------------------------------------------------------------ sorting

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.textContent.trim();
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  if (text === "" || text === "-") return null;
  return text !== "" && !isNaN(text) ? Number(text) : text.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column) {
  const heads = table.tHead.rows[0].cells;
  const numbers = heads[column].classList.contains("num");
  const before = heads[column].getAttribute("aria-sort");
  const order = before === null ? (numbers ? "descending" : "ascending")
    : before === "ascending" ? "descending" : "ascending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what is missing stays below
    return sign * compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = make("button", head.textContent, { type: "button", class: "sort" });
    button.addEventListener("click", () => sortBy(table, column));
    head.replaceChildren(button);
  });
}

// ---------------------------------------------------------------------------------------------- filtering

for (const field of document.querySelectorAll("input[data-filter]")) {
  const table = document.getElementById(field.dataset.filter);
  const count = document.getElementById(`${field.dataset.filter}-count`);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  });
}

// ------------------------------------------------------------------------------------ values under the pointer

// An image tells nothing under the pointer; the same file as a document of its own shows the titles of its marks.
for (const image of document.querySelectorAll("figure img")) {
  image.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse") return;
    const live = make("object", undefined, {
      type: "image/svg+xml", data: image.getAttribute("src"), role: "img", "aria-label": image.alt,
      width: image.width, height: image.height,
    });
    image.replaceWith(live);
  }, { once: true });
}

// ------------------------------------------------------------------------------------- where numbers come from

function numbered(ranges) {
  const found = [];
  for (const part of (ranges || "").split(",").filter(Boolean)) {
    const [low, high] = part.split("-").map(Number);
    for (let number = low; number <= (high === undefined ? low : high); number++) found.push(known.cells[number]);
  }
  return found;
}

const fact = (cell, name) => cell.facts[known.facts.indexOf(name)] || "";

function valuesOf(cell) {
  return Object.entries(cell.values).map(([name, value]) => `${name}: ${value}`).join("\n");
}

function detail(cell) {
  const box = make("details");
  box.append(make("summary", cell.cell));
  const list = make("dl", undefined, { class: "facts" });
  const add = (name, value) => value && list.append(make("dt", name), make("dd", value));
  known.facts.forEach((name, place) => add(name, cell.facts[place]));
  for (const where of cell.in) add("read from", `${where.file}, commit ${where.commit}, ${where.seconds} s`);
  if (cell.record) {
    for (const [name, value] of Object.entries(cell.record.spec.data || {})) add(`data, ${name}`, value);
    add("versions", Object.entries(cell.record.versions).map(([name, value]) => `${name} ${value}`).join(", "));
  }
  box.append(list);
  const spec = cell.record ? JSON.stringify(cell.record.spec, null, 1) : "";
  box.append(make("pre", spec ? `specification\n${spec}` : "Specification and digests of the data are in the record of " +
    `the machine that ran it, cells/${cell.cell}.json; the hash is over all of it.`));
  box.append(make("pre", `values\n${valuesOf(cell)}`));
  return box;
}

function cellTable(title, cells, metric) {
  const table = make("table");
  table.append(make("caption", title));
  const head = make("tr");
  const columns = ["method", "task", "split", "seed", metric, "commit", "device", "torch", "cell: specification and all values"];
  for (const column of columns) head.append(make("th", column, { scope: "col" }));
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  for (const cell of cells) {
    const row = make("tr");
    const names = [fact(cell, "method"), fact(cell, "variant"), fact(cell, "setting")].filter((word) => word && word !== "default");
    row.append(make("th", names.join(", "), { scope: "row" }));
    for (const name of ["task", "split", "seed"]) row.append(make("td", fact(cell, name)));
    const value = cell.values[metric];
    row.append(make("td", value === undefined ? "-" : String(value), { class: "num" }));
    for (const name of ["commit", "device", "torch"]) row.append(make("td", fact(cell, name)));
    const last = make("td");
    last.append(detail(cell));
    row.append(last);
    body.append(row);
  }
  table.append(top, body);
  const scroll = make("div", undefined, { class: "scroll", tabindex: "0", role: "group", "aria-label": title });
  scroll.append(table);
  return scroll;
}

const dialog = document.getElementById("why");

function explain(button) {
  const row = button.closest("tr");
  const table = button.closest("table");
  const body = document.getElementById("why-body");
  const words = [];
  if (row) words.push(row.cells[0].textContent.trim(), row.cells[1].textContent.trim());
  if (table && button.closest("td")) words.push(table.tHead.rows[0].cells[button.closest("td").cellIndex].textContent.trim());
  body.replaceChildren(make("p", `${words.join(" | ")}: ${button.textContent}`, { class: "lead" }));
  if (button.dataset.s !== undefined) body.append(make("p", `Published: ${known.sources[Number(button.dataset.s)]}`));
  if (button.dataset.c !== undefined) {
    const metric = button.dataset.m || "accuracy last";
    const selection = known.selections[metric.split(" ").pop()];
    const cells = numbered(button.dataset.c), less = numbered(button.dataset.less);
    const place = cells[0];
    body.append(make("p", `${fact(place, "dataset")}, ${fact(place, "protocol")} protocol, ${fact(place, "backbone")}, ` +
      `${fact(place, "track")}; ${metric.split(" ")[0]}, ${selection}`));
    body.append(cellTable(less.length ? `Mean of these ${cells.length} cells` : `Mean of ${cells.length} cells`, cells, metric));
    if (less.length) body.append(cellTable(`less the mean of these ${less.length}`, less, metric));
  }
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.why");
  if (button) explain(button);
  else if (event.target === dialog) dialog.close();
});

// -------------------------------------------------------------------------------- light and dark, and paper

const theme = document.getElementById("theme");

function remember(value) {
  try {
    if (value === undefined) return localStorage.getItem("theme");
    localStorage.setItem("theme", value);
  } catch { /* a page that is opened as a file may have no storage */ }
  return null;
}

function dress(value) {
  if (value) document.documentElement.dataset.theme = value;
}

dress(remember());
theme.hidden = false;
theme.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  dress(dark ? "light" : "dark");
  remember(dark ? "light" : "dark");
});

addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("main details:not([open])")) {
    box.open = true;
    box.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const box of document.querySelectorAll("main details[data-printed]")) {
    box.open = false;
    delete box.dataset.printed;
  }
});

// ------------------------------------------------------------------- what a link leads to is not left folded up

function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (const box of target ? target.querySelectorAll(":scope > details") : []) box.open = true;
}

addEventListener("hashchange", unfold);
unfold();

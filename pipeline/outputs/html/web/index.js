// Index page: files with thumbnails, or classes by file; search, filter by class, sort.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 60; // rows that are added at once
const [AUDIO, VISUAL, BOTH, ANY_SECONDS] = [1, 2, 3, 7]; // places in a row of a class; 4 to 6 are seconds
const SHOWN_CLASSES = 4; // of a file in the list

/** Make an element with attributes; strings become text, never HTML. */
function build(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : noun === "class" ? "es" : "s"}`;

const files = data.files.map(([name, url, duration, warnings, picture, rows]) => {
  const byClass = new Map(rows.map((row) => [row[0], row]));
  const total = (place) => rows.reduce((sum, row) => sum + row[place], 0);
  const longest = [...rows].sort((a, b) => b[ANY_SECONDS] - a[ANY_SECONDS]);
  const words = rows.flatMap(([index]) => data.classes[index]);
  return {
    name, url, duration, warnings, picture, byClass, longest,
    audio: total(AUDIO), visual: total(VISUAL), both: total(BOTH), text: [name, ...words].join("\n").toLowerCase(),
  };
});
const classes = data.classes.map(([label, words], index) => {
  const having = files.filter((file) => file.byClass.has(index));
  return { label, words, index, files: having.length, seconds: having.reduce((sum, file) => sum + file.byClass.get(index)[ANY_SECONDS], 0) };
});
// Events of localizers are audio-visual only: numbers of audio and of visual events would be columns of zeros.
const localized = files.some((file) => file.both) && files.every((file) => !file.audio && !file.visual);
const MODALITIES = localized ? ["both"] : ["audio", "visual", "both"];
const byName = new Intl.Collator("en", { numeric: true });
[...files].sort((a, b) => byName.compare(a.name, b.name)).forEach((file, rank) => (file.rank = rank)); // names compare slowly
const SORTS = {
  name: ["Name", (a, b) => a.rank - b.rank],
  duration: ["Length", (a, b) => a.duration - b.duration],
  ...(localized ? {} : { audio: ["Audio events", (a, b) => a.audio - b.audio], visual: ["Visual events", (a, b) => a.visual - b.visual] }),
  both: ["Events in both", (a, b) => a.both - b.both],
  warnings: ["Warnings", (a, b) => a.warnings - b.warnings],
};
const state = { sort: "name", down: false, matrix: false, measure: ANY_SECONDS, chosen: new Set(), found: [], shown: 0 };
const cell = (file, index) => file.byClass.get(index)?.[state.measure] ?? 0;
const comparing = () => SORTS[state.sort]?.[1] ?? ((a, b) => cell(a, Number(state.sort)) - cell(b, Number(state.sort)));

// What is shown

function find() {
  const parts = byId("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (file) => parts.every((part) => file.text.includes(part)) && [...state.chosen].every((index) => file.byClass.has(index));
  const compare = comparing();
  const sign = state.down ? -1 : 1;
  state.found = files.filter(fits).sort((a, b) => sign * compare(a, b) || a.rank - b.rank);
  const filtered = state.found.length < files.length;
  const count = filtered ? `${state.found.length.toLocaleString("en")} of ${plural(files.length, "file")}` : plural(files.length, "file");
  for (const place of ["files-name", "count"]) byId(place).textContent = count;
  byId("clear").hidden = !parts.length && !state.chosen.size;
  byId("nothing").hidden = state.found.length > 0;
  byId("nothing").textContent = files.length ? `No hits: no file ${describe(parts)}.` : "There are no files.";
  byId("rows").hidden = !state.found.length;
  draw();
}

function describe(parts) {
  const chosen = [...state.chosen].map((index) => classes[index].words);
  const named = parts.length ? `fits “${parts.join(" ")}”` : "";
  return [named, chosen.length ? `has ${chosen.join(" and ")}` : ""].filter(Boolean).join(" and ");
}

function draw() {
  state.shown = 0;
  byId("files").className = state.matrix ? "matrix" : "list";
  byId("files").tHead.replaceChildren(state.matrix ? matrixHead() : listHead());
  byId("files").tBodies[0].replaceChildren();
  byId("rows").scrollTop = 0;
  addRows();
}

function addRows() {
  const next = state.found.slice(state.shown, state.shown + PAGE);
  byId("files").tBodies[0].append(...next.map(state.matrix ? matrixRow : listRow));
  state.shown += next.length;
  const left = state.found.length - state.shown;
  byId("more").hidden = !left;
  byId("more").textContent = `Show ${Math.min(left, PAGE)} more of ${left.toLocaleString("en")}`;
}

function sortedBy(key, down) {
  Object.assign(state, { sort: key, down });
  byId("sort").value = key;
  byId("direction").textContent = down ? "↓" : "↑";
  byId("direction").setAttribute("aria-label", down ? "Largest first" : "Smallest first");
  find();
}

// Tables

/** A column title that sorts; numbers begin with the largest. */
function heading(key, text, options = {}) {
  const current = state.sort === key;
  const button = build("button", { type: "button", title: options.title }, text);
  button.addEventListener("click", () => {
    sortedBy(key, current ? !state.down : key !== "name");
    byId("files").tHead.querySelector(`[data-key="${CSS.escape(key)}"] button`)?.focus();
  });
  const sorting = current ? (state.down ? "descending" : "ascending") : "none";
  return build("th", { scope: "col", class: options.class, "aria-sort": sorting, "data-key": key }, button);
}

const pictures = files.some((file) => file.picture);
const warned = files.some((file) => file.warnings);

function listHead() {
  return build(
    "tr", {},
    ...(pictures ? [build("td", { class: "picture" })] : []),
    heading("name", "File"), heading("duration", "Length", { class: "number" }),
    ...MODALITIES.map((word) => heading(word, word, { class: `number ${word === "both" ? "audio_visual" : word}` })),
    build("th", { scope: "col", class: "classes" }, "Classes"),
    ...(warned ? [heading("warnings", "Warnings", { class: "number" })] : []),
  );
}

function thumbnail(file) {
  if (!file.picture) return build("td", { class: "picture" }, build("span", { class: "blank", "aria-hidden": "true" }));
  const image = build("img", { src: file.picture, alt: "", width: 96, height: 54, loading: "lazy", decoding: "async" });
  return build("td", { class: "picture" }, image);
}

const link = (file) => build("a", { href: file.url }, file.name);

function listRow(file) {
  const number = (word, text) => build("td", { class: `number ${word}`, "data-name": word }, text);
  const rest = file.longest.length - SHOWN_CLASSES;
  const chips = file.longest.slice(0, SHOWN_CLASSES).map((row) =>
    build("li", {}, classes[row[0]].words, " ", build("span", { class: "soft" }, clock(row[ANY_SECONDS]))));
  if (rest > 0) chips.push(build("li", { class: "soft", title: file.longest.slice(SHOWN_CLASSES).map((row) => classes[row[0]].words).join(", ") }, `+${rest}`));
  return build(
    "tr", {},
    ...(pictures ? [thumbnail(file)] : []),
    build("th", { scope: "row" }, link(file)), number("length", clock(file.duration)),
    ...MODALITIES.map((word) => number(word, file[word].toLocaleString("en"))),
    build("td", { class: "classes" }, file.longest.length ? build("ul", { class: "chips" }, ...chips) : build("span", { class: "soft" }, "no events")),
    ...(warned ? [number("warnings", file.warnings ? file.warnings.toLocaleString("en") : "")] : []),
  );
}

/** Classes of the matrix: those chosen, else all, the most frequent first. */
function columns() {
  const wanted = state.chosen.size ? classes.filter(({ index }) => state.chosen.has(index)) : classes;
  return [...wanted].sort((a, b) => b.files - a.files || byName.compare(a.words, b.words));
}

function matrixHead() {
  return build(
    "tr", {}, heading("name", "File"),
    ...columns().map(({ words, index }) => heading(String(index), words, { class: "number" })),
  );
}

function matrixRow(file) {
  const cells = columns().map(({ index }) => {
    const value = cell(file, index);
    const text = !value ? "" : state.measure > BOTH ? clock(value) : value.toLocaleString("en");
    const square = build("td", { class: "number" }, text);
    const share = state.measure > BOTH ? value / Math.max(file.duration, 0.1) : value / 10;
    if (value) square.dataset.level = Math.max(1, Math.min(5, Math.ceil(share * 5)));
    return square;
  });
  return build("tr", {}, build("th", { scope: "row" }, link(file)), ...cells);
}

// The list of classes

function listClasses() {
  const most = Math.max(1, ...classes.map((item) => item.files));
  const ordered = [...classes].sort((a, b) => b.files - a.files || byName.compare(a.words, b.words));
  byId("filter").hidden = !classes.length;
  byId("classes").replaceChildren(
    ...ordered.map((item) => {
      const bar = build("span", { class: "share", "aria-hidden": "true" });
      bar.style.width = `${(100 * item.files) / most}%`;
      const button = build(
        "button", { type: "button", "aria-pressed": "false" },
        build("span", { class: "word" }, item.words),
        build("span", { class: "soft" }, `${plural(item.files, "file")}, ${clock(item.seconds)}`), bar,
      );
      button.addEventListener("click", () => {
        if (!state.chosen.delete(item.index)) state.chosen.add(item.index);
        button.setAttribute("aria-pressed", String(state.chosen.has(item.index)));
        find();
      });
      return build("li", {}, button);
    }),
  );
}

// Controls

function view(matrix) {
  state.matrix = matrix;
  byId("as-list").setAttribute("aria-pressed", String(!matrix));
  byId("as-matrix").setAttribute("aria-pressed", String(matrix));
  for (const part of ["measure-part", "shading"]) byId(part).hidden = !matrix;
  if (!matrix && !(state.sort in SORTS)) sortedBy("name", false);
  else draw();
}

function showAll() {
  byId("search").value = "";
  state.chosen.clear();
  for (const button of byId("classes").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  find();
}

function move(step) {
  const links = [...byId("files").tBodies[0].querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (at + step >= links.length && !byId("more").hidden) addRows();
  const all = [...byId("files").tBodies[0].querySelectorAll("a")];
  all[Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = document.activeElement.matches("input, select");
  const inSearch = document.activeElement === byId("search");
  if (event.key === "/" && !typing) byId("search").focus();
  else if (event.key === "Escape" && (inSearch || !typing)) showAll();
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (inSearch || !typing)) move(event.key === "ArrowDown" ? 1 : -1);
  else return;
  event.preventDefault();
});

byId("title").textContent = data.title;
const seconds = files.reduce((sum, file) => sum + file.duration, 0);
const events = files.reduce((sum, file) => sum + (localized ? file.both : file.audio + file.visual), 0);
byId("facts").textContent = `${plural(files.length, "file")}, ${clock(seconds)} in all · ${plural(events, "event")} of ${plural(classes.length, "class")}`;
if (localized) for (const option of [...byId("measure").options]) option.hidden = option.disabled = ![ANY_SECONDS, BOTH].includes(Number(option.value));
byId("sort").append(...Object.entries(SORTS).map(([key, [text]]) => build("option", { value: key }, text)));
byId("sort").addEventListener("change", () => sortedBy(byId("sort").value, byId("sort").value !== "name"));
byId("direction").addEventListener("click", () => sortedBy(state.sort, !state.down));
byId("search").addEventListener("input", find);
byId("clear").addEventListener("click", () => {
  showAll();
  byId("search").focus();
});
byId("as-list").addEventListener("click", () => view(false));
byId("as-matrix").addEventListener("click", () => view(true));
byId("measure").addEventListener("change", () => {
  state.measure = Number(byId("measure").value);
  find();
});
byId("more").addEventListener("click", addRows);
byId("rows").addEventListener("scroll", () => {
  const rows = byId("rows");
  if (state.matrix && !byId("more").hidden && rows.scrollTop + 2 * rows.clientHeight > rows.scrollHeight) addRows();
});
new IntersectionObserver(([seen]) => seen.isIntersecting && !byId("more").hidden && addRows(), { rootMargin: "600px" }).observe(byId("more"));
const theme = (name) => (document.documentElement.dataset.theme = name);
byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
theme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
if (window.matchMedia("(max-width: 1099px)").matches) byId("classes-part").open = false;
listClasses();
sortedBy("name", false);

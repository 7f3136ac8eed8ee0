// The page: connects controls, player, timeline view, list of events and corrections.

const byId = (id) => document.getElementById(id);
const MAX_LISTED = 1000; // events in the list

function readData() {
  const data = JSON.parse(byId("data").textContent);
  if (data.probabilities) {
    data.tables = {};
    for (const [name, text] of Object.entries(data.probabilities)) {
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      data.tables[name] = new Float32Array(bytes.buffer);
    }
  }
  data.events = data.events.map(([modality, label, onset, offset, score]) => ({
    modality: MODALITIES[modality], label: data.labels[label], onset, offset, score,
  }));
  return data;
}

/** Media player; without media it only holds a time. */
class Player {
  constructor(media, duration, note) {
    Object.assign(this, { duration, heldTime: 0, element: null, failed: false });
    if (!media) {
      byId("stage").append(make("p", { textContent: note || "No video was given to this page." }));
      byId("play").hidden = true;
      return;
    }
    this.element = make(media.kind, { src: media.url, controls: true, preload: "auto", playsInline: true });
    this.element.setAttribute("aria-label", media.name);
    this.element.addEventListener("error", () => {
      this.failed = true;
      this.heldTime = this.element.currentTime || this.heldTime;
      const reason = media.embedded ? "This browser cannot play it." : `It should be at ${media.path}, or it has a form that this browser cannot play.`;
      byId("stage").replaceChildren(make("p", { textContent: `The video cannot be shown. ${reason}` }));
      byId("play").hidden = true;
    });
    byId("stage").append(this.element);
  }

  get time() {
    return this.element && !this.failed ? this.element.currentTime : this.heldTime;
  }

  set time(seconds) {
    this.heldTime = Math.min(Math.max(seconds, 0), this.duration);
    if (this.element) this.element.currentTime = this.heldTime;
  }

  get playing() {
    return Boolean(this.element) && !this.failed && !this.element.paused;
  }

  toggle() {
    if (!this.element || this.failed) return;
    if (this.element.paused) this.element.play().catch(() => {});
    else this.element.pause();
  }
}

class Page {
  constructor() {
    this.data = readData();
    this.base = this.data.events;
    this.threshold = null; // until the slider is moved: the events of the file
    this.chosen = null;
    this.player = new Player(this.data.media, this.data.duration, this.data.note);
    this.view = new TimelineView(this.data, {
      choose: (event) => this.choose(event, true),
      seek: (seconds) => this.seek(seconds),
      hover: (text, x, y) => this.tip(text, x, y),
      press: (event, pointer) => this.press(event, pointer),
    });
    this.corrections = new Corrections(this.data, (events, chosen) => this.corrected(events, chosen));
    this.head();
    this.wire();
    this.recompute();
    this.tick();
  }

  head() {
    const { data } = this;
    byId("title").textContent = data.name;
    byId("warnings").replaceChildren(...data.warnings.map((text) => make("p", { textContent: text })));
    byId("provenance").textContent = JSON.stringify({ media: data.document.media, provenance: data.document.provenance, processing: data.document.processing }, null, 2);
    byId("threshold-part").hidden = !data.tables;
    byId("threshold").value = data.threshold ?? 0.5;
    byId("truth-part").hidden = !data.truth;
    byId("edit-label").append(...data.labels.map((label) => make("option", { value: label, textContent: label.replaceAll("_", " ") })));
    for (const [id, step] of [["edit-onset", 0], ["edit-offset", 0.1]]) Object.assign(byId(id), { min: step, max: data.duration });
    byId("keys").append(...Object.entries(KEYS).flatMap(([key, [words]]) => [make("dt", { textContent: key }), make("dd", { textContent: words })]));
  }

  wire() {
    const on = (id, kind, act) => byId(id).addEventListener(kind, act);
    on("threshold", "input", () => {
      this.threshold = Number(byId("threshold").value);
      this.recompute();
    });
    on("threshold-reset", "click", () => {
      this.threshold = null;
      byId("threshold").value = this.data.threshold ?? 0.5;
      this.recompute();
    });
    on("min-score", "input", () => this.refresh());
    on("search", "input", () => this.refresh());
    on("all-classes", "change", () => this.refresh());
    on("show-truth", "change", () => this.refresh());
    document.querySelectorAll("input[data-modality]").forEach((box) => box.addEventListener("change", () => this.refresh()));
    on("zoom-in", "click", () => this.view.zoom(1.6));
    on("zoom-out", "click", () => this.view.zoom(1 / 1.6));
    on("zoom-fit", "click", () => this.view.zoom(0));
    on("play", "click", () => this.player.toggle());
    on("theme", "click", () => this.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    on("help-open", "click", () => byId("help").showModal());
    on("edit", "click", () => this.edit(!this.corrections.on));
    on("undo", "click", () => this.corrections.undo());
    on("edit-delete", "click", () => this.remove());
    on("edit-add", "click", () => this.corrections.add(byId("edit-label").value, byId("edit-modality").value, this.player.time));
    on("edit-reset", "click", () => {
      this.corrections.reset();
      this.recompute();
    });
    for (const [id, key] of [["edit-label", "label"], ["edit-modality", "modality"], ["edit-onset", "onset"], ["edit-offset", "offset"]]) {
      on(id, "change", () => this.editField(key, byId(id)));
    }
    on("save-json", "click", () => this.saveJson());
    on("save-llp", "click", () => this.saveAnnotations());
    byId("inner").addEventListener("dblclick", (pointer) => {
      const lane = this.corrections.on && !pointer.target.closest(".event") && this.view.laneAt(pointer);
      if (lane) this.corrections.add(lane.label, lane.modality, Math.max(0, this.view.timeAt(pointer) - 0.5));
    });
    byId("editor").addEventListener("submit", (submitted) => submitted.preventDefault());
    document.addEventListener("keydown", (pressed) => this.key(pressed));
    window.addEventListener("beforeunload", (leaving) => {
      if (this.corrections.count && !this.saved) leaving.preventDefault();
    });
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.theme(dark.matches ? "dark" : "light");
    dark.addEventListener("change", () => this.theme(dark.matches ? "dark" : "light"));
  }

  theme(name) {
    document.documentElement.dataset.theme = name;
    this.view.recolour();
  }

  /** Recompute the events, at the start and after a change of the threshold. */
  recompute() {
    const decided = this.threshold === null ? this.base : decideEvents(this.data, this.threshold);
    const steps = this.threshold === null ? [] : this.data.refinements;
    this.events = steps.reduce((events, step) => refineEvents(events, step, this.data.labels), decided);
    this.corrections.reset();
    if (this.corrections.on) this.corrections.begin(this.events);
    this.chosen = null;
    this.refresh();
  }

  corrected(events, chosen) {
    this.events = events;
    this.saved = false;
    this.chosen = chosen && (events.find((event) => same(event, chosen)) ?? null);
    if (this.chosen && !this.visible().events.includes(this.chosen)) this.showAll();
    this.refresh();
    if (this.chosen) this.choose(this.chosen, false);
  }

  /** Reset the filters. */
  showAll() {
    byId("search").value = "";
    byId("min-score").value = 0;
    document.querySelectorAll("input[data-modality]").forEach((box) => (box.checked = true));
  }

  /** Return the events that pass the filters, and the labels of the rows. */
  visible() {
    const modalities = new Set([...document.querySelectorAll("input[data-modality]:checked")].map((box) => box.dataset.modality));
    const least = Number(byId("min-score").value);
    const query = byId("search").value.trim().toLowerCase().replaceAll(" ", "_");
    const named = (label) => label.toLowerCase().replaceAll(" ", "_").includes(query);
    const events = this.events.filter((e) => modalities.has(e.modality) && e.score >= least && named(e.label));
    const present = new Set(events.map((event) => event.label));
    if (this.data.truth && byId("show-truth").checked) this.data.truth.spans.forEach(([, index]) => present.add(this.data.labels[index]));
    const all = byId("all-classes").checked;
    return { events, rows: this.data.labels.filter((label) => named(label) && (all || present.has(label))) };
  }

  /** Return whether the events are unchanged from the file. */
  unchanged() {
    return this.threshold === null && !this.corrections.count;
  }

  refresh() {
    const { events, rows } = this.visible();
    this.listed = events;
    if (!events.includes(this.chosen)) this.chosen = null; // a hidden event must not be deleted
    byId("threshold-reset").hidden = this.threshold === null || this.corrections.count > 0;
    byId("min-score-value").textContent = Number(byId("min-score").value).toFixed(2);
    byId("threshold-value").textContent = this.threshold === null && this.data.threshold === null ? "by class" : Number(byId("threshold").value).toFixed(2);
    byId("threshold").disabled = this.corrections.count > 0;
    byId("threshold-note").textContent = this.corrections.count
      ? "Edited: discard the edits to move it."
      : this.threshold === null ? "As the events were made; move it to decide anew." : "Events are decided anew by this one threshold.";
    byId("undo").hidden = !this.corrections.count;
    byId("nothing").hidden = rows.length > 0;
    byId("timeline").hidden = rows.length === 0;
    const count = (modality) => this.events.filter((event) => event.modality === modality).length;
    const edits = this.corrections.count ? `, ${this.corrections.count} edits` : "";
    byId("facts").textContent = `${clock(this.data.duration, 1)}, ${count("audio")} heard, ${count("visual")} seen, ${count("audio_visual")} both${edits}${this.unchanged() && this.data.truth?.agreement ? ` · ${this.data.truth.agreement}` : ""}`;
    this.view.update(events, rows, byId("show-truth").checked);
    this.list(events);
    this.editor();
    this.now();
  }

  list(events) {
    byId("count").textContent = `(${events.length})`;
    byId("more").hidden = events.length <= MAX_LISTED;
    byId("more").textContent = `The first ${MAX_LISTED} of ${events.length} are listed; filter to see others.`;
    byId("list").tBodies[0].replaceChildren(...events.slice(0, MAX_LISTED).map((event) => this.line(event)));
  }

  line(event) {
    const jump = make("button", { type: "button", textContent: event.label.replaceAll("_", " ") });
    const cells = [clock(event.onset, 1), clock(event.offset, 1), jump, MODALITY_NAMES[event.modality], event.score.toFixed(2)];
    const row = make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
    row.cells[3].className = event.modality;
    row.classList.toggle("chosen", event === this.chosen);
    Object.assign(row.dataset, event);
    row.addEventListener("click", () => this.choose(event, false));
    return row;
  }

  /** Select an event and seek to its onset; null clears the selection. */
  choose(event, focus) {
    this.chosen = event;
    this.view.choose(event, focus);
    [...byId("list").tBodies[0].rows].forEach((row, index) => row.classList.toggle("chosen", this.listed[index] === event));
    this.editor();
    if (event) {
      this.seek(event.onset);
      byId("said").textContent = describe(event);
    }
  }

  /** Select the next (by = 1) or previous (by = -1) event, from the selected one or the playhead. */
  step(by) {
    const events = this.listed;
    if (!events.length) return;
    let index = events.indexOf(this.chosen);
    if (index >= 0) index += by;
    else if (by > 0) index = events.findIndex((event) => event.onset >= this.player.time - 1e-3);
    else index = events.findLastIndex((event) => event.onset < this.player.time);
    const event = events[Math.min(Math.max(index < 0 ? (by > 0 ? events.length - 1 : 0) : index, 0), events.length - 1)];
    this.choose(event, true);
  }

  seek(seconds) {
    this.player.time = seconds;
    this.view.move(this.player.heldTime, true);
    this.now();
  }

  tick() {
    const moved = this.player.time !== this.shownTime;
    if (moved) {
      this.shownTime = this.player.time;
      this.view.move(this.shownTime, this.player.playing);
      this.now();
    }
    byId("play").textContent = this.player.playing ? "❚❚" : "▶";
    requestAnimationFrame(() => this.tick());
  }

  /** Show the time of the playhead and the events there. */
  now() {
    const time = this.player.time;
    byId("clock").textContent = clock(time, 1);
    const current = this.listed.filter((e) => e.modality !== "audio_visual" && e.onset <= time && time < e.offset);
    const text = current.map((event) => `${event.modality} ${event.label}`).join("\n");
    if (text === this.nowText) return;
    this.nowText = text;
    byId("now").replaceChildren(
      ...current.map((e) => make("span", { className: `chip ${e.modality}`, textContent: `${MODALITY_NAMES[e.modality]}: ${e.label.replaceAll("_", " ")}` })),
    );
  }

  tip(text, x, y) {
    const tip = byId("tip");
    tip.hidden = text === null;
    if (text === null) return;
    tip.textContent = text;
    tip.style.left = `${Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${y + 18}px`;
  }

  edit(on) {
    this.corrections.on = on;
    if (on) this.corrections.begin(this.events);
    else if (!this.corrections.count) this.corrections.reset();
    byId("edit").setAttribute("aria-pressed", String(on));
    byId("editor").hidden = !on;
    document.body.classList.toggle("editing", on);
    this.refresh();
  }

  press(event, pointer) {
    if (this.corrections.on && event.modality !== "audio_visual" && pointer.button === 0) this.corrections.drag(event, pointer, this.view);
  }

  editor() {
    const event = this.chosen && this.chosen.modality !== "audio_visual" ? this.chosen : null;
    for (const id of ["edit-onset", "edit-offset", "edit-delete"]) byId(id).disabled = !event;
    byId("edit-onset").value = event ? Number(event.onset.toFixed(3)) : "";
    byId("edit-offset").value = event ? Number(event.offset.toFixed(3)) : "";
    if (event) [byId("edit-label").value, byId("edit-modality").value] = [event.label, event.modality];
  }

  editField(key, field) {
    const event = this.chosen;
    if (!event || event.modality === "audio_visual") return;
    const value = field.type === "number" ? field.valueAsNumber : field.value;
    if (!Number.isNaN(value)) this.corrections.change(event, { [key]: value });
    this.editor();
  }

  remove() {
    if (this.corrections.on && this.chosen && this.chosen.modality !== "audio_visual") this.corrections.remove(this.chosen);
  }

  /** Return the document of the file with the events of this page and the processing steps that led to them. */
  document() {
    const { data } = this;
    const processing = [...(data.document.processing ?? [])];
    if (this.threshold !== null) processing.splice(0, processing.length, { step: "threshold", value: this.threshold }, ...data.refinements);
    if (this.corrections.count) processing.push({ step: "correct", edits: this.corrections.count });
    const events = this.events.map(({ modality, label, onset, offset, score }) => ({
      modality, label, onset, offset, score: Math.round(score * 1e6) / 1e6,
    }));
    const document = { ...data.document, events, ...(processing.length ? { processing } : {}) };
    if (data.tables) document.segments = Object.fromEntries(Object.entries(data.tables).map(([name, table]) => [name, this.rows(table)]));
    return document;
  }

  /** Return a table of probabilities as rows of numbers with six decimals, as events_json.py writes it. */
  rows(table) {
    const width = this.data.labels.length;
    return Array.from({ length: this.data.segments }, (_, second) =>
      Array.from(table.subarray(second * width, (second + 1) * width), (value) => Math.round(value * 1e6) / 1e6),
    );
  }

  save(name, text, kind) {
    const url = URL.createObjectURL(new Blob([text], { type: kind }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    this.saved = true;
  }

  saveJson() {
    this.save(`${this.data.stem}.events.json`, JSON.stringify(this.document(), null, 2) + "\n", "application/json");
  }

  saveAnnotations() {
    const [audio, visual] = toAnnotationFiles(this.data.stem, this.events, this.data.labels, this.data.segments);
    this.save(`${this.data.stem}.eval_audio.csv`, audio, "text/csv");
    this.save(`${this.data.stem}.eval_visual.csv`, visual, "text/csv");
  }

  key(pressed) {
    const typing = pressed.target.closest("input:not([type=range]):not([type=checkbox]), select, dialog");
    if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) {
      const inText = pressed.target.closest("input[type=search]");
      if (pressed.key === "z" && !inText && this.corrections.count) {
        pressed.preventDefault();
        this.corrections.undo();
      }
      return;
    }
    const onRange = pressed.target.closest("input[type=range], audio, video") && pressed.key.startsWith("Arrow");
    const onButton = pressed.key === " " && pressed.target.closest("button:not(.event), input, summary, audio, video");
    if (typing || onRange || onButton) return;
    const name = pressed.key === " " ? "space" : pressed.shiftKey && pressed.key.startsWith("Arrow") ? `shift ${pressed.key}` : pressed.key;
    const known = KEYS[NAMED[name] ?? name];
    if (!known) return;
    pressed.preventDefault();
    known[1](this);
  }
}

const same = (a, b) => ["modality", "label", "onset", "offset"].every((key) => a[key] === b[key]);
const NAMED = { ArrowLeft: "←", ArrowRight: "→", "shift ArrowLeft": "shift ←", "shift ArrowRight": "shift →", Delete: "delete", Backspace: "delete", "=": "+" };
const KEYS = {
  space: ["play or pause", (page) => page.player.toggle()],
  "←": ["a second back", (page) => page.seek(page.player.time - 1)],
  "→": ["a second on", (page) => page.seek(page.player.time + 1)],
  "shift ←": ["ten seconds back", (page) => page.seek(page.player.time - 10)],
  "shift →": ["ten seconds on", (page) => page.seek(page.player.time + 10)],
  n: ["next event", (page) => page.step(1)],
  p: ["previous event", (page) => page.step(-1)],
  "+": ["zoom in", (page) => page.view.zoom(1.6)],
  "-": ["zoom out", (page) => page.view.zoom(1 / 1.6)],
  0: ["fit the whole video", (page) => page.view.zoom(0)],
  e: ["edit, or stop editing", (page) => page.edit(!page.corrections.on)],
  "ctrl z": ["undo a correction", () => {}], // listed in the help; handled in `Page.key`
  delete: ["delete the chosen event, when editing", (page) => page.remove()],
  "?": ["these keys", () => byId("help").showModal()],
};

new Page();

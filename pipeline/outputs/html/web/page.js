// The page: connects controls, player, timeline view, list of events and corrections.

function readData() {
  const data = JSON.parse(byId("data").textContent);
  if (data.probabilities) {
    data.tables = {};
    for (const [name, text] of Object.entries(data.probabilities)) {
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      data.tables[name] = new Float32Array(bytes.buffer);
    }
  }
  data.events = data.events.map(([modality, label, onset, offset, score, comment]) => ({
    modality: MODALITIES[modality], label: data.labels[label], onset, offset, score, ...(comment ? { comment } : {}),
  }));
  return data;
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
    this.events = this.base;
    this.corrections = new Corrections(this.data, (chosen) => this.corrected(chosen));
    this.eventList = new EventList(this.data.words, (event) => this.choose(event, false));
    this.editor = new Editor(this);
    this.head();
    this.controls();
    this.wire();
    this.recompute();
    if (this.data.part) this.view.show(this.data.part);
    this.offerDraft();
    this.tick();
  }

  head() {
    const { data } = this;
    byId("title").textContent = data.name;
    byId("warnings").hidden = !data.warnings.length;
    const [first, ...others] = data.warnings;
    const summary = others.length ? `${first} (and ${countOf(others.length, "more warning")})` : first;
    byId("warnings").replaceChildren(make("summary", { textContent: summary }), ...others.map((text) => make("p", { textContent: text })));
    byId("summary").textContent = data.summary || "The file does not say how these events were made.";
    byId("provenance").textContent = JSON.stringify({ media: data.document.media, provenance: data.document.provenance, processing: data.document.processing }, null, 2);
  }

  controls() {
    const { data } = this;
    const { bands } = this.view;
    byId("threshold-part").hidden = !data.tables;
    byId("threshold").value = data.threshold ?? 0.5;
    document.documentElement.dataset.lanes = data.lanes.join(" ");
    for (const part of document.querySelectorAll("input[data-modality], #legend .audio, #legend .visual, #legend .audio_visual")) {
      const modality = part.dataset.modality ?? part.className;
      (part.closest("label") ?? part).hidden = !this.modalities().includes(modality);
    }
    const single = document.querySelector("input[data-modality=audio_visual]").closest("label");
    if (data.lanes.length < 2) single.hidden = true; // there is nothing to choose
    byId("truth-part").hidden = document.querySelector("#legend .truth").hidden = !data.truth;
    document.querySelector("#legend .shade").hidden = !data.tables;
    if (data.scores) document.querySelector("#legend .shade").firstChild.textContent = "score 0 ";
    for (const [id, step] of [["edit-onset", 0], ["edit-offset", 0.1]]) Object.assign(byId(id), { min: step, max: data.duration });
    byId("sound-part").hidden = !bands.sounds.length;
    byId("sound").append(...[...bands.sounds, ""].map((name) => make("option", { value: name, textContent: SOUNDS[name] ?? "nothing" })));
    byId("attention-part").hidden = !bands.blocks.length;
    const attended = data.labels.filter((label) => data.attention?.labels.includes(label));
    byId("attention").append(make("option", { value: "", textContent: "no class" }), ...attended.map((label) => make("option", { value: label, textContent: classWords(label, data.words) })));
    writeKeys();
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
    on("sound", "change", () => {
      this.view.bands.sound = byId("sound").value || null;
      this.view.layout();
    });
    on("attention", "change", () => {
      this.view.bands.attend(byId("attention").value || null);
      this.view.layout();
    });
    document.querySelectorAll("input[data-modality]").forEach((box) => box.addEventListener("change", () => this.refresh()));
    on("zoom-in", "click", () => this.view.zoom(1.6));
    on("zoom-out", "click", () => this.view.zoom(1 / 1.6));
    on("zoom-fit", "click", () => this.view.zoom(0));
    on("play", "click", () => this.player.toggle());
    on("panel", "click", () => this.showPanel(byId("controls").hidden));
    on("theme", "click", () => this.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    on("help-open", "click", () => byId("help").showModal());
    on("draft-discard", "click", () => this.discardDraft());
    this.wireFiles(on);
    document.addEventListener("keydown", (pressed) => pressKey(this, pressed));
    window.addEventListener("beforeunload", (leaving) => {
      if (this.corrections.count && !this.corrections.saved && !this.hasDraft) leaving.preventDefault();
    });
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.theme(dark.matches ? "dark" : "light");
    dark.addEventListener("change", () => this.theme(dark.matches ? "dark" : "light"));
    const place = () => document.documentElement.style.setProperty("--above", `${Math.round(byId("scroller").getBoundingClientRect().top + window.scrollY)}px`);
    new ResizeObserver(place).observe(document.querySelector("main"));
    place();
  }

  /** Open a file of the user, chosen or dropped. */
  wireFiles(on) {
    const choose = () => byId("file").click();
    on("open", "click", choose);
    on("file", "change", () => byId("file").files.length && this.player.open(byId("file").files[0]));
    const carriesFile = (dragged) => [...(dragged.dataTransfer?.types ?? [])].includes("Files");
    document.addEventListener("dragover", (dragged) => {
      if (!carriesFile(dragged)) return;
      dragged.preventDefault();
      byId("drop").hidden = false;
    });
    document.addEventListener("dragleave", (dragged) => (byId("drop").hidden = !dragged.relatedTarget || byId("drop").hidden));
    document.addEventListener("drop", (dragged) => {
      if (!carriesFile(dragged)) return;
      dragged.preventDefault();
      byId("drop").hidden = true;
      const [file] = dragged.dataTransfer.files;
      if (file) this.player.open(file);
    });
  }

  theme(name) {
    document.documentElement.dataset.theme = name;
    this.view.recolour();
  }

  showPanel(shown) {
    byId("controls").hidden = !shown;
    byId("panel").setAttribute("aria-expanded", String(shown));
  }

  findClass() {
    this.showPanel(true);
    byId("search").focus();
  }

  /** Recompute the events, at the start and after a change of the threshold. */
  recompute() {
    const decided = this.threshold === null ? this.base : decideEvents(this.data, this.threshold);
    const steps = this.threshold === null ? [] : this.data.refinements;
    this.events = steps.reduce((events, step) => refineEvents(events, step, this.data.labels, this.data.lanes), decided);
    this.corrections.reset(this.events);
    this.chosen = null;
    this.refresh();
  }

  corrected(chosen) {
    this.events = this.corrections.all();
    this.hasDraft = this.corrections.keepDraft(this.threshold);
    byId("draft").hidden = true;
    this.chosen = chosen && (this.events.find((event) => sameEvent(event, chosen)) ?? null);
    if (this.chosen && !this.visible().events.includes(this.chosen)) this.showAll();
    this.refresh();
    if (this.chosen) this.choose(this.chosen, false, false);
  }

  /** Go on with the draft of an earlier visit, and say so. */
  offerDraft() {
    const draft = this.corrections.readDraft();
    if (!draft) return;
    if (draft.threshold !== null && this.data.tables && !this.data.decided_elsewhere) {
      this.threshold = draft.threshold;
      byId("threshold").value = draft.threshold;
      this.recompute();
    }
    this.corrections.restore(draft);
    byId("draft").hidden = false;
    byId("draft").firstElementChild.textContent = `Your draft of ${new Date(draft.at).toLocaleString()} was kept in this browser: ${countOf(draft.edits, "edit")}, not saved yet.`;
  }

  discardDraft() {
    this.corrections.discardAll();
    byId("draft").hidden = true;
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
    const query = plainName(byId("search").value.trim());
    const named = (label) => plainName(label).includes(query);
    const events = this.events.filter((e) => modalities.has(e.modality) && e.score >= least && named(e.label));
    const present = new Set(events.map((event) => event.label));
    if (this.data.truth && byId("show-truth").checked) this.data.truth.spans.forEach(([, index]) => present.add(this.data.labels[index]));
    const all = byId("all-classes").checked;
    return { events, rows: this.data.labels.filter((label) => named(label) && (all || present.has(label))) };
  }

  /** Return the modalities of the events: the lanes, and both at once. */
  modalities() {
    return this.data.lanes.length > 1 ? MODALITIES : this.data.lanes;
  }

  /** Return whether the events are unchanged from the file. */
  unchanged() {
    return this.threshold === null && !this.corrections.count;
  }

  refresh() {
    const { events, rows } = this.visible();
    this.listed = events;
    if (!events.includes(this.chosen)) this.chosen = null; // a hidden event must not be deleted
    const edits = this.corrections.count;
    byId("threshold-reset").hidden = this.threshold === null || edits > 0;
    byId("min-score-value").textContent = Number(byId("min-score").value).toFixed(2);
    byId("threshold-value").textContent = this.threshold === null && this.data.threshold === null ? this.data.threshold_words : Number(byId("threshold").value).toFixed(2);
    byId("threshold").disabled = edits > 0 || this.data.decided_elsewhere !== "";
    byId("threshold-note").textContent = this.data.decided_elsewhere || (edits
      ? "Discard the edits to move it."
      : this.threshold === null ? "The events of the file; move it to decide anew." : "Decided anew by this one threshold.");
    byId("scroller").hidden = rows.length === 0;
    this.explainNothing(rows.length === 0);
    const counts = this.modalities().map((modality) => `${this.events.filter((event) => event.modality === modality).length} ${MODALITY_WORDS[modality]}`);
    const made = edits ? ` · ${countOf(edits, "edit")}${this.corrections.saved ? "" : ", not saved"}` : "";
    const agreement = this.unchanged() && this.data.truth?.agreement ? ` · ${this.data.truth.agreement}` : "";
    byId("facts").textContent = `${clock(this.data.duration, 1)} · ${counts.join(", ")}${made}${agreement}`;
    this.view.update(events, rows, byId("show-truth").checked);
    this.view.choose(this.chosen, false);
    this.eventList.show(events, this.chosen);
    this.editor.show();
    this.now();
  }

  /** Say why no row is shown, and offer what can be done. */
  explainNothing(isEmpty) {
    byId("nothing").hidden = !isEmpty;
    if (!isEmpty) return;
    const [text, button] = byId("nothing").children;
    const filtered = this.events.length > 0;
    const threshold = this.threshold ?? this.data.threshold;
    const miss = filtered || this.corrections.count ? null : closestMiss(this.data);
    const isBelow = miss && (threshold === null ? !this.data.refinements.length : miss.probability < threshold);
    const best = isBelow ? miss : null;
    button.hidden = !filtered && !best;
    if (filtered) {
      text.textContent = "No event passes the filters.";
      button.textContent = "Show all";
      button.onclick = () => this.showAll() ?? this.refresh();
    } else if (best) {
      const reached = threshold === null ? "its threshold" : threshold.toFixed(2);
      text.textContent = `Nothing reaches ${reached}; closest: ${classWords(best.label, this.data.words)}, ${MODALITY_WORDS[best.modality]} ${best.probability.toFixed(2)} at ${clock(best.second)}.`;
      button.textContent = `Go to ${clock(best.second)}`;
      button.onclick = () => this.seek(best.second);
    } else {
      text.textContent = "No events.";
    }
  }

  /** Select an event and seek to its onset; null clears the selection. focus: give it the keyboard focus. */
  choose(event, focus, seek = true) {
    this.chosen = event;
    this.view.choose(event, focus);
    this.eventList.mark(event);
    this.editor.show();
    if (!event) return;
    if (this.player.loop) this.player.loop = event;
    if (seek) this.seek(event.onset);
    byId("said").textContent = describe(event, this.data.words);
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

  /** Select the event whose score is next nearest to its threshold. */
  stepUnsure(by) {
    const unsure = (event) => Math.abs(event.score - this.thresholdOf(event));
    const ordered = this.listed.filter((event) => this.data.lanes.includes(event.modality)).sort((a, b) => unsure(a) - unsure(b));
    if (!ordered.length) return;
    const index = ordered.indexOf(this.chosen) + by;
    this.choose(ordered[Math.min(Math.max(index, 0), ordered.length - 1)], true);
  }

  thresholdOf(event) {
    const table = this.data.document.provenance?.thresholds?.[`${tableOf(event.modality)}_segment`];
    const known = this.threshold ?? (typeof table === "object" ? table?.[event.label] : table);
    return typeof known === "number" ? known : 0.5;
  }

  playChosen(again) {
    if (again && this.player.loop) {
      this.player.loop = null;
      this.player.pause();
    } else if (this.chosen) {
      this.player.playEvent(this.chosen, again);
    }
  }

  seek(seconds) {
    this.player.stop = null;
    this.player.time = seconds;
    this.view.move(this.player.heldTime, true);
    this.now();
  }

  tick() {
    this.player.tick();
    const { time } = this.player;
    if (time !== this.shownTime) {
      this.shownTime = time;
      this.view.move(time, this.player.playing);
      this.now();
    }
    byId("play").textContent = this.player.playing ? "❚❚" : "▶";
    requestAnimationFrame(() => this.tick());
  }

  /** Show the time of the playhead and the events there. */
  now() {
    const { time } = this.player;
    byId("clock").textContent = clock(time, 1);
    const current = this.listed.filter((e) => this.data.lanes.includes(e.modality) && e.onset <= time && time < e.offset);
    const text = current.map((event) => `${event.modality} ${event.label}`).join("\n");
    if (text === this.nowText) return;
    this.nowText = text;
    byId("now").replaceChildren(...current.map((e) =>
      make("span", { className: `chip ${e.modality}`, title: MODALITY_WORDS[e.modality] }, ...icons(e.modality), make("span", { className: "visually-hidden", textContent: `${MODALITY_WORDS[e.modality]}: ` }), classWords(e.label, this.data.words)),
    ));
  }

  tip(text, x, y) {
    const tip = byId("tip");
    tip.hidden = text === null;
    if (text === null) return;
    tip.textContent = text;
    tip.style.left = `${Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(y + 18, window.innerHeight - tip.offsetHeight - 8)}px`;
  }

  /** Say something where it is seen and read aloud, for some seconds. */
  say(text) {
    byId("note").textContent = text;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => (byId("note").textContent = ""), 10000);
  }

  press(event, pointer) {
    if (this.corrections.on && this.data.lanes.includes(event.modality) && pointer.button === 0) dragEvent(event, pointer, this.view, this.corrections);
  }
}

new Page();

// The form for the selected event, and saving what was corrected.

const NAME = "avvp-name"; // of the user, in the browser's storage

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // asked again on the next visit
  }
}

class Editor {
  constructor(page) {
    Object.assign(this, { page, data: page.data, corrections: page.corrections });
    const on = (id, kind, act) => byId(id).addEventListener(kind, act);
    on("edit", "click", () => this.toggle(!this.corrections.on));
    on("undo", "click", () => this.corrections.undo());
    on("redo", "click", () => this.corrections.redo());
    on("edit-delete", "click", () => this.remove());
    on("edit-add", "click", () => this.addAtPlayhead());
    on("edit-reset", "click", () => this.corrections.discardAll());
    on("edit-label", "change", () => this.relabel(this.labelOf(byId("edit-label").value)));
    on("edit-modality", "change", () => this.change({ modality: byId("edit-modality").value }));
    on("edit-comment", "change", () => this.change({ comment: byId("edit-comment").value.trim() }));
    for (const key of ["onset", "offset"]) {
      on(`edit-${key}`, "change", () => {
        const value = byId(`edit-${key}`).valueAsNumber;
        if (!Number.isNaN(value)) this.change({ [key]: value });
        this.show();
      });
    }
    byId("edit-modality").replaceChildren(...this.data.lanes.map((lane) => make("option", { value: lane, textContent: MODALITY_WORDS[lane] })));
    byId("edit-modality").parentElement.hidden = this.data.lanes.length < 2;
    byId("edit-by").value = remembered();
    on("edit-by", "change", () => remember(byId("edit-by").value.trim()));
    on("editor", "submit", (submitted) => submitted.preventDefault());
    on("save", "click", () => this.saveToServer());
    on("save-json", "click", () => this.saveJson());
    on("save-llp", "click", () => this.saveAnnotations());
    this.stored = [null, this.corrections.first]; // threshold and corrections that the server has
    byId("save").hidden = byId("home").hidden = !this.data.save;
    byId("rows").addEventListener("dblclick", (pointer) => {
      const lane = this.corrections.on && !pointer.target.closest(".event") && page.view.laneAt(pointer);
      if (lane) this.corrections.add(lane.label, lane.modality, Math.max(0, page.view.timeAt(pointer) - 0.5));
    });
  }

  /** The selected event if it can be changed, else null. */
  get event() {
    const { chosen } = this.page;
    return chosen && this.data.lanes.includes(chosen.modality) ? chosen : null;
  }

  toggle(on) {
    this.corrections.on = on;
    byId("edit").setAttribute("aria-pressed", String(on));
    byId("editor").hidden = !on;
    document.body.classList.toggle("editing", on);
    this.page.view.numbered = on;
    this.page.refresh();
  }

  /** Show the selected event in the form. */
  show() {
    const { event } = this;
    for (const id of ["edit-onset", "edit-offset", "edit-delete", "edit-comment"]) byId(id).disabled = !event;
    byId("edit-onset").value = event ? Number(event.onset.toFixed(3)) : "";
    byId("edit-offset").value = event ? Number(event.offset.toFixed(3)) : "";
    byId("edit-comment").value = event?.comment ?? "";
    if (event) [byId("edit-label").value, byId("edit-modality").value] = [this.words(event.label), event.modality];
    byId("undo").hidden = byId("redo").hidden = !(this.corrections.on || this.corrections.past.length || this.corrections.future.length);
    byId("undo").disabled = !this.corrections.past.length;
    byId("redo").disabled = !this.corrections.future.length;
    byId("edit-reset").disabled = !this.corrections.count;
    byId("save").disabled = this.saving || this.isStored();
    const listed = byId("edit-labels");
    if (listed.childElementCount !== this.data.labels.length) {
      listed.replaceChildren(...this.data.labels.map((label) => make("option", { value: this.words(label) })));
    }
  }

  words(label) {
    return classWords(label, this.data.words);
  }

  /** Return the class that a typed name stands for, a new class for an unknown name, null for none. */
  labelOf(typed) {
    const name = typed.trim();
    const fitting = this.data.labels.filter((label) => [label, this.words(label)].some((known) => plainName(known) === plainName(name)));
    const exact = fitting.find((label) => label === this.event?.label && this.words(label) === name) ?? fitting.find((label) => label === name);
    return exact ?? fitting[0] ?? (name || null);
  }

  change(change) {
    if (this.event) this.corrections.change(this.event, change);
  }

  relabel(label) {
    if (label !== null && this.event) {
      const isNew = !this.data.labels.includes(label);
      this.change({ label });
      if (isNew) this.page.say(`${label} is a new class: the model does not know it.`);
    }
    this.show();
  }

  /** Move an edge of the selected event by seconds. */
  nudge(edge, by) {
    if (this.corrections.on && this.event) this.change({ [edge]: this.event[edge] + by });
  }

  /** Put an edge of the selected event at the playhead. */
  setEdge(edge) {
    if (this.corrections.on && this.event) this.change({ [edge]: this.page.player.time });
  }

  /** Give the selected event the class of a row. */
  chooseClass(row) {
    const label = this.page.view.rows[row];
    if (this.corrections.on && label !== undefined) this.relabel(label);
  }

  comment() {
    if (this.corrections.on && this.event) byId("edit-comment").focus();
  }

  swapModality() {
    if (this.corrections.on && this.data.lanes.length > 1) this.change({ modality: this.event?.modality === "audio" ? "visual" : "audio" });
  }

  addAtPlayhead() {
    const label = this.labelOf(byId("edit-label").value) ?? this.page.view.rows[0] ?? this.data.labels[0];
    if (label) this.corrections.add(label, byId("edit-modality").value, this.page.player.time);
  }

  remove() {
    if (this.corrections.on && this.event) this.corrections.remove(this.event);
  }

  /** Return the document of the file with the events of this page and the processing steps that led to them. */
  document() {
    const { data, page } = this;
    const processing = [...(data.document.processing ?? [])];
    if (page.threshold !== null) processing.splice(0, processing.length, { step: "threshold", value: page.threshold }, ...data.refinements);
    if (this.corrections.count) {
      const by = byId("edit-by").value.trim();
      const at = new Date().toISOString().replace(/\.\d+Z$/, "Z");
      processing.push({ step: "correct", edits: this.corrections.count, ...(by ? { by } : {}), at });
    }
    const events = page.events.map(({ modality, label, onset, offset, score, comment }) => ({
      modality, label, onset, offset, score: Math.round(score * 1e6) / 1e6, ...(comment ? { comment } : {}),
    }));
    const document = { ...data.document, labels: data.labels, events, ...(processing.length ? { processing } : {}) };
    if (data.tables) document.segments = Object.fromEntries(Object.entries(data.tables).map(([name, table]) => [name, this.rows(table)]));
    return document;
  }

  /** Return a table of probabilities as rows of numbers with six decimals, as events_json.py writes it. */
  rows(table) {
    const width = this.data.classes;
    return Array.from({ length: this.data.segments }, (_, second) =>
      Array.from(table.subarray(second * width, (second + 1) * width), (value) => Math.round(value * 1e6) / 1e6),
    );
  }

  /** Send the document to the server that the page came from. */
  async saveToServer() {
    const { url, version } = this.data.save;
    const sent = [this.page.threshold, this.corrections.state];
    this.saving = true;
    this.show();
    try {
      const headers = { "Content-Type": "application/json", "If-Match": `"${version}"` };
      const answer = await fetch(url, { method: "PUT", headers, body: JSON.stringify(this.document()) });
      const content = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(content.detail ?? `the server answered ${answer.status}`);
      this.corrections.dropDraft(); // before the version changes, which is in its name
      this.data.save.version = content.version;
      this.stored = sent;
      this.corrections.saved = this.isStored();
      if (!this.corrections.saved) this.page.hasDraft = this.corrections.keepDraft(this.page.threshold);
      this.page.say("Saved.");
    } catch (error) {
      this.page.say(`Not saved: ${error.message}. Save JSON keeps your work in a file.`);
    }
    this.saving = false;
    this.page.refresh();
  }

  /** Return whether the server has the events of this page. */
  isStored() {
    const [threshold, state] = this.stored;
    const isSame = state === this.corrections.state || !(state.edits || this.corrections.count);
    return threshold === this.page.threshold && isSame;
  }

  save(name, text, kind) {
    const url = URL.createObjectURL(new Blob([text], { type: kind }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  saveJson() {
    this.save(`${this.data.stem}.events.json`, JSON.stringify(this.document(), null, 2) + "\n", "application/json");
    this.corrections.saved = true; // the draft stays: a download can fail, or be thrown away
    this.page.refresh();
  }

  saveAnnotations() {
    const [audio, visual] = toAnnotationFiles(this.data.clip, this.page.events, this.data.labels, this.data.segments, this.data.lanes);
    this.save(`${this.data.stem}.eval_audio.csv`, audio, "text/csv");
    this.save(`${this.data.stem}.eval_visual.csv`, visual, "text/csv");
  }
}

// Corrections by the user: move, stretch, relabel, comment, add and delete events. Every one can be undone, and a draft
// of them is kept in the browser. Audio-visual events are recomputed.

const SNAP = 10; // steps per second
const DRAFT = "avvp-draft:"; // of the names in the browser's storage, before the hash of the timeline

/** Return whether a draft is what `Corrections.keepDraft` writes. known: labels of the file; lanes: its modalities. */
function isDraft({ events, labels, edits, threshold }, known, lanes) {
  const isShare = (value) => Number.isFinite(value) && value >= 0 && value <= 1;
  if (!Array.isArray(events) || !Array.isArray(labels) || !Number.isInteger(edits) || edits < 1) return false;
  const names = new Set(labels);
  const isEvent = (event) =>
    event && lanes.includes(event.modality) && names.has(event.label) && isShare(event.score) &&
    Number.isFinite(event.onset) && Number.isFinite(event.offset) && event.onset >= 0 && event.onset < event.offset &&
    typeof (event.comment ?? "") === "string";
  const areLabels = labels.every((label) => typeof label === "string") && known.every((label, at) => labels[at] === label);
  return (threshold === null || isShare(threshold)) && areLabels && events.every(isEvent);
}

class Corrections {
  /** changed(chosen): callback after each change, with the event to select or null. */
  constructor(data, changed) {
    Object.assign(this, { data, changed, on: false });
    this.reset([]);
  }

  /** Start from these events, without corrections. */
  reset(events) {
    this.original = events;
    const edited = events.filter((event) => this.data.lanes.includes(event.modality));
    this.first = { events: edited, labels: this.data.document.labels, edits: 0 };
    Object.assign(this, { past: [], future: [], saved: true });
    this.enter(this.first);
  }

  enter(state) {
    this.state = state;
    this.data.labels = state.labels;
  }

  /** Number of corrections. */
  get count() {
    return this.state.edits;
  }

  /** All events with audio-visual ones, which stay as they were at the same times; the original events without
   * corrections. */
  all() {
    if (!this.count) return this.original;
    if (this.data.lanes.includes("audio_visual")) return sortEvents(this.state.events, this.data.labels);
    return sortEvents(keepAudioVisual(this.state.events, this.original), this.data.labels);
  }

  /** Go to a new state, from which `undo` returns. */
  push(state, chosen = null) {
    this.past.push(this.state);
    this.future = [];
    this.show(state, chosen);
  }

  show(state, chosen = null) {
    this.enter(state);
    this.saved = false;
    this.changed(chosen);
  }

  replace(old, events) {
    const { state } = this;
    const labels = [...state.labels, ...new Set(events.map((event) => event.label).filter((label) => !state.labels.includes(label)))];
    this.push({ events: [...state.events.filter((event) => event !== old), ...events], labels, edits: state.edits + 1 }, events[0]);
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.state);
    this.show(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.state);
    this.show(this.future.pop());
  }

  discardAll() {
    if (this.count) this.push(this.first);
  }

  /** Apply a change to an event; its score becomes 1, unless only the comment changes. Changed times are rounded to
   * tenths of a second, lie within the media and are at least a tenth apart. */
  corrected(event, change) {
    const snap = (seconds) => Math.round(seconds * SNAP) / SNAP;
    const result = { ...event, ...change };
    if (Object.keys(change).some((key) => key !== "comment")) result.score = 1;
    if (change.onset !== undefined) {
      const latest = (change.offset === undefined ? result.offset : this.data.duration) - 1 / SNAP;
      result.onset = Math.max(0, Math.min(snap(change.onset), snap(latest)));
    }
    if (change.offset !== undefined) {
      const latest = Math.max(Math.min(snap(change.offset), this.data.duration), snap(result.onset + 1 / SNAP));
      result.offset = latest > this.data.duration && result.onset < this.data.duration ? this.data.duration : latest;
    }
    return result;
  }

  change(event, change) {
    const result = this.corrected(event, change);
    const isSame = sameEvent(result, event) && (result.comment ?? "") === (event.comment ?? "");
    if (!isSame) this.replace(event, [result]);
  }

  add(label, modality, onset) {
    const first = Math.max(0, Math.min(onset, this.data.duration - 1));
    this.replace(null, [this.corrected({ label, modality }, { onset: first, offset: first + 1 })]);
  }

  remove(event) {
    this.replace(event, []);
  }

  get draftName() {
    const { save, hash } = this.data;
    return DRAFT + (save ? `${save.url} ${save.version}` : hash);
  }

  /** Keep the corrections in the browser. threshold: that the events were decided with, or null. Returns whether it could. */
  keepDraft(threshold) {
    try {
      if (this.count) localStorage.setItem(this.draftName, JSON.stringify({ ...this.state, threshold, at: Date.now() }));
      else localStorage.removeItem(this.draftName);
      return true;
    } catch {
      return false; // storage is full, or switched off
    }
  }

  dropDraft() {
    try {
      localStorage.removeItem(this.draftName);
    } catch {
      // there is no storage, and no draft
    }
  }

  /** Read the draft of an earlier visit: {events, labels, edits, threshold, at}; null where there is none. */
  readDraft() {
    try {
      const draft = JSON.parse(localStorage.getItem(this.draftName));
      return draft && isDraft(draft, this.data.document.labels, this.data.lanes) ? draft : null;
    } catch {
      return null;
    }
  }

  /** Go on with a draft; `undo` returns to the events without it. */
  restore({ events, labels, edits }) {
    this.push({ events, labels, edits });
  }
}

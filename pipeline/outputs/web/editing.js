// Corrections: events moved, stretched, relabelled, added and deleted by a person. What coincides follows from them.

const SNAP = 10; // steps in a second
const EDGE = 8; // pixels at both ends of an event that stretch it

class Corrections {
  /** changed(events, chosen): called with all events after each change. */
  constructor(data, changed) {
    Object.assign(this, { data, changed, events: null, past: [], on: false });
  }

  get made() {
    return this.past.length;
  }

  /** From here on these events are corrected. */
  begin(events) {
    this.events ??= events.filter((event) => event.modality !== "audio_visual");
  }

  reset() {
    Object.assign(this, { events: null, past: [] });
  }

  all() {
    return sortEvents(withBoth(this.events), this.data.labels);
  }

  replace(old, events) {
    this.past.push(this.events);
    this.events = [...this.events.filter((event) => event !== old), ...events];
    this.changed(this.all(), events[0] ?? null);
  }

  undo() {
    if (!this.past.length) return;
    this.events = this.past.pop();
    this.changed(this.all(), null);
  }

  /** A person's word: its score is 1. Times are kept within the media, and at least a tenth of a second apart. */
  corrected(event, change) {
    const snap = (seconds) => Math.round(seconds * SNAP) / SNAP;
    const made = { ...event, ...change, score: 1 };
    const last = Math.max(this.data.duration, 1 / SNAP);
    made.onset = Math.min(Math.max(snap(made.onset), 0), snap(last) - 1 / SNAP);
    made.onset = Math.max(0, snap(made.onset));
    made.offset = Math.max(Math.min(snap(made.offset), last), snap(made.onset + 1 / SNAP));
    return made;
  }

  change(event, change) {
    const made = this.corrected(event, change);
    const same = ["modality", "label", "onset", "offset"].every((key) => made[key] === event[key]);
    if (!same) this.replace(event, [made]);
  }

  add(label, modality, onset) {
    this.replace(null, [this.corrected({ label, modality, onset, offset: onset + 1 }, {})]);
  }

  remove(event) {
    this.replace(event, []);
  }

  /** Dragging with mouse, pen or finger. */
  drag(event, pointer, view) {
    const element = view.shown.get(event);
    const box = element.getBoundingClientRect();
    const edge = Math.min(EDGE, box.width / 3);
    const part = pointer.clientX - box.left < edge ? "onset" : box.right - pointer.clientX < edge ? "offset" : "both";
    const began = view.timeAt(pointer);
    let change = {};
    const move = (now) => {
      const by = view.timeAt(now) - began;
      const held = Math.max(-event.onset, Math.min(by, this.data.duration - event.offset));
      if (part === "both") change = { onset: event.onset + held, offset: event.offset + held };
      else if (part === "onset") change = { onset: Math.min(event.onset + by, event.offset - 1 / SNAP) };
      else change = { offset: event.offset + by };
      const shown = this.corrected(event, change);
      element.style.left = `${view.x(shown.onset)}px`;
      element.style.width = `${Math.max(3, view.x(shown.offset - shown.onset))}px`;
    };
    const finish = (done) => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", end);
      element.removeEventListener("pointercancel", cancel);
      if (done) this.change(event, change);
      else view.layout();
    };
    const [end, cancel] = [() => finish(true), () => finish(false)];
    element.setPointerCapture(pointer.pointerId);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", cancel);
  }
}

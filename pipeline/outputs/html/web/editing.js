// Corrections: events moved, stretched, relabelled, added and deleted by a person. What coincides follows from them.

const SNAP = 10; // steps in a second
const CLICK = 3; // pixels that a pointer moves in a click
const EDGE = 8; // pixels at both ends of an event that stretch it

class Corrections {
  /** changed(events, chosen): called with all events after each change. */
  constructor(data, changed) {
    Object.assign(this, { data, changed, events: null, original: [], past: [], on: false });
  }

  get made() {
    return this.past.length;
  }

  /** From here on these events are corrected. */
  begin(events) {
    if (this.events) return;
    this.original = events;
    this.events = events.filter((event) => event.modality !== "audio_visual");
  }

  reset() {
    Object.assign(this, { events: null, original: [], past: [] });
  }

  /** With what coincides; where that was so before, its score stays. Without corrections, what there was. */
  all() {
    if (!this.past.length) return this.original;
    const key = (event) => JSON.stringify([event.label, event.onset, event.offset]);
    const scores = new Map(this.original.filter((e) => e.modality === "audio_visual").map((e) => [key(e), e.score]));
    const events = withBoth(this.events).map((event) =>
      event.modality === "audio_visual" ? { ...event, score: scores.get(key(event)) ?? event.score } : event,
    );
    return sortEvents(events, this.data.labels);
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

  /** A person's word: its score is 1. Times that change are whole tenths, within the media, a tenth apart at least. */
  corrected(event, change) {
    const snap = (seconds) => Math.round(seconds * SNAP) / SNAP;
    const made = { ...event, ...change, score: 1 };
    if (change.onset !== undefined) {
      const latest = (change.offset === undefined ? made.offset : this.data.duration) - 1 / SNAP;
      made.onset = Math.max(0, Math.min(snap(change.onset), snap(latest)));
    }
    if (change.offset !== undefined) {
      made.offset = Math.max(Math.min(snap(change.offset), this.data.duration), snap(made.onset + 1 / SNAP));
    }
    return made;
  }

  change(event, change) {
    const made = this.corrected(event, change);
    const same = ["modality", "label", "onset", "offset"].every((key) => made[key] === event[key]);
    if (!same) this.replace(event, [made]);
  }

  add(label, modality, onset) {
    const first = Math.max(0, Math.min(onset, this.data.duration - 1));
    this.replace(null, [this.corrected({ label, modality }, { onset: first, offset: first + 1 })]);
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
    let change = null; // until it is moved: a click is no correction
    const move = (now) => {
      if (!change && Math.abs(now.clientX - pointer.clientX) < CLICK) return;
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
      if (done && change) this.change(event, change);
      else view.layout();
    };
    const [end, cancel] = [() => finish(true), () => finish(false)];
    element.setPointerCapture(pointer.pointerId);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", cancel);
  }
}

// Corrections by the user: move, stretch, relabel, add and delete events. Audio-visual events are recomputed.

const SNAP = 10; // steps per second
const CLICK = 3; // pixels; a shorter movement of the pointer is a click, not a drag
const EDGE = 8; // pixels at each end of an event that stretch it when dragged

class Corrections {
  /** changed(events, chosen): callback after each change; all events, and the event to select or null. */
  constructor(data, changed) {
    Object.assign(this, { data, changed, events: null, original: [], past: [], on: false });
  }

  /** Number of corrections. */
  get count() {
    return this.past.length;
  }

  /** Start to correct these events. */
  begin(events) {
    if (this.events) return;
    this.original = events;
    this.events = events.filter((event) => event.modality !== "audio_visual");
  }

  reset() {
    Object.assign(this, { events: null, original: [], past: [] });
  }

  /** All events with audio-visual ones, which keep the scores they had at the same times; the original events without
   * corrections. */
  all() {
    if (!this.past.length) return this.original;
    const key = (event) => JSON.stringify([event.label, event.onset, event.offset]);
    const scores = new Map(this.original.filter((e) => e.modality === "audio_visual").map((e) => [key(e), e.score]));
    const events = withAudioVisual(this.events).map((event) =>
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

  /** Apply a change to an event; its score becomes 1. Changed times are rounded to tenths of a second, lie within the
   * media and are at least a tenth apart. */
  corrected(event, change) {
    const snap = (seconds) => Math.round(seconds * SNAP) / SNAP;
    const result = { ...event, ...change, score: 1 };
    if (change.onset !== undefined) {
      const latest = (change.offset === undefined ? result.offset : this.data.duration) - 1 / SNAP;
      result.onset = Math.max(0, Math.min(snap(change.onset), snap(latest)));
    }
    if (change.offset !== undefined) {
      result.offset = Math.max(Math.min(snap(change.offset), this.data.duration), snap(result.onset + 1 / SNAP));
    }
    return result;
  }

  change(event, change) {
    const result = this.corrected(event, change);
    const same = ["modality", "label", "onset", "offset"].every((key) => result[key] === event[key]);
    if (!same) this.replace(event, [result]);
  }

  add(label, modality, onset) {
    const first = Math.max(0, Math.min(onset, this.data.duration - 1));
    this.replace(null, [this.corrected({ label, modality }, { onset: first, offset: first + 1 })]);
  }

  remove(event) {
    this.replace(event, []);
  }

  /** Drag an event with mouse, pen or finger: its ends stretch it, the middle moves it. */
  drag(event, pointer, view) {
    const element = view.shown.get(event);
    const box = element.getBoundingClientRect();
    const edge = Math.min(EDGE, box.width / 3);
    const part = pointer.clientX - box.left < edge ? "onset" : box.right - pointer.clientX < edge ? "offset" : "both";
    const began = view.timeAt(pointer);
    let change = null; // until the pointer moves: a click is not a correction
    const move = (now) => {
      if (!change && Math.abs(now.clientX - pointer.clientX) < CLICK) return;
      const by = view.timeAt(now) - began;
      const shift = Math.max(-event.onset, Math.min(by, this.data.duration - event.offset));
      if (part === "both") change = { onset: event.onset + shift, offset: event.offset + shift };
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

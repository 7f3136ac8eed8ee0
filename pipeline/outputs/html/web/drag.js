// Move and stretch an event with mouse, pen or finger.

const CLICK = 3; // pixels; a shorter movement of the pointer is a click, not a drag
const EDGE = 8; // pixels at each end of an event that stretch it when dragged

/** Drag an event: its ends stretch it, the middle moves it. */
function dragEvent(event, pointer, view, corrections) {
  const element = view.shown.get(event);
  const box = element.getBoundingClientRect();
  const edge = Math.min(EDGE, box.width / 3);
  const part = pointer.clientX - box.left < edge ? "onset" : box.right - pointer.clientX < edge ? "offset" : "both";
  const began = view.timeAt(pointer);
  let change = null; // until the pointer moves: a click is not a correction
  const move = (now) => {
    if (!change && Math.abs(now.clientX - pointer.clientX) < CLICK) return;
    const by = view.timeAt(now) - began;
    const shift = Math.max(-event.onset, Math.min(by, view.data.duration - event.offset));
    if (part === "both") change = { onset: event.onset + shift, offset: event.offset + shift };
    else if (part === "onset") change = { onset: Math.min(event.onset + by, event.offset - 1 / SNAP) };
    else change = { offset: event.offset + by };
    view.place(corrections.corrected(event, change), element);
  };
  const finish = (done) => {
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", end);
    element.removeEventListener("pointercancel", cancel);
    if (done && change) corrections.change(event, change);
    else view.layout();
  };
  const [end, cancel] = [() => finish(true), () => finish(false)];
  element.setPointerCapture(pointer.pointerId);
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", cancel);
}

// Timeline view: rows of classes over a time axis; only the visible seconds are drawn.

const LANES = { audio: [4, 20], visual: [27, 20], audio_visual: [50, 6] }; // top and height within a row, pixels
const BAR = 14; // height of events; the rest of a lane shows the probabilities below them
const ROW = 60;
const RULER = 26;
const CHUNK = 16384; // seconds; browsers reject wider canvases
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const MODALITY_NAMES = { audio: "heard", visual: "seen", audio_visual: "heard and seen" };

function clock(seconds, digits = 0) {
  const scaled = Math.round(seconds * 10 ** digits) / 10 ** digits;
  const hours = Math.floor(scaled / 3600);
  const minutes = Math.floor(scaled / 60) % 60;
  const rest = (scaled % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

class TimelineView {
  /** data: written by page.py; on: callbacks choose(event), seek(seconds), hover(text or null, x, y). */
  constructor(data, on) {
    Object.assign(this, { data, on, rows: [], events: [], chosen: null, truth: true, time: 0, scale: 0 });
    this.scroller = document.getElementById("scroller");
    this.inner = document.getElementById("inner");
    this.names = document.getElementById("names");
    this.canvas = document.getElementById("heat");
    this.layer = document.getElementById("events");
    this.ruler = document.getElementById("ruler");
    this.head = document.getElementById("playhead");
    this.shown = new Map();
    this.strips = new Map();
    this.scroller.addEventListener("scroll", () => this.schedule());
    new ResizeObserver(() => this.fitted()).observe(this.scroller);
    this.inner.addEventListener("pointermove", (pointer) => this.hover(pointer));
    this.inner.addEventListener("pointerleave", () => on.hover(null));
    this.inner.addEventListener("click", (pointer) => {
      if (!pointer.target.closest(".event")) on.seek(this.timeAt(pointer));
    });
  }

  get fitScale() {
    return this.scroller.clientWidth / this.data.duration;
  }

  fitted() {
    if (!this.scale || this.scale < this.fitScale) this.scale = this.fitScale;
    this.layout();
  }

  /** Zoom by a factor, 0 to fit the whole video; the playhead, if visible, keeps its position on the screen. */
  zoom(factor) {
    const anchor = Math.min(Math.max(this.x(this.time) - this.scroller.scrollLeft, 0), this.scroller.clientWidth);
    const seconds = (this.scroller.scrollLeft + anchor) / this.scale;
    this.scale = factor ? Math.min(Math.max(this.scale * factor, this.fitScale), 240) : this.fitScale;
    this.layout();
    this.scroller.scrollLeft = seconds * this.scale - anchor;
    this.schedule();
  }

  x(seconds) {
    return seconds * this.scale;
  }

  timeAt(pointer) {
    const seconds = (pointer.clientX - this.inner.getBoundingClientRect().left) / this.scale;
    return Math.min(Math.max(seconds, 0), this.data.duration);
  }

  /** Return the lane under the pointer: {label, modality} or null. */
  laneAt(pointer) {
    const y = pointer.clientY - this.inner.getBoundingClientRect().top - RULER;
    const label = this.rows[Math.floor(y / ROW)];
    if (y < 0 || label === undefined) return null;
    return { label, modality: y % ROW < LANES.visual[0] - 1 ? "audio" : "visual" };
  }

  /** Show events. rows: labels from top to bottom; truth: whether to show the ground truth. */
  update(events, rows, truth) {
    Object.assign(this, { events, truth });
    this.longest = events.reduce((longest, event) => Math.max(longest, event.offset - event.onset), 0);
    if (rows.join("\n") !== this.rows.join("\n")) {
      this.rows = rows;
      this.names.replaceChildren(...rows.map((label) => this.name(label)));
    }
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
    this.layout();
  }

  name(label) {
    const element = make("div", { className: "name", title: label }, make("span", { textContent: label.replaceAll("_", " ") }));
    element.style.height = `${ROW}px`;
    return element;
  }

  layout() {
    const height = RULER + this.rows.length * ROW;
    this.inner.style.width = `${this.x(this.data.duration)}px`;
    this.inner.style.height = `${height}px`;
    const ratio = window.devicePixelRatio || 1;
    const width = this.scroller.clientWidth;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.rescaled = true;
    this.move(this.time);
    this.schedule();
  }

  schedule() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  draw() {
    const [left, width] = [this.scroller.scrollLeft, this.scroller.clientWidth];
    const [from, to] = [left / this.scale, Math.min((left + width) / this.scale, this.data.duration)];
    this.drawHeat(from, to);
    this.drawRuler(from, to);
    this.drawEvents(from - 40 / this.scale, to + 40 / this.scale);
  }

  drawHeat(from, to) {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = this.scale < 1;
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--grid");
    this.rows.forEach((label, row) => context.fillRect(0, RULER + row * ROW, this.scroller.clientWidth, 1));
    if (!this.data.tables) return;
    this.rows.forEach((label, row) => {
      for (const modality of ["audio", "visual"]) {
        const [top, height] = LANES[modality];
        for (let first = Math.floor(from / CHUNK) * CHUNK; first < to; first += CHUNK) {
          const strip = this.strip(label, modality, first);
          context.drawImage(
            strip, this.x(first) - this.scroller.scrollLeft, RULER + row * ROW + top, strip.width * this.scale, height,
          );
        }
      }
    });
  }

  /** Return a cached canvas with one pixel per second of a lane, whose opacity is the probability. */
  strip(label, modality, first) {
    const key = JSON.stringify([label, modality, first]);
    if (!this.strips.has(key)) {
      const [classes, index] = [this.data.labels.length, this.data.labels.indexOf(label)];
      const width = Math.min(CHUNK, this.data.segments - first);
      const canvas = make("canvas", { width, height: 1 });
      const context = canvas.getContext("2d");
      context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${modality}`);
      for (let second = 0; second < width; second++) {
        context.globalAlpha = 0.8 * this.data.tables[modality][(first + second) * classes + index];
        context.fillRect(second, 0, 1, 1);
      }
      this.strips.set(key, canvas);
    }
    return this.strips.get(key);
  }

  recolour() {
    this.strips.clear();
    this.schedule();
  }

  drawRuler(from, to) {
    const step = STEPS.find((seconds) => seconds * this.scale >= 64) ?? 14400;
    const marks = [];
    for (let second = Math.floor(from / step) * step; second <= to; second += step) {
      const mark = make("span", { textContent: clock(second) });
      mark.style.left = `${this.x(second)}px`;
      if (this.x(this.data.duration - second) > 30 || second === 0) marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  drawEvents(from, to) {
    const visible = new Map(); // event -> row
    const rowOf = new Map(this.rows.map((label, row) => [label, row]));
    for (let index = this.firstFrom(from - this.longest); index < this.events.length; index++) {
      const event = this.events[index];
      if (event.onset >= to) break;
      if (event.offset > from && rowOf.has(event.label)) visible.set(event, rowOf.get(event.label));
    }
    for (const [event, element] of this.shown) {
      if (!visible.has(event)) {
        element.remove();
        this.shown.delete(event);
      }
    }
    for (const [event, row] of visible) {
      const existing = this.shown.get(event);
      const element = existing ?? this.layer.appendChild(this.element(event));
      if (!existing || this.rescaled) this.position(event, element, row);
      this.shown.set(event, element);
    }
    this.rescaled = false;
    this.drawTruth(from, to, rowOf);
  }

  /** Return the index of the first event, in order of onset, that begins at `seconds` or later. */
  firstFrom(seconds) {
    let [low, high] = [0, this.events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle].onset < seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  drawTruth(from, to, rowOf) {
    if (!this.data.truth) return;
    this.layer.querySelectorAll(".true").forEach((element) => element.remove());
    if (!this.truth) return;
    for (const [modality, index, onset, offset] of this.data.truth.spans) {
      const row = rowOf.get(this.data.labels[index]);
      if (row === undefined || onset >= to || offset <= from) continue;
      const element = make("div", { className: "true" });
      element.style.left = `${this.x(onset)}px`;
      element.style.width = `${this.x(offset - onset)}px`;
      element.style.top = `${RULER + row * ROW + LANES[modality][0] + LANES[modality][1]}px`;
      this.layer.append(element);
    }
  }

  element(event) {
    const element = make("button", { type: "button", className: `event ${event.modality}`, tabIndex: -1 });
    element.setAttribute("aria-label", describe(event));
    if (event.modality !== "audio_visual") element.append(make("span", { textContent: event.score.toFixed(2) }));
    element.addEventListener("click", () => this.on.choose(event));
    element.addEventListener("pointerdown", (pointer) => this.on.press?.(event, pointer));
    return element;
  }

  position(event, element, row) {
    const [top, height] = LANES[event.modality];
    element.style.left = `${this.x(event.onset)}px`;
    element.style.width = `${Math.max(3, this.x(event.offset - event.onset) - 1)}px`;
    element.style.top = `${RULER + row * ROW + top}px`;
    element.style.height = `${Math.min(height, BAR)}px`;
    element.classList.toggle("chosen", event === this.chosen);
  }

  /** Mark an event as selected; with `focus`, scroll to it and give it the keyboard focus. */
  choose(event, focus) {
    this.chosen = event;
    if (event && focus) {
      this.reveal(event.onset);
      this.draw();
    }
    for (const [shown, element] of this.shown) element.classList.toggle("chosen", shown === event);
    if (event && focus) this.shown.get(event)?.focus({ preventScroll: true });
  }

  reveal(seconds) {
    const x = this.x(seconds);
    const [left, width] = [this.scroller.scrollLeft, this.scroller.clientWidth];
    if (x < left || x > left + width * 0.9) this.scroller.scrollLeft = x - width * 0.2;
  }

  move(seconds, follow = false) {
    this.time = seconds;
    this.head.style.left = `${this.x(seconds)}px`;
    if (follow) this.reveal(seconds);
  }

  hover(pointer) {
    const lane = this.laneAt(pointer);
    if (!lane) return this.on.hover(null);
    const second = Math.min(Math.floor(this.timeAt(pointer)), this.data.segments - 1);
    const lines = [`${lane.label.replaceAll("_", " ")}, ${clock(this.timeAt(pointer), 1)}`];
    if (this.data.tables) {
      const at = (name) =>
        this.data.tables[name][second * this.data.labels.length + this.data.labels.indexOf(lane.label)].toFixed(2);
      lines.push(`heard ${at("audio")}, seen ${at("visual")}`);
    }
    return this.on.hover(lines.join("\n"), pointer.clientX, pointer.clientY);
  }
}

function describe(event) {
  const times = `${clock(event.onset, 1)} to ${clock(event.offset, 1)}`;
  return `${event.label.replaceAll("_", " ")}, ${MODALITY_NAMES[event.modality]}, ${times}, score ${event.score.toFixed(2)}`;
}

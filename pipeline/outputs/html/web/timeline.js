// Timeline view: rows of classes over a time axis; only the visible seconds and rows are drawn.

const LANES = { audio: [2, 14], audio_visual: [16, 4], visual: [20, 14] }; // top and height within a row, pixels
const ALONE = { audio_visual: [4, 28] }; // of a localizer, whose rows have one lane
const TRUTH = { audio: 1, visual: 33, audio_visual: 33 }; // top of the annotations: beside the bars, away from those of both
const BAR = 10; // height of audio and visual events; the edges of their lane show the probabilities
const ALONE_BAR = 18;
const ROW = 36;
const RULER = 20;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const MAX_SCALE = 600; // pixels of a second
const MAX_WIDTH = 16e6; // pixels; browsers place nothing beyond some more
const SCORE_WIDTH = 30; // pixels that a score needs
const NARROW = 3; // pixels; shorter events are drawn, longer ones are elements
const REACH = 4; // pixels beside an event in which a click still chooses it

/** Return the lanes of a row: modality -> top and height. */
const lanesOf = (data) => (data.lanes.length > 1 ? LANES : ALONE);

class TimelineView {
  /** data: written by page.py; on: callbacks choose(event), seek(seconds), hover(text or null, x, y), press(event, pointer). */
  constructor(data, on) {
    Object.assign(this, { data, on, rows: [], events: [], chosen: null, truth: true, time: 0, scale: 0, isFitted: true, numbered: false });
    for (const [key, id] of Object.entries({ scroller: "scroller", inner: "inner", corner: "corner", axis: "axis", ruler: "ruler", names: "names", body: "rows", canvas: "heat", layer: "events", head: "playhead", bandCanvas: "bands" })) {
      this[key] = byId(id);
    }
    this.shown = new Map(); // event -> element
    this.eventOf = new WeakMap(); // element -> event
    this.shades = new Shades(data);
    this.bands = new Bands(data, () => this.schedule());
    this.scroller.addEventListener("scroll", () => this.schedule());
    new ResizeObserver(() => this.fitted()).observe(this.scroller);
    this.inner.addEventListener("pointermove", (pointer) => this.hover(pointer));
    this.inner.addEventListener("pointerleave", () => on.hover(null));
    for (const part of [this.body, this.axis]) part.addEventListener("click", (pointer) => this.click(pointer));
    this.layer.addEventListener("click", (pointer) => on.choose(this.eventOf.get(pointer.target)));
    this.layer.addEventListener("pointerdown", (pointer) => on.press(this.eventOf.get(pointer.target), pointer));
    this.scroller.addEventListener("wheel", (wheel) => {
      if (!wheel.ctrlKey && !wheel.metaKey) return;
      wheel.preventDefault();
      this.zoom(2 ** (-wheel.deltaY / 200), wheel.clientX - this.scroller.getBoundingClientRect().left - this.side);
    }, { passive: false });
  }

  /** Width of the names in pixels. */
  get side() {
    return this.corner.offsetWidth;
  }

  /** Width of the part that shows time, in pixels. */
  get width() {
    return Math.max(1, this.scroller.clientWidth - this.side);
  }

  get fitScale() {
    return this.width / this.data.duration;
  }

  get maxScale() {
    return Math.max(Math.min(MAX_SCALE, MAX_WIDTH / this.data.duration), this.fitScale);
  }

  /** Show the seconds from start to end in the whole width. */
  show([start, end]) {
    this.scale = Math.min(Math.max(this.width / (end - start), this.fitScale), this.maxScale);
    this.isFitted = this.scale === this.fitScale;
    this.layout();
    this.scrollTo(start * this.scale);
    this.schedule();
  }

  fitted() {
    if (!this.scale || this.scale < this.fitScale || this.isFitted) this.scale = this.fitScale;
    this.layout();
  }

  /** Zoom by a factor, 0 to fit the whole video. at: pixels from the left that keep their time; by default the playhead. */
  zoom(factor, at = this.x(this.time) - this.scroller.scrollLeft) {
    const anchor = Math.min(Math.max(at, 0), this.width);
    const seconds = (this.scroller.scrollLeft + anchor) / this.scale;
    this.scale = factor ? Math.min(Math.max(this.scale * factor, this.fitScale), this.maxScale) : this.fitScale;
    this.isFitted = this.scale === this.fitScale;
    this.layout();
    this.scrollTo(seconds * this.scale - anchor);
    this.schedule();
  }

  /** Scroll to pixels from the left, at most to the end: events that are to be drawn anew still lie beyond it. */
  scrollTo(left) {
    this.scroller.scrollLeft = Math.min(left, this.x(this.data.duration) - this.width);
  }

  x(seconds) {
    return seconds * this.scale;
  }

  timeAt(pointer) {
    const seconds = (pointer.clientX - this.body.getBoundingClientRect().left) / this.scale;
    return Math.min(Math.max(seconds, 0), this.data.duration);
  }

  /** Return the lane under the pointer: {label, modality} or null. */
  laneAt(pointer) {
    const y = pointer.clientY - this.body.getBoundingClientRect().top;
    const label = this.rows[Math.floor(y / ROW)];
    if (y < 0 || label === undefined) return null;
    const [first, last = first] = this.data.lanes;
    return { label, modality: y % ROW < LANES.visual[0] - 2 ? first : last };
  }

  click(pointer) {
    if (pointer.target.closest(".event")) return;
    const [lane, seconds, reach] = [this.laneAt(pointer), this.timeAt(pointer), REACH / this.scale];
    const near = lane && this.events.find((e) =>
      e.label === lane.label && e.modality === lane.modality && seconds > e.onset - reach && seconds < e.offset + reach,
    );
    if (near) this.on.choose(near);
    else this.on.seek(seconds);
  }

  /** Show events. rows: labels from top to bottom; truth: whether to show the annotations. */
  update(events, rows, truth) {
    Object.assign(this, { events, truth });
    this.longest = events.reduce((longest, event) => Math.max(longest, event.offset - event.onset), 0);
    this.rows = rows;
    this.rowOf = new Map(rows.map((label, row) => [label, row]));
    this.names.replaceChildren(...rows.map((label, row) => this.name(label, row)));
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
    this.layout();
  }

  name(label, row) {
    const words = classWords(label, this.data.words);
    const lane = (modality) => make("span", { className: `lane ${modality}`, title: MODALITY_WORDS[modality] }, ...icons(modality), make("span", { textContent: MODALITY_WORDS[modality] }));
    const text = make("span", { className: "class", textContent: words });
    if (this.numbered && row < 9) text.prepend(make("kbd", { textContent: row + 1 }));
    const element = make("div", { className: "name", title: words }, text, make("span", { className: "lanes" }, ...this.data.lanes.map(lane)));
    element.style.height = `${ROW}px`;
    return element;
  }

  layout() {
    const bands = this.bands.list();
    this.axisHeight = RULER + bands.reduce((sum, band) => sum + band.height, 0);
    this.inner.style.gridTemplateRows = `${this.axisHeight}px ${this.rows.length * ROW}px`;
    this.inner.style.gridTemplateColumns = `var(--names) ${this.x(this.data.duration)}px`;
    let top = RULER;
    this.corner.replaceChildren(...bands.map(({ name, height }) => {
      const element = make("span", { textContent: name });
      Object.assign(element.style, { top: `${top}px`, height: `${height}px`, lineHeight: `${height}px` });
      top += height;
      return element;
    }));
    this.corner.classList.toggle("many", bands.length > 2);
    const width = Math.min(this.width, Math.ceil(this.x(this.data.duration)));
    this.rowsHeight = Math.max(0, Math.min(this.scroller.clientHeight - this.axisHeight, this.rows.length * ROW));
    resizeCanvas(this.canvas, width, this.rowsHeight);
    resizeCanvas(this.bandCanvas, width, this.axisHeight - RULER);
    this.canvas.style.top = `${this.axisHeight}px`;
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
    const [left, above, width] = [this.scroller.scrollLeft, this.scroller.scrollTop, this.width];
    Object.assign(this, { left, above });
    const [from, to] = [left / this.scale, Math.min((left + width) / this.scale, this.data.duration)];
    const firstRow = Math.floor(above / ROW);
    const rows = [firstRow, Math.min(this.rows.length, firstRow + Math.ceil(this.rowsHeight / ROW) + 1)];
    this.drawBands({ left, width, scale: this.scale });
    this.drawShades(from, to, rows);
    this.drawRuler(from, to);
    this.drawEvents(from - 40 / this.scale, to + 40 / this.scale, rows);
  }

  drawBands(view) {
    const context = clearCanvas(this.bandCanvas);
    let top = 0;
    for (const { height, draw } of this.bands.list()) {
      draw(context, top, height, view);
      top += height;
    }
  }

  recolour() {
    this.shades.clear();
    this.bands.recolour();
  }

  /** Draw the probabilities, and choose the colours of bars that are drawn. */
  drawShades(from, to, [firstRow, lastRow]) {
    this.narrow = clearCanvas(this.canvas);
    const forced = window.matchMedia("(forced-colors: active)").matches && getComputedStyle(document.body).color;
    this.fills = Object.fromEntries(MODALITIES.map((modality) => [modality, forced || colour(modality)]));
    this.narrow.imageSmoothingEnabled = this.scale < 1;
    const grid = colour("grid");
    for (let row = firstRow; row < lastRow; row++) {
      const top = row * ROW - this.above;
      this.narrow.fillStyle = grid;
      this.narrow.fillRect(0, top, this.width, 1);
      if (!forced) this.shades.draw(this.narrow, this.rows[row], top, { from, to, left: this.left, scale: this.scale });
    }
  }

  drawRuler(from, to) {
    const step = STEPS.find((seconds) => seconds * this.scale >= 64) ?? 14400;
    const marks = [];
    for (let number = Math.floor(from / step); number * step <= to; number++) {
      const second = number * step;
      const mark = make("span", { textContent: clock(second, step < 1 ? 1 : 0) });
      mark.style.left = `${this.x(second)}px`;
      if (this.x(this.data.duration - second) > 30 || number === 0) marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  drawEvents(from, to, [firstRow, lastRow]) {
    const visible = new Map(); // event -> row
    const narrow = Object.fromEntries(MODALITIES.map((modality) => [modality, new Path2D()]));
    for (let index = this.firstFrom(from - this.longest); index < this.events.length; index++) {
      const event = this.events[index];
      if (event.onset >= to) break;
      const row = this.rowOf.get(event.label);
      if (event.offset <= from || !(row >= firstRow && row < lastRow)) continue;
      if (this.x(event.offset - event.onset) >= NARROW || event === this.chosen) visible.set(event, row);
      else this.addNarrow(narrow[event.modality], event, row);
    }
    for (const [modality, path] of Object.entries(narrow)) {
      this.narrow.fillStyle = this.fills[modality];
      this.narrow.fill(path);
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
    this.drawTruth(from, to, firstRow, lastRow);
  }

  /** Return top and height of a lane, and the height of its bars. */
  lane(modality) {
    const [top, height] = lanesOf(this.data)[modality];
    return [top, height, Math.min(height, this.data.lanes.length > 1 ? BAR : ALONE_BAR)];
  }

  /** Add a bar that is too narrow for an element: pages of hours have thousands of them. */
  addNarrow(path, event, row) {
    const [top, height, bar] = this.lane(event.modality);
    const width = Math.max(1, this.x(event.offset - event.onset));
    path.rect(this.x(event.onset) - this.left, row * ROW + top + (height - bar) / 2 - this.above, width, bar);
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

  drawTruth(from, to, firstRow, lastRow) {
    if (!this.data.truth) return;
    this.layer.querySelectorAll(".true").forEach((element) => element.remove());
    if (!this.truth) return;
    for (const [modality, index, onset, offset] of this.data.truth.spans) {
      const row = this.rowOf.get(this.data.labels[index]);
      if (!(row >= firstRow && row < lastRow) || onset >= to || offset <= from) continue;
      const element = make("div", { className: "true" });
      element.style.left = `${this.x(onset)}px`;
      element.style.width = `${this.x(offset - onset)}px`;
      element.style.top = `${row * ROW + TRUTH[modality]}px`;
      this.layer.append(element);
    }
  }

  element(event) {
    // Not a <button>: thousands of those are slow to lay out.
    const element = make("div", { className: `event ${event.modality}${event.comment ? " commented" : ""}`, tabIndex: -1 });
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", describe(event, this.data.words));
    this.eventOf.set(element, event);
    return element;
  }

  position(event, element, row) {
    const [top, height, bar] = this.lane(event.modality);
    element.style.top = `${row * ROW + top + (height - bar) / 2}px`;
    element.style.height = `${bar}px`;
    this.place(event, element);
    if (event === this.chosen) element.classList.add("chosen");
  }

  /** Give an event's element its place on the time axis; the score is written where it fits. */
  place(event, element) {
    const width = Math.max(1, this.x(event.offset - event.onset));
    element.style.left = `${this.x(event.onset)}px`;
    element.style.width = `${width}px`;
    const score = this.data.lanes.includes(event.modality) && width >= SCORE_WIDTH ? event.score.toFixed(2) : "";
    if (element.textContent !== score) element.textContent = score;
  }

  /** Mark an event as selected and bring it into sight; with `focus`, give it the keyboard focus. */
  choose(event, focus) {
    this.chosen = event;
    if (event) {
      this.reveal(event.onset);
      this.revealRow(this.rowOf.get(event.label));
      this.draw();
    }
    for (const [shown, element] of this.shown) element.classList.toggle("chosen", shown === event);
    if (event && focus) this.shown.get(event)?.focus({ preventScroll: true });
  }

  reveal(seconds) {
    const x = this.x(seconds);
    const [left, width] = [this.scroller.scrollLeft, this.width];
    if (x < left || x > left + width * 0.9) this.scroller.scrollLeft = x - width * 0.2;
  }

  revealRow(row) {
    if (row === undefined) return;
    const [top, height] = [this.scroller.scrollTop, this.scroller.clientHeight - this.axisHeight];
    if (row * ROW < top) this.scroller.scrollTop = row * ROW;
    else if ((row + 1) * ROW > top + height) this.scroller.scrollTop = (row + 1) * ROW - height;
    const box = this.scroller.getBoundingClientRect();
    if (box.bottom > window.innerHeight || box.top < 0) this.scroller.scrollIntoView({ block: "nearest" });
  }

  move(seconds, follow = false) {
    this.time = seconds;
    this.head.style.transform = `translateX(${this.x(seconds)}px)`;
    if (follow) this.reveal(seconds);
  }

  hover(pointer) {
    const lane = this.laneAt(pointer);
    if (!lane || pointer.target.closest("#names, #corner, #axis")) return this.on.hover(null);
    const event = this.eventOf.get(pointer.target);
    const second = Math.min(Math.floor(this.timeAt(pointer)), this.data.segments - 1);
    const lines = [event ? describe(event, this.data.words) : `${classWords(lane.label, this.data.words)}, ${clock(this.timeAt(pointer), 1)}`];
    const index = this.data.labels.indexOf(lane.label);
    if (this.data.tables && index < this.data.classes) {
      const at = (name) => this.data.tables[tableOf(name)][second * this.data.classes + index].toFixed(2);
      const words = this.data.lanes.map((name) => (this.data.lanes.length > 1 ? `${name} ${at(name)}` : at(name)));
      lines.push(`probability in second ${second}: ${words.join(", ")}`);
    }
    return this.on.hover(lines.join("\n"), pointer.clientX, pointer.clientY);
  }
}

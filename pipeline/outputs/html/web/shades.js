// Shades of the lanes: the probability of every second.

const CHUNK = 16384; // seconds; browsers reject wider canvases

function resizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
}

/** Empty a canvas and return its context, in CSS pixels. */
function clearCanvas(canvas) {
  const context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  return context;
}

class Shades {
  constructor(data) {
    Object.assign(this, { data, strips: new Map() });
  }

  /** Forget the colours. */
  clear() {
    this.strips.clear();
  }

  /** Draw the lanes of a class. top: of its row in pixels; view: from and to in seconds, left and scale in pixels. */
  draw(context, label, top, { from, to, left, scale }) {
    const index = this.data.tables ? this.data.labels.indexOf(label) : -1;
    if (index < 0 || index >= this.data.classes) return;
    for (const modality of this.data.lanes) {
      const [offset, height] = lanesOf(this.data)[modality];
      for (let first = Math.floor(from / CHUNK) * CHUNK; first < to; first += CHUNK) {
        const strip = this.strip(index, modality, first);
        context.drawImage(strip, first * scale - left, top + offset, strip.width * scale, height);
      }
    }
  }

  /** Return a cached canvas with one pixel per second of a lane, whose opacity is the probability. */
  strip(index, modality, first) {
    const key = `${index} ${modality} ${first}`;
    if (!this.strips.has(key)) {
      const width = Math.max(1, Math.min(CHUNK, this.data.segments - first));
      const canvas = make("canvas", { width, height: 1 });
      const context = canvas.getContext("2d");
      context.fillStyle = colour(`${modality}-tint`);
      for (let second = 0; second < width; second++) {
        context.globalAlpha = this.data.tables[tableOf(modality)][(first + second) * this.data.classes + index] ?? 0;
        context.fillRect(second, 0, 1, 1);
      }
      this.strips.set(key, canvas);
    }
    return this.strips.get(key);
  }
}

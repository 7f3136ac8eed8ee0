// Bands above the rows, on the same time axis: film, waveform or spectrogram, attention of LEAP.

const FILM_HEIGHT = 32;
const SOUND_HEIGHT = 26;
const ATTENTION_HEIGHT = 9; // of a block in one modality
const SOUNDS = { wave: "waveform", mel: "spectrogram" };

function loadImage(url, loaded) {
  const image = new Image();
  image.addEventListener("load", loaded);
  image.src = url;
  return image;
}

class Bands {
  /** data: with film, wave, mel and attention where there are some; redraw(): called when images are there. */
  constructor(data, redraw) {
    Object.assign(this, { data, redraw, attended: null });
    if (data.film) this.film = loadImage(data.film.url, redraw);
    if (data.mel) this.mel = loadImage(data.mel.url, () => this.recolour());
    if (data.wave) this.peaks = Int8Array.from(atob(data.wave.peaks), (character) => character.charCodeAt(0));
    this.sounds = Object.keys(SOUNDS).filter((name) => data[name]);
    this.sound = this.sounds[0] ?? null;
    this.blocks = (data.attention?.blocks ?? []).map((block) =>
      Object.fromEntries(Object.entries(block).map(([modality, text]) => [modality, Uint8Array.from(atob(text), (character) => character.charCodeAt(0))])),
    );
  }

  /** List the bands that are shown: name, height and how each is drawn, from top to bottom. */
  list() {
    const bands = [];
    if (this.film) bands.push({ name: "film", height: FILM_HEIGHT, draw: (...at) => this.drawFilm(...at) });
    if (this.sound === "wave") bands.push({ name: SOUNDS.wave, height: SOUND_HEIGHT, draw: (...at) => this.drawWave(...at) });
    if (this.sound === "mel") bands.push({ name: SOUNDS.mel, height: SOUND_HEIGHT, draw: (...at) => this.drawMel(...at) });
    if (this.attended !== null) {
      this.blocks.forEach((block, number) => {
        for (const modality of Object.keys(block)) {
          const name = `block ${number + 1} ${MODALITY_WORDS[modality]}`;
          bands.push({ name, height: ATTENTION_HEIGHT, draw: (...at) => this.drawAttention(number, modality, ...at) });
        }
      });
    }
    return bands;
  }

  /** Choose the class whose attention is shown, null for none. */
  attend(label) {
    this.attended = label;
    this.strips = new Map();
  }

  recolour() {
    this.tinted = null;
    this.strips = new Map();
    this.redraw();
  }

  /** Draw as many tiles as fit side by side, each of the time in its middle. view: left, width and scale in pixels. */
  drawFilm(context, top, height, { left, width, scale }) {
    const { film } = this.data;
    if (!this.film.complete || !this.film.naturalWidth) return;
    const across = (film.width * height) / film.height;
    for (let tile = Math.floor(left / across); tile * across < left + width; tile++) {
      const second = ((tile + 0.5) * across) / scale;
      if (tile * across >= this.data.duration * scale) break;
      const index = Math.min(Math.max(Math.floor(second / film.step), 0), film.count - 1);
      const [column, row] = [index % film.columns, Math.floor(index / film.columns)];
      const shown = Math.min(across, this.data.duration * scale - tile * across);
      context.drawImage(
        this.film, column * film.width, row * film.height, (film.width * shown) / across, film.height,
        tile * across - left, top, shown, height,
      );
    }
  }

  drawWave(context, top, height, { left, width, scale }) {
    const { step } = this.data.wave;
    const columns = this.peaks.length / 2;
    context.fillStyle = colour("soft");
    const middle = top + height / 2;
    for (let pixel = 0; pixel < width; pixel++) {
      const first = Math.floor((left + pixel) / scale / step);
      const last = Math.max(first + 1, Math.ceil((left + pixel + 1) / scale / step));
      if (first >= columns) break;
      let [low, high] = [127, -127];
      for (let column = first; column < Math.min(last, columns); column++) {
        low = Math.min(low, this.peaks[2 * column]);
        high = Math.max(high, this.peaks[2 * column + 1]);
      }
      const [above, below] = [(high / 127) * (height / 2), (low / 127) * (height / 2)];
      context.fillRect(pixel, middle - above, 1, Math.max(1, above - below));
    }
  }

  /** Return the spectrogram in the colours of the theme: loud is the colour of text. */
  tintedMel() {
    if (this.tinted) return this.tinted;
    const { width, height } = this.data.mel;
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.mel, 0, 0);
    const image = context.getImageData(0, 0, width, height);
    for (let at = 0; at < image.data.length; at += 4) image.data[at + 3] = image.data[at];
    context.putImageData(image, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = colour("text");
    context.fillRect(0, 0, width, height);
    this.tinted = canvas;
    return canvas;
  }

  drawMel(context, top, height, { left, scale }) {
    if (!this.mel.complete || !this.mel.naturalWidth) return;
    const { width, height: bands, step } = this.data.mel;
    context.imageSmoothingEnabled = true;
    context.drawImage(this.tintedMel(), 0, 0, width, bands, -left, top, width * step * scale, height);
  }

  drawAttention(number, modality, context, top, height, { left, width, scale }) {
    context.imageSmoothingEnabled = scale < 1;
    for (let first = Math.floor(left / scale / CHUNK) * CHUNK; first * scale < left + width; first += CHUNK) {
      const key = `${number} ${modality} ${first}`;
      if (!this.strips.has(key)) this.strips.set(key, this.attentionStrip(number, modality, first));
      const strip = this.strips.get(key);
      if (strip) context.drawImage(strip, first * scale - left, top + 1, strip.width * scale, height - 2);
    }
  }

  /** Return a canvas with one pixel per second from `first` on, whose opacity is the attention; null beyond the end. */
  attentionStrip(number, modality, first) {
    const table = this.blocks[number][modality];
    const index = this.data.attention.labels.indexOf(this.attended);
    const seconds = table.length / this.data.attention.labels.length;
    const width = Math.min(CHUNK, seconds - first);
    if (width < 1) return null;
    const canvas = make("canvas", { width, height: 1 });
    const context = canvas.getContext("2d");
    context.fillStyle = colour(modality);
    for (let second = 0; second < width; second++) {
      context.globalAlpha = table[index * seconds + first + second] / 255;
      context.fillRect(second, 0, 1, 1);
    }
    return canvas;
  }
}

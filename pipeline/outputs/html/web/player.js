// Media player: the file of the page or one that the user opens; without media it only holds a time.

const SPEEDS = [0.25, 0.5, 1, 1.5, 2, 4, 8];
const REVERSE_STEP = 0.1; // seconds between the frames that are shown backwards

class Player {
  /** media: url, kind, name, or null; note: shown in place of media. */
  constructor(media, duration, note) {
    Object.assign(this, { duration, heldTime: 0, element: null, failed: false });
    Object.assign(this, { reverse: 0, reversedAt: 0, stop: null, loop: null, speed: 1 });
    byId("speed").append(...SPEEDS.map((speed) => make("option", { value: speed, textContent: `${speed}×` })));
    byId("speed").value = 1;
    byId("speed").addEventListener("change", () => this.setSpeed(Number(byId("speed").value)));
    if (media) this.load(media);
    else this.offer(note || "No video was given to this page.");
  }

  load({ kind, url, name, path, embedded }) {
    if (this.opened) URL.revokeObjectURL(this.opened);
    this.opened = url.startsWith("blob:") ? url : null;
    this.failed = false;
    const element = make(kind, { src: url, controls: true, preload: "auto", playsInline: true });
    element.setAttribute("aria-label", name);
    element.addEventListener("error", () => {
      if (this.element !== element) return;
      this.heldTime = element.currentTime || this.heldTime;
      this.failed = true;
      const reason = this.opened || embedded ? "This browser cannot play it." : `It should be at ${path}, or it has a form that this browser cannot play.`;
      this.offer(`The video cannot be shown. ${reason}`);
    });
    this.element = element;
    byId("stage").replaceChildren(element);
    byId("play").disabled = byId("speed").disabled = false;
    this.time = this.heldTime;
    this.setSpeed(this.speed);
    byId("open").hidden = false;
  }

  /** Open a file of the user; it stays on this machine. */
  open(file) {
    const kind = file.type.startsWith("audio/") ? "audio" : "video";
    this.load({ kind, url: URL.createObjectURL(file), name: file.name });
  }

  /** Show a text in place of the media, and a way to open some. */
  offer(text) {
    const button = make("button", { type: "button", textContent: "Open video…" });
    button.addEventListener("click", () => byId("file").click());
    byId("stage").replaceChildren(make("div", { className: "offer" }, make("p", { textContent: text }), button, make("p", { textContent: "or drop the file on this page" })));
    byId("play").disabled = byId("speed").disabled = byId("open").hidden = true;
  }

  get works() {
    return Boolean(this.element) && !this.failed;
  }

  get time() {
    return this.works ? this.element.currentTime : this.heldTime;
  }

  set time(seconds) {
    this.heldTime = Math.min(Math.max(seconds, 0), this.duration);
    if (this.works) this.element.currentTime = this.heldTime;
  }

  get playing() {
    return this.works && (!this.element.paused || this.reverse > 0);
  }

  setSpeed(speed) {
    this.speed = speed;
    byId("speed").value = speed;
    if (this.works) this.element.playbackRate = speed;
  }

  pause() {
    this.reverse = 0;
    if (this.works) this.element.pause();
  }

  play() {
    this.reverse = 0;
    if (this.works) this.element.play().catch(() => {});
  }

  toggle() {
    this.stop = null;
    if (this.playing) this.pause();
    else this.play();
  }

  /** Play forwards (1) or backwards (-1), twice as fast each time it is called again, as the keys l and j do. */
  shuttle(direction) {
    if (!this.works) return;
    this.stop = null;
    if (direction > 0) {
      this.setSpeed(this.playing && !this.reverse ? Math.min(2 * this.speed, 8) : 1);
      this.play();
    } else {
      const speed = this.reverse ? Math.min(2 * this.reverse, 8) : 1;
      this.pause();
      Object.assign(this, { reverse: speed, reversedAt: performance.now() });
    }
  }

  halt() {
    this.pause();
    this.setSpeed(1);
  }

  /** Play an event once, or over and over. */
  playEvent(event, again) {
    if (!this.works) return;
    this.time = event.onset;
    this.loop = again ? event : null;
    this.stop = again ? null : event.offset;
    this.play();
  }

  /** Keep what is played within the event that is looped, and move backwards; called for every frame. */
  tick() {
    if (!this.works) return;
    if (this.reverse) {
      const seconds = (performance.now() - this.reversedAt) / 1000;
      if (seconds < REVERSE_STEP || this.element.seeking) return;
      this.reversedAt = performance.now();
      this.time = this.time - seconds * this.reverse;
      if (this.time <= 0) this.pause();
    } else if (this.loop && (this.time >= this.loop.offset || this.element.ended)) {
      this.time = this.loop.onset;
      this.play();
    } else if (this.stop !== null && this.time >= this.stop) {
      if (this.time < this.stop + 1) {
        this.pause();
        this.time = this.stop;
      } // later: somebody has sought
      this.stop = null;
    }
  }
}

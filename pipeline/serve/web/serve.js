// The start page: files are sent or named, jobs are followed, timelines are opened. Names of files are always text,
// never HTML.

const FAST = 500; // milliseconds between two looks at jobs that run
const SLOW = 4000; // milliseconds where none runs
const RETRY = 2000; // milliseconds after the server has not answered
const LISTED = 100; // jobs, and files, that are shown
const STAGES = { loading: "loading the networks", audio: "reading the sound", video: "reading the video", frames: "reading the frames", features: "computing features", events: "finding events", film: "drawing film and waveform" };

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function ago(seconds) {
  const then = new Date(seconds * 1000);
  const today = new Date().toDateString() === then.toDateString();
  const time = then.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return today ? time : `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

function say(text) {
  byId("said").textContent = text;
}

/** Send a request; the JSON of the answer. Throws an Error with the server's reason. */
async function ask(address, options = {}) {
  const response = await fetch(address, options);
  if (response.status === 401) location.reload();
  const text = await response.text();
  const value = text ? JSON.parse(text) : {};
  if (!response.ok) throw new Error(value.detail ?? `the server answers ${response.status}`);
  return value;
}

const sendJson = (address, value) =>
  ask(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

/** Files that are being sent, one after the other. */
class Sending {
  constructor(changed) {
    Object.assign(this, { changed, entries: [], request: null, number: 0, most: Infinity }); // most: bytes of a file
  }

  /** classes: to look for in them; empty for those of the server. */
  add(files, classes) {
    for (const file of files) {
      this.number += 1;
      const entry = { id: `sending-${this.number}`, name: file.name, file, classes, status: "waiting", done: 0 };
      if (file.size > this.most) Object.assign(entry, { status: "failed", cause: `larger than ${size(this.most)}, the most that is taken` });
      this.entries.push(entry);
    }
    this.next();
  }

  next() {
    this.changed();
    if (this.request) return;
    const entry = this.entries.find(({ status }) => status === "waiting");
    if (!entry) return;
    entry.status = "sending";
    const request = new XMLHttpRequest();
    this.request = request;
    request.upload.onprogress = (event) => {
      entry.done = event.loaded;
      this.changed();
    };
    request.onloadend = () => {
      this.request = null;
      this.ended(entry, request);
      this.next();
    };
    const form = new FormData();
    if (entry.classes) form.append("classes", entry.classes);
    form.append("file", entry.file, entry.name);
    request.open("POST", "/parse");
    request.send(form);
    this.changed();
  }

  ended(entry, request) {
    if (request.status === 202 || entry.status === "cancelled") {
      this.entries = this.entries.filter((other) => other !== entry);
      return;
    }
    let cause = "the connection was lost";
    try {
      cause = JSON.parse(request.responseText).detail;
    } catch {
      // the server did not answer
    }
    Object.assign(entry, { status: "failed", cause });
    say(`${entry.name}: not sent, ${cause}`);
  }

  cancel(entry) {
    const sending = entry.status === "sending";
    entry.status = "cancelled";
    if (sending) this.request.abort();
    else this.entries = this.entries.filter((other) => other !== entry);
    this.changed();
  }
}

/** The list of jobs; its rows stay, so that a button does not vanish under the pointer. */
class JobList {
  constructor() {
    this.rows = new Map();
  }

  /** entries: {id, name, status, text, value, act, href}, in the order of the list. */
  show(entries) {
    const list = byId("jobs");
    const seen = new Set();
    entries.forEach((entry, place) => {
      seen.add(entry.id);
      const row = this.rows.get(entry.id) ?? this.add(entry);
      this.update(row, entry);
      if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] ?? null);
    });
    for (const [id, row] of this.rows) {
      if (!seen.has(id)) {
        row.item.remove();
        this.rows.delete(id);
      }
    }
    byId("no-jobs").hidden = entries.length > 0;
  }

  add(entry) {
    const row = { name: make("span", { className: "job-name" }), state: make("span", { className: "state" }), doing: make("span", { className: "do" }) };
    row.item = make("li", {}, row.name, row.state, row.doing);
    this.rows.set(entry.id, row);
    return row;
  }

  update(row, entry) {
    row.item.className = entry.status;
    if (row.name.textContent !== entry.name) row.name.textContent = entry.name;
    if (row.state.textContent !== entry.text) row.state.textContent = entry.text;
    if (entry.value === undefined) {
      row.bar?.remove();
      row.bar = null;
    } else {
      if (!row.bar) {
        row.bar = make("progress", { max: 1 });
        row.bar.setAttribute("aria-label", entry.name);
        row.item.append(row.bar);
      }
      if (entry.value === null) row.bar.removeAttribute("value");
      else row.bar.value = entry.value;
    }
    const kind = entry.href ?? (entry.act ? "cancel" : "");
    if (row.kind === kind) return;
    row.kind = kind;
    row.doing.replaceChildren();
    if (entry.href) {
      const link = make("a", { className: "button", href: entry.href }, "Open");
      link.setAttribute("aria-label", `Open ${entry.name}`);
      row.doing.append(link);
    } else if (entry.act) {
      const button = make("button", { type: "button", onclick: entry.act }, "Cancel");
      button.setAttribute("aria-label", `Cancel ${entry.name}`);
      row.doing.append(button);
    }
  }
}

class Start {
  constructor() {
    this.jobs = [];
    this.files = [];
    this.known = null; // id -> status, of the last answer
    this.followed = new Set(); // ids of jobs that had not ended when this page first saw them
    this.list = new JobList();
    this.sending = new Sending(() => this.draw());
    this.timer = null;
    this.prepareDrop();
    this.prepareFolder();
    this.follow();
  }

  prepareDrop() {
    const drop = byId("drop-zone");
    const send = (files) => {
      this.sending.add(files, this.classes());
      say(`${count(files.length, "file")} to send`);
    };
    byId("file").onchange = (event) => {
      send([...event.target.files]);
      event.target.value = "";
    };
    const over = (event) => {
      event.preventDefault();
      drop.classList.toggle("over", event.type === "dragover");
    };
    document.addEventListener("dragover", over);
    document.addEventListener("dragleave", over);
    document.addEventListener("drop", (event) => {
      over(event);
      const files = [...event.dataTransfer.files];
      if (files.length) send(files);
    });
    ask("/state").then(({ max_upload: most, classes }) => {
      this.sending.most = most;
      if (classes) this.prepareClasses(classes.join(", "));
      byId("drop-hint").textContent = `up to ${(most / 2 ** 30).toFixed(most < 2 ** 30 ? 1 : 0)} GiB each, or`;
    }, () => {});
  }

  /** Ask for classes, of a server that finds any; at first they are those that it was started with. */
  prepareClasses(own) {
    this.own = own;
    const [input, reset] = [byId("classes"), byId("classes-reset")];
    input.value = own;
    input.oninput = () => (reset.hidden = !this.classes());
    reset.onclick = () => {
      input.value = own;
      reset.hidden = true;
      input.focus();
    };
    byId("classes-part").hidden = false;
  }

  /** The classes that were typed in place of those of the server; empty where there are none. */
  classes() {
    const typed = byId("classes").value.trim();
    return typed === this.own ? "" : typed;
  }

  prepareFolder() {
    const part = byId("folder-part");
    if (!part.dataset.folder) return;
    part.hidden = false;
    byId("folder-name").textContent = part.dataset.folder;
    let wait = null;
    byId("folder-search").oninput = () => {
      clearTimeout(wait);
      wait = setTimeout(() => this.listFiles(), 200);
    };
    byId("parse-all").onclick = () => this.parse(this.files);
    this.listFiles();
  }

  async listFiles() {
    const search = byId("folder-search").value;
    const note = byId("files-note");
    let found;
    try {
      found = await ask(`/files?${new URLSearchParams({ search, limit: LISTED })}`);
    } catch (error) {
      note.hidden = false;
      note.textContent = error.message;
      return;
    }
    if (search !== byId("folder-search").value) return; // typed on meanwhile
    this.files = found.files;
    byId("folder-files").replaceChildren(...found.files.map((name) => this.fileRow(name)));
    const all = byId("parse-all");
    all.hidden = found.files.length < 2;
    all.textContent = `Parse all ${found.files.length}`;
    const none = search ? "No file has such a name." : "No videos or sounds in it.";
    note.hidden = found.complete && found.files.length > 0;
    note.textContent = found.files.length ? "There are more files: type a part of the name." : none;
  }

  fileRow(name) {
    const slash = name.lastIndexOf("/") + 1;
    const label = make("span", {}, make("span", { className: "where" }, name.slice(0, slash)), name.slice(slash));
    const button = make("button", { type: "button", onclick: () => this.parse([name]) }, "Parse");
    button.setAttribute("aria-label", `Parse ${name}`);
    return make("li", {}, label, button);
  }

  async parse(names) {
    const classes = this.classes();
    for (const path of names) {
      try {
        await sendJson("/parse", classes ? { path, classes } : { path });
      } catch (error) {
        this.failed(path, error.message);
        break;
      }
    }
    say(`${count(names.length, "file")} in the queue`);
    this.follow();
  }

  /** Show why a file did not become a job. */
  failed(name, cause) {
    this.sending.number += 1;
    this.sending.entries.push({ id: `failed-${this.sending.number}`, name, status: "failed", cause });
    say(`${name}: ${cause}`);
    this.draw();
  }

  /** Look at the jobs now, and again after a while. */
  async follow() {
    clearTimeout(this.timer);
    let wait = RETRY;
    try {
      const { jobs } = await ask(`/jobs?limit=${LISTED}`);
      byId("lost").hidden = true;
      this.jobs = jobs;
      await this.announce();
      this.draw();
      wait = jobs.some(({ status }) => status === "running" || status === "queued") ? FAST : SLOW;
    } catch {
      byId("lost").hidden = false;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.follow(), wait);
  }

  /** Say which jobs have ended since the last look; list the timelines anew where some are new. */
  async announce() {
    const known = new Map(this.jobs.map(({ id, status }) => [id, status]));
    const ended = this.jobs.filter(({ id, status }) => this.known && this.known.get(id) !== status && !["queued", "running"].includes(status));
    if (!this.known || ended.some(({ status }) => status === "done")) await this.listTimelines();
    for (const { id, status } of this.jobs) if (!this.known?.has(id) && (this.known || ["queued", "running"].includes(status))) this.followed.add(id);
    if (ended.length) say(ended.map((job) => `${job.name}: ${this.describe(job)}`).join("; "));
    this.known = known;
  }

  describe(job) {
    if (job.status === "queued") return job.ahead ? `waits, ${count(job.ahead, "job")} before it` : "is next";
    if (job.status === "failed") return `failed: ${job.cause}`;
    if (job.status === "cancelled") return "cancelled";
    if (job.status === "done") return `${count(job.events, "event")} in ${clock(job.duration)}`;
    const { stage, done, total } = job.progress ?? { stage: "loading" };
    const far = total ? `, ${clock(Math.min(done, total))} of ${clock(total)}` : done ? `, ${clock(done)}` : "";
    return `${STAGES[stage] ?? stage}${far}`;
  }

  draw() {
    const sending = this.sending.entries.map((entry) => ({
      ...entry,
      text: entry.status === "failed" ? `failed: ${entry.cause}` : entry.status === "waiting" ? "waits to be sent" : `sending, ${size(entry.done)} of ${size(entry.file.size)}`,
      value: entry.status === "sending" ? entry.done / Math.max(1, entry.file.size) : undefined,
      act: entry.status === "failed" ? null : () => this.sending.cancel(entry),
    }));
    const rank = { running: 0, queued: 1 };
    const order = (job) => rank[job.status] ?? 2;
    // Those that were done before are among the timelines.
    const jobs = this.jobs
      .filter(({ id, status }) => status !== "done" || this.followed.has(id))
      .map((job, place) => ({ job, place }))
      .sort((a, b) => order(a.job) - order(b.job) || (order(a.job) === 1 ? b.place - a.place : a.place - b.place))
      .map(({ job }) => this.jobEntry(job));
    this.list.show([...sending, ...jobs]);
    const waiting = this.jobs.filter(({ status }) => status === "queued").length;
    const running = this.jobs.filter(({ status }) => status === "running").length;
    byId("jobs-count").textContent = waiting + running ? `${running} running, ${waiting} waiting` : "";
    document.title = waiting + running ? `(${waiting + running}) avvp` : "avvp";
  }

  jobEntry(job) {
    const running = job.status === "running";
    const total = running && job.progress?.total;
    return {
      ...job,
      text: this.describe(job),
      value: running ? (total ? Math.min(1, job.progress.done / total) : null) : undefined,
      href: job.page,
      act: running || job.status === "queued" ? () => this.cancel(job) : null,
    };
  }

  async cancel(job) {
    try {
      await ask(`/jobs/${job.id}`, { method: "DELETE" });
    } catch (error) {
      say(`${job.name}: ${error.message}`);
    }
    this.follow();
  }

  async listTimelines() {
    const { timelines } = await ask("/timelines");
    byId("timelines-table").hidden = !timelines.length;
    byId("no-timelines").hidden = timelines.length > 0;
    byId("timelines-count").textContent = timelines.length ? String(timelines.length) : "";
    document.querySelector("#timelines tbody").replaceChildren(...timelines.map((entry) => this.timelineRow(entry)));
  }

  timelineRow(entry) {
    const who = entry.version === 1 ? "by the networks" : `version ${entry.version} by ${entry.author || "someone"}`;
    const link = (text, label, properties) => {
      const element = make(properties.href ? "a" : "button", properties.href ? properties : { type: "button", ...properties }, text);
      element.setAttribute("aria-label", `${label} ${entry.name}`);
      return element;
    };
    return make(
      "tr",
      {},
      make("td", {}, make("a", { href: entry.page }, entry.name)),
      make("td", { className: "number" }, clock(entry.duration)),
      make("td", { className: "number" }, entry.events.toLocaleString("en"), make("span", { className: "unit" }, entry.events === 1 ? " event" : " events")),
      make("td", { className: "saved" }, `${ago(entry.saved)}, ${who}`),
      make(
        "td",
        {},
        link("History", "History of", { onclick: () => this.openHistory(entry) }),
        link("JSON", "Download the JSON of", { href: entry.timeline, download: `${entry.name}.events.json` }),
        link("Remove", "Remove", { onclick: () => this.askToRemove(entry) }),
      ),
    );
  }

  async openHistory(entry) {
    const dialog = byId("history-dialog");
    byId("history-title").textContent = `History of ${entry.name}`;
    byId("history-note").textContent = "";
    await this.listVersions(entry);
    if (!dialog.open) dialog.showModal();
  }

  async listVersions(entry) {
    const { versions } = await ask(`${entry.timeline}/history`);
    const rows = versions.map((version, place) => {
      const by = version.version === "1" ? "by the networks" : `by ${version.author || "someone"}`;
      const events = version.events === null ? "" : `, ${count(version.events, "event")}`;
      const text = make("p", {}, make("strong", {}, `Version ${version.version}`), ` ${ago(version.saved)} ${by}${events}`);
      if (!place) return make("li", {}, text, make("span", { className: "hint" }, "current"));
      const restore = make("button", { type: "button", onclick: () => this.restore(entry, version.version, versions[0].version) }, "Restore");
      restore.setAttribute("aria-label", `Restore version ${version.version}`);
      return make("li", {}, text, restore);
    });
    byId("versions").replaceChildren(...rows);
  }

  async restore(entry, version, current) {
    const note = byId("history-note");
    try {
      const saved = await ask(`${entry.timeline}/history/${version}`, { method: "POST", headers: { "If-Match": `"${current}"` } });
      note.textContent = `Version ${version} is now version ${saved.version}.`;
    } catch (error) {
      note.textContent = error.message;
    }
    await this.listVersions(entry);
    await this.listTimelines();
  }

  askToRemove(entry) {
    const dialog = byId("remove-dialog");
    byId("remove-text").textContent = `${entry.name}: its events and their history are deleted. A file of the folder stays; one that was sent is deleted, too.`;
    dialog.returnValue = "keep";
    dialog.onclose = async () => {
      if (dialog.returnValue !== "remove") return;
      try {
        await ask(entry.timeline, { method: "DELETE", headers: { "If-Match": `"${entry.version}"` } });
        say(`${entry.name}: removed`);
      } catch (error) {
        say(`${entry.name}: ${error.message}`);
      }
      await this.listTimelines();
      this.follow();
    };
    dialog.showModal();
  }
}

function chooseTheme() {
  const root = document.documentElement;
  const set = (dark) => (root.dataset.theme = dark ? "dark" : "light");
  set(matchMedia("(prefers-color-scheme: dark)").matches);
  const button = byId("theme");
  if (button) button.onclick = () => set(root.dataset.theme !== "dark");
}

chooseTheme();
if (byId("jobs")) new Start();

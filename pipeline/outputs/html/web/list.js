// List of events, in the order of their onsets.

const MAX_LISTED = 1000; // events in the list

class EventList {
  /** words: label -> what people read; choose(event): called when a row is clicked. */
  constructor(words, choose) {
    Object.assign(this, { words, choose, events: [] });
    this.body = byId("list").tBodies[0];
    this.frame = byId("list").parentElement;
  }

  show(events, chosen) {
    this.events = events.slice(0, MAX_LISTED);
    byId("count").textContent = `(${events.length})`;
    byId("more").hidden = events.length <= MAX_LISTED;
    byId("more").textContent = `The first ${MAX_LISTED} of ${events.length} are listed; filter to see others.`;
    this.body.replaceChildren(...this.events.map((event) => this.line(event)));
    this.mark(chosen);
  }

  line(event) {
    const jump = make("button", { type: "button", textContent: classWords(event.label, this.words) });
    const cells = [clock(event.onset, 1), clock(event.offset, 1), jump, make("span", { className: event.modality }, ...icons(event.modality), ` ${MODALITY_WORDS[event.modality]}`), event.score.toFixed(2)];
    const row = make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
    for (const number of [0, 1, 4]) row.cells[number].className = "number";
    if (event.comment) row.cells[2].append(make("small", { className: "comment", textContent: event.comment }));
    Object.assign(row.dataset, event);
    row.addEventListener("click", () => this.choose(event));
    return row;
  }

  /** Mark the selected event and bring its row into sight within the list. */
  mark(chosen) {
    this.marked?.classList.remove("chosen");
    this.marked = this.body.rows[this.events.indexOf(chosen)];
    if (!this.marked) return;
    this.marked.classList.add("chosen");
    const head = byId("list").tHead.offsetHeight;
    const [top, bottom] = [this.marked.offsetTop - head, this.marked.offsetTop + this.marked.offsetHeight];
    if (top < this.frame.scrollTop) this.frame.scrollTop = top;
    else if (bottom > this.frame.scrollTop + this.frame.clientHeight) this.frame.scrollTop = bottom - this.frame.clientHeight;
  }
}

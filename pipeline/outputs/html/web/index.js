// Index page: searchable list of pages, counts by class.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const words = (label) => label.replaceAll("_", " ");

/** A table that is sorted by a click on a column title; columns: [title, row => sort value, row => content]. */
class SortedTable {
  constructor(table, columns, sorted) {
    Object.assign(this, { table, columns, sorted, down: false, rows: [] });
    table.tHead.rows[0].replaceChildren(
      ...columns.map(([title], index) => {
        const button = document.createElement("button");
        Object.assign(button, { type: "button", textContent: title });
        button.addEventListener("click", () => {
          this.down = this.sorted === index ? !this.down : false;
          this.sorted = index;
          this.draw();
        });
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.append(button);
        return cell;
      }),
    );
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const value = this.columns[this.sorted][1];
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const ordered = [...this.rows].sort((a, b) => compare(value(a), value(b)) * (this.down ? -1 : 1));
    [...this.table.tHead.rows[0].cells].forEach((cell, index) =>
      cell.setAttribute("aria-sort", index !== this.sorted ? "none" : this.down ? "descending" : "ascending"),
    );
    this.table.tBodies[0].replaceChildren(
      ...ordered.map((row) => {
        const line = document.createElement("tr");
        for (const [, sortValue, content] of this.columns) {
          line.insertCell().append(content ? content(row) : String(sortValue(row)));
        }
        return line;
      }),
    );
  }
}

function link(row) {
  const anchor = document.createElement("a");
  Object.assign(anchor, { href: row.url, textContent: row.name });
  return anchor;
}

const minutes = (seconds) => `${Math.floor(Math.round(seconds) / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;
const files = new SortedTable(
  byId("files"),
  [
    ["file", (row) => row.name, link],
    ["length", (row) => row.duration, (row) => minutes(row.duration)],
    ["heard", (row) => row.heard],
    ["seen", (row) => row.seen],
    ["both", (row) => row.both],
    ["classes", (row) => row.labels.map(words).join(", ")],
    ["warnings", (row) => row.warnings],
  ],
  0,
);
const classes = new SortedTable(
  byId("classes"),
  [
    ["class", (row) => words(row.label)],
    ["files", (row) => row.files],
    ["heard", (row) => row.heard],
    ["seen", (row) => row.seen],
    ["both", (row) => row.both],
    ["seconds", (row) => row.seconds, (row) => row.seconds.toFixed(0)],
  ],
  1,
);
classes.down = true;

function search() {
  const query = byId("search").value.trim().toLowerCase();
  const matches = (text) => text.toLowerCase().includes(query) || words(text).toLowerCase().includes(query);
  const matching = data.files.filter((row) => matches(row.name) || row.labels.some(matches));
  byId("count").textContent = `(${matching.length} of ${data.files.length})`;
  files.show(matching);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

byId("title").textContent = data.title;
byId("facts").textContent = `${data.files.length} files, ${minutes(data.files.reduce((sum, row) => sum + row.duration, 0))} in all`;
byId("search").addEventListener("input", search);
byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
theme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
classes.show(data.classes);
search();

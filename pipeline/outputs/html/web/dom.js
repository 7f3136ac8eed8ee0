// What all parts of the page share: elements, times and names as people read them.

const MODALITY_WORDS = { audio: "audio", visual: "visual", audio_visual: "both" };

const byId = (id) => document.getElementById(id);

/** Create an element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Create an icon of page.html. */
function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "use"));
  svg.firstChild.setAttribute("href", `#icon-${name}`);
  return svg;
}

/** Write seconds as minutes and seconds, with hours where there are some. */
function clock(seconds, digits = 0) {
  const scaled = Math.round(seconds * 10 ** digits) / 10 ** digits;
  const hours = Math.floor(scaled / 3600);
  const minutes = Math.floor(scaled / 60) % 60;
  const rest = (scaled % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Write a count with its noun: "1 edit", "2 edits". */
const countOf = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Write the name of a class as people read it, the same as text.py does. */
function classWords(label, words) {
  if (Object.hasOwn(words, label)) return words[label];
  return label.replaceAll("_", " ").replace(/^./u, (first) => first.toUpperCase());
}

/** Describe an event in one line. */
function describe(event, words) {
  const times = `${clock(event.onset, 1)} to ${clock(event.offset, 1)}`;
  const comment = event.comment ? `, ${event.comment}` : "";
  return `${classWords(event.label, words)}, ${MODALITY_WORDS[event.modality]}, ${times}, score ${event.score.toFixed(2)}${comment}`;
}

const sameEvent = (a, b) => ["modality", "label", "onset", "offset"].every((key) => a[key] === b[key]);

/** Read the colour of a CSS variable. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

// What all parts of the page share: icons, counts and names as people read them.

const MODALITY_WORDS = { audio: "audio", visual: "visual", audio_visual: "both" };

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

/** Create the icons of a modality: a loudspeaker, an eye, or both. */
const icons = (modality) => (modality === "audio_visual" ? ["audio", "visual"] : [modality]).map(icon);

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

/** A name as it is searched for: in any case, with spaces or underscores. */
const plainName = (text) => text.toLowerCase().replaceAll("_", " ");

const sameEvent = (a, b) => ["modality", "label", "onset", "offset"].every((key) => a[key] === b[key]);

/** Read the colour of a CSS variable. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

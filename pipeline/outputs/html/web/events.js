// Events from probabilities and from edits: what timeline.py, thresholds.py and refine.py do, for any threshold.
"use strict";

const MODALITIES = ["audio", "visual", "audio_visual"];

/** Maximal runs of true as half-open intervals. */
function findRuns(length, isActive) {
  const found = [];
  let start = -1;
  for (let second = 0; second <= length; second++) {
    const active = second < length && isActive(second);
    if (active && start < 0) start = second;
    if (!active && start >= 0) {
      found.push([start, second]);
      start = -1;
    }
  }
  return found;
}

/** The published rule with one threshold for everything. tables: arrays of segments x labels. */
function decideEvents({ tables, segments, labels, has }, threshold) {
  const classes = labels.length;
  const events = [];
  labels.forEach((label, index) => {
    const at = (name, second) => tables[name][second * classes + index];
    const present = (second) =>
      tables.video
        ? at("video", second) >= threshold
        : at("audio_video", second) >= threshold || at("visual_video", second) >= threshold;
    const heard = (second) => has.audio && at("audio", second) >= threshold && present(second);
    const seen = (second) => has.visual && at("visual", second) >= threshold && present(second);
    const add = (modality, active, probability) => {
      for (const [onset, offset] of findRuns(segments, active)) {
        let sum = 0;
        for (let second = onset; second < offset; second++) sum += probability(second);
        events.push({ modality, label, onset, offset, score: sum / (offset - onset) });
      }
    };
    add("audio", heard, (second) => at("audio", second));
    add("visual", seen, (second) => at("visual", second));
    add(
      "audio_visual",
      (second) => heard(second) && seen(second),
      (second) => Math.min(at("audio", second), at("visual", second)),
    );
  });
  return sortEvents(events, labels);
}

function sortEvents(events, labels) {
  const place = new Map(labels.map((label, index) => [label, index]));
  return [...events].sort(
    (a, b) =>
      a.onset - b.onset ||
      a.offset - b.offset ||
      MODALITIES.indexOf(a.modality) - MODALITIES.indexOf(b.modality) ||
      place.get(a.label) - place.get(b.label),
  );
}

/** Events of a class and modality that overlap or are at most `gap` seconds apart, as one. */
function mergeEvents(events, gap) {
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const ordered = [...events].sort(
    (a, b) =>
      compare(a.modality, b.modality) || compare(a.label, b.label) || a.onset - b.onset || a.offset - b.offset,
  );
  const merged = [];
  for (const event of ordered) {
    const last = merged[merged.length - 1];
    if (!last || last.modality !== event.modality || last.label !== event.label || event.onset - last.offset > gap + 1e-9) {
      merged.push({ ...event });
      continue;
    }
    const [before, after] = [last.offset - last.onset, event.offset - event.onset];
    last.score = Math.min(1, (last.score * before + event.score * after) / (before + after));
    last.offset = Math.max(last.offset, event.offset);
  }
  return merged;
}

/** What is heard and what is seen, and where the same class is both at once: there the smaller score holds. */
function withBoth(events) {
  const own = events.filter((event) => event.modality !== "audio_visual");
  const merged = mergeEvents(own, 0);
  const seenOf = new Map();
  for (const seen of merged.filter((event) => event.modality === "visual")) {
    if (!seenOf.has(seen.label)) seenOf.set(seen.label, []);
    seenOf.get(seen.label).push(seen);
  }
  const found = [];
  for (const heard of merged.filter((event) => event.modality === "audio")) {
    for (const seen of seenOf.get(heard.label) ?? []) {
      if (seen.onset >= heard.offset) break;
      const [onset, offset] = [Math.max(heard.onset, seen.onset), Math.min(heard.offset, seen.offset)];
      const score = Math.min(heard.score, seen.score);
      if (onset < offset) found.push({ modality: "audio_visual", label: heard.label, onset, offset, score });
    }
  }
  return [...own, ...found];
}

/** The steps of `avvp parse --classes --merge-gap --min-duration --min-score`. */
function refineEvents(events, wanted, labels) {
  const asked = (key) => wanted[key] !== undefined && wanted[key] !== null;
  if (!["classes", "merge_gap", "min_duration", "min_score"].some(asked)) return events;
  const stays = (event) =>
    (!asked("min_duration") || event.offset - event.onset >= wanted.min_duration) &&
    (!asked("min_score") || event.score >= wanted.min_score);
  const kept = events.filter((event) => !asked("classes") || wanted.classes.includes(event.label));
  let own = kept.filter((event) => event.modality !== "audio_visual");
  if (asked("merge_gap")) own = mergeEvents(own, wanted.merge_gap);
  own = own.filter(stays);
  const key = (event) => JSON.stringify([event.label, event.onset, event.offset]);
  const scores = new Map(kept.filter((e) => e.modality === "audio_visual").map((e) => [key(e), e.score]));
  const both = withBoth(own)
    .filter((event) => event.modality === "audio_visual")
    .map((event) => ({ ...event, score: scores.get(key(event)) ?? event.score }));
  return sortEvents([...own, ...both.filter(stays)], labels);
}

/** The two files of LLP's annotations: a second counts where events of the class cover half of it. */
function toAnnotationFiles(name, events, labels, segments) {
  const tidy = (text) => text.replace(/[\t\n\r]/g, " ");
  return ["audio", "visual"].map((modality) => {
    const lines = ["filename\tonset\toffset\tevent_labels"];
    const length = Math.max(segments, ...events.map((event) => Math.ceil(event.offset)));
    for (const label of labels) {
      const own = mergeEvents(events.filter((e) => e.modality === modality && e.label === label), 0);
      const covered = (second) =>
        own.reduce((sum, e) => sum + Math.max(0, Math.min(second + 1, e.offset) - Math.max(second, e.onset)), 0);
      const spans = own.length ? findRuns(length, (second) => covered(second) >= 0.5 - 1e-9) : [];
      for (const [onset, offset] of spans) lines.push([tidy(name), onset, offset, tidy(label)].join("\t"));
    }
    return lines.map((line) => line + "\n").join("");
  });
}

if (typeof module !== "undefined") {
  module.exports = { decideEvents, mergeEvents, refineEvents, sortEvents, toAnnotationFiles, withBoth };
}

// Events from probabilities and from edits, for any threshold; the same results as timeline.py, thresholds.py and
// postprocess.py.
"use strict";

const MODALITIES = ["audio", "visual", "audio_visual"];
const SINGLE_MODALITIES = ["audio", "visual"]; // lanes of a parser; a localizer has the one lane audio_visual
const MAX_COMMENT = 1000; // characters
const PUBLISHED_RULE = { video_filter: "default", strict: false }; // of LEAP, HAN and MM-Pyr

/** Find the maximal runs of true as half-open intervals [onset, offset). */
function findRuns(length, isActive) {
  const runs = [];
  let start = -1; // of the current run, -1 outside of runs
  for (let second = 0; second <= length; second++) {
    const active = second < length && isActive(second);
    if (active && start < 0) start = second;
    if (!active && start >= 0) {
      runs.push([start, second]);
      start = -1;
    }
  }
  return runs;
}

/** Return the video-level probability, of a second and a class, that a modality is filtered by; `at` is the place in the
 * tables. Where the video has a class if either modality has it, that is the larger of the two. */
function videoProbability(tables, { video_filter }, modality, at) {
  if (video_filter === "own") return tables[`${modality}_video`][at];
  if (tables.video && video_filter !== "union") return tables.video[at];
  return Math.max(tables.audio_video[at], tables.visual_video[at]);
}

/** Apply the decision rule of the parser with one threshold for all classes. tables: arrays of segments x classes; the
 * labels of the classes come first, those that people added have no probabilities. rule: {video_filter, strict}. */
function decideEvents({ tables, segments, labels, classes, has, lanes, rule = PUBLISHED_RULE }, threshold) {
  if (lanes?.includes("audio_visual")) return decideLocalized({ tables, segments, labels, classes, has }, threshold);
  const events = [];
  const reaches = (probability) => (rule.strict ? probability > threshold : probability >= threshold);
  labels.slice(0, classes).forEach((label, index) => {
    const at = (name, second) => tables[name][second * classes + index];
    const isActive = (modality, second) =>
      has[modality] &&
      reaches(at(modality, second)) &&
      reaches(videoProbability(tables, rule, modality, second * classes + index));
    const audio = (second) => isActive("audio", second);
    const visual = (second) => isActive("visual", second);
    const add = (modality, active, probability) => {
      for (const [onset, offset] of findRuns(segments, active)) {
        let sum = 0;
        for (let second = onset; second < offset; second++) sum += probability(second);
        events.push({ modality, label, onset, offset, score: sum / (offset - onset) });
      }
    };
    add("audio", audio, (second) => at("audio", second));
    add("visual", visual, (second) => at("visual", second));
    add(
      "audio_visual",
      (second) => audio(second) && visual(second),
      (second) => Math.min(at("audio", second), at("visual", second)),
    );
  });
  return sortEvents(events, labels);
}

/** Decide the events of a localizer: in each second the most probable class, of equals the first, if it and its video
 * reach the threshold. Its tables are equal for both modalities. */
function decideLocalized({ tables, segments, labels, classes, has }, threshold) {
  const best = Array.from({ length: has.audio && has.visual ? segments : 0 }, (_, second) => {
    let found = -1;
    for (let index = 0; index < classes; index++) {
      const at = second * classes + index;
      const reaches = tables.audio[at] >= threshold && tables.audio_video[at] >= threshold;
      if (reaches && (found < 0 || tables.audio[at] > tables.audio[second * classes + found])) found = index;
    }
    return found;
  });
  const events = [];
  labels.slice(0, classes).forEach((label, index) => {
    for (const [onset, offset] of findRuns(best.length, (second) => best[second] === index)) {
      let sum = 0;
      for (let second = onset; second < offset; second++) sum += tables.audio[second * classes + index];
      events.push({ modality: "audio_visual", label, onset, offset, score: sum / (offset - onset) });
    }
  });
  return sortEvents(events, labels);
}

/** Find the second and class that come closest to an event: the largest of the smaller one of a second's probability
 * and its video's. Returns {label, modality, second, probability}, or null without probabilities. */
function closestMiss({ tables, segments, labels, classes, has, lanes = SINGLE_MODALITIES, rule = PUBLISHED_RULE }) {
  let best = null;
  const isThere = { ...has, audio_visual: has.audio && has.visual };
  for (const modality of lanes.filter((name) => tables && isThere[name])) {
    const table = tables[tableOf(modality)];
    for (let at = 0; at < segments * classes; at++) {
      const probability = Math.min(table[at], videoProbability(tables, rule, tableOf(modality), at));
      if (!best || probability > best.probability) best = { modality, at, probability };
    }
  }
  if (!best) return null;
  const { modality, at, probability } = best;
  return { modality, label: labels[at % classes], second: Math.floor(at / classes), probability };
}

/** Return the name of the table with the probabilities of a lane. */
const tableOf = (modality) => (modality === "audio_visual" ? "audio" : modality);

/** Sort by onset, offset, modality and class. */
function sortEvents(events, labels) {
  const indices = new Map(labels.map((label, index) => [label, index]));
  return [...events].sort(
    (a, b) =>
      a.onset - b.onset ||
      a.offset - b.offset ||
      MODALITIES.indexOf(a.modality) - MODALITIES.indexOf(b.modality) ||
      indices.get(a.label) - indices.get(b.label),
  );
}

/** Merge events of a class and modality that overlap or are at most `gap` seconds apart. */
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
    const [lastDuration, duration] = [last.offset - last.onset, event.offset - event.onset];
    last.score = Math.min(1, (last.score * lastDuration + event.score * duration) / (lastDuration + duration));
    last.offset = Math.max(last.offset, event.offset);
    const comments = [...new Set([last.comment, event.comment].filter(Boolean))];
    if (comments.length) last.comment = comments.join("; ").slice(0, MAX_COMMENT);
  }
  return merged;
}

/** Merge events that follow one another, without an event of another class between them: of a localizer. */
function mergeNeighbours(events, gap) {
  const merged = [];
  for (const event of events) {
    const last = merged[merged.length - 1];
    const joined = last?.label === event.label ? mergeEvents([last, event], gap) : [];
    if (joined.length === 1) merged[merged.length - 1] = joined[0];
    else merged.push(event);
  }
  return merged;
}

/** Recompute audio-visual events: where audio and visual events of a class overlap, with the smaller score. */
function withAudioVisual(events) {
  const single = events.filter((event) => event.modality !== "audio_visual");
  const merged = mergeEvents(single, 0);
  const visualByLabel = new Map();
  for (const visual of merged.filter((event) => event.modality === "visual")) {
    if (!visualByLabel.has(visual.label)) visualByLabel.set(visual.label, []);
    visualByLabel.get(visual.label).push(visual);
  }
  const audioVisual = [];
  const firsts = new Map(); // label -> first visual event that an audio event may still overlap
  for (const audio of merged.filter((event) => event.modality === "audio")) {
    const visuals = visualByLabel.get(audio.label) ?? [];
    let first = firsts.get(audio.label) ?? 0;
    while (first < visuals.length && visuals[first].offset <= audio.onset) first++;
    firsts.set(audio.label, first);
    for (let index = first; index < visuals.length && visuals[index].onset < audio.offset; index++) {
      const visual = visuals[index];
      const [onset, offset] = [Math.max(audio.onset, visual.onset), Math.min(audio.offset, visual.offset)];
      const score = Math.min(audio.score, visual.score);
      if (onset < offset) audioVisual.push({ modality: "audio_visual", label: audio.label, onset, offset, score });
    }
  }
  return [...single, ...audioVisual];
}

/** Recompute audio-visual events; those with the class and times of an earlier one stay as that was. */
function keepAudioVisual(events, earlier) {
  const key = (event) => JSON.stringify([event.label, event.onset, event.offset]);
  const kept = new Map(earlier.filter((e) => e.modality === "audio_visual").map((e) => [key(e), e]));
  return withAudioVisual(events).map((event) => (event.modality === "audio_visual" ? kept.get(key(event)) ?? event : event));
}

/** Apply the steps of `avvp parse --classes --merge-gap --min-duration --min-score`; see refine() in postprocess.py. */
function refineEvents(events, options, labels, lanes = SINGLE_MODALITIES) {
  const isSet = (key) => options[key] !== undefined && options[key] !== null;
  if (!["classes", "merge_gap", "min_duration", "min_score"].some(isSet)) return events;
  const isKept = (event) =>
    (!isSet("min_duration") || event.offset - event.onset >= options.min_duration) &&
    (!isSet("min_score") || event.score >= options.min_score);
  const kept = events.filter((event) => !isSet("classes") || options.classes.includes(event.label));
  if (lanes.includes("audio_visual")) {
    const merged = isSet("merge_gap") ? mergeNeighbours(kept, options.merge_gap) : kept;
    return sortEvents(merged.filter(isKept), labels);
  }
  let single = kept.filter((event) => event.modality !== "audio_visual");
  if (isSet("merge_gap")) single = mergeEvents(single, options.merge_gap);
  single = single.filter(isKept);
  return sortEvents(keepAudioVisual(single, kept).filter(isKept), labels);
}

/** Write the two annotation files of LLP: a second is active where events of the class cover at least half of it. The
 * events of a localizer are in both. */
function toAnnotationFiles(name, events, labels, segments, lanes = SINGLE_MODALITIES) {
  // A cell that begins with a double quote is quoted, as format_cells() in tables.py does.
  const cell = (text) => text.replace(/[\t\n\r]/g, " ").replace(/^ *".*$/, (all) => `"${all.replaceAll('"', '""')}"`);
  const length = events.reduce((most, event) => Math.max(most, Math.ceil(event.offset)), segments);
  return ["audio", "visual"].map((modality) => {
    const covered = new Map(labels.map((label) => [label, new Map()])); // class -> second -> share of it
    for (const { label, onset, offset } of mergeEvents(events.filter((e) => e.modality === (lanes.includes(modality) ? modality : "audio_visual")), 0)) {
      const seconds = covered.get(label);
      for (let second = Math.floor(onset); second < offset; second++) {
        seconds.set(second, (seconds.get(second) ?? 0) + Math.min(second + 1, offset) - Math.max(second, onset));
      }
    }
    const lines = ["filename\tonset\toffset\tevent_labels"];
    for (const [label, seconds] of covered) {
      const spans = seconds.size ? findRuns(length, (second) => (seconds.get(second) ?? 0) >= 0.5 - 1e-9) : [];
      for (const [onset, offset] of spans) lines.push([cell(name), onset, offset, cell(label)].join("\t"));
    }
    return lines.map((line) => line + "\n").join("");
  });
}

if (typeof module !== "undefined") {
  module.exports = { closestMiss, decideEvents, mergeEvents, refineEvents, sortEvents, toAnnotationFiles, withAudioVisual };
}

// Keys, as in programs for cutting and annotating: J K L, in and out points, nudging of edges.

const NAMED = {
  " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Delete: "delete", Backspace: "delete", "=": "+", Enter: "enter",
};
const SHIFTED = new Set(["←", "→"]); // keys that are named with shift; letters with shift are capitals

const KEY_GROUPS = {
  Play: {
    space: ["play or pause", (page) => page.player.toggle()],
    j: ["play backwards; again: faster", (page) => page.player.shuttle(-1)],
    k: ["stop, at normal speed", (page) => page.player.halt()],
    l: ["play; again: faster", (page) => page.player.shuttle(1)],
    enter: ["play the selected event", (page) => page.playChosen(false)],
    r: ["repeat the selected event, or stop repeating", (page) => page.playChosen(true)],
    "←": ["one second back", (page) => page.seek(page.player.time - 1)],
    "→": ["one second forward", (page) => page.seek(page.player.time + 1)],
    "shift ←": ["ten seconds back", (page) => page.seek(page.player.time - 10)],
    "shift →": ["ten seconds forward", (page) => page.seek(page.player.time + 10)],
  },
  Look: {
    n: ["next event", (page) => page.step(1)],
    p: ["previous event", (page) => page.step(-1)],
    u: ["next unsure event: the nearest to its threshold first", (page) => page.stepUnsure(1)],
    U: ["previous unsure event", (page) => page.stepUnsure(-1)],
    "+": ["zoom in", (page) => page.view.zoom(1.6)],
    "-": ["zoom out", (page) => page.view.zoom(1 / 1.6)],
    0: ["fit the whole video", (page) => page.view.zoom(0)],
    "/": ["find a class", (page) => page.findClass()],
    "?": ["show these keys", () => byId("help").showModal()],
  },
  Correct: {
    e: ["edit, or stop editing", (page) => page.editor.toggle(!page.corrections.on)],
    "1 to 9": ["give the event the class of that row"],
    m: ["change between audio and visual", (page) => page.editor.swapModality()],
    i: ["begin the event at the playhead", (page) => page.editor.setEdge("onset")],
    o: ["end the event at the playhead", (page) => page.editor.setEdge("offset")],
    "a, s": ["begin 0.1 s earlier, later; with shift 1 s"],
    "d, f": ["end 0.1 s earlier, later; with shift 1 s"],
    c: ["comment on the event", (page) => page.editor.comment()],
    delete: ["delete the event", (page) => page.editor.remove()],
    drag: ["move the event; its ends: stretch it"],
    "double click": ["add an event in that lane"],
    "ctrl z": ["undo"],
    "ctrl shift z": ["redo"],
  },
};

const NUDGES = { a: ["onset", -1], s: ["onset", 1], d: ["offset", -1], f: ["offset", 1] };

const KEYS = Object.assign({}, ...Object.values(KEY_GROUPS));
for (const [key, [edge, direction]] of Object.entries(NUDGES)) {
  KEYS[key] = ["", (page) => page.editor.nudge(edge, 0.1 * direction)];
  KEYS[key.toUpperCase()] = ["", (page) => page.editor.nudge(edge, direction)];
}
for (let row = 0; row < 9; row++) KEYS[row + 1] = ["", (page) => page.editor.chooseClass(row)];

/** Write the sheet of keys. */
function writeKeys() {
  const groups = Object.entries(KEY_GROUPS).map(([title, keys]) =>
    make("section", {}, make("h3", { textContent: title }), make("dl", {}, ...Object.entries(keys).flatMap(([key, [words]]) => [
      make("dt", {}, ...key.split(", ").flatMap((name, index) => [index ? " " : "", make("kbd", { textContent: name })])),
      make("dd", { textContent: words }),
    ]))),
  );
  byId("keys").replaceChildren(...groups);
}

/** Do what a key stands for, unless it is for a field, a button or the browser. */
function pressKey(page, pressed) {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) {
    const inText = pressed.target.closest("input:not([type=range]):not([type=checkbox]), dialog");
    const key = pressed.key.toLowerCase();
    if (inText || pressed.altKey || !["z", "y"].includes(key)) return;
    pressed.preventDefault();
    if (key === "y" || pressed.shiftKey) page.corrections.redo();
    else page.corrections.undo();
    return;
  }
  const typing = pressed.target.closest("input:not([type=range]):not([type=checkbox]), select, dialog");
  const key = NAMED[pressed.key] ?? pressed.key;
  const onRange = pressed.target.closest("input[type=range], audio, video") && "←→↑↓".includes(key);
  const onButton = ["space", "enter"].includes(key) && pressed.target.closest("a, button, input, summary, audio, video");
  if (typing || onRange || onButton) return;
  const known = KEYS[pressed.shiftKey && SHIFTED.has(key) ? `shift ${key}` : key];
  if (!known?.[1]) return;
  pressed.preventDefault();
  known[1](page);
}

// Page of a search: moments as cards, and a player that begins at their best second.
"use strict";

const data = JSON.parse(byId("data").textContent);
const LEAD = 1; // seconds before the best second at which the player begins, within the moment
const state = { text: null };

const describe = (moment) => `${clock(moment.onset)} to ${clock(moment.offset)}`;

function card(moment) {
  const media = data.media[moment.media];
  const picture = moment.picture
    ? make("img", { src: moment.picture, alt: "", loading: "lazy", decoding: "async" })
    : make("span", { className: "blank" });
  const values = ["heard", "seen"].filter((name) => moment[name] !== null).map((name) => `${name} ${moment[name].toFixed(1)}`);
  const item = make(
    media ? "button" : "div", { className: "moment" },
    picture,
    make("span", { className: "line" }, make("strong", {}, moment.text), make("span", { title: "z" }, moment.z.toFixed(1))),
    make("span", { className: "line soft" }, make("span", {}, describe(moment)), make("span", {}, values.join(" · "))),
    make("span", { className: "soft" }, moment.name),
  );
  if (media) {
    item.type = "button";
    item.setAttribute("aria-label", `Play ${moment.text}, ${describe(moment)}, ${moment.name}, z ${moment.z.toFixed(1)}`);
    item.addEventListener("click", () => play(moment, media, item));
  }
  return make("li", {}, item);
}

function play(moment, media, item) {
  for (const other of document.querySelectorAll('.moment[aria-current="true"]')) other.removeAttribute("aria-current");
  item.setAttribute("aria-current", "true");
  byId("player").hidden = false;
  byId("playing").textContent = `${moment.name}: ${moment.text}, ${describe(moment)}`;
  let player = byId("stage").firstElementChild;
  if (!player || player.dataset.url !== media.url) {
    player = make(media.kind, { controls: true, src: media.url });
    player.dataset.url = media.url;
    player.setAttribute("aria-label", media.name);
    player.addEventListener("error", () => {
      byId("playing").textContent = `${media.name} cannot be played here; its path is ${media.path}`;
    });
    byId("stage").replaceChildren(player);
  }
  const start = Math.max(moment.onset, moment.best - LEAD);
  const begin = () => {
    player.currentTime = start;
    player.play().catch(() => {}); // a browser that plays nothing by itself shows its controls
  };
  if (player.readyState) begin();
  else player.addEventListener("loadedmetadata", begin, { once: true });
}

function draw() {
  const shown = data.moments.filter((moment) => state.text === null || moment.text === state.text);
  byId("count").textContent = shown.length < data.moments.length ? `${shown.length} of ${data.moments.length} moments` : data.count;
  byId("moments").replaceChildren(...shown.map(card));
  for (const button of byId("texts").children) button.setAttribute("aria-pressed", String(button.dataset.text === (state.text ?? "")));
}

function choice(text) {
  const button = make("button", { type: "button" }, text || "All");
  button.dataset.text = text;
  button.addEventListener("click", () => {
    state.text = text || null;
    draw();
  });
  return button;
}

byId("title").textContent = data.title;
byId("facts").textContent = data.facts;
byId("notes").hidden = !data.notes.length;
byId("notes").append(...data.notes.map((note) => make("p", {}, note)));
const texts = [...new Set(data.moments.map((moment) => moment.text))];
if (texts.length > 1) byId("texts").append(choice(""), ...texts.map(choice));
const theme = (name) => (document.documentElement.dataset.theme = name);
byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
theme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
draw();

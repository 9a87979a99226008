// What is shown: a page, a time, variables; all of it in the address, so that a link shows the same.

import { element, fill, frame, say } from "/draw.js";

const AT_ONCE = 4;
const MOST_SECONDS = 92 * 86400; // as the server has it
const byId = (id) => document.getElementById(id);
const state = { page: "", range: "3600", from: 0, to: 0, every: "30", values: {} };
let pages = [];
let framed = [];
let turn = 0;
let timer = 0;

async function ask(path, parameters) {
  let answer;
  try {
    answer = await fetch(`${path}?${parameters}`, { cache: "no-store" });
  } catch {
    return { error: "The server of this page has ended: start ./berth dash again." };
  }
  return answer.json();
}

/** What is wrong with a time of one's own; "" where nothing is. */
function objection({ from, to }) {
  if (!(from > 0 && to > from)) return "From has to be before To.";
  return to - from > MOST_SECONDS ? "A time can be 92 days long at most." : "";
}

function shownWindow() {
  if (state.range === "custom" && !objection(state)) return { start: state.from, end: state.to };
  const end = Math.floor(Date.now() / 1000);
  const length = state.range === "custom" ? 3600 : Number(state.range);
  return { start: end - length, end };
}

function parameters(window_, more) {
  const made = new URLSearchParams({ page: state.page, from: window_.start, to: window_.end, ...more });
  for (const [name, values] of Object.entries(state.values)) {
    for (const value of values) made.append(`var-${name}`, value);
  }
  return made;
}

function readAddress() {
  const [name, query] = location.hash.slice(1).split("?");
  const given = new URLSearchParams(query);
  state.page = pages.some((page) => page.name === name) ? name : pages[0].name;
  const range = given.get("range");
  if ([...byId("range").options].some((one) => one.value === range)) state.range = range;
  state.from = Number(given.get("from")) || state.from;
  state.to = Number(given.get("to")) || state.to;
  state.values = {};
  for (const key of new Set(given.keys())) {
    if (key.startsWith("var-")) state.values[key.slice(4)] = given.getAll(key);
  }
}

function address(page = state.page) {
  const given = new URLSearchParams({ range: state.range });
  if (state.range === "custom") {
    given.set("from", state.from);
    given.set("to", state.to);
  }
  for (const [name, values] of Object.entries(state.values)) {
    for (const value of values) given.append(`var-${name}`, value);
  }
  return `#${page}?${given}`;
}

function changed() {
  history.replaceState(null, "", address());
  controls();
  load();
}

function local(time) {
  const date = new Date(time * 1000);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function controls() {
  byId("range").value = state.range;
  byId("custom").hidden = state.range !== "custom";
  byId("every").value = state.every;
  if (state.range === "custom") {
    byId("from").value = local(state.from);
    byId("to").value = local(state.to);
  }
  byId("pages").replaceChildren(
    ...pages.map((page) => {
      const anchor = element("a", { href: address(page.name) }, page.title);
      if (page.name === state.page) anchor.setAttribute("aria-current", "page");
      return element("li", {}, anchor);
    }),
  );
}

function pick(from, to) {
  state.range = "custom";
  state.from = Math.floor(from);
  state.to = Math.ceil(to);
  changed();
}

/** Choices of the page's variables; those that were opened stay open. */
function variables(page, found) {
  const open = new Set([...document.querySelectorAll("#variables details[open]")].map((one) => one.id));
  const made = page.variables.map(({ name, title }) => {
    const chosen = state.values[name] ?? [];
    const words = chosen.length ? chosen.join(", ") : "all";
    const choices = [...new Set([...(found[name] ?? []), ...chosen])].sort();
    const list = element("fieldset", {}, element("legend", {}, title));
    for (const value of choices) {
      const box = element("input", { type: "checkbox", value, checked: chosen.includes(value) });
      box.dataset.variable = name;
      list.append(element("label", {}, box, value));
    }
    if (!choices.length) list.append(element("p", {}, "nothing to choose in this time"));
    const made = element("details", { id: `variable-${name}` }, element("summary", {}, `${title}: ${words}`), list);
    made.open = open.has(made.id);
    return made;
  });
  const held = document.activeElement;
  const kept = byId("variables").contains(held) && held.dataset.variable ? [held.dataset.variable, held.value] : null;
  byId("variables").replaceChildren(...made);
  if (kept) {
    document.querySelector(`#variables input[data-variable="${kept[0]}"][value="${CSS.escape(kept[1])}"]`)?.focus();
  }
}

function frames(page) {
  framed = page.panels.map((panel) => frame(page, panel));
  const main = byId("panels");
  main.dataset.page = page.name;
  delete main.dataset.loaded;
  const made = [element("p", { class: "what" }, page.text)];
  let group = null;
  let section = null;
  for (const one of framed) {
    if (one.panel.section !== section) {
      section = one.panel.section;
      group = element("div", { class: "group" });
      made.push(element("h2", {}, section), group);
    }
    group.append(one.node);
  }
  main.replaceChildren(...made);
  document.title = `${page.title} – Berth dashboards`;
}

const inSight = (node) => {
  const box = node.getBoundingClientRect();
  return box.bottom > -400 && box.top < innerHeight + 400;
};

/** Ask for every panel, those in sight first, a few at a time; a newer call ends an older one. */
async function load(onlyInSight = false) {
  turn += 1;
  const mine = turn;
  clearTimeout(timer);
  const page = pages.find((one) => one.name === state.page);
  if (byId("panels").dataset.page !== page.name) frames(page);
  const window_ = shownWindow();
  byId("state").textContent = "asking…";
  const values = await ask("/api/values", parameters(window_, {}));
  if (mine !== turn) return;
  variables(page, values.values ?? {});
  const asked = framed.filter((one) => one.panel.kind !== "text");
  const queue = [
    ...asked.filter((one) => inSight(one.node)),
    ...(onlyInSight ? [] : asked.filter((one) => !inSight(one.node))),
  ];
  const worker = async () => {
    for (let one = queue.shift(); one; one = queue.shift()) {
      const answer = await ask("/api/panel", parameters(window_, { panel: one.panel.id }));
      if (mine !== turn) return;
      try {
        fill(one, answer, window_, pick);
        one.window = window_;
      } catch (error) {
        say(one, "error", `This panel cannot be drawn: ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (mine !== turn) return;
  byId("state").textContent = values.error ?? `as of ${new Date(window_.end * 1000).toLocaleTimeString()}`;
  byId("panels").dataset.loaded = String(mine);
  if (Number(state.every) && state.range !== "custom") {
    timer = setTimeout(refresh, Number(state.every) * 1000);
  }
}

/** A page that nobody sees asks nothing. */
function refresh() {
  if (!document.hidden) load(true);
  else addEventListener("visibilitychange", refresh, { once: true });
}

function closeChoices(but = null) {
  for (const one of document.querySelectorAll("#variables details[open]")) {
    if (one !== but) one.open = false;
  }
}

function listen() {
  addEventListener("click", (event) => closeChoices(event.target.closest?.("#variables details")));
  addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && document.querySelector("#variables details[open]");
    if (!open) return;
    closeChoices();
    open.querySelector("summary").focus();
  });
  byId("range").addEventListener("change", (event) => {
    const before = shownWindow();
    state.range = event.target.value;
    if (state.range === "custom") Object.assign(state, { from: before.start, to: before.end });
    changed();
  });
  for (const end of ["from", "to"]) {
    byId(end).addEventListener("change", (event) => {
      const time = new Date(event.target.value).getTime() / 1000;
      if (!Number.isFinite(time)) return;
      state[end] = time;
      const wrong = objection(state);
      if (wrong) byId("state").textContent = wrong;
      else changed();
    });
  }
  byId("every").addEventListener("change", (event) => {
    state.every = event.target.value;
    load(true);
  });
  byId("again").addEventListener("click", () => load());
  byId("theme").addEventListener("change", (event) => {
    document.documentElement.dataset.theme = event.target.value;
    load();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => load());
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("variables").addEventListener("change", (event) => {
    const { variable, value, checked } = event.target.dataset.variable
      ? { variable: event.target.dataset.variable, value: event.target.value, checked: event.target.checked }
      : {};
    if (!variable) return;
    const chosen = new Set(state.values[variable] ?? []);
    if (checked) chosen.add(value);
    else chosen.delete(value);
    if (chosen.size) state.values[variable] = [...chosen];
    else delete state.values[variable];
    changed();
  });
  addEventListener("hashchange", () => {
    readAddress();
    controls();
    load();
  });
  // What was out of sight while the page refreshed itself is asked when it comes into sight.
  let waiting = 0;
  addEventListener("scroll", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const now = shownWindow();
      const old = framed.some(
        (one) => one.window && inSight(one.node) && now.end - one.window.end > 2 * Number(state.every),
      );
      if (old && Number(state.every) && state.range !== "custom") load(true);
    }, 200);
  });
}

const told = await ask("/api/pages", "");
if (told.error) {
  byId("state").textContent = told.error;
} else {
  pages = told.pages;
  byId("source").textContent = [told.name && `Stack ${told.name}`, `from ${told.source}`].filter(Boolean).join(", ");
  readAddress();
  listen();
  controls();
  load();
}

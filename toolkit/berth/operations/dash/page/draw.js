// Panels: a frame that stays, and what is in it, which every answer makes anew.

import { clock, latest, level, named, shown } from "/format.js";

const MOST_NAMED = 9;
const MOST_DRAWN = 60;
const MOST_LISTED = 500;
const LONG = 86400;

export function element(kind, properties = {}, ...children) {
  const made = document.createElement(kind);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** The frame of a panel: heading, body, and what it means. */
export function frame(page, panel) {
  const title = element("h3", { id: `title-${page.name}-${panel.id}` }, panel.title);
  const body = element("div", { class: "body" });
  const about = element("details", { class: "about" }, element("summary", {}, "About"));
  about.append(element("p", {}, panel.text));
  if (panel.source) about.append(element("p", {}, `Source: ${panel.source}.`));
  if (panel.needs) about.append(element("p", {}, `Needs: ${panel.needs}.`));
  for (const link of panel.links) {
    const anchor = element("a", { href: link.url, rel: "noreferrer noopener", target: "_blank" }, link.title);
    about.append(element("p", {}, anchor));
  }
  for (const query of panel.queries) {
    about.append(element("pre", { tabIndex: 0 }, element("code", {}, query.expr)));
  }
  const values = element("div", { class: "values" });
  about.append(values);
  const made = element("section", { class: `panel ${panel.kind}` }, title, body);
  if (panel.kind !== "text") made.append(about);
  made.setAttribute("aria-labelledby", title.id);
  made.style.setProperty("--columns", panel.width);
  made.dataset.state = panel.kind === "text" ? "text" : "waiting";
  if (panel.kind === "text") body.append(...prose(panel.content));
  return { panel, node: made, body, values, hidden: new Set() };
}

/** Bold and code of Markdown, and paragraphs; nothing else is in our texts. */
function prose(text) {
  return text.split("\n\n").map((block) => {
    const paragraph = element("p");
    for (const piece of block.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
      if (piece.startsWith("**")) paragraph.append(element("strong", {}, piece.slice(2, -2)));
      else if (piece.startsWith("`")) paragraph.append(element("code", {}, piece.slice(1, -1)));
      else paragraph.append(piece);
    }
    return paragraph;
  });
}

export function say(framed, state, message) {
  forget(framed);
  framed.node.dataset.state = state;
  framed.body.replaceChildren(element("p", { class: state }, message));
  framed.values.replaceChildren();
}

function forget(framed) {
  const chart = framed.body.querySelector(".chart");
  if (chart) window.Plotly.purge(chart);
}

/** Put an answer into its frame. */
export function fill(framed, answer, window_, pick) {
  if (answer.error) return say(framed, "error", answer.error);
  const flat = answer.answers.flatMap((one) =>
    one.series.map((series) => ({
      ...series,
      dashed: one.dashed,
      ref: one.ref,
      column: one.legend,
      name: named(one.legend, series.labels),
    })),
  );
  if (!flat.some((one) => latest(one.values) !== null)) {
    return say(framed, "empty", answer.waits ? `No data. It needs ${answer.waits}.` : "No data in this time.");
  }
  framed.node.dataset.state = "data";
  if (framed.panel.kind === "stat") return number(framed, flat);
  if (framed.panel.kind === "table") {
    forget(framed);
    return framed.body.replaceChildren(table(framed.panel, answer.answers));
  }
  const height = (one) => (one.dashed ? Infinity : latest(one.values) ?? -Infinity);
  const drawn = flat.length > MOST_DRAWN
    ? [...flat].sort((one, two) => height(two) - height(one)).slice(0, MOST_DRAWN)
    : flat;
  lines(framed, drawn, window_, pick, flat.length);
  const listed = flat.slice(0, MOST_LISTED);
  const rows = listed.map((one) => [one.name, shown(latest(one.values), framed.panel.unit)]);
  framed.values.replaceChildren(grid(`${framed.panel.title}: latest values`, ["Series", "Latest"], rows));
}

function number(framed, flat) {
  const parts = flat.map((one) => {
    const value = latest(one.values);
    const colour = level(value, framed.panel.thresholds);
    const label = flat.length > 1 ? element("span", { class: "of" }, one.name) : "";
    return element("p", { class: `number ${colour}` }, shown(value, framed.panel.unit), label);
  });
  framed.body.replaceChildren(...parts);
}

function grid(caption, heads, rows) {
  const made = element("table", {}, element("caption", {}, caption));
  made.append(
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))),
  );
  return element("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: `${caption}, table` }, made);
}

const FIRST = ["alertname", "severity", "site", "model", "variant"];
const place = (label) => (FIRST.indexOf(label) + FIRST.length + 1) % (FIRST.length + 1);

/** One row for each set of labels, one column for each query. */
function table(panel, answers) {
  const labels = [...new Set(answers.flatMap((one) => one.series.flatMap((each) => Object.keys(each.labels))))]
    .filter((label) => label !== "__name__" && label !== "namespace")
    .sort((one, two) => place(one) - place(two) || one.localeCompare(two));
  const rows = new Map();
  answers.forEach((answer, column) => {
    for (const series of answer.series) {
      const key = JSON.stringify(labels.map((label) => series.labels[label] ?? ""));
      if (!rows.has(key)) {
        const cells = new Array(answers.length).fill("–");
        rows.set(key, [...labels.map((label) => series.labels[label] ?? ""), ...cells]);
      }
      rows.get(key)[labels.length + column] = shown(latest(series.values), panel.unit);
    }
  });
  return grid(panel.title, [...labels, ...answers.map((one) => one.legend)], [...rows.values()].sort());
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function lines(framed, flat, window_, pick, all) {
  const { panel } = framed;
  let chart = framed.body.querySelector(".chart");
  if (!chart) {
    chart = element("div", { class: "chart", role: "img" });
    framed.body.replaceChildren(chart, element("ul", { class: "legend" }));
  }
  const colours = style("--series").split(" ");
  let turn = 0;
  const traces = flat.map((one) => {
    const colour = one.dashed ? style("--limit") : colours[turn++ % colours.length];
    return {
      x: one.times.map((time) => new Date(time * 1000)),
      y: one.values,
      name: plain(one.name),
      mode: one.values.filter((value) => value !== null).length > 1 ? "lines" : "markers",
      connectgaps: false,
      line: { width: 1.6, color: colour, dash: one.dashed ? "dash" : "solid" },
      marker: { color: colour, size: 6 },
      fill: panel.stacked && !one.dashed ? "tonexty" : "none",
      stackgroup: panel.stacked && !one.dashed ? "all" : undefined,
      text: one.values.map((value) => plain(shown(value, panel.unit))),
      hovertemplate: "%{text}",
      visible: !framed.hidden.has(one.name),
    };
  });
  const every = flat.filter((one) => !framed.hidden.has(one.name)).flatMap((one) => one.values);
  const most = panel.stacked ? highest(flat) : every.reduce((one, two) => Math.max(one, two ?? 0), 0);
  const ticks = axis(most, every.reduce((one, two) => Math.min(one, two ?? 0), 0));
  const shapes = panel.drawsThresholds
    ? panel.thresholds.filter((one) => one.value !== null && one.value <= most * 1.6).map((one) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, y0: one.value, y1: one.value,
        line: { color: style(`--${one.colour}`), width: 1, dash: "dot" },
      }))
    : [];
  const long = window_.end - window_.start > LONG;
  const layout = {
    height: 210,
    margin: { l: 62, r: 10, t: 6, b: 28 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11, color: style("--quiet") },
    hoverlabel: { bgcolor: style("--paper"), font: { color: style("--ink") }, namelength: 40 },
    showlegend: false,
    hovermode: "x unified",
    dragmode: "zoom",
    shapes,
    xaxis: {
      type: "date", range: [new Date(window_.start * 1000), new Date(window_.end * 1000)],
      gridcolor: style("--line"), zeroline: false, nticks: 5, tickangle: 0,
      tickformat: long ? "%d %b %H:%M" : "%H:%M", hoverformat: long ? "%d %b %H:%M" : "%H:%M:%S",
    },
    yaxis: {
      gridcolor: style("--line"), zerolinecolor: style("--line"), rangemode: "tozero", fixedrange: true,
      tickvals: ticks, ticktext: ticks.map((value) => shown(value, panel.unit)),
    },
  };
  const first = !chart.data;
  window.Plotly.react(chart, traces, layout, { displayModeBar: false, responsive: true });
  if (first) chart.on("plotly_relayout", (change) => zoomed(change, pick));
  const said = flat.slice(0, 3).map((one) => `${one.name} ${shown(latest(one.values), panel.unit)}`);
  chart.ariaLabel = `${panel.title}, ${flat.length} series until ${clock(window_.end, long)}: ${said.join("; ")}`;
  legend(framed, chart, flat, traces, all);
}

/** The charting library reads some HTML in names; what others wrote is text. */
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** The highest sum at one time: where stacked lines end. */
function highest(flat) {
  const sums = new Map();
  for (const one of flat) {
    one.times.forEach((time, index) => sums.set(time, (sums.get(time) ?? 0) + (one.values[index] ?? 0)));
  }
  return [...sums.values()].reduce((one, two) => Math.max(one, two), 0);
}

function axis(most, least) {
  const span = Math.max(most, 1e-12) - Math.min(least, 0);
  const raw = span / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw);
  const first = Math.floor(Math.min(least, 0) / step);
  return Array.from({ length: Math.ceil(most / step) - first + 1 }, (_, index) => (first + index) * step);
}

function zoomed(change, pick) {
  const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]].map((one) => Date.parse(one) / 1000);
  if (Number.isFinite(from) && Number.isFinite(to) && to - from > 1) pick(from, to);
}

function legend(framed, chart, flat, traces, all) {
  const list = framed.body.querySelector(".legend");
  const items = flat.slice(0, MOST_NAMED).map((one, index) => {
    const swatch = element("span", { class: one.dashed ? "swatch dashed" : "swatch" });
    swatch.style.setProperty("--colour", traces[index].line.color);
    const value = element("b", {}, shown(latest(one.values), framed.panel.unit));
    const button = element("button", { type: "button" }, swatch, `${one.name} `, value);
    button.setAttribute("aria-pressed", String(!framed.hidden.has(one.name)));
    button.addEventListener("click", () => {
      const hide = !framed.hidden.has(one.name);
      if (hide) framed.hidden.add(one.name);
      else framed.hidden.delete(one.name);
      button.setAttribute("aria-pressed", String(!hide));
      window.Plotly.restyle(chart, { visible: !hide }, [index]);
    });
    return element("li", {}, button);
  });
  if (all > MOST_NAMED) {
    const drawn = all > flat.length ? `, ${flat.length} of ${all} drawn` : "";
    items.push(element("li", { class: "more" }, `and ${all - MOST_NAMED} more: see About${drawn}`));
  }
  const held = document.activeElement;
  const kept = list.contains(held) ? [...list.querySelectorAll("button")].indexOf(held) : -1;
  list.replaceChildren(...items);
  if (kept >= 0) list.querySelectorAll("button")[kept]?.focus();
}

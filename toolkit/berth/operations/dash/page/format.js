// Words and numbers: units, times, names of series.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const SHORT = ["", " k", " M", " G", " T"];

function digits(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, "");
  if (size >= 0.01) return String(Number(value.toPrecision(3)));
  return String(Number(value.toPrecision(2)));
}

function scaled(value, base, names) {
  let size = 0;
  while (Math.abs(value) >= base && size < names.length - 1) {
    value /= base;
    size += 1;
  }
  return [digits(value), names[size]];
}

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${digits(value * 1e6)} µs`;
  if (size < 1) return `${digits(value * 1e3)} ms`;
  if (size < 120) return `${digits(value)} s`;
  if (size < 7200) return `${digits(value / 60)} min`;
  return size < 172800 ? `${digits(value / 3600)} h` : `${digits(value / 86400)} d`;
}

/** A value with its unit, by Grafana's name of the unit. */
export function shown(value, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (unit.startsWith("suffix:")) {
    const end = unit.slice("suffix:".length).trim();
    return end.startsWith("/") ? `${digits(value)}${end}` : `${digits(value)} ${end}`;
  }
  switch (unit) {
    case "percentunit": return `${digits(value * 100)} %`;
    case "s": return seconds(value);
    case "d": return `${digits(value)} d`;
    case "bytes": return scaled(value, 1024, BINARY).join(" ");
    case "Bps": return `${scaled(value, 1024, BINARY).join(" ")}/s`;
    case "reqps": return `${digits(value)} req/s`;
    case "ops": return `${digits(value)}/s`;
    case "currencyUSD": return `$${digits(value)}`;
    case "celsius": return `${digits(value)} °C`;
    case "watt": return `${digits(value)} W`;
    default: return scaled(value, 1000, SHORT).join("");
  }
}

/** Name of a series: the legend with its labels filled in, else the labels. */
export function named(legend, labels) {
  if (legend && legend !== "__auto") {
    const name = legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
    return name.replace(/\s+/g, " ").trim() || "all";
  }
  const pairs = Object.entries(labels).filter(([key]) => key !== "__name__");
  return pairs.map(([key, value]) => `${key}=${value}`).join(", ") || labels.__name__ || "value";
}

/** The latest value of a series; null where there is none. */
export function latest(values) {
  for (let index = values.length - 1; index >= 0; index -= 1) {
    if (values[index] !== null) return values[index];
  }
  return null;
}

/** The colour of a value by thresholds, which go up. */
export function level(value, thresholds) {
  let found = "green";
  for (const step of thresholds) {
    if (step.value === null || value >= step.value) found = step.colour;
  }
  return found;
}

/** Time of day, with the date where a range is longer than a day. */
export function clock(time, long) {
  const date = new Date(time * 1000);
  const hours = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return long ? `${date.toLocaleDateString()} ${hours}` : hours;
}

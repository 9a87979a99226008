"use strict";
// Shows the review that is in the page. Every text goes into the document as text, never as markup.
(() => {
  const review = JSON.parse(document.getElementById("review").textContent);
  const OPS = ["create", "update", "replace", "delete", "retain", "same"];
  const WORDS = {
    create: "created",
    update: "updated",
    replace: "replaced",
    delete: "deleted",
    retain: "let go of",
    same: "unchanged",
  };
  const ROOT = "pulumi:pulumi:Stack"; // has nothing to show of its own
  const BUSY = 60; // changes in a stack up to which it opens by itself
  const LISTED = 200; // destroyed and replaced resources that are listed first
  const at = (id) => document.getElementById(id);

  function make(tag, props = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== ""));
    return node;
  }
  // Text in which code stands in backticks.
  const prose = (text) =>
    text.split("`").map((part, index) => (index % 2 ? make("code", { textContent: part }) : part));
  const show = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const plural = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;
  const changed = (entry) => entry.custom && entry.op !== "same";

  // What there is to search in, once per resource.
  function haystack(stack, entry) {
    const parts = [
      stack.stack,
      entry.name,
      entry.type,
      entry.object,
      entry.urn,
      entry.op,
      ...entry.notes,
      ...entry.policies,
    ];
    for (const change of entry.changes) parts.push(change.path, show(change.before), show(change.after));
    for (const reason of entry.reasons) parts.push(reason.path, reason.text);
    return parts.join("\n").toLowerCase();
  }

  function diff(changes) {
    const list = make("ul", { className: "diff" });
    for (const change of changes) {
      if (
        change.kind === "add" &&
        (typeof change.after !== "object" || change.after === null) &&
        String(change.after).length < 80
      ) {
        list.append(
          make(
            "li",
            { className: "short" },
            make("span", { className: "path", textContent: change.path }),
            make("span", { className: "value new", textContent: `+ ${show(change.after)}` }),
          ),
        );
        continue;
      }
      const item = make(
        "li",
        { className: change.churn ? "churn" : "" },
        make("span", { className: "path", textContent: change.path }),
      );
      if (change.lines.length) {
        for (const line of change.lines) {
          const kind = line[0] === "+" ? "new" : line[0] === "-" ? "old" : "plain";
          item.append(make("span", { className: `value ${kind}`, textContent: line }));
        }
      } else {
        if (change.kind !== "add")
          item.append(make("span", { className: "value old", textContent: `- ${show(change.before)}` }));
        if (change.kind !== "delete")
          item.append(make("span", { className: "value new", textContent: `+ ${show(change.after)}` }));
      }
      list.append(item);
    }
    return list;
  }

  // A resource's details are made when they are first looked at: a page of thousands stays quick.
  function body(stack, entry) {
    const inside = make("div", { className: "body" });
    for (const reason of entry.reasons) {
      const text = reason.certain
        ? `${reason.path} changes, and ${reason.text}`
        : `${reason.path}: ${reason.text}`;
      inside.append(make("p", { className: reason.certain ? "warn" : "note", textContent: text }));
    }
    for (const note of entry.notes) inside.append(make("p", { className: "note" }, ...prose(note)));
    for (const found of stack.findings) {
      if (found.urn !== entry.urn) continue;
      inside.append(
        make("p", {
          className: "warn",
          textContent: `${found.policy} (${found.level}, ${found.status}, ${found.since})`,
        }),
      );
      inside.append(make("pre", { textContent: found.message }));
    }
    if (entry.changes.length) inside.append(diff(entry.changes));
    inside.append(make("p", { className: "urn", textContent: entry.urn }));
    return inside;
  }

  function resource(stack, entry) {
    const head = make(
      "summary",
      {},
      make("span", { className: `op ${entry.op}`, textContent: entry.op }),
      make("span", { className: "type", textContent: entry.short }),
      make("span", { className: "name", textContent: entry.name }),
      entry.op === "update" && entry.changes.length
        ? make("span", {
            className: "note",
            textContent: entry.changes.length === 1 ? "1 property" : `${entry.changes.length} properties`,
          })
        : null,
      entry.reasons.length && entry.reasons[0].certain
        ? make("span", {
            className: "warn",
            textContent: `because of ${entry.reasons.map((one) => one.path).join(", ")}`,
          })
        : null,
      ...entry.policies.map((name) => make("span", { className: "tag", textContent: name })),
    );
    const node = make("details", { className: "resource" }, head);
    node.addEventListener("toggle", () => {
      if (node.open) fill(node);
    });
    node.fill = () => node.append(body(stack, entry));
    return node;
  }
  function fill(node) {
    if (node.fill) {
      node.fill();
      delete node.fill;
    }
  }

  const rows = []; // of every resource: where it is shown, and what it is found by
  function tree(stack) {
    const known = new Set(stack.entries.filter((entry) => entry.type !== ROOT).map((entry) => entry.urn));
    const below = new Map();
    for (const entry of stack.entries) {
      if (entry.type === ROOT) continue;
      const parent = known.has(entry.parent) ? entry.parent : "";
      if (!below.has(parent)) below.set(parent, []);
      below.get(parent).push(entry);
    }
    const level = (parent, above) => {
      const list = make("ul", { className: "level" });
      for (const entry of below.get(parent) || []) {
        const item = make("li");
        if (entry.custom) item.append(resource(stack, entry));
        else
          item.append(
            make(
              "div",
              { className: "group" },
              make(
                "div",
                { className: "label" },
                `${entry.short} `,
                make("b", { textContent: entry.name }),
                entry.op === "delete" ? " (gone)" : "",
                ...entry.notes.map((note) => make("span", { className: "note" }, " ", ...prose(note))),
              ),
            ),
          );
        const row = { stack, entry, item, above, details: item.querySelector("details"), text: "" };
        rows.push(row);
        if (below.has(entry.urn)) item.append(level(entry.urn, row));
        list.append(item);
      }
      return list;
    };
    return level("", null);
  }

  function listed(title, lines, className = "") {
    if (!lines.length) return null;
    return make(
      "details",
      { className },
      make("summary", { textContent: title }),
      make("pre", { textContent: lines.join("\n") }),
    );
  }

  function section(stack) {
    const counts = OPS.filter((op) => stack.counts[op]).map((op) => `${stack.counts[op]} ${WORDS[op]}`);
    const inside = make("div", { className: "inside" });
    if (stack.note)
      inside.append(make("p", { className: stack.ok ? "note" : "warn", textContent: stack.note }));
    if (stack.errors.length) inside.append(make("pre", { textContent: stack.errors.join("\n") }));
    for (const pack of stack.packs)
      if (pack.error)
        inside.append(
          make("p", {
            className: "warn",
            textContent: `policy pack ${pack.name} did not run: ${pack.error}`,
          }),
        );
    const whole = stack.findings.filter((found) => !stack.entries.some((entry) => entry.urn === found.urn));
    inside.append(
      ...[
        listed(
          plural(whole.length, "policy result") + " about the whole stack or what is gone",
          whole.map(
            (found) => `${found.since} ${found.level} ${found.status} ${found.policy}: ${found.message}`,
          ),
        ),
        listed(
          plural(stack.open.length, "open finding"),
          stack.open.map((one) => `${one.since}: ${one.text}`),
        ),
        listed(plural(stack.warnings.length, "new warning"), stack.warnings),
        stack.outputs.length
          ? make(
              "details",
              {},
              make("summary", { textContent: `${plural(stack.outputs.length, "change")} of outputs` }),
              diff(stack.outputs),
            )
          : null,
      ].filter(Boolean),
    );
    inside.append(tree(stack));
    const node = make(
      "details",
      { className: "stack", id: `stack-${stack.stack}` },
      make(
        "summary",
        {},
        make("h2", { textContent: stack.stack }),
        make("span", {
          className: stack.ok ? "note" : "bad",
          textContent: stack.ok ? stack.state : `${stack.state}, not ok`,
        }),
        make("span", { className: "note", textContent: counts.join(", ") }),
      ),
      inside,
    );
    node.open = !stack.ok || (stack.state !== "same" && stack.entries.filter(changed).length <= BUSY);
    return node;
  }

  function overview() {
    const head = make(
      "tr",
      {},
      ...["Stack", "State", "Create", "Update", "Replace", "Delete", "Violations", "Open"].map(
        (text, index) =>
          make("th", { scope: "col", className: index > 1 ? "number" : "", textContent: text }),
      ),
    );
    const lines = review.stacks.map((stack) => {
      const bad = stack.findings.filter(
        (found) =>
          ["violated", "broken"].includes(found.status) &&
          found.since !== "closed" &&
          !found.policy.startsWith("open-"), // a question for another place, in our pack's words
      );
      const fresh = bad.filter((found) => found.since === "new").length;
      const number = (value, strong) =>
        make("td", { className: `number ${strong && value ? "bad" : ""}`, textContent: value || "–" });
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, make("a", { href: `#stack-${stack.stack}`, textContent: stack.stack })),
        make("td", {
          className: stack.ok ? "" : "bad",
          textContent: stack.ok ? stack.state : `${stack.state}, not ok`,
        }),
        number(stack.counts.create),
        number(stack.counts.update),
        number(stack.counts.replace, true),
        number(stack.counts.delete + stack.counts.retain, true),
        make("td", {
          className: `number ${fresh ? "bad" : ""}`,
          textContent: stack.packs.length ? `${bad.length}${fresh ? ` (${fresh} new)` : ""}` : "–",
        }),
        number(stack.open.filter((one) => one.since !== "closed").length),
      );
    });
    const place = at("overview");
    place.append(
      make(
        "div",
        { className: "wide", tabindex: "0", role: "region", "aria-label": "Stacks at a glance" },
        make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)),
      ),
    );
    place.append(
      make("p", { className: "note", textContent: `Cost: ${review.cost}. ${review.notes.join(" ")}` }),
    );
    const gone = review.stacks.flatMap((stack) =>
      stack.entries
        .filter((entry) => entry.custom && ["delete", "replace"].includes(entry.op))
        .map((entry) => [stack, entry]),
    );
    if (gone.length) {
      place.append(make("h2", { textContent: "Destroyed and replaced" }));
      const told = gone
        .slice(0, LISTED)
        .map(([stack, entry]) =>
          make(
            "li",
            {},
            make("span", { className: `op ${entry.op}`, textContent: entry.op }),
            " ",
            make("b", { textContent: stack.stack }),
            ` ${entry.short} `,
            make("b", { textContent: entry.name }),
            ": ",
            ...entry.reasons.flatMap((one) => [
              make("code", { textContent: one.path }),
              ` changes, and ${one.text}; `,
            ]),
            ...prose(entry.notes.join("; ")),
          ),
        );
      if (gone.length > LISTED)
        told.push(make("li", { textContent: `and ${gone.length - LISTED} more below` }));
      place.append(make("ul", { className: "gone" }, ...told));
    }
    if (review.exceptions.length) {
      place.append(make("h2", { textContent: "Exceptions from policies" }));
      const told = review.exceptions.map((one) =>
        make("li", {
          textContent: `${one.kind === "add" ? "new" : "gone"}: ${one.rule} in ${one.stack} for ${one.object}: ${one.reason} (${one.owner}, until ${one.expires})`,
        }),
      );
      place.append(make("ul", {}, ...told));
    }
  }

  function controls() {
    at("compared").append(review.after, " against ", review.before);
    at("headline").textContent = review.headline;
    for (const op of OPS.slice(0, 4)) {
      const number = op === "delete" ? review.counts.delete + review.counts.retain : review.counts[op];
      at("totals").append(
        make(
          "li",
          { className: `${op} ${number ? "" : "zero"}` },
          make("b", { textContent: number }),
          WORDS[op],
        ),
      );
    }
    for (const op of OPS) {
      const box = make("input", { type: "checkbox", value: op, defaultChecked: op !== "same" });
      at("ops").append(make("label", {}, box, op === "same" ? "unchanged" : op));
    }
    at("stack").append(
      make("option", { value: "", textContent: "all" }),
      ...review.stacks.map((stack) => make("option", { value: stack.stack, textContent: stack.stack })),
    );
    const names = [
      ...new Set(review.stacks.flatMap((stack) => stack.findings.map((found) => found.policy))),
    ].sort();
    at("policy").append(
      make("option", { value: "", textContent: "any" }),
      ...names.map((name) => make("option", { value: name, textContent: name })),
    );
    at("policy").disabled = !names.length;
  }

  function matching(row, wanted) {
    const { stack, entry } = row;
    if (!wanted.ops.has(entry.custom ? entry.op : "")) return false;
    if (wanted.stack && stack.stack !== wanted.stack) return false;
    if (
      wanted.policy &&
      !stack.findings.some((found) => found.policy === wanted.policy && found.urn === entry.urn)
    )
      return false;
    row.text = row.text || haystack(stack, entry);
    return wanted.words.every((word) => row.text.includes(word));
  }

  function filter() {
    const wanted = {
      ops: new Set([...at("ops").querySelectorAll("input:checked")].map((box) => box.value)),
      stack: at("stack").value,
      policy: at("policy").value,
      words: at("search").value.toLowerCase().split(/\s+/).filter(Boolean),
    };
    for (const row of rows) row.item.hidden = true;
    const found = rows.filter((row) => matching(row, wanted));
    for (let row of found)
      while (row && row.item.hidden) {
        row.item.hidden = false;
        row = row.above;
      }
    const shown = new Set(found.map((row) => row.stack.stack));
    const narrow = wanted.words.length || wanted.policy;
    for (const [stack, node] of sections) {
      node.hidden = Boolean(
        (wanted.stack && wanted.stack !== stack.stack) || (narrow && !shown.has(stack.stack)),
      );
      if (narrow && shown.has(stack.stack)) node.open = true;
    }
    at("matches").textContent = `${plural(found.length, "resource")} shown in ${plural(shown.size, "stack")}`;
  }

  function toggle(open) {
    for (const [, node] of sections) node.open = open;
    for (const row of rows) {
      if (!row.details || (open && row.item.hidden)) continue;
      if (open) fill(row.details);
      row.details.open = open;
    }
  }

  controls();
  overview();
  const sections = review.stacks.map((stack) => [stack, section(stack)]);
  at("stacks").append(...sections.map(([, node]) => node));
  let soon = 0;
  at("tools").addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(filter, 80);
  });
  at("tools").addEventListener("reset", () => setTimeout(filter));
  at("tools").addEventListener("submit", (event) => event.preventDefault());
  at("expand").addEventListener("click", () => toggle(true));
  at("collapse").addEventListener("click", () => toggle(false));
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      at("search").focus();
    }
    if (event.key === "Escape" && event.target === at("search")) {
      at("search").value = "";
      filter();
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#stack-']");
    if (link) {
      const node = document.getElementById(link.hash.slice(1));
      if (node) node.open = true;
    }
  });
  filter();
})();

"use strict";
// The numbers of pictures: order by them, and ranges as filters, with the number of pictures in each.
//
// The address has ranges as "change:1:5,seconds::3": name, least and largest value in the unit that is shown; names are
// escaped, because those of further figures come from the data.
(() => {
  const { make, number, shown, text } = adacode;
  const byId = (id) => document.getElementById(id);
  const panel = byId("numbers");
  const opener = byId("numbers-open");
  const PERCENT = 100;
  const per = (value, unit) => (value === null || value === undefined ? null : value / unit);

  const OURS = {
    change: (entry) => per(entry.change, 1 / PERCENT),
    drift: (entry) => per(entry.drift, 1 / PERCENT),
    guard: (entry) => per(figure(entry, "guard"), 1 / PERCENT),
    pixels: (entry) => (entry.resultWidth === null ? null : (entry.resultWidth * entry.resultHeight) / 1e6),
    bytes: (entry) => per(entry.bytes, 1e6),
    seconds: (entry) => entry.seconds,
  };
  let listener = () => {};
  let hadRanges = false;

  const figure = (entry, name) => (Object.hasOwn(entry.figures, name) ? entry.figures[name] : null);

  /** The value of a number in the unit that is shown; null if this picture has none. */
  const read = (entry, name) => (Object.hasOwn(OURS, name) ? OURS[name](entry) : figure(entry, name));

  const label = (name) => (Object.hasOwn(adacode.TEXTS, `number.${name}`) ? text(`number.${name}`) : shown(name));

  /** The names of all numbers that pictures have. */
  function names(entries) {
    const found = new Set(Object.keys(OURS).filter((name) => entries.some((entry) => read(entry, name) !== null)));
    for (const entry of entries) for (const name of Object.keys(entry.figures)) found.add(name);
    return [...found];
  }

  const bound = (value) => (value === "" || Number.isNaN(Number(value)) ? "" : value);

  /** The ranges in the address, as name → [least, largest]; "" where there is no limit. */
  function parse(words) {
    const ranges = new Map();
    for (const word of words.split(",").filter(Boolean)) {
      const [name, least, largest] = word.split(":");
      const limits = [bound(least ?? ""), bound(largest ?? "")];
      if (limits[0] || limits[1]) ranges.set(decoded(name), limits);
    }
    return ranges;
  }

  const decoded = (name) => {
    try {
      return decodeURIComponent(name);
    } catch {
      return name;
    }
  };

  const format = (ranges) =>
    [...ranges]
      .filter(([, [least, largest]]) => least || largest)
      .map(([name, limits]) => [encodeURIComponent(name), ...limits].join(":"))
      .join(",");

  /** Whether the value of a picture is in a range; a picture without one is in none. */
  function isIn(entry, name, [least, largest]) {
    const value = read(entry, name);
    return value !== null && (!least || value >= Number(least)) && (!largest || value <= Number(largest));
  }

  const matches = (entry, ranges) => [...ranges].every(([name, limits]) => isIn(entry, name, limits));

  function rowOf(name) {
    const input = (end) => {
      const one = make("input", { type: "number", step: "any", "aria-label": text(end, { name: label(name) }) });
      one.addEventListener("input", () => listener(format(given())));
      return one;
    };
    const row = make("div", { role: "group" }, make("span", {}, label(name)), input("least"), make("span", {}, "–"), input("largest"), make("span", { class: "hits", role: "status" }));
    row.dataset.name = name;
    return row;
  }

  /** The ranges that are typed. */
  function given() {
    const rows = [...panel.children].map((row) => {
      const [least, largest] = row.querySelectorAll("input");
      return [row.dataset.name, [bound(least.value), bound(largest.value)]];
    });
    return new Map(rows);
  }

  const rounded = (value) => String(Number(value.toPrecision(3)));

  /** Shows the ranges of a query. others: the pictures that its other filters select. */
  function draw(entries, others, words) {
    const [ranges, all] = [parse(words), names(entries)];
    opener.hidden = all.length === 0;
    if (ranges.size && !hadRanges) toggle(true); // a link with ranges
    hadRanges = ranges.size > 0;
    opener.textContent = text(ranges.size ? "numbersUsed" : "numbers", { count: number(ranges.size) });
    if (panel.hidden) return;
    const wanted = [...new Set([...all, ...ranges.keys()])];
    if (wanted.join("\n") !== [...panel.children].map((row) => row.dataset.name).join("\n")) {
      panel.replaceChildren(...wanted.map(rowOf));
    }
    for (const row of panel.children) fill(row, others, ranges);
  }

  function fill(row, others, ranges) {
    const name = row.dataset.name;
    const values = others.map((entry) => read(entry, name)).filter((value) => value !== null);
    const ends = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : null;
    const limits = ranges.get(name) ?? ["", ""];
    row.querySelectorAll("input").forEach((input, end) => {
      input.placeholder = ends ? rounded(ends[end]) : "";
      if (input !== document.activeElement) input.value = limits[end];
    });
    const hits = others.filter((entry) => isIn(entry, name, limits)).length;
    row.querySelector(".hits").textContent = text("hits", { count: number(hits) });
  }

  function toggle(wanted) {
    panel.hidden = !wanted;
    opener.setAttribute("aria-expanded", String(wanted));
  }

  opener.addEventListener("click", () => {
    toggle(panel.hidden);
    listener(null);
  });

  adacode.numbers = {
    draw,
    label,
    matches,
    names,
    parse,
    read,
    /** The listener gets the words for the address, or null where only the panel was opened or closed. */
    onChange: (one) => {
      listener = one;
    },
  };
})();

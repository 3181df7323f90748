"use strict";
// What is known of one picture: before and after, notes, bases, histogram, and the command that makes it again.
(() => {
  const { make, number, shown, text } = adacode;
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 256;
  const HEIGHT = 64;

  const rowOf = (name, before, after) => {
    const differs = before !== after && before !== "" && after !== "";
    return make(
      "tr",
      differs ? { class: "differs" } : {},
      make("th", { scope: "row" }, name),
      make("td", {}, before || text("absent")),
      make("td", {}, after || text("absent")),
    );
  };

  const colours = (side) => {
    if (side.grey === undefined) return "";
    const kind = text(side.grey ? "grey" : "rgb");
    return side.alpha ? text("withAlpha", { colours: kind }) : kind;
  };
  const bytes = (count) => (count ? text("byteCount", { count: number(count) }) : "");

  const PROPERTIES = [
    ["format", (side) => shown((side.format ?? "").toUpperCase())],
    ["size", (side) => (side.width ? `${side.width} × ${side.height}` : "")],
    ["bits", (side) => String(side.bits ?? "")],
    ["colours", colours],
    ["pages", (side) => (side.pages > 1 ? String(side.pages) : "")],
    ["bytes", (side) => number(side.bytes)],
    ["profile", (side) => bytes(side.profile)],
    ["xmp", (side) => bytes(side.xmp)],
    ["iptc", (side) => bytes(side.iptc)],
  ];

  function comparison(entry, { before, after }) {
    if (!before && !after) return null;
    const body = make("tbody");
    const value = (side, read) => (side ? read(side) : "");
    for (const [key, read] of PROPERTIES) {
      const [one, other] = [value(before, read), value(after, read)];
      if (one || other) body.append(rowOf(text(key), one, other));
    }
    const tags = [new Map(before?.exif ?? []), new Map(after?.exif ?? [])];
    for (const name of new Set([...tags[0].keys(), ...tags[1].keys()])) {
      body.append(rowOf(shown(name), ...tags.map((some) => shown(some.get(name) ?? ""))));
    }
    const names = [text("property"), adacode.sideOf(entry, "before"), adacode.sideOf(entry, "after")];
    const head = names.map((name) => make("th", { scope: "col" }, name));
    return section("metadata", make("table", {}, make("thead", {}, make("tr", {}, ...head)), body));
  }

  const section = (key, ...content) => make("section", {}, make("h3", {}, text(key)), ...content);

  const list = (texts) => make("ul", {}, ...texts.map((one) => make("li", {}, shown(one))));

  /** How much both sides differ, as rows. */
  function differences(entry) {
    const percent = (value) => text("ofScale", { value: (100 * value).toFixed(2) });
    return [
      ["changeOf", entry.change === null ? "" : percent(entry.change)],
      ["driftOf", entry.drift === null ? "" : percent(entry.drift)],
    ];
  }

  const named = (rows) => rows.filter(([, value]) => value).map(([key, value]) => [text(key), value]);
  const pairs = (rows) => make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

  /** What is known of a page after the first one alone. */
  function aboutPage(entry) {
    const rows = named(differences(entry));
    return rows.length ? section("aboutPage", pairs(rows)) : null;
  }

  function about(entry, details) {
    const link = (address, name) =>
      address ? make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, name) : name;
    const rows = [
      ["source", link(details?.originalFile, shown(details?.path || entry.source))],
      ["result", link(details?.resultFile, shown(entry.target))],
      ["made", entry.time && adacode.time(entry.time)],
      ["seconds", entry.seconds === null ? "" : String(entry.seconds)],
      ["precision", shown(entry.precisions.join(", "))],
      ...(details?.page ? [] : differences(entry)),
    ];
    const figures = Object.keys(entry.figures).map((name) => [
      adacode.numbers.label(name),
      String(Number(adacode.numbers.read(entry, name).toPrecision(4))),
    ]);
    return section(details?.page ? "aboutFile" : "about", pairs([...named(rows), ...figures]));
  }

  function bases(some) {
    if (!some?.length) return null;
    const rows = some.map(({ name, share, color, used, size }) => {
      const value = text("share", { value: (100 * share).toFixed(0) });
      const codes = used === undefined ? null : make("span", { class: "codes" }, text("codesUsed", { used: number(used), size: number(size) }));
      const meter = make("meter", { min: 0, max: 1, value: share, "aria-label": `${shown(name)}: ${value}` });
      return make("li", {}, adacode.swatch(color), make("span", {}, shown(name)), meter, make("span", {}, value), codes);
    });
    return section("bases", make("ul", { class: "bases" }, ...rows));
  }

  function histogram(entry, details) {
    const drawn = ["before", "after"].filter((side) => details[side]?.histogram?.length === 3);
    if (!drawn.length) return null;
    const figures = drawn.map((side) =>
      make("figure", {}, curves(details[side].histogram, side), make("figcaption", {}, adacode.sideOf(entry, side))),
    );
    return section("histogram", make("div", { class: "histograms" }, ...figures));
  }

  function curves(channels, side) {
    const svg = document.createElementNS(SVG, "svg");
    const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" };
    for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
    svg.setAttribute("aria-label", text("histogramText", { side: text(side) }));
    const most = Math.max(1, ...channels.flat());
    channels.forEach((counts, channel) => {
      const step = WIDTH / counts.length;
      const high = (count) => HEIGHT * (1 - Math.sqrt(count / most));
      const points = counts.map((count, bin) => `${(bin + 0.5) * step},${high(count).toFixed(1)}`);
      const shape = document.createElementNS(SVG, "polygon");
      shape.setAttribute("points", `0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
      shape.setAttribute("class", ["red", "green", "blue"][channel]);
      svg.append(shape);
    });
    return svg;
  }

  /** Fills the panel for an entry, or for a page of it. details: of it, if they are known. */
  adacode.showInfo = (panel, entry, details) => {
    const isLaterPage = Boolean(details?.page);
    const notes = entry.notes.length ? section(isLaterPage ? "notesOfFile" : "notesTitle", list(entry.notes)) : null;
    const command = details?.command
      ? section(isLaterPage ? "commandOfFile" : "command", ...adacode.commandLine(details.command))
      : null;
    const ofPage = details ? [comparison(entry, details), bases(details.basis), histogram(entry, details)] : [];
    const ofFile = [notes, about(entry, details)];
    panel.replaceChildren(
      ...[
        entry.error ? section("error", make("p", { class: "bad" }, shown(entry.error))) : null,
        ...(isLaterPage ? [aboutPage(entry), ...ofPage, ...ofFile] : [...ofFile, ...ofPage]),
        command,
        section("keys", make("p", { class: "small" }, text("keysText"))),
      ].filter(Boolean),
    );
  };
})();

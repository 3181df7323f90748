"use strict";
// Which pictures are shown, in which order: read from the address, so that every view of the page has a link.
(() => {
  const NAMES = ["q", "folder", "outcome", "note", "basis", "judged", "range", "sort", "down", "originals", "picture", "mode", "page", "over"];
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  /** The query in the address. */
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    return Object.fromEntries(NAMES.map((name) => [name, given.get(name) ?? ""]));
  };

  /** The address of the query with changes: without empty values. */
  const address = (changes, base = read()) => {
    const words = new URLSearchParams();
    const wanted = { ...base, ...changes };
    for (const name of NAMES) if (wanted[name]) words.set(name, wanted[name]);
    return `#${words}`;
  };

  /** Notes that differ in numbers alone are of one kind. */
  const kindOf = (note) => note.replace(/\d+(?:[.,]\d+)*/g, "#").slice(0, 120);

  const outcomeOf = (entry) =>
    entry.outcome === "failed" || !["copied", "shrunk"].includes(fateOf(entry)) ? entry.outcome : fateOf(entry);
  const fateOf = (entry) => (entry.fate.startsWith("copied") ? "copied" : entry.fate.startsWith("shrunk") ? "shrunk" : "");

  /** What pictures are ordered by: name, line or one of their numbers. */
  const keyOf = (sort) => {
    if (!sort || sort === "target") return (entry) => entry.target;
    if (sort === "line") return (entry) => entry.line;
    return (entry) => adacode.numbers.read(entry, sort);
  };

  const isIn = (folder, wanted) => folder === wanted || folder.startsWith(`${wanted}/`);

  const matches = (entry, query, words) =>
    (!query.folder || isIn(entry.folder, query.folder)) &&
    (!query.outcome || outcomeOf(entry) === query.outcome) &&
    (!query.basis || entry.basis === query.basis) &&
    (!query.judged || (adacode.judge.of(entry) || "none") === query.judged) &&
    (!query.note || noteMatches(entry, query.note)) &&
    words.every((word) => searched(entry).includes(word));

  const noteMatches = (entry, wanted) => {
    if (wanted === "any") return entry.notes.length > 0;
    if (wanted === "none") return entry.notes.length === 0;
    return entry.notes.some((note) => `kind:${kindOf(note)}` === wanted);
  };

  const searched = (entry) =>
    (entry.searched ??= `${entry.target}\n${entry.source}\n${entry.error}\n${entry.notes.join("\n")}`.toLowerCase());

  /** The entries that a query selects apart from ranges of numbers. */
  const preselect = (entries, query) => {
    const words = query.q.toLowerCase().split(/\s+/).filter(Boolean);
    return entries.filter((entry) => matches(entry, query, words));
  };

  /** The entries that a query selects, in its order. Values that are missing come last. */
  const select = (entries, query) => {
    const ranges = adacode.numbers.parse(query.range);
    const found = preselect(entries, query).filter((entry) => adacode.numbers.matches(entry, ranges));
    const key = keyOf(query.sort);
    const sign = query.down ? -1 : 1;
    const keyed = found.map((entry) => ({ entry, value: key(entry) }));
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      const order = typeof a.value === "string" ? collator.compare(a.value, b.value) : a.value - b.value;
      return sign * order || a.entry.line - b.entry.line;
    });
    return keyed.map((one) => one.entry);
  };

  /** The values that occur, with their numbers: for the filters. */
  const choices = (entries) => {
    const count = { folder: new Map(), outcome: new Map(), basis: new Map(), note: new Map() };
    const add = (kind, value) => count[kind].set(value, (count[kind].get(value) ?? 0) + 1);
    for (const entry of entries) {
      add("folder", entry.folder);
      add("outcome", outcomeOf(entry));
      if (entry.basis) add("basis", entry.basis);
      for (const kind of new Set(entry.notes.map(kindOf))) add("note", kind);
    }
    return count;
  };

  adacode.query = { read, address, preselect, select, choices, outcomeOf, collator };
})();

"use strict";
// Judgements: keep, redo or doubtful, or "" where one was taken back. A result that is made again has none. The data of
// the page have those of the output tree; the browser keeps others for this journal, and of both the later one counts.
// `adacode view --serve` writes them into the tree.
(() => {
  const { make, number, text } = adacode;
  const MARKS = ["keep", "redo", "doubtful"];
  const KEYS = { k: "keep", r: "redo", d: "doubtful" };
  const LIST_NAME = "redo";
  const byId = (id) => document.getElementById(id);

  let marks = null; // id → { mark, line, time }
  let ofTree = {}; // the same, as the data of the page have it
  let isKept = true;
  let keep = keepInBrowser;
  const listeners = [];
  const place = () => `adacode.judged.${adacode.store.state.journal}`;

  function read() {
    if (marks || !adacode.store.state) return marks ?? {};
    marks = {};
    try {
      const known = adacode.store.state.served ? {} : JSON.parse(localStorage.getItem(place()) ?? "{}");
      for (const [id, one] of Object.entries(known)) if (one && ["", ...MARKS].includes(one.mark)) marks[id] = one;
    } catch {
      isKept = false;
    }
    merge();
    return marks;
  }

  /** Takes judgements of the tree that are later than those in the browser. */
  function merge() {
    const isLater = (one, known) => !known || one.line > known.line || one.time > (known.time ?? "");
    for (const [id, one] of Object.entries(ofTree)) if (isLater(one, marks[id])) marks[id] = one;
  }

  adacode.judged = (some) => {
    ofTree = some;
    if (!marks) return;
    const { entries } = adacode.store;
    const before = Object.keys(some).filter((id) => entries.has(id)).map((id) => [entries.get(id), of(entries.get(id))]);
    merge();
    for (const [entry, mark] of before) if (of(entry) !== mark) tell(entry);
  };

  /** The judgement of an entry, or "". */
  const of = (entry) => {
    const one = read()[entry.id];
    return one && one.line === entry.line ? one.mark : "";
  };

  const tell = (entry) => {
    for (const listener of listeners) listener(entry);
  };

  /** Sets a judgement; the same one again removes it. */
  function set(entry, mark) {
    const before = read()[entry.id];
    read()[entry.id] = { mark: of(entry) === mark ? "" : mark, line: entry.line, time: new Date().toISOString() };
    keep(entry, marks[entry.id], before);
    tell(entry);
  }

  function keepInBrowser() {
    try {
      localStorage.setItem(place(), JSON.stringify(marks));
    } catch {
      isKept = false;
    }
  }

  /** Has judgements kept by a function of (entry, judgement, the one before) instead. */
  const keepBy = (keeper) => {
    keep = keeper;
  };

  /** Puts a judgement, or none, in the place of `failed`, which could not be kept, unless there is a later one. */
  function put(entry, one, failed) {
    if (marks[entry.id] !== failed) return;
    if (one) marks[entry.id] = one;
    else delete marks[entry.id];
    tell(entry);
  }

  /** The bytes of a name: those that are no UTF-8 were read as halves of surrogate pairs. */
  function bytesOf(name) {
    const bytes = [];
    for (const char of name) {
      const code = char.codePointAt(0);
      if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code - 0xdc00);
      else bytes.push(...new TextEncoder().encode(char));
    }
    return bytes;
  }

  /** A file for `--from-file`: a name on each line, or ended by NUL where a name has lines itself. */
  function listOf(entries) {
    const isNull = entries.some((entry) => /[\n\r]/.test(entry.source));
    const bytes = entries.flatMap((entry) => [...bytesOf(entry.source), isNull ? 0 : 10]);
    return { isNull, blob: new Blob([new Uint8Array(bytes)], { type: "application/octet-stream" }) };
  }

  /** The lists of what is to be made again: one for each folder of originals and set of options. */
  function lists() {
    const groups = new Map();
    for (const entry of adacode.store.entries.values()) {
      if (of(entry) === "redo" && entry.list) groups.set(entry.list, [...(groups.get(entry.list) ?? []), entry]);
    }
    return [...groups];
  }

  /** How many pictures to be made again are in no list: their originals are at addresses. */
  const unlisted = () =>
    [...adacode.store.entries.values()].filter((entry) => of(entry) === "redo" && !entry.list).length;

  function section([list, entries], index) {
    const { isNull, blob } = listOf(entries);
    const name = `${LIST_NAME}${index ? `-${index + 1}` : ""}.txt`;
    const address = URL.createObjectURL(blob);
    const save = make("a", { class: "button", href: address, download: name }, text("download", { name }));
    const start = adacode.store.state.lists[list];
    const count = make("p", {}, text("exportCount", { count: number(entries.length) }));
    const words = `${start} ${adacode.store.state.downloads}${name}${isNull ? " --null" : ""}`;
    return make("section", {}, count, ...(start ? adacode.commandLine(words) : []), save);
  }

  function openExport() {
    const hint = make("p", { class: "small" }, text("exportHint"));
    const lost = isKept ? null : make("p", { class: "bad" }, text("notKept"));
    const without = unlisted() ? make("p", {}, text("unlisted", { count: number(unlisted()) })) : null;
    byId("export-lists").replaceChildren(...[hint, lost, without, ...lists().map(section)].filter(Boolean));
    byId("export").showModal();
  }

  function drawExport() {
    const count = lists().reduce((sum, [, entries]) => sum + entries.length, unlisted());
    byId("export-open").textContent = text("export", { count: number(count) });
    byId("export-open").disabled = count === 0;
  }

  byId("export-open").addEventListener("click", openExport);
  byId("export-close").addEventListener("click", () => byId("export").close());

  adacode.judge = { MARKS, KEYS, of, set, put, keepBy, drawExport, onChange: (listener) => listeners.push(listener) };
})();

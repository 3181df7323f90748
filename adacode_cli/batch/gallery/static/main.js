"use strict";
// The page as a whole: the address says what is shown; filters, links and keys change the address.
(() => {
  const { grid, make, number, picture, query, shown, store, text } = adacode;
  const byId = (id) => document.getElementById(id);
  const SELECTS = ["folder", "outcome", "note", "basis", "judged", "sort"];
  const MOST_NOTES = 40;

  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }

  let shownEntries = [];
  let lastFilters = null;
  let lastVersion = -1;
  let hasBegun = false;
  let leftOld = false; // a select kept its options, because somebody was choosing

  const go = (changes, { replace = false } = {}) => {
    const address = query.address(changes);
    if (address === location.hash || (address === "#" && !location.hash)) return;
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    draw();
  };

  const option = (value, label, count) =>
    make("option", { value }, count === undefined ? label : `${label} (${number(count)})`);

  function fillSelects() {
    const counts = query.choices([...store.entries.values()]);
    const named = (kind, label) =>
      [...counts[kind]].sort((a, b) => query.collator.compare(a[0], b[0])).map(([value, count]) => option(value, label(value), count));
    const notes = [...counts.note].sort((a, b) => b[1] - a[1]).slice(0, MOST_NOTES);
    const all = () => option("", text("all"));
    const wanted = {
      folder: [all(), ...named("folder", (value) => (value === "." ? text("top") : shown(value)))],
      outcome: [all(), ...named("outcome", (value) => text(`outcome.${value}`))],
      basis: [all(), ...named("basis", shown)],
      note: [
        all(),
        option("any", text("note.any")),
        option("none", text("note.none")),
        ...notes.map(([kind, count]) => option(`kind:${kind}`, shown(kind), count)),
      ],
    };
    wanted.judged = [all(), ...[...adacode.judge.MARKS, "none"].map((mark) => option(mark, text(`judged.${mark}`)))];
    const byNumber = adacode.numbers.names([...store.entries.values()]).map((name) => option(name, adacode.numbers.label(name)));
    wanted.sort = [option("", text("sort.target")), option("line", text("sort.line")), ...byNumber];
    for (const [name, options] of Object.entries(wanted)) {
      const select = byId(name);
      if (select === document.activeElement && select.options.length) leftOld = true; // It would close.
      else select.replaceChildren(...options);
    }
    byId("basis").parentElement.hidden = counts.basis.size === 0;
    byId("folder").parentElement.hidden = counts.folder.size < 2;
  }

  function drawHead() {
    const { state } = store;
    if (!state) return;
    byId("title").textContent = text("title", { name: shown(state.name) });
    document.title = shown(state.name);
    const { report } = state;
    byId("summary").textContent = report.files === undefined ? "" : summary(report);
    const going = text(store.isStale() ? "stopped" : "goingOn", { time: adacode.time(state.updated) });
    byId("going-on").textContent = state.running ? going : "";
  }

  function summary(report) {
    const minutes = report.seconds / 60;
    const duration = report.seconds < 90 ? `${report.seconds.toFixed(1)} s` : `${minutes.toFixed(1)} min`;
    const counts = { done: number(report.done), skipped: number(report.skipped), failed: number(report.failed) };
    const parts = [text("summary", { ...counts, duration })];
    if (report.stopped_by) parts.push(text("stoppedBy", { message: shown(report.stopped_by.message) }));
    if (report.ended) parts.push(text("ended", { time: adacode.time(report.ended) }));
    return parts.join(" · ");
  }

  function drawCount() {
    const all = store.entries.size;
    const counts = { shown: number(shownEntries.length), all: number(all) };
    byId("count").textContent = shownEntries.length === all ? text("countAll", counts) : text("count", counts);
    const empty = byId("empty");
    empty.hidden = shownEntries.length > 0;
    if (store.failed) empty.textContent = text("missing", { file: store.failed });
    else if (all === 0) empty.textContent = text(store.loading ? "loading" : "none");
    else empty.textContent = text("empty");
  }

  /** Brings the page to what the address says. */
  function draw() {
    if (store.state && !hasBegun) {
      hasBegun = true;
      if (!location.hash && store.state.view) history.replaceState(null, "", `#${store.state.view}`);
    }
    const wanted = query.read();
    const isNew = store.version !== lastVersion;
    if (isNew) fillSelects();
    for (const name of SELECTS) byId(name).value = wanted[name];
    byId("down").checked = Boolean(wanted.down);
    byId("originals").checked = Boolean(wanted.originals);
    if (document.activeElement !== byId("q")) byId("q").value = wanted.q;
    byId("grid").classList.toggle("originals", Boolean(wanted.originals));
    const filters = query.address({ picture: "", mode: "", page: "", over: "", originals: "" }, wanted);
    if (isNew || filters !== lastFilters) {
      const all = [...store.entries.values()];
      shownEntries = query.select(all, wanted);
      adacode.numbers.draw(all, query.preselect(all, wanted), wanted.range);
      grid.show(shownEntries, (entry) => query.address({ picture: entry.id, page: "" }));
      if (filters !== lastFilters && lastFilters !== null) byId("scroll").scrollTop = 0;
    }
    [lastFilters, lastVersion] = [filters, store.version];
    drawHead();
    drawCount();
    adacode.judge.drawExport();
    const entry = store.entries.get(wanted.picture);
    if (entry) picture.open(entry, shownEntries, wanted);
    else if (picture.isOpen()) closePicture();
  }

  function closePicture() {
    const at = grid.indexOf(picture.current()?.id);
    picture.close();
    if (at >= 0) grid.go(at);
  }

  adacode.judge.onChange((entry) => {
    grid.drawJudged(entry);
    adacode.judge.drawExport();
  });
  picture.onTurn((entry) => go({ picture: entry.id, page: "" }, { replace: true }));
  picture.onPage((page) => go({ page: page > 1 ? String(page) : "" }, { replace: true }));
  picture.onLeave(() => go({ picture: "", mode: "", page: "", over: "" }));
  adacode.overlay.onChange((over) => picture.isOpen() && go({ over }, { replace: true }));
  picture.onMode((mode) => picture.isOpen() && go({ mode: mode === "slider" ? "" : mode }, { replace: true }));

  for (const name of SELECTS) byId(name).addEventListener("change", () => go({ [name]: byId(name).value }));
  for (const name of ["down", "originals"]) {
    byId(name).addEventListener("change", () => go({ [name]: byId(name).checked ? "1" : "" }));
  }
  byId("filters").addEventListener("focusout", () => {
    if (!leftOld) return;
    leftOld = false;
    lastVersion = -1;
    setTimeout(draw, 0);
  });
  adacode.numbers.onChange((range) => {
    if (range === null) lastFilters = null;
    if (range === null || range === query.read().range) draw();
    else go({ range }, { replace: true });
  });
  byId("q").addEventListener("input", () => go({ q: byId("q").value }, { replace: true }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    byId("q").value = "";
    go({ q: "", folder: "", outcome: "", note: "", basis: "", judged: "", range: "", sort: "", down: "" });
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    grid.go(0);
  });
  byId("grid").addEventListener("click", (event) => {
    const card = event.target.closest("a.card");
    if (!card || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ picture: shownEntries[Number(card.dataset.number)].id });
  });
  document.addEventListener("keydown", (event) => {
    if (picture.isOpen() || byId("export").open || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input[type=search], select")) {
      if (event.key === "Escape" && event.target.id === "q") grid.go(0);
      return;
    }
    if (event.key === "/") byId("q").focus();
    else if (event.key === "b") go({ originals: byId("originals").checked ? "" : "1" }, { replace: true });
    else if (event.target.closest("a.card") && adacode.judge.KEYS[event.key]) {
      adacode.judge.set(grid.current(), adacode.judge.KEYS[event.key]);
    } else if (event.key === " " && event.target.closest("a.card")) event.target.click();
    else return;
    event.preventDefault();
  });
  window.addEventListener("popstate", draw);
  window.addEventListener("hashchange", draw);

  store.onChange(draw);
  draw();
  store.start();
})();

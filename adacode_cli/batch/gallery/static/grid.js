"use strict";
// The grid of thumbnails: only the rows in view are elements of the page, whatever the number of pictures is.
(() => {
  const { make, shown, text } = adacode;
  const CELL_PX = 210;
  const SMALL_CELL_PX = 150;
  const GAP_PX = 12;
  const CAPTION_PX = 54;
  const THUMB_SHARE = 0.75; // of the width of a cell: its height
  const OVERSCAN_ROWS = 2;

  const scroll = document.getElementById("scroll");
  const grid = document.getElementById("grid");
  const rows = new Map(); // the elements of rows, by number
  let entries = [];
  let columns = 1;
  let cell = { width: CELL_PX, thumb: CELL_PX };
  let current = 0;
  let link = (entry) => `#${entry.id}`;

  const rowHeight = () => cell.thumb + CAPTION_PX + GAP_PX;

  const virtualizer = new VirtualCore.Virtualizer(options());
  let stop = null;

  function options() {
    return {
      count: Math.ceil(entries.length / columns),
      getScrollElement: () => scroll,
      estimateSize: rowHeight,
      overscan: OVERSCAN_ROWS,
      paddingEnd: GAP_PX,
      scrollToFn: VirtualCore.elementScroll,
      observeElementRect: VirtualCore.observeElementRect,
      observeElementOffset: VirtualCore.observeElementOffset,
      // The current cell stays an element of the page, so that it keeps the focus.
      rangeExtractor: (range) => {
        const found = VirtualCore.defaultRangeExtractor(range);
        const row = Math.floor(current / columns);
        return row < range.count && !found.includes(row) ? [...found, row].sort((a, b) => a - b) : found;
      },
      onChange: draw,
    };
  }

  /** Measures the place for the grid and draws what is in view. */
  function layout() {
    const width = scroll.clientWidth - 2 * GAP_PX;
    const wanted = width < 480 ? SMALL_CELL_PX : CELL_PX;
    columns = Math.max(1, Math.floor((width + GAP_PX) / (wanted + GAP_PX)));
    const side = Math.floor((width - (columns - 1) * GAP_PX) / columns);
    cell = { width: side, thumb: Math.round(side * THUMB_SHARE) };
    clear();
    virtualizer.setOptions(options());
    virtualizer.measure();
    virtualizer._willUpdate();
    draw();
  }

  function clear() {
    for (const row of rows.values()) row.remove();
    rows.clear();
  }

  function draw() {
    grid.style.height = `${virtualizer.getTotalSize()}px`;
    const items = virtualizer.getVirtualItems();
    const wanted = new Set(items.map((item) => item.index));
    for (const [index, row] of rows) {
      if (!wanted.has(index)) {
        row.remove();
        rows.delete(index);
      }
    }
    for (const item of items) {
      if (!rows.has(item.index)) {
        const row = makeRow(item.index);
        rows.set(item.index, row);
        grid.append(row);
      }
      rows.get(item.index).style.transform = `translateY(${item.start}px)`;
    }
  }

  function makeRow(index) {
    const row = make("div", { class: "row", role: "presentation" });
    row.style.gridTemplateColumns = `repeat(${columns}, ${cell.width}px)`;
    const first = index * columns;
    for (let number = first; number < Math.min(first + columns, entries.length); number++) row.append(makeCell(number));
    return row;
  }

  function makeCell(number) {
    const entry = entries[number];
    const outcome = adacode.query.outcomeOf(entry);
    const notes = entry.notes.length ? text("cellNotes", { count: entry.notes.length }) : "";
    const label = text("cell", { name: shown(entry.target), outcome: text(`outcome.${outcome}`), notes });
    const card = make(
      "a",
      { class: `card ${outcome}`, href: link(entry), tabindex: number === current ? 0 : -1, "aria-label": label },
      thumbnail(entry),
      make("bdi", { class: "caption", title: shown(entry.target) }, shown(entry.target.split("/").pop())),
      make("span", { class: "facts" }, ...facts(entry)),
    );
    card.dataset.number = number;
    card.dataset.judged = adacode.judge.of(entry);
    const place = { role: "listitem", "aria-posinset": number + 1, "aria-setsize": entries.length };
    return make("div", place, card);
  }

  function facts(entry) {
    if (entry.outcome === "failed") return [make("span", { class: "badge bad" }, shown(entry.error) || text("failed"))];
    const size = entry.resultWidth === null ? "" : `${entry.resultWidth} × ${entry.resultHeight}`;
    const count = entry.notes.length;
    const words = count === 1 ? text("oneNote") : text("notes", { count });
    return [size, count ? make("span", { class: "badge", title: entry.notes.map(shown).join("\n") }, words) : null].filter(
      Boolean,
    );
  }

  function thumbnail(entry) {
    const box = make("span", { class: "thumb" });
    box.style.height = `${cell.thumb}px`;
    if (!entry.picture) {
      box.append(make("span", { class: "nothing" }, text(entry.outcome === "failed" ? "failed" : "noPicture")));
      return box;
    }
    const image = make("img", { alt: "", decoding: "async", draggable: "false", src: `${entry.picture}.webp` });
    const frame = make("span", { class: entry.hasBefore ? "frame both" : "frame" }, image);
    const scale = Math.min(cell.width / entry.resultWidth, cell.thumb / entry.resultHeight);
    frame.style.width = `${Math.max(1, entry.resultWidth * scale)}px`;
    frame.style.height = `${Math.max(1, entry.resultHeight * scale)}px`;
    box.append(frame);
    return box;
  }

  /** Shows the judgement of an entry, if its cell is an element of the page. */
  function drawJudged(entry) {
    const number = entries.indexOf(entry);
    const card = number >= 0 ? element(number) : null;
    if (card) card.dataset.judged = adacode.judge.of(entry);
  }

  /** Makes a cell the current one, brings it into view and, if wanted, gives it the focus. */
  function go(number, { focus = true } = {}) {
    if (!entries.length) return;
    const before = element(current);
    current = Math.max(0, Math.min(entries.length - 1, number));
    before?.setAttribute("tabindex", "-1");
    virtualizer.setOptions(options()); // It keeps what the last extractor of rows has found.
    virtualizer.scrollToIndex(Math.floor(current / columns), { align: "auto" });
    draw();
    const card = element(current);
    card?.setAttribute("tabindex", "0");
    if (focus) card?.focus({ preventScroll: true });
  }

  const element = (number) => grid.querySelector(`[data-number="${number}"]`);

  /** Shows other entries. makeLink: entry → the address that opens it. The current entry stays the current one. */
  function show(list, makeLink) {
    const had = grid.contains(document.activeElement);
    const id = entries[current]?.id;
    entries = list;
    link = makeLink;
    current = Math.max(0, list.findIndex((entry) => entry.id === id));
    layout();
    if (had) element(current)?.focus({ preventScroll: true });
  }

  function onKey(event) {
    const page = Math.max(1, Math.floor(scroll.clientHeight / rowHeight())) * columns;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -page,
      PageDown: page,
      Home: -current,
      End: entries.length - 1 - current,
    };
    if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in steps)) return;
    event.preventDefault();
    const step = steps[event.key];
    if (Math.abs(step) === columns && event.key.startsWith("Arrow")) {
      const next = current + step;
      if (next >= 0 && next < entries.length) go(next);
    } else {
      go(current + step);
    }
  }

  grid.addEventListener("keydown", onKey);
  grid.addEventListener("focusin", (event) => {
    const number = Number(event.target.dataset?.number);
    if (Number.isInteger(number)) {
      element(current)?.setAttribute("tabindex", "-1");
      current = number;
      event.target.setAttribute("tabindex", "0");
    }
  });
  new ResizeObserver(() => layout()).observe(scroll);
  stop = virtualizer._didMount();
  window.addEventListener("pagehide", () => stop?.());

  adacode.grid = {
    show,
    go,
    drawJudged,
    current: () => entries[current],
    indexOf: (id) => entries.findIndex((entry) => entry.id === id),
  };
})();

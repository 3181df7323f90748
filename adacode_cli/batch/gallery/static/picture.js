"use strict";
// The dialog with one picture: which one it is, its tools and its keys.
(() => {
  const { make, number, overlay, pages, shown, stage, text } = adacode;
  const byId = (id) => document.getElementById(id);
  const dialog = byId("picture");
  const GAINS = [1, 2, 4, 8, 16];

  let entry = null;
  let list = [];
  let details = null;
  let page = 1;
  let turn = () => {};
  let leave = () => {};
  let keepMode = () => {};
  let turnPage = () => {};

  const modeButtons = stage.MODES.map((mode, index) => {
    const button = make("button", { type: "button", "aria-pressed": "false", title: `${index + 1}` }, text(`mode.${mode}`));
    button.addEventListener("click", () => setMode(mode));
    return button;
  });
  byId("modes").append(...modeButtons);

  const zooms = [
    ["fit", "0", () => stage.fit()],
    ["zoom.1", "Z", () => stage.zoomTo(1)],
    ["zoom.8", "X", () => stage.zoomTo(8)],
  ];
  byId("zooms").append(
    ...zooms.map(([key, title, action]) => {
      const button = make("button", { type: "button", title }, text(key));
      button.addEventListener("click", action);
      return button;
    }),
  );
  byId("gain").append(...GAINS.map((gain) => make("option", { value: gain }, `× ${gain}`)));
  byId("gain").value = "4";
  byId("gain").addEventListener("change", () => stage.setGain(byId("gain").value));
  stage.setGain(4);
  stage.onZoom((ratio) => {
    byId("zoom").textContent =
      entry?.outcome === "failed" ? "" : text("zoomed", { percent: number(Math.round(100 * ratio)) });
  });

  function setMode(mode) {
    stage.setMode(mode);
    modeButtons.forEach((button, index) => button.setAttribute("aria-pressed", stage.MODES[index] === stage.mode()));
    byId("gain-label").hidden = stage.mode() !== "difference";
    overlay.drawLegend();
    keepMode(stage.mode());
  }

  const judgeButtons = adacode.judge.MARKS.map((mark) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, text(`judge.${mark}`));
    button.title = mark[0].toUpperCase();
    button.addEventListener("click", () => entry && adacode.judge.set(entry, mark));
    return button;
  });
  byId("judge").append(...judgeButtons);

  function drawJudged() {
    judgeButtons.forEach((button, index) => {
      button.setAttribute("aria-pressed", Boolean(entry) && adacode.judge.of(entry) === adacode.judge.MARKS[index]);
    });
  }
  adacode.judge.onChange(drawJudged);

  const step = (by) => {
    const at = list.findIndex((one) => one.id === entry.id);
    const next = list[at + by];
    if (next) turn(next);
  };
  const stepPage = (by) => {
    const next = pages.valid(details, page + by);
    if (next !== page) turnPage(next);
  };
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => leave());
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });

  const KEYS = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    PageUp: () => step(-1),
    PageDown: () => step(1),
    " ": () => setMode(stage.flip()),
    "+": () => stage.zoomBy(1),
    "=": () => stage.zoomBy(1),
    "-": () => stage.zoomBy(-1),
    0: () => stage.fit(),
    z: () => stage.zoomTo(1),
    x: () => stage.zoomTo(8),
    "[": () => stage.setSplit(stage.split() - 5),
    "]": () => stage.setSplit(stage.split() + 5),
    "<": () => stepPage(-1),
    ",": () => stepPage(-1),
    ">": () => stepPage(1),
    ".": () => stepPage(1),
  };
  const PANS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // Of the whole document: a browser takes the focus out of the dialog when what has it is hidden.
  document.addEventListener("keydown", (event) => {
    if (!dialog.open || (event.target.closest("dialog") ?? dialog) !== dialog) return;
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select")) return;
    const inInfo = event.target.closest("#info");
    const isPress = event.target.closest("button, a") && (event.key === " " || event.key === "Enter");
    if (isPress) return;
    if (event.shiftKey && event.key in PANS) {
      stage.pan(...PANS[event.key]);
    } else if (inInfo && ["PageUp", "PageDown", " "].includes(event.key)) {
      return;
    } else if (/^[1-5]$/.test(event.key)) {
      setMode(stage.MODES[Number(event.key) - 1]);
    } else if (entry && adacode.judge.KEYS[event.key.toLowerCase()]) {
      adacode.judge.set(entry, adacode.judge.KEYS[event.key.toLowerCase()]);
    } else if (overlay.onKey(event.key.toLowerCase())) {
      // It has drawn what the key means.
    } else if (KEYS[event.key] ?? KEYS[event.key.toLowerCase()]) {
      (KEYS[event.key] ?? KEYS[event.key.toLowerCase()])();
    } else {
      return;
    }
    event.preventDefault();
  });

  /**
   * Shows an entry. entries: those among which Previous and Next go. wanted: of the address: how it is shown ("" as
   * before), the page of a document, and what is drawn over it.
   */
  async function open(one, entries, wanted) {
    list = entries;
    if (!dialog.open) {
      dialog.showModal();
      byId("stage").focus({ preventScroll: true });
    }
    const at = entries.findIndex((other) => other.id === one.id);
    const place = text("place", { number: number(at + 1), count: number(entries.length) });
    byId("place").textContent = at < 0 ? "" : place;
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at === entries.length - 1;
    if (wanted.mode && wanted.mode !== stage.mode()) setMode(wanted.mode);
    if (entry?.id === one.id && entry.line === one.line) {
      if (dialog.dataset.shown) showPage(wanted);
      return;
    }
    entry = one;
    details = null;
    delete dialog.dataset.shown;
    drawJudged();
    byId("name").textContent = shown(one.target);
    adacode.showInfo(byId("info"), one, null);
    byId("info").scrollTop = 0;
    const found = await adacode.store.detailsOf(one).catch(() => null);
    if (entry !== one) return;
    [details, page] = [found, 0];
    showPage(wanted);
    byId("stage").classList.toggle("lonely", !one.hasBefore && !one.original);
    dialog.dataset.shown = one.id;
  }

  /** Shows a page of the entry, and what is drawn over it. */
  function showPage(wanted) {
    const number = pages.valid(details, wanted.page);
    const [one, some] = pages.pageOf(entry, details, number);
    if (number !== page) {
      page = number;
      pages.draw(entry, details, page);
      stage.show(one, some);
      adacode.showInfo(byId("info"), one, some);
    }
    overlay.show(one, some, wanted.over);
  }

  function close() {
    if (!dialog.open) return;
    entry = null;
    delete dialog.dataset.shown;
    stage.clear();
    dialog.close();
  }

  setMode("slider");
  adacode.picture = {
    open,
    close,
    isOpen: () => dialog.open,
    current: () => entry,
    onTurn: (listener) => {
      turn = listener;
    },
    onLeave: (listener) => {
      leave = listener;
    },
    onPage: (listener) => {
      turnPage = listener;
      pages.onTurn(listener);
    },
    onMode: (listener) => {
      keepMode = listener;
    },
  };
})();

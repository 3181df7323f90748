"use strict";
// The page on which masks are painted: which picture it shows, its tools, the pointer and the keys.
(() => {
  const { make, masks, Mask, number, shown, text, view } = adacode;
  const byId = (id) => document.getElementById(id);
  const board = byId("board");
  const MOST_BRUSH = 1000;
  const PAN_PX = 60;
  const FIRST_BRUSH = 24;

  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }

  let list = []; // of { id, name, hasMask }
  let current = null;
  let mask = null;
  let loaded = null; // { digest, photograph } of the files that were loaded or saved
  let turn = 0; // of showing a picture: an answer to an earlier one is dropped
  let value = 1; // what the brush writes: 1 paints, 0 erases
  let diameter = FIRST_BRUSH;
  let brushAt = null; // the middle of the brush, in pixels of the picture
  let stroke = null; // { from, value } while the pointer or a key paints
  let saving = null;
  const QUESTIONS = {
    empty: [["saveEmpty", "empty"]],
    grey: [["replaceGrey", "grey"]],
    changed: [["loadTheirs", "load"], ["replaceTheirs", "replace"]],
    photograph: [["loadPhotograph", "load"]],
  };

  // ------------------------------------------------------------------------------------------- what is shown

  function complain(message) {
    byId("message").textContent = message;
    byId("message").hidden = !message;
  }

  function say(message) {
    byId("state").textContent = message;
  }

  function drawState() {
    byId("undo").disabled = !mask?.done.length;
    byId("redo").disabled = !mask?.undone.length;
    for (const id of ["grow", "shrink", "clear", "save"]) byId(id).disabled = !mask;
    const changed = Boolean(mask?.hasChanged());
    byId("save").classList.toggle("wanted", changed);
    if (mask) say(text(changed ? "unsaved" : loaded.digest ? "savedMask" : "noMask"));
  }

  function drawList() {
    const only = byId("only").checked;
    const offered = list.filter((one) => !only || !one.hasMask || one === current);
    byId("pictures").replaceChildren(
      ...offered.map((one) => make("option", { value: one.id, selected: one === current }, `${one.hasMask ? "● " : ""}${shown(one.name)}`)),
    );
    const index = offered.indexOf(current);
    const without = list.filter((one) => !one.hasMask).length;
    const place = () => text("place", { number: number(index + 1), count: number(offered.length) });
    byId("place").textContent = only ? text("withoutMask", { count: number(without) }) : current ? place() : "";
    byId("previous").disabled = index <= 0;
    byId("next").disabled = index < 0 || index === offered.length - 1;
    return { offered, index };
  }

  function drawRing() {
    const ring = byId("ring");
    ring.hidden = !mask || !brushAt;
    if (ring.hidden) return;
    const { x, y } = view.toBoard(brushAt);
    const side = Math.max(3, diameter * view.scale());
    ring.style.width = ring.style.height = `${side}px`;
    ring.style.transform = `translate(${x - side / 2}px, ${y - side / 2}px)`;
    ring.classList.toggle("erasing", value === 0);
  }

  function setBrush(pixels) {
    diameter = Math.max(1, Math.min(MOST_BRUSH, Math.round(pixels)));
    byId("brush").value = Math.round((100 * Math.log(diameter)) / Math.log(MOST_BRUSH));
    byId("diameter").textContent = text("pixels", { count: number(diameter) });
    drawRing();
  }

  function setTool(to) {
    value = to;
    byId("draw").setAttribute("aria-pressed", to === 1);
    byId("erase").setAttribute("aria-pressed", to === 0);
    drawRing();
  }

  // ---------------------------------------------------------------------------------------- pictures and masks

  async function show(one) {
    const mine = ++turn;
    current = one;
    mask = null;
    stroke = null;
    complain("");
    say(text("loading"));
    byId("name").textContent = shown(one.name);
    document.title = shown(one.name);
    drawList();
    view.show("", null);
    delete board.dataset.shown;
    history.replaceState(null, "", `#picture=${one.id}`);
    try {
      const found = await masks.load(one.id);
      if (turn !== mine) return;
      loaded = { digest: found.digest, photograph: found.photograph };
      mask = new Mask(found.width, found.height, found.bits, view.changed);
      view.show(masks.imageOf(one.id, found.photograph), mask);
      brushAt = { x: mask.width / 2, y: mask.height / 2 };
      board.dataset.shown = one.id;
    } catch (error) {
      if (turn !== mine) return;
      say("");
      complain(shown(error.message));
    }
    drawState();
    drawRing();
  }
  byId("photo").addEventListener("error", () => {
    if (mask) complain(text("photographGone"));
  });

  const answered = (question, choices) =>
    new Promise((resolve) => {
      byId("ask-text").textContent = question;
      const buttons = choices.map(([key, result]) => {
        const button = make("button", { type: "button" }, text(key));
        button.addEventListener("click", () => {
          resolve(result);
          byId("ask").close();
        });
        return button;
      });
      byId("answers").replaceChildren(...buttons);
      byId("ask").addEventListener("close", () => resolve(""), { once: true });
      byId("ask").showModal();
    });

  /** Saves the mask if it has changed, one save after another. Returns whether nothing is left to save. */
  async function save() {
    end();
    while (saving) await saving;
    if (!mask?.hasChanged()) return true;
    saving = attempt(current, mask, loaded, new Set())
      .catch((error) => {
        complain(shown(error.message));
        return false;
      })
      .finally(() => {
        saving = null;
      });
    const isSaved = await saving;
    drawState();
    drawList();
    return isSaved;
  }

  async function attempt(one, wanted, from, may) {
    const now = wanted.now();
    try {
      say(text("savingMask"));
      from.digest = await masks.save(one.id, wanted.bits(), from, may);
    } catch (error) {
      const choices = QUESTIONS[error.kind];
      if (!choices) throw error;
      const choice = await answered(text(`ask.${error.kind}`), [...choices, ["cancel", ""]]);
      if (choice === "load") await show(one);
      if (choice === "load" || !choice) return false;
      if (choice === "replace") from.digest = (await masks.load(one.id)).digest;
      else may.add(choice);
      return attempt(one, wanted, from, may);
    }
    wanted.saved(now);
    one.hasMask = from.digest !== "";
    complain("");
    return !wanted.hasChanged();
  }

  let going = Promise.resolve();

  /** Shows another picture when the present one is saved; one after another, so keys may be quick. */
  function go(one) {
    going = going.then(async () => {
      if (one && one !== current && (await save())) await show(one);
      else drawList();
    });
    return going;
  }

  let next = null; // the picture that the last step asked for, until it is shown

  function step(by) {
    const { offered } = drawList();
    const one = offered[offered.indexOf(next ?? current) + by];
    if (!one) {
      going = going.then(save); // There is no other picture, but what was painted is saved all the same.
      return;
    }
    next = one;
    go(one).finally(() => {
      if (next === one) next = null;
    });
  }

  // ------------------------------------------------------------------------------------------------- painting

  function begin(at, what) {
    if (!mask || stroke) return;
    stroke = { from: at, value: what };
    mask.begin();
    mask.line(at, at, diameter, what);
  }

  function advance(at) {
    brushAt = at;
    if (stroke) {
      mask.line(stroke.from, at, diameter, stroke.value);
      stroke.from = at;
    }
    drawRing();
  }

  function end({ isKept = true } = {}) {
    if (!stroke) return;
    stroke = null;
    if (isKept) mask.end();
    else mask.cancel();
    drawState();
  }

  function change(action) {
    if (!mask || stroke) return;
    action();
    drawState();
  }

  const by = () => Math.max(1, Math.min(200, Math.round(Number(byId("by").value)) || 1));
  const actions = {
    draw: () => setTool(1),
    erase: () => setTool(0),
    undo: () => change(() => mask.undo()),
    redo: () => change(() => mask.redo()),
    grow: () => change(() => mask.spread(by(), 1)),
    shrink: () => change(() => mask.spread(by(), 0)),
    clear: () => change(() => mask.clear()),
    fit: () => view.fit(),
    "zoom-1": () => view.zoomTo(1),
    "zoom-8": () => view.zoomTo(8),
    save: () => save(),
    previous: () => step(-1),
    next: () => step(1),
    hide: () => {
      const isHidden = byId("hide").getAttribute("aria-pressed") !== "true";
      byId("hide").setAttribute("aria-pressed", isHidden);
      view.setHidden(isHidden);
    },
    help: () => byId("keys").showModal(),
  };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);
  byId("brush").addEventListener("input", () => {
    const wanted = Math.round(MOST_BRUSH ** (byId("brush").value / 100));
    diameter = Math.max(1, wanted);
    byId("diameter").textContent = text("pixels", { count: number(diameter) });
    drawRing();
  });
  byId("pictures").addEventListener("change", () => go(list.find((one) => one.id === byId("pictures").value)));
  byId("only").addEventListener("change", drawList);

  // -------------------------------------------------------------------------------------------------- pointers

  const pointers = new Map(); // of those that touch the board: where they are, in CSS pixels of it
  let panning = false;

  const placeOf = (event) => {
    const box = board.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  board.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#message")) return;
    event.preventDefault();
    board.focus({ preventScroll: true });
    board.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    if (pointers.size === 2) end({ isKept: false }); // Two fingers move and zoom; the first one did not mean to paint.
    panning = pointers.size > 1 || event.button === 1;
    if (panning) return;
    const isEraser = event.button === 2 || event.button === 5 || event.altKey;
    advance(view.toPicture(placeOf(event)));
    begin(brushAt, isEraser ? 0 : value);
  });
  board.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const place = placeOf(event);
    if (before && panning) {
      moveBy(event.pointerId, before, place);
    } else {
      const events = stroke && event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      for (const one of events.length ? events : [event]) advance(view.toPicture(placeOf(one)));
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    board.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) panning = false;
      end();
    });
  }
  board.addEventListener("pointerleave", (event) => {
    if (pointers.size || event.pointerType === "touch") return;
    byId("ring").hidden = true;
  });
  board.addEventListener("contextmenu", (event) => event.preventDefault());
  board.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { x, y } = placeOf(event);
      view.zoomAt(view.scale() * Math.exp(-Math.sign(event.deltaY || event.deltaX) * 0.2), x, y);
    },
    { passive: false },
  );

  /** One pointer moves the picture; of two, their distance zooms. */
  function moveBy(id, before, place) {
    pointers.set(id, place);
    const other = [...pointers].find(([one]) => one !== id)?.[1];
    if (!other) {
      view.pan(place.x - before.x, place.y - before.y);
      return;
    }
    const far = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    view.pan((place.x - before.x) / 2, (place.y - before.y) / 2);
    view.zoomAt((view.scale() * far(place)) / far(before), (place.x + other.x) / 2, (place.y + other.y) / 2);
  }

  // ------------------------------------------------------------------------------------------------------ keys

  const KEYS = {
    b: "draw", e: "erase", u: "undo", U: "redo", g: "grow", G: "shrink", c: "clear", h: "hide", s: "save", "?": "help",
    0: "fit", z: "zoom-1", x: "zoom-8", PageUp: "previous", PageDown: "next",
  };
  const WITH_CONTROL = { z: "undo", Z: "redo", y: "redo", s: "save" };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const OTHERS = {
    "+": () => view.zoomBy(1),
    "=": () => view.zoomBy(1),
    "-": () => view.zoomBy(-1),
    "[": () => setBrush(Math.min(diameter - 1, diameter / 1.25)),
    "]": () => setBrush(Math.max(diameter + 1, diameter * 1.25)),
  };

  function moveBrush([dx, dy]) {
    if (!mask || !brushAt) return;
    const far = Math.max(1, Math.round(diameter / 4));
    const within = (at, most) => Math.max(0, Math.min(most, at));
    advance({ x: within(brushAt.x + dx * far, mask.width), y: within(brushAt.y + dy * far, mask.height) });
  }

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    const isField = event.target.closest("select, input[type=number]");
    const isSlider = event.target.closest("input[type=range]") && event.key.startsWith("Page");
    const onBoard = event.target === board;
    if (event.ctrlKey || event.metaKey) {
      if (!(event.key in WITH_CONTROL) || isField) return;
      actions[WITH_CONTROL[event.key]]();
    } else if (isSlider || (isField && !["PageUp", "PageDown"].includes(event.key))) {
      return;
    } else if (onBoard && event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      if (event.shiftKey) view.pan(-dx * PAN_PX, -dy * PAN_PX);
      else moveBrush([dx, dy]);
    } else if (onBoard && (event.key === " " || event.key === "Enter")) {
      if (!event.repeat && brushAt) begin(brushAt, value);
    } else if (event.key in KEYS) {
      actions[KEYS[event.key]]();
    } else if (event.key in OTHERS) {
      OTHERS[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if ((event.key === " " || event.key === "Enter") && !pointers.size) end();
  });
  board.addEventListener("blur", () => end());

  window.addEventListener("beforeunload", (event) => {
    end();
    if (mask?.hasChanged() || saving) event.preventDefault();
  });
  view.onMove(drawRing);

  async function start() {
    setBrush(FIRST_BRUSH);
    drawState();
    try {
      const { folder, run, pictures } = await masks.pictures();
      list = pictures;
      byId("folder").textContent = text("masksIn", { folder: shown(folder) });
      byId("back").hidden = !run;
    } catch (error) {
      complain(shown(error.message));
      return;
    }
    const wanted = new URLSearchParams(location.hash.slice(1)).get("picture");
    const first = wanted ? list.find((one) => one.id === wanted) : list[0];
    if (first) await show(first);
    else complain(text("noPictureToPaint"));
    drawList();
  }
  window.addEventListener("hashchange", () => {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("picture");
    go(list.find((one) => one.id === wanted));
  });

  adacode.painted = () => mask;
  start();
})();

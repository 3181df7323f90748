"use strict";
// What is drawn over both sides of a picture: which basis weighs most, how much one of them weighs, or the hole.
// The address has the choice, so that it stays from picture to picture: "bases", "basis:NAME" or "hole".
(() => {
  const { make, shown, stage, text } = adacode;
  const byId = (id) => document.getElementById(id);
  const select = byId("over");
  const legend = byId("legend");
  const KEYS = { w: "bases", h: "hole" };

  let entry = null;
  let details = null;
  let value = "";
  let listener = () => {};

  const bases = () => (details?.maps ? details.basis.filter((one) => one.panel && one.color) : []);
  const chosen = () => bases().find((one) => value === `basis:${one.name}`);

  /** What this picture has, as (value, label) pairs. */
  function choices() {
    const named = bases().map((one) => [`basis:${one.name}`, text("over.basis", { name: shown(one.name) })]);
    const weights = named.length ? [["bases", text("over.bases")], ...named] : [];
    const hole = details?.hole ? [["hole", text("over.hole")]] : [];
    return [["", text("over.none")], ...hole, ...weights];
  }

  /** The image that covers one side, or null. */
  function cover() {
    const panels = bases().length + 1;
    const has = choices().some(([one]) => one === value);
    if (!value || !has || !entry) return null;
    const image = make("img", { alt: "", draggable: "false" });
    image.src = value === "hole" ? `${entry.picture}-hole.png` : `${entry.picture}-bases.png`;
    if (value !== "hole") {
      // The last cells of the latent grid may reach beyond the edge of the picture, where they are cut off.
      const [high, wide] = details.mapsExtent;
      image.style.height = `${100 * high}%`;
      image.style.width = `${100 * wide * panels}%`;
      image.style.left = `${-100 * wide * (chosen()?.panel ?? 0)}%`;
    }
    return make("div", { class: value === "bases" ? "over mixed" : "over" }, image);
  }

  /** What is drawn over the picture: rows of a colour and what it means. */
  function meanings() {
    if (!choices().some(([one]) => one && one === value)) return [];
    if (stage.mode() === "difference") return [{ label: text("overNothing") }]; // The same over both sides is no difference.
    if (value === "hole") return [{ color: details.holeColor, label: text("hole") }];
    return (value === "bases" ? bases() : [chosen()]).map((one) => {
      return { color: one.color, label: text("legend", { name: shown(one.name), value: (100 * one.share).toFixed(0) }) };
    });
  }

  function drawLegend() {
    const rows = meanings();
    legend.replaceChildren(...rows.map(({ color, label }) => make("li", {}, adacode.swatch(color), label)));
    legend.hidden = !rows.length;
  }

  /** Puts the cover over both sides, and draws what it means. */
  function draw() {
    for (const side of ["before", "after"]) {
      const frame = byId(side).firstElementChild;
      frame.querySelector(":scope > .over")?.remove();
      const one = cover();
      if (one) frame.append(one);
    }
    const some = choices();
    select.replaceChildren(...some.map(([one, label]) => make("option", { value: one }, label)));
    select.value = some.some(([one]) => one === value) ? value : "";
    byId("over-label").hidden = some.length < 2;
    drawLegend();
  }

  /** Chooses what is drawn; the same choice by a key again removes it. */
  function set(wanted) {
    value = wanted;
    draw();
    listener(value);
  }

  const onKey = (key) => {
    const wanted = KEYS[key];
    if (!wanted) return false;
    if (value === wanted) set("");
    else if (choices().some(([one]) => one === wanted)) set(wanted);
    return true;
  };

  select.addEventListener("change", () => set(select.value));

  adacode.overlay = {
    drawLegend,
    onKey,
    /** Shows what an entry has. wanted: the choice in the address. */
    show: (one, some, wanted) => {
      [entry, details, value] = [one, some, wanted ?? value];
      draw();
    },
    onChange: (one) => {
      listener = one;
    },
  };
})();

"use strict";
// What the page does where `adacode view --serve` serves it: judgements go into the output tree, and masks can be painted.
(() => {
  const { judge, make, picture, store, text } = adacode;
  const alert = make("p", { id: "served-alert", role: "alert", hidden: true });
  document.body.append(alert);
  let last = Promise.resolve();

  /** Shows what failed, above an open dialog too. */
  function complain(message) {
    (document.querySelector("dialog[open]") ?? document.body).append(alert);
    alert.textContent = message;
    alert.hidden = !message;
  }

  async function send(entry, one, before) {
    try {
      const body = JSON.stringify({ id: entry.id, line: one.line, mark: one.mark });
      const answer = await fetch("judge", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!answer.ok) throw new Error(await adacode.saidBy(answer));
      one.time = (await answer.json()).time;
      complain("");
    } catch (error) {
      judge.put(entry, before, one);
      const reason = error instanceof TypeError ? text("serverGone") : adacode.shown(error.message);
      complain(text("notSaved", { reason }));
    }
  }
  // One after another: the last one must be written last.
  judge.keepBy((entry, one, before) => {
    last = last.then(() => send(entry, one, before));
  });

  const paint = make("button", { type: "button", id: "paint", title: "M", hidden: true }, text("paint"));
  const go = () => {
    const entry = picture.current();
    if (entry && !paint.hidden) location.assign(`paint.html#picture=${entry.id}`);
  };
  document.getElementById("judge").after(paint);
  paint.addEventListener("click", go);
  document.getElementById("picture").addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select, input")) return;
    if (event.key.toLowerCase() === "m") go();
  });
  store.onChange(() => {
    paint.hidden = !store.state?.painting;
  });
})();

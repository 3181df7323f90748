"use strict";
// The data of the page. They come as scripts that call `adacode.state`, `part` and `details`, because a page of file://
// may read no other files. Trusted Types let the page load scripts of its own data folder alone.
(() => {
  const OURS = /^data\/(?:state|judged|part-\d+|details-\d+)\.js(?:\?\d+)?$/;
  const only = (name) => {
    if (!OURS.test(name)) throw new TypeError(`not a file of this page: ${name}`);
    return name;
  };
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("adacode", { createScriptURL: only })
    : { createScriptURL: only };
  const LOOK_EVERY_MS = 3000;
  const STALE_MS = 120000;
  const AT_ONCE = 4;

  const entries = new Map(); // of the last line on each output, by id
  const details = new Map();
  const listeners = [];
  const store = {
    state: null,
    failed: null,
    loading: true,
    version: 0, // of the entries
    entries,
    onChange: (listener) => listeners.push(listener),
  };
  adacode.store = store;
  let scheduled = false;

  const changed = () => {
    if (scheduled) return;
    scheduled = true;
    setTimeout(() => {
      scheduled = false;
      for (const listener of listeners) listener();
    }, 0);
  };

  /** Loads a script; an answer without it rejects. */
  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = () => {
        script.remove();
        resolve();
      };
      script.onerror = () => {
        script.remove();
        reject(new Error(name));
      };
      script.src = policy.createScriptURL(name);
      document.head.append(script);
    });

  adacode.state = (state) => {
    store.state = state;
  };
  adacode.part = (_number, list) => {
    for (const entry of list) {
      const known = entries.get(entry.id);
      if (!known || known.line <= entry.line) entries.set(entry.id, entry);
    }
    store.version++;
    changed();
  };
  adacode.details = (_number, some) => {
    for (const [id, one] of Object.entries(some)) details.set(id, one);
  };

  /** The details of an entry: what the grid does not show. */
  store.detailsOf = async (entry) => {
    if (!details.has(entry.id)) {
      const number = Math.floor(entry.line / store.state.linesOfDetails);
      const again = store.state.running ? `?${Date.now()}` : "";
      await load(`data/details-${number}.js${again}`);
    }
    return details.get(entry.id) ?? null;
  };

  const loadParts = async (first, query) => {
    const { lines, linesOfAPart } = store.state;
    const waiting = [];
    for (let part = first; part * linesOfAPart < lines; part++) waiting.push(`data/part-${part}.js${query}`);
    const worker = async () => {
      while (waiting.length) await load(waiting.shift());
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  };

  const look = async () => {
    const before = store.state;
    await load(`data/state.js?${Date.now()}`);
    const { lines, linesOfAPart, running } = store.state;
    if (store.state.served) await load(`data/judged.js?${Date.now()}`);
    const ended = before.running && !running;
    if (lines !== before.lines || ended) {
      details.clear();
      await loadParts(ended ? 0 : Math.floor(before.lines / linesOfAPart), `?${Date.now()}`);
    }
    changed();
  };

  const follow = () => {
    if (!store.state.running && !store.state.served) return;
    setTimeout(() => look().catch(() => {}).then(follow), LOOK_EVERY_MS);
  };

  store.isStale = () => Date.now() - new Date(store.state.updated).getTime() > STALE_MS;

  store.start = async () => {
    try {
      const query = `?${Date.now()}`; // A browser may have kept the data of an earlier look.
      await load(`data/state.js${query}`);
      await load(`data/judged.js${query}`);
      changed();
      await loadParts(0, query);
    } catch (error) {
      store.failed = error.message.replace(/\?.*/, "");
    }
    store.loading = false;
    changed();
    if (store.state) follow();
  };
})();

"use strict";
(() => {
  const status = document.getElementById("status");
  let behind = Date.now() - Number(document.body.dataset.now); // this clock minus the server's, in ms
  let stale = Infinity; // when the next event is overdue
  let again = 0; // when to give up a silent connection
  let source, retry, typing;

  // morph changes old into fresh and keeps the nodes that are equal. So the focus, the
  // selection, typed text and open details survive.
  function morph(old, fresh) {
    if (old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes])
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (fresh.matches(".cards, .lanes, .keys > ul")) align(old, fresh);
    while (old.childNodes.length > fresh.childNodes.length) old.lastChild.remove();
    fresh.childNodes.forEach((child, i) => {
      if (i < old.childNodes.length) morph(old.childNodes[i], child);
      else old.append(document.importNode(child, true));
    });
  }

  // nameOf returns what tells a card, a lane or a row of a key from its siblings.
  function nameOf(row) {
    return row.id || (row.dataset.lane ?? row.dataset.key);
  }

  // align adds, moves and removes rows, so that the rows of old have the same names as those
  // of fresh, in the same order. Otherwise a focused button would belong to another key as
  // soon as a key before it came or went.
  function align(old, fresh) {
    const names = new Set(Array.from(fresh.children, nameOf));
    for (const row of [...old.children]) if (!names.has(nameOf(row))) row.remove();
    const focused = document.activeElement;
    [...fresh.children].forEach((row, i) => {
      const there = old.children[i];
      if (there && nameOf(there) === nameOf(row)) return;
      const moved = [...old.children].slice(i).find((other) => nameOf(other) === nameOf(row));
      old.insertBefore(moved ?? document.importNode(row, true), there ?? null);
    });
    // A moved element loses the focus.
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  // show shows the main element of html. DOMParser runs no scripts.
  function show(html) {
    morph(document.querySelector("main"), new DOMParser().parseFromString(html, "text/html").querySelector("main"));
    tick();
  }

  function connect() {
    clearTimeout(retry);
    source?.close();
    if (document.hidden) return; // browsers allow only a few connections to a site
    again = Date.now() + 30000;
    const query = new URLSearchParams(location.search);
    query.set("format", "events");
    source = new EventSource("?" + query);
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      behind = Date.now() - event.now;
      stale = Date.now() + event.rest + 3000;
      if (event.html) show(event.html);
      else tick();
    };
    source.onerror = () => {
      stale = Math.min(stale, Date.now() + 3000);
      // In other states the browser reconnects by itself.
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 2000);
    };
  }

  function seconds(ms) {
    const s = ms / 1000;
    if (s < 59.95) return s.toFixed(1) + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
    return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  }

  // say sets a text if it differs. Screen readers announce each change.
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  // tick updates the texts that depend only on the time.
  function tick() {
    const now = Date.now();
    for (const time of document.querySelectorAll("[data-at]")) {
      const left = Number(time.dataset.at) - (now - behind);
      say(time, left > 0 ? "in " + seconds(left) : "now");
    }
    const late = now > stale;
    say(status, late ? "no connection: the page is out of date" : stale < Infinity ? "live" : "connecting");
    status.classList.toggle("stale", late);
    if (late && now > again) connect();
  }

  document.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(search, 200);
  });

  function search() {
    const query = new URLSearchParams(location.search);
    for (const { name, value } of document.querySelectorAll("input[type=search]")) query.set(name, value);
    history.replaceState(null, "", "?" + query);
    connect();
  }

  // Links to another filter or time axis need no new page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("nav a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    connect();
  });

  addEventListener("popstate", () => location.reload());

  document.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (event.target.method === "get") {
      search();
      return;
    }
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    try {
      const response = await fetch(location.href, { method: "POST", body, redirect: "manual" });
      if (response.type === "opaqueredirect") connect(); // to get an event at once
      else alert(await response.text());
    } catch (error) {
      alert(error);
    }
  });

  document.addEventListener("visibilitychange", connect);

  setInterval(tick, 100);
  connect();
})();

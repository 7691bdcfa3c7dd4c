"use strict";
(() => {
  const status = document.getElementById("status");
  let behind = Date.now() - Number(document.body.dataset.now); // this clock, against the server's
  let stale = Infinity; // when there should have been news
  let again = 0; // when a connection that has fallen silent is given up
  let source, retry, typing;

  // morph makes old what fresh is, and keeps what is the same: the focus, what is
  // selected, what is typed, and what was opened.
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
    if (fresh.matches(".keys > ul")) align(old, fresh);
    while (old.childNodes.length > fresh.childNodes.length) old.lastChild.remove();
    fresh.childNodes.forEach((child, i) => {
      if (i < old.childNodes.length) morph(old.childNodes[i], child);
      else old.append(document.importNode(child, true));
    });
  }

  // align has the rows of old begin like those of fresh, by adding and removing: a row
  // stays its key's. Otherwise a button that has the focus would be another key's as
  // soon as a key before it comes or goes.
  function align(old, fresh) {
    const keys = new Set(Array.from(fresh.children, (row) => row.dataset.key));
    for (const row of [...old.children]) if (!keys.has(row.dataset.key)) row.remove();
    [...fresh.children].forEach((row, i) => {
      const there = old.children[i];
      if (there?.dataset.key !== row.dataset.key) old.insertBefore(document.importNode(row, true), there ?? null);
    });
  }

  // show shows the main of html. A document that is parsed like this runs no scripts.
  function show(html) {
    morph(document.querySelector("main"), new DOMParser().parseFromString(html, "text/html").querySelector("main"));
    tick();
  }

  function connect() {
    clearTimeout(retry);
    source?.close();
    if (document.hidden) return; // nobody looks, and browsers allow a site few connections
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
      // Otherwise the browser tries again by itself.
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 2000);
    };
  }

  function seconds(ms) {
    const s = ms / 1000;
    if (s < 59.95) return s.toFixed(1) + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
    return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  }

  // say sets a text, if it is another: readers are told of each change.
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  // tick says what changes with time alone.
  function tick() {
    const now = Date.now();
    for (const time of document.querySelectorAll("[data-at]")) {
      const left = Number(time.dataset.at) - (now - behind);
      say(time, left > 0 ? "in " + seconds(left) : "now");
    }
    const late = now > stale;
    say(status, late ? "no connection: this is how it was" : stale < Infinity ? "live" : "connecting");
    status.classList.toggle("stale", late);
    if (late && now > again) connect();
  }

  document.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(search, 200);
  });

  function search() {
    const query = new URLSearchParams(new FormData(document.getElementById("search")));
    history.replaceState(null, "", "?" + query);
    connect();
  }

  document.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (event.target.method === "get") {
      search();
      return;
    }
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    try {
      const response = await fetch(location.href, { method: "POST", body, redirect: "manual" });
      if (response.type === "opaqueredirect") connect(); // for news
      else alert(await response.text());
    } catch (error) {
      alert(error);
    }
  });

  document.addEventListener("visibilitychange", connect);

  setInterval(tick, 100);
  connect();
})();

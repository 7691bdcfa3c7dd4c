"use strict";
// The page is drawn and computed in Go. This script hands over what the reader does, and shows
// what comes back.
(async () => {
  const at = (id) => document.getElementById(id);
  const main = document.querySelector("main");
  const controls = [...document.querySelectorAll("[data-key]")];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let app, view, tallest, held;
  let due = 0; // when to draw the live picture, in the time of animation frames

  // say sets a text if it differs. Screen readers announce each change.
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function fail(error) {
    main.hidden = true;
    say(at("status"), "The page does not work: " + error);
    at("status").hidden = false;
  }

  // draw shows a picture. DOMParser runs no scripts.
  function draw(svg) {
    const picture = at("picture");
    picture.replaceChildren(document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true));
    // Labels need a varying number of rows. What is below a live picture must not jump.
    tallest = view.live ? Math.max(tallest, picture.firstChild.getBoundingClientRect().height) : 0;
    picture.style.minHeight = tallest + "px";
  }

  // show shows a view. A script that the reader is typing stays as it is.
  function show(fresh) {
    if (view?.live !== fresh.live) tallest = 0;
    view = fresh;
    for (const control of controls) {
      const text = view.texts[control.dataset.key];
      const wrong = view.problems.some(({ key }) => key === control.dataset.key);
      control.setAttribute("aria-invalid", wrong);
      if (control.type === "range") {
        control.value = view.positions[control.dataset.key];
        control.setAttribute("aria-valuetext", text);
      } else if (control.type === "checkbox") control.checked = text === "true";
      else if (control.type === "radio") control.checked = text === control.value;
      else if (control.type !== "textarea" || control !== document.activeElement) control.value = text;
    }
    for (const place of document.querySelectorAll("[data-problem]"))
      say(place, view.problems.filter(({ key }) => key === place.dataset.problem).map(({ text }) => text).join("; "));
    const lines = [view.stands, ...view.problems.map(({ full }) => full)].filter((line) => line);
    if (lines.join() !== Array.from(at("problems").children, (line) => line.textContent).join())
      at("problems").replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));

    at("notice").hidden = !view.notice;
    say(at("notice"), view.notice);
    at("preset").value = view.preset;
    at("about").hidden = !view.preset;
    say(at("note"), view.note);
    say(at("section"), view.title && "Read about “" + view.title + "”");
    at("section").href = view.section;
    say(at("code"), view.code);
    say(at("words"), view.words);
    say(at("summary"), view.summary);
    for (const part of document.querySelectorAll("[data-live]")) part.hidden = part.dataset.live !== String(view.live);
    if (view.live) due = 0;
    else draw(view.svg);
  }

  // tick draws the live picture, at most 25 times a second. If that takes long, it leaves time
  // for everything else.
  function tick(now) {
    requestAnimationFrame(tick);
    if (!view.live || now < due) return;
    const frame = app.frame();
    if (frame) {
      draw(frame.svg);
      for (const name of ["calls", "runs", "failures", "dropped", "state"]) say(at(name), String(frame[name]));
    }
    due = now + Math.max(calm.matches ? 500 : 40, 3 * (performance.now() - now));
  }

  function press() {
    held = true;
    app.press();
  }

  function release() {
    held = false;
    app.release();
  }

  // isCallKey reports whether event is of a key that calls: on the button, or where no other
  // control has the focus.
  function isCallKey(event) {
    return view.live && (event.key === " " || event.key === "Enter") && [at("call"), document.body].includes(event.target);
  }

  function wire() {
    for (const control of controls) {
      const key = control.dataset.key;
      if (control.type === "range") control.addEventListener("input", () => show(app.slide(key, Number(control.value))));
      else if (control.type === "textarea") control.addEventListener("input", () => show(app.set(key, control.value)));
      else control.addEventListener("change", () => show(app.set(key, control.type === "checkbox" ? String(control.checked) : control.value)));
    }
    at("text").addEventListener("blur", () => show(app.set("script", at("text").value)));
    at("preset").addEventListener("change", () => {
      history.pushState(null, "", "#preset=" + at("preset").value);
      show(app.open(location.hash));
    });
    document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", () => show(app.open(location.hash)));
    for (const button of document.querySelectorAll("[data-factor]"))
      button.addEventListener("click", () => show(app.times(Number(button.dataset.factor))));
    for (const button of document.querySelectorAll("[data-copy]"))
      button.addEventListener("click", () => copy(button.dataset.copy));

    const call = at("call");
    call.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      call.setPointerCapture(event.pointerId);
      press();
    });
    for (const end of ["pointerup", "pointercancel", "blur"]) call.addEventListener(end, release);
    call.addEventListener("contextmenu", (event) => event.preventDefault()); // of a long touch
    document.addEventListener("keydown", (event) => {
      if (!isCallKey(event)) return;
      event.preventDefault();
      if (!held) press();
    });
    document.addEventListener("keyup", (event) => {
      if (!isCallKey(event)) return;
      event.preventDefault();
      release();
    });
    // A screen reader clicks without pressing anything. Clicks of pointers and keys come, too.
    call.addEventListener("click", (event) => {
      if (event.detail !== 0 || held) return;
      press();
      release();
    });
    addEventListener("resize", () => (tallest = 0));
    addEventListener("blur", release); // the window does not see the key go up
    at("flush").addEventListener("click", () => app.flush());
    at("cancel").addEventListener("click", () => app.cancel());
  }

  async function copy(what) {
    const link = location.href.split("#")[0] + "#" + view.fragment;
    try {
      await navigator.clipboard.writeText(what === "code" ? at("code").textContent : link);
      say(at("copied"), "copied the " + what);
    } catch {
      say(at("copied"), "the browser does not let this page copy");
    }
  }

  try {
    const go = new Go();
    const { instance } = await WebAssembly.instantiateStreaming(fetch("playground.wasm"), go.importObject);
    go.run(instance).then(() => fail("it has ended. Load it again."));
    app = globalThis.playground;
    wire();
    main.hidden = false;
    at("status").hidden = true;
    show(app.open(location.hash));
    requestAnimationFrame(tick);
  } catch (error) {
    fail(error);
  }
})();

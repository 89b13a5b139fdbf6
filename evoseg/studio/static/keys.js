// The keyboard: everything can be done with it, and `?` says how.

import { byId, element, showDialog } from "./api.js";

const LIST = [
  ["1 to 9", "choose a label"], ["B E P F O", "brush, erase, polygon, fill, whole object"], ["X C M P", "under Correct: delete, split, merge, draw objects"], ["[ ]", "smaller and larger brush"],
  ["K", "leave other labels as they are"], ["Z or Ctrl+Z", "undo"], ["Y, Ctrl+Y, Ctrl+Shift+Z", "redo"],
  ["Enter", "close the polygon; lower or lift the brush at the crosshair"], ["Escape", "discard the polygon or line"],
  ["N", "next doubtful place, or image"], ["J, Page Down", "next image"], ["I, Page Up", "previous image"],
  ["S A D", "show strokes, answer, doubt"], ["L", "logarithmic brightness"], ["+ −", "zoom in and out"], ["0", "fit the image"],
  ["Arrow keys", "move the crosshair (with Shift: by one pixel)"], ["Ctrl+arrow keys", "move the image"],
  ["Wheel", "zoom at the pointer"], ["Right button, space, Shift", "drag the image"], ["V", "show the chosen step of a pipeline"], ["T", "next tab"], ["?", "this list"],
];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Who speaks to the computer, or has a tremor, can switch off the keys that act at a single touch (WCAG 2.1.4). A cookie
// remembers it: storage would belong to one port, and the studio has another one at each start.
const OFF = "evoseg-keys-off";
const areOff = () => document.cookie.split("; ").includes(`${OFF}=yes`);

function switchKeys(on) {
  document.cookie = `${OFF}=yes; SameSite=Strict; Path=/; Max-Age=${on ? 0 : 400 * 86400}`;
  showState();
}

const showState = () => document.body.classList.toggle("keys-off", areOff());

export function showKeys() {
  const box = element("input", { type: "checkbox", checked: !areOff(), onchange: () => switchKeys(box.checked) });
  const choice = element("label", { class: "check" }, box, "Single-key shortcuts: letters, digits and signs. Enter, Escape, arrow and page keys always work.");
  const rows = LIST.map(([keys, what]) => element("div", {}, element("dt", {}, what), element("dd", {}, element("kbd", {}, keys))));
  showDialog("Keys", choice, element("dl", { class: "keys" }, ...rows));
}

export function listenToKeys(app) {
  const { stage, paint, images } = app;
  const plain = {
    b: () => paint.setTool("brush"), e: () => paint.setTool("erase"), p: () => (app.tab === "correct" ? app.correct.setTool("draw") : paint.setTool("polygon")), f: () => paint.setTool("fill"),
    o: () => paint.setTool("object"),
    ...Object.fromEntries([["x", "delete"], ["c", "split"], ["m", "merge"]].map(([key, tool]) => [key, () => app.tab === "correct" && app.correct.setTool(tool)])),
    "[": () => paint.changeSize(-1), "]": () => paint.changeSize(1), "{": () => paint.changeSize(-8), "}": () => paint.changeSize(8),
    k: () => byId("protect").click(), z: () => app.undo(), y: () => app.redo(), n: () => paint.next(),
    j: () => images.step(1), i: () => images.step(-1), PageDown: () => images.step(1), PageUp: () => images.step(-1),
    s: () => byId("show-strokes").click(), a: () => byId("show-answer").click(), d: () => byId("show-doubt").click(),
    l: () => byId("log").click(), "+": () => stage.zoom(1.25), "=": () => stage.zoom(1.25), "-": () => stage.zoom(0.8), 0: () => stage.fit(),
    v: () => byId("bench-show").click(), t: () => app.nextTab(), "?": showKeys, Escape: () => stage.hand.cancel(),
  };

  showState();
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (typing || byId("dialog").open || event.altKey) return;
    const isSingle = event.key.length === 1, key = isSingle ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key === "y") { event.preventDefault(); app.redo(); }
      if (key === "z") { event.preventDefault(); (event.shiftKey ? app.redo() : app.undo()); }
      if (ARROWS[key]) { event.preventDefault(); stage.pan(...ARROWS[key].map((v) => -60 * v)); }
      return;
    }
    const onStage = document.activeElement === stage.root;
    if (onStage && ARROWS[key]) { event.preventDefault(); return moveCrosshair(ARROWS[key], event.shiftKey); }
    if (onStage && key === "Enter") { event.preventDefault(); return press(); }
    if (key === " " && (onStage || document.activeElement === document.body)) { event.preventDefault(); stage.spaced = true; return; }
    if (isSingle && areOff()) return;
    if (/^[1-9]$/.test(key)) return paint.setLabel(Number(key));
    // Range inputs have arrow keys of their own; page keys belong to lists that scroll.
    if (plain[key] && !(key.startsWith("Page") && event.target.closest("aside"))) { event.preventDefault(); plain[key](); }
  });
  addEventListener("keyup", (event) => { if (event.key === " ") stage.spaced = false; });
  // The browser itself may leave a part of what has the focus out of view.
  document.querySelector("aside").addEventListener("focusin", ({ target }) => {
    if (target.matches(":focus-visible")) target.scrollIntoView({ block: "nearest" });
  });
  for (const group of document.querySelectorAll("[role=radiogroup]")) group.addEventListener("keydown", moveChoice);

  // A group of choices is one stop of the Tab key; arrow keys move within it.
  function moveChoice(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const choices = [...event.currentTarget.children];
    const chosen = choices[(choices.indexOf(event.target) + by + choices.length) % choices.length];
    chosen.click();
    chosen.focus();
  }

  function moveCrosshair([dx, dy], fine) {
    const by = fine ? 1 : 12 / stage.view.scale;
    const place = stage.crosshair;
    place.x = Math.min(stage.image.width - 0.5, Math.max(0.5, place.x + by * dx));
    place.y = Math.min(stage.image.height - 0.5, Math.max(0.5, place.y + by * dy));
    stage.pointer = null;
    if (stage.draft?.held) stage.hand.drag(place);
    const { x, y, scale } = stage.view;
    if (place.x < x || place.y < y || place.x > x + stage.width / scale || place.y > y + stage.height / scale) stage.centre(place.x, place.y);
    stage.redraw();
  }

  function press() {
    if (stage.draft?.held) return stage.hand.up();
    if (stage.draft?.tool === "polygon" && stage.pointer) return paint.closePolygon();
    const last = stage.draft?.points.at(-1);
    if (last && last[0] === stage.crosshair.y && last[1] === stage.crosshair.x) return paint.closePolygon();
    stage.hand.down({ ...stage.crosshair });
  }
}

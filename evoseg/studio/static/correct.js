// Correcting: the objects of an answer are deleted, split, merged and drawn by hand, and saved as the image's mask.

import { attempt, byId, check, element, get, post, say } from "./api.js";

const HINTS = {
  delete: "Click an object, or drag over several.",
  split: "Draw a line across an object, from one side to the other.",
  merge: "Drag from one object to another. What lies between them under the line joins them.",
  draw: "Draw around a missing object. An outline that begins in an object is added to it.",
};
const COLOURS = { delete: "rgb(255 120 100)", split: "white", merge: "white", draw: "white" };
const WORDS = { "": "Not saved.", current: "Saved as the mask of this image.", older: "Changed since the mask was saved." };

export class Correct {
  constructor(app) {
    this.app = app;
    this.stage = app.stage;
    this.tool = "delete";
    this.state = { title: "" };
    for (const button of byId("correct-tools").children) button.addEventListener("click", () => this.setTool(button.dataset.tool));
    for (const action of ["undo", "redo"]) byId(`correct-${action}`).addEventListener("click", () => this[action]());
    byId("correct-source").addEventListener("change", () => app.sourceChosen(byId("correct-source").value));
    byId("correct-begin").addEventListener("click", () => this.begin());
    byId("mask-save").addEventListener("click", () => this.send("mask/save", { task: byId("mask-task").value }));
    byId("mask-withdraw").addEventListener("click", () => this.send("mask/withdraw"));
    byId("mask-task").addEventListener("change", () => { this.chosen = byId("mask-task").value; this.set(this.state); });
    this.setTool("delete");
  }

  get isOpen() { return Boolean(this.state.title); }
  get closed() { return !this.isOpen; }

  brush() { return { radius: 1, colour: COLOURS[this.tool], tool: "object", closed: this.closed }; }

  setTool(tool) {
    this.cancel();
    this.tool = tool;
    check(byId("correct-tools"), (button) => button.dataset.tool === tool);
    byId("correct-hint").textContent = HINTS[tool];
  }

  // Gestures

  down(place) {
    if (!this.isOpen) return say(this.state.why_not || "Begin with an answer first.", true);
    const outline = this.tool === "draw";
    this.stage.draft = {
      id: crypto.randomUUID(), tool: outline ? "polygon" : "brush", label: 1, radius: 1.2 / this.stage.view.scale, rim: !outline,
      points: [[place.y, place.x]], colour: COLOURS[this.tool], open: outline, held: true,
    };
    this.stage.redraw();
  }

  drag(place) {
    const { draft } = this.stage;
    if (!draft) return;
    const [row, col] = draft.points.at(-1);
    if (Math.hypot(place.y - row, place.x - col) * this.stage.view.scale < 0.5 || draft.points.length >= 20000) return;
    draft.points.push([place.y, place.x]);
  }

  up() {
    const { draft } = this.stage;
    if (!draft) return;
    this.stage.draft = null;
    this.stage.redraw();
    const points = draft.points.map((point) => point.map((v) => Math.round(v * 100) / 100));
    this.send("correct", { id: draft.id, tool: this.tool, points });
  }

  cancel() {
    this.stage.draft = null;
    this.stage.redraw();
  }

  // Requests, one after the other

  send(path, body, isDue = () => true) {
    const image = this.app.facts.id;
    this.queue = (this.queue || Promise.resolve()).then(attempt(async () => {
      if (!isDue()) return;
      const state = await post(`/api/images/${image}/objects/${path}`, body);
      if (image !== this.app.facts.id) return;
      if (path === "mask/save") this.chosen = null;
      this.set(state);
    }));
    return this.queue;
  }

  begin() {
    const source = byId("correct-source").value;
    this.chosen = null;
    return this.send("begin", { id: crypto.randomUUID(), source: source === "bench" ? `program:${this.app.bench.state.digest}` : source });
  }

  // Whether there is something to undo is known once the requests before it have been answered.
  undo() { return this.send("undo", undefined, () => this.state.undo); }
  redo() { return this.send("redo", undefined, () => this.state.redo); }

  // The state of the open image is asked for when it is looked at.
  opened() {
    this.chosen = null;
    this.set({ title: "" });
    return this.refresh();
  }

  refresh() {
    if (this.app.tab !== "correct" || !this.app.facts) return undefined;
    const image = this.app.facts.id;
    return attempt(async () => {
      const state = await get(`/api/images/${image}/objects`);
      if (image === this.app.facts.id) this.set(state);
    })();
  }

  // Another page has changed something.
  told(image, state) {
    if (this.app.facts?.id === image && this.app.tab === "correct" && state.version > (this.state.version ?? 0)) this.set(state);
  }

  set(state) {
    this.state = state;
    const reason = byId("why-not-correct");
    reason.hidden = !state.why_not;
    reason.textContent = state.why_not || "";
    byId("correct-start").hidden = Boolean(state.why_not);
    byId("correct-begin").classList.toggle("primary", !this.isOpen);
    byId("correct-begin").textContent = this.isOpen ? "Begin again with this answer" : "Correct its objects";
    byId("correct-body").hidden = !this.isOpen;
    byId("correct-intro").hidden = this.isOpen;
    byId("correct-redo-first").hidden = this.isOpen || !state.redo;
    if (this.isOpen) {
      byId("correct-state").textContent = `${state.objects} object${state.objects === 1 ? "" : "s"}, from ${state.title}.`;
      byId("correct-undo").disabled = !state.undo;
      byId("correct-redo").disabled = !state.redo;
      byId("mask-task").value = this.chosen || state.task;
      byId("mask-state").textContent = WORDS[state.mask];
      byId("mask-save").disabled = state.mask === "current" && !this.chosen;
      byId("mask-withdraw").hidden = !state.mask;
    }
    if (!this.isOpen) this.app.search.drawSources();
    else if (this.app.tab === "correct" && byId("answer-source").value !== "objects") this.app.sourceChosen("objects");
    this.app.setHand();
    this.app.paint.setSource();
  }

  // Another view was chosen: the answer is shown again that the objects were taken from.
  left() {
    if (byId("answer-source").value === "objects") this.app.sourceChosen(this.app.search.answer);
  }

  address(z, row, col) {
    return this.isOpen ? `/api/images/${this.app.facts.id}/objects/${z}/${row}/${col}.png?v=${this.state.version}` : null;
  }

  // The answers to begin with: those that can be shown, but for the objects themselves.
  drawSources(options, chosen) {
    byId("correct-source").replaceChildren(...options.map(([value, name]) => element("option", { value }, name)));
    if (options.some(([value]) => value === chosen)) byId("correct-source").value = chosen;
  }
}

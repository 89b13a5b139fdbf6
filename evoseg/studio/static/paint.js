// Painting: labels, tools, strokes on their way to the server, the live answer, and how the image is displayed.

import { attempt, byId, check, copyText, element, get, percent, post, say, unsent } from "./api.js";

const NAMES = ["Erased", "Background", "Foreground"];
const MOST_POINTS = 5000;

export class Paint {
  constructor(app) {
    this.app = app;
    this.stage = app.stage;
    this.label = 2;
    this.tool = "brush";
    this.nLabels = 2;
    this.seen = [];
    this.live = { number: 0 };
    this.listen();
    this.drawLabels();
    this.setSize(6);
  }

  get facts() { return this.app.facts; }
  get closed() { return Boolean(this.facts?.why_not_paint); }
  get painted() { return this.tool === "erase" ? 0 : this.label; }
  // The brush has one size on the screen, so it becomes finer as one zooms in.
  get radius() { return Math.max(0.5, Number(byId("size").value) / this.stage.view.scale); }

  brush() { return { radius: this.radius, colour: this.colour(this.painted), tool: this.tool, closed: this.closed }; }

  colour(label) {
    const colours = this.app.project.colours;
    if (!label) return "rgb(255 255 255 / 85%)";
    const [red, green, blue] = label < colours.length ? colours[label] : colours[3 + ((label - 3) % (colours.length - 3))];
    return `rgb(${red} ${green} ${blue})`;
  }

  listen() {
    this.stage.addEventListener("moved", () => this.showSize());
    for (const button of byId("tools").children) button.addEventListener("click", () => this.setTool(button.dataset.tool));
    byId("add-class").addEventListener("click", () => { this.nLabels += 1; this.drawLabels(); this.setLabel(this.nLabels); });
    byId("size").addEventListener("input", () => this.showSize());
    byId("undo").addEventListener("click", () => this.undo());
    byId("redo").addEventListener("click", () => this.redo());
    byId("next").addEventListener("click", () => this.next());
    byId("live-save").addEventListener("click", attempt(async () => {
      const saved = await post("/api/live/save");
      say(`Saved as ${saved.path}`);
      this.app.away.sourcesChanged();
    }));
    byId("live-text").addEventListener("dblclick", () => copyText(byId("live-text").textContent));
    for (const id of ["channel", "low", "high", "log"]) byId(id).addEventListener("change", () => this.setLook());
    byId("opacity").addEventListener("input", () => { this.stage.opacity = byId("opacity").value / 100; this.stage.redraw(); });
    addEventListener("pagehide", () => this.leave());
  }

  // Labels and tools

  drawLabels() {
    const rows = Array.from({ length: this.nLabels }, (_, i) => i + 1).map((label) => {
      const name = NAMES[label] || `Class ${label - 1}`;
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = this.colour(label);
      return element(
        "button",
        { type: "button", role: "radio", onclick: () => this.setLabel(label) },
        swatch, element("span", { class: "name" }, name), label < 10 ? element("kbd", {}, String(label)) : null,
      );
    });
    byId("labels").replaceChildren(...rows);
    this.checkLabel();
  }

  setLabel(label) {
    if (label < 1 || label > this.nLabels) return;
    this.label = label;
    if (this.tool === "erase") this.setTool("brush");
    this.checkLabel();
    this.stage.redraw();
  }

  checkLabel() { check(byId("labels"), (row, i) => i + 1 === this.label); }

  setTool(tool) {
    this.cancel();
    this.tool = tool;
    check(byId("tools"), (button) => button.dataset.tool === tool);
    this.stage.redraw();
  }

  setSize(size) {
    byId("size").value = Math.max(1, Math.min(60, size));
    this.showSize();
  }

  changeSize(by) { this.setSize(Number(byId("size").value) + by); }

  showSize() {
    byId("size-px").textContent = `${(2 * this.radius).toFixed(this.radius < 5 ? 1 : 0)} px`;
    this.stage.redraw();
  }

  // Strokes

  down(place) {
    if (this.facts.why_not_paint) return say(this.facts.why_not_paint, true);
    const point = [place.y, place.x];
    if (this.tool === "object") return this.labelObject(point);
    if (this.stage.draft?.tool === "polygon") {
      this.stage.draft.points.push(point);
      return this.stage.redraw();
    }
    this.stage.draft = {
      id: crypto.randomUUID(), tool: this.tool === "erase" ? "brush" : this.tool, label: this.painted, radius: this.radius,
      points: [point], protect: byId("protect").checked, colour: this.colour(this.painted), open: this.tool === "polygon",
      held: this.tool !== "polygon",
    };
    if (this.tool === "fill") this.finish();
    this.stage.redraw();
  }

  drag(place) {
    const { draft } = this.stage;
    if (!draft || draft.tool !== "brush") return;
    const [row, col] = draft.points.at(-1);
    // Points closer than a fifth of a screen pixel add nothing.
    if (Math.hypot(place.y - row, place.x - col) * this.stage.view.scale < 0.2) return;
    draft.points.push([place.y, place.x]);
    if (draft.points.length >= MOST_POINTS) {
      this.finish();
      this.down(place);
    }
  }

  up() { if (this.stage.draft?.tool === "brush") this.finish(); }

  closePolygon() {
    const { draft } = this.stage;
    if (draft?.tool === "polygon" && draft.points.length > 2) this.finish();
  }

  cancel() {
    this.stage.draft = null;
    this.stage.redraw();
  }

  finish(keepalive = false) {
    const { draft } = this.stage;
    this.stage.draft = null;
    draft.open = false;
    this.stage.pending.push(draft);
    const { id, tool, label, radius, points, protect } = draft;
    const round = (v) => Math.round(v * 100) / 100;
    const edit = { id, tool, label, radius: round(radius) || 0.5, points: points.map((p) => p.map(round)), protect };
    unsent.keep(this.facts.id, edit);
    this.send(this.facts.id, edit, draft, keepalive);
  }

  // Gives the label to an object that the live answer shows.
  labelObject(place) {
    const image = this.facts.id;
    const body = { id: crypto.randomUUID(), label: this.label, place, protect: byId("protect").checked };
    this.queue = (this.queue || Promise.resolve()).then(attempt(async () => this.took(image, await post(`/api/images/${image}/object`, body))));
  }

  // One after the other: undo must come after the stroke before it.
  send(image, edit, draft, keepalive = false) {
    const sent = async () => {
      const done = await post(`/api/images/${image}/edits`, edit, keepalive);
      unsent.drop(edit.id);
      this.took(image, done);
      if (draft) draft.done = true;
    };
    if (keepalive) return sent().catch(() => {});
    this.queue = (this.queue || Promise.resolve()).then(attempt(sent));
    return this.queue;
  }

  // Strokes of before a reload.
  async resend() {
    for (const { image, edit } of unsent.all()) await this.send(image, edit, null);
  }

  // The page goes away, perhaps in mid-stroke: what has been drawn of it counts.
  leave() {
    if (this.stage.hand === this && this.stage.draft && !this.stage.draft.open) this.finish(true);
  }

  undo() { return this.history("undo"); }
  redo() { return this.history("redo"); }

  history(word) {
    const image = this.facts.id;
    this.queue = (this.queue || Promise.resolve()).then(attempt(async () => this.took(image, await post(`/api/images/${image}/${word}`))));
    return this.queue;
  }

  // Strokes have changed, by this page or another one.
  took(image, done) {
    this.app.images.setState(image, done.state);
    if (this.facts?.id !== image || !this.facts.strokes) return;
    const { version } = this.facts.strokes;
    if (done.version < version) return;
    // Where an earlier change was is not known if its event has been missed.
    if (done.version > version) this.stage.layers.strokes.touch(done.version === version + 1 && done.box, this.stage.side);
    this.facts.strokes = { ...this.facts.strokes, ...done };
    byId("undo").disabled = !done.undo;
    byId("redo").disabled = !done.redo;
    this.stage.redraw();
  }

  // The image

  opened(facts) {
    this.seen = [];
    byId("undo").disabled = !facts.strokes?.undo;
    byId("redo").disabled = !facts.strokes?.redo;
    const note = byId("why-not-paint");
    note.hidden = !facts.why_not_paint;
    note.textContent = facts.why_not_paint;
    const many = facts.channels.length > 1;
    const options = facts.channels.map((name, i) => element("option", { value: i }, many ? `${i}: ${name}` : name));
    if (many) options.unshift(element("option", { value: -1 }, "all, as colours"));
    const before = byId("channel").value;
    byId("channel").replaceChildren(...options);
    if ([...byId("channel").options].some((option) => option.value === before)) byId("channel").value = before;
    if (!this.look) {
      byId("low").value = facts.look.low;
      byId("high").value = facts.look.high;
    }
    this.setLook();
    // Tiles of a mask are kept by the browser.
    const version = facts.strokes ? "" : `?v=${facts.labels}`;
    this.stage.layers.strokes.address = (z, row, col) => `/api/images/${facts.id}/strokes/${z}/${row}/${col}.png${version}`;
    this.setSource();
  }

  setLook() {
    const image = this.facts.id;
    const look = new URLSearchParams({
      channel: byId("channel").value || -1, low: byId("low").value || 0, high: byId("high").value || 100, log: byId("log").checked,
    });
    this.look = look.toString();
    this.stage.layers.image.address = (z, row, col) => `/api/images/${image}/tiles/${z}/${row}/${col}.png?${this.look}`;
    this.stage.redraw();
  }

  // The answer

  setSource() {
    const source = byId("answer-source").value;
    const what = this.app.doubt ? "doubt" : "labels";
    const { id } = this.facts;
    this.stage.layers.answer.address = (z, row, col) => {
      if (source === "live") return this.live.number ? `/api/images/${id}/answer/${what}/${this.live.number}/${z}/${row}/${col}.png` : null;
      if (source === "bench") return this.app.bench.answer(z, row, col);
      if (source === "objects") return this.app.correct.address(z, row, col);
      if (source.startsWith("program:")) return `/api/images/${id}/programs/${source.slice(8)}/answer/${z}/${row}/${col}.png`;
      const [run, answer] = source.split("#");
      return `/api/images/${id}/runs/${run}/${z}/${row}/${col}.png?answer=${answer || ""}&k=${this.app.search.versionOf(run)}`;
    };
    if (source === "live" && !this.live.number) this.stage.layers.answer.clear();
    this.stage.redraw();
  }

  setLive(live) {
    const isNew = live.number !== this.live.number;
    this.live = live;
    if (isNew) this.seen = [];
    byId("next").disabled = !live.number;
    byId("live-program").hidden = !live.number;
    byId("live-state").textContent = live.number
      ? `Fitted to ${live.strokes} strokes on ${live.images} image${live.images > 1 ? "s" : ""} in ${live.seconds.toFixed(1)} s.`
      : live.reason || "Paint a stroke on an object and one on background.";
    this.drawScores(live);
    if (live.number) {
      const programs = Object.entries(live.programs);
      byId("live-text").textContent = programs.map(([label, text]) => (programs.length > 1 ? `# class ${label - 1}\n${text}` : text)).join("\n");
      byId("live-save").hidden = programs.length > 1;
    }
    if (this.facts) this.setSource();
    this.app.away?.sourcesChanged();
    this.app.bench?.sourcesChanged();
  }

  drawScores(live) {
    if (!live.number) return byId("live-scores").replaceChildren();
    const rows = live.scores.flatMap(({ what, n, share }) => [
      element("dt", {}, `Correct on held-out ${what} (${n})`), element("dd", {}, percent(share)),
    ]);
    if (!rows.length) rows.push(element("dt", {}, "Held-out score"), element("dd", {}, "…"));
    byId("live-scores").replaceChildren(...rows);
  }

  async next() {
    await attempt(async () => {
      const found = await post(`/api/images/${this.facts.id}/next`, { skip: this.seen });
      if (found.reason) return say(found.reason);
      if (found.image) {
        this.app.images.choose(found.image);
        return say(`The unlabelled image with the most doubt (${percent(found.doubt)} on average).`);
      }
      const [top, left, bottom, right] = found.box;
      this.seen.push([top + Math.floor((bottom - top) / 2), left + Math.floor((right - left) / 2)]);
      this.stage.showBox(found.box);
    })();
  }
}

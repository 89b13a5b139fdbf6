// The workbench: one pipeline with a picture of each step, sliders that the answer follows, and another one beside it.

import { attempt, byId, commandBox, element, get, percent, post, say } from "./api.js";

const UNITS = { px: "px", px2: "px²", level: "levels", degree: "°", one: "", native: "", contrast: "", channel: "" };
const STEPS = 400; // positions of a slider
const KINDS = { gray: "plane", labels: "objects", raw: "image" };

const number = (value, digits = 3) => (Math.abs(value) >= 1000 ? value.toFixed(0) : Number(value.toPrecision(digits)).toString());
const size = (bytes) => (bytes < 1e5 ? `${number(bytes / 1e3, 2)} kB` : `${number(bytes / 1e6, 2)} MB`);
const score = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

// Where a value is on its slider, and back; sizes and other ratios along a logarithm.
function toSlider({ low, high, log }, value) {
  const share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.round(STEPS * share);
}
function fromSlider({ low, high, log }, at) {
  return log ? low * (high / low) ** (at / STEPS) : low + ((high - low) * at) / STEPS;
}

export class Bench {
  constructor(app) {
    this.app = app;
    this.state = {};
    this.saved = [];
    this.other = null;
    this.chosen = null; // place of the step whose parameters are shown
    this.scores = new Map();
    byId("bench-source").addEventListener("change", () => this.open(byId("bench-source").value));
    byId("bench-other").addEventListener("change", () => this.compare(byId("bench-other").value));
    for (const action of ["undo", "redo", "refit"]) byId(`bench-${action}`).addEventListener("click", () => this.act(action));
    byId("bench-show").addEventListener("change", () => this.setLayers());
    byId("bench-form").addEventListener("submit", (event) => { event.preventDefault(); this.save(false); });
    byId("bench-search").addEventListener("click", () => this.save(true));
    attempt(async () => {
      this.saved = (await get("/api/pipelines")).saved;
      this.set(await get("/api/bench"));
      this.sourcesChanged();
    })();
  }

  get isOpen() { return Boolean(this.state.digest); }

  sourcesChanged() {
    const options = this.app.pipelines();
    const fill = (id, first, value) => {
      const select = byId(id);
      const made = [["", first], ...options].map(([key, name]) => element("option", { value: key }, name));
      select.replaceChildren(...made);
      select.value = options.some(([key]) => key === value) ? value : "";
    };
    fill("bench-source", options.length ? "choose a pipeline" : "none yet: paint, search, or try stored pipelines", this.state.source);
    fill("bench-other", "nothing", this.other?.source);
    fill("start", "nothing", byId("start").value);
  }

  async open(source) {
    if (!source) return;
    await attempt(async () => {
      this.chosen = null;
      this.set(await post("/api/bench/open", { source }));
      this.compare((await get(`/api/bench/beside?${new URLSearchParams({ source })}`)).held_out?.other || "");
      this.sourcesChanged();
    })();
  }

  // Changes; of those that come while one is under way, the last one counts

  change(step, name, value, again) {
    this.asked = { step, name, value };
    this.wanted = { ...this.asked, again: again || Boolean(this.wanted && this.wanted.name === name) };
    if (this.changing) return this.changing;
    this.changing = (async () => {
      while (this.wanted) {
        const change = this.wanted;
        this.wanted = null;
        await attempt(async () => this.set(await post("/api/bench/change", change)))();
        await this.shown();
      }
      this.changing = null;
    })();
    return this.changing;
  }

  // Answers that nobody waits for any more would keep the server busy, so the next change waits for the last answer.
  async shown() {
    do await new Promise((resolve) => { setTimeout(resolve, 40); });
    while (this.app.stage.layers.answer.loading);
  }

  act(action) {
    if (!this.isOpen) return undefined;
    if (action === "refit") say("Fitting to the search images…");
    return attempt(async () => {
      await this.changing;
      const before = this.state.digest;
      this.set(await post(`/api/bench/${action}`));
      if (action === "refit") say(before === this.state.digest ? "Nothing changed: the curves and thresholds fit already." : "Curves and thresholds were fitted to the search images.");
    })();
  }

  // Another page has changed it.
  told({ digest, undo, redo }) {
    const { state } = this;
    if (this.changing || (state.digest === digest && state.undo === undo && state.redo === redo)) return undefined;
    return attempt(async () => this.set(await get("/api/bench")))();
  }

  set(state) {
    const isOther = state.source !== this.state.source || state.steps?.length !== this.state.steps?.length;
    this.state = state;
    byId("bench-body").hidden = !this.isOpen;
    byId("bench-intro").hidden = this.isOpen;
    if (!this.isOpen) return;
    if (isOther) this.drawSteps();
    else this.updateSteps();
    byId("bench-undo").disabled = !state.undo;
    byId("bench-redo").disabled = !state.redo;
    byId("bench-changes").textContent = state.changes ? `Changed: ${state.changes}.` : "As it was opened.";
    byId("bench-text").textContent = state.program;
    this.drawTable();
    this.app.sourceChosen("bench");
    this.setLayers();
    this.askScores();
  }

  // Steps

  drawSteps() {
    byId("bench-steps").replaceChildren(...this.state.steps.map((step, i) => this.card(step, i)));
    if (this.chosen !== null && this.chosen >= this.state.steps.length) this.chosen = null;
    this.updateSteps();
  }

  card(step, i) {
    const head = element(
      "button", { type: "button", class: "step", "aria-expanded": "false", onclick: () => this.choose(i) },
      element("img", { alt: "", width: 64, height: 48, loading: "lazy" }),
      element("span", { class: "step-name" }, element("strong", {}, `${i + 1} ${step.operator}`), element("span", { class: "faint" }, this.about(step))),
    );
    const body = element("div", { class: "step-body", hidden: true }, element("p", { class: "faint" }, step.summary), ...step.parameters.map((p) => this.control(p, i)));
    if (step.can_switch) {
      const box = element("input", { type: "checkbox", onchange: (event) => this.change(i, "", event.target.checked, false) });
      body.append(element("label", { class: "check" }, box, "This step is on"));
    }
    return element("li", {}, head, body);
  }

  about(step) {
    const from = step.inputs.map((j) => (j < 0 ? "the image" : j + 1)).join(", ");
    return `${KINDS[step.kind] || step.kind} of ${from}, ${number(step.cost, 2)} ms/Mpx`;
  }

  control(parameter, i) {
    const id = `p-${i}-${parameter.name}`, { type, name } = parameter;
    if (type === "word") {
      const select = element("select", { id, onchange: (event) => this.change(i, name, event.target.value, false) },
        ...parameter.values.map((word) => element("option", { value: word }, word)));
      return element("div", { class: "row" }, element("label", { for: id }, name), select);
    }
    if (type !== "number" && type !== "integer") {
      const words = type === "numbers" ? `${parameter.value.length} fitted or given numbers` : "a trained network";
      return element("div", { class: "row" }, element("label", {}, name), element("span", { class: "faint" }, words));
    }
    let held = false;
    const send = (event) => {
      this.change(i, name, fromSlider(parameter, Number(event.target.value)), held);
      held = true;
    };
    const range = element("input", { type: "range", id, min: 0, max: STEPS, oninput: send, onchange: () => { held = false; } });
    range.addEventListener("keydown", (event) => this.nudge(event, parameter, i));
    return element("div", { class: "row" }, element("label", { for: id }, name), range, element("output", { for: id }));
  }

  // Arrow keys move a whole number by one, whatever the slider's steps are, also while the last move is under way.
  nudge(event, { type, odd, name }, i) {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by || type !== "integer") return;
    event.preventDefault();
    const isUnderWay = this.changing && this.asked.step === i && this.asked.name === name;
    const { value } = isUnderWay ? this.asked : this.state.steps[i].parameters.find((p) => p.name === name);
    this.change(i, name, value + by * (odd ? 2 : 1), false);
  }

  updateSteps() {
    const cards = byId("bench-steps").children, { facts } = this.app;
    this.state.steps.forEach((step, i) => {
      const [head, body] = cards[i].children;
      cards[i].classList.toggle("off", step.off);
      head.setAttribute("aria-expanded", String(this.chosen === i));
      body.hidden = this.chosen !== i;
      head.querySelector(".faint").textContent = step.off ? "switched off" : this.about(step);
      const picture = facts ? `/api/images/${facts.id}/programs/${step.digest}/thumbnail.png` : "";
      const shown = head.querySelector("img");
      if (picture && shown.getAttribute("src") !== picture) shown.src = picture;
      for (const parameter of step.parameters) this.showValue(i, parameter);
      const box = body.querySelector(".check input");
      if (box) box.checked = !step.off;
    });
  }

  showValue(i, parameter) {
    const input = byId(`p-${i}-${parameter.name}`);
    if (!input) return;
    if (parameter.type === "word") { input.value = parameter.value; return; }
    // A slider that is held stays under the finger.
    if (!this.wanted && !(input.matches(":active"))) input.value = toSlider(parameter, parameter.value);
    input.nextElementSibling.textContent = `${number(parameter.value)} ${UNITS[parameter.unit] || ""}`.trim();
    input.setAttribute("aria-valuetext", input.nextElementSibling.textContent);
  }

  choose(i) {
    this.chosen = this.chosen === i ? null : i;
    this.updateSteps();
    this.setLayers();
  }

  // What is seen

  opened() {
    if (!this.isOpen) return;
    this.updateSteps();
    this.setLayers();
    this.overlap();
  }

  // The address of a tile of the draft over the image, of the other pipeline's outline, and of a step instead of the image.
  answer(z, row, col) {
    return this.isOpen ? `/api/images/${this.app.facts.id}/programs/${this.state.digest}/answer/${z}/${row}/${col}.png` : null;
  }

  setLayers() {
    const { stage, facts, tab } = this.app;
    if (!facts) return;
    const { other, image } = stage.layers;
    const step = tab === "bench" && this.isOpen && byId("bench-show").checked && this.chosen !== null ? this.state.steps[this.chosen] : null;
    const beside = tab === "bench" && this.isOpen ? this.other : null, { search } = this.app;
    const isComparing = tab === "search" && search.isComparing;
    if (isComparing) other.address = (z, row, col) => search.outlines(facts.id, z, row, col);
    else if (beside) other.address = (z, row, col) => `/api/images/${facts.id}/outlines/${z}/${row}/${col}.png?programs=${beside.digest}`;
    else other.address = () => null;
    if (!beside && !isComparing) other.clear();
    stage.aside.answer = isComparing;
    if (step) image.address = (z, row, col) => `/api/images/${facts.id}/programs/${step.digest}/value/${z}/${row}/${col}.png`;
    else this.app.paint.setLook();
    stage.redraw();
  }

  // Beside another pipeline

  compare(source) {
    return attempt(async () => {
      this.other = source ? await get(`/api/bench/beside?${new URLSearchParams({ source })}`) : null;
      byId("bench-other").value = source;
      this.setLayers();
      this.drawTable();
      this.askScores();
    })();
  }

  // Scores take longer than pictures: they are asked for when the hand rests.
  askScores() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.overlap(); this.score(); }, 350);
  }

  async score() {
    let reason = "";
    for (const digest of [this.state.digest, this.other?.digest]) {
      if (!digest || this.scores.has(digest)) continue;
      await attempt(async () => {
        const found = await get(`/api/bench/scores/${digest}`);
        if (found.n) this.scores.set(digest, found);
        else reason = found.reason;
      })();
    }
    const seen = [this.state.here, this.other].some((one) => one?.networks);
    byId("bench-note").textContent = reason || (seen ? "Networks have seen the search images, so their score there is too high." : "");
    this.drawTable();
  }

  async overlap() {
    const box = byId("bench-overlap"), { other, state, app } = this;
    if (!other || !app.facts) { box.textContent = ""; return; }
    await attempt(async () => {
      const found = await get(`/api/images/${app.facts.id}/overlap/${state.digest}/${other.digest}`);
      if (other !== this.other || state !== this.state) return;
      const agree = found.iou === null ? "Neither marks anything here." : `IoU of the two here: ${found.iou.toFixed(2)}.`;
      box.textContent = `${agree} They mark ${percent(found.one)} (orange) and ${percent(found.other)} (blue).`;
    })();
  }

  drawTable() {
    const { state, other } = this;
    const title = state.changes ? "edited" : state.held_out?.answer || "here";
    const columns = [{ title, ...state.here, digest: state.digest, held: state.changes ? null : state.held_out }];
    if (other) columns.push({ ...other, title: other.held_out?.answer || other.title, held: other.held_out });
    const found = columns.map((column) => this.scores.get(column.digest));
    const known = found.find(Boolean), held = columns.map((column) => column.held).find(Boolean);
    const rows = [];
    if (known) rows.push([`${known.metric} on ${known.n} search image${known.n > 1 ? "s" : ""}`, found.map((one) => score(one?.score))]);
    if (held) {
      const words = held.n_test ? `${held.n_test} test image${held.n_test > 1 ? "s" : ""}` : "new images, expected";
      rows.push([`held out: ${words}`, columns.map(({ held: one }) => score(one && (held.n_test ? one.test : one.expected)))]);
    }
    rows.push(["ms/Mpx", columns.map(({ cost }) => number(cost))], ["steps", columns.map(({ n_steps }) => n_steps)]);
    if (columns.some(({ networks }) => networks)) rows.push(["networks", columns.map(({ networks }) => networks)]);
    if (columns.some(({ held: one }) => one)) rows.push(["size", columns.map(({ held: one }) => (one ? size(one.size_bytes) : "-"))]);
    const head = element("tr", {}, element("td"), ...columns.map(({ title }) => element("th", { scope: "col", class: "number" }, title)));
    const body = rows.map(([name, cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", { class: "number" }, String(cell)))));
    byId("bench-table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  }

  // Away

  setSaved(saved) {
    this.saved = saved;
    this.sourcesChanged();
    this.app.away.sourcesChanged();
  }

  save(thenSearch) {
    return attempt(async () => {
      const name = byId("bench-name").value.trim();
      if (!name) {
        byId("bench-name").focus();
        throw new Error("Give it a name first.");
      }
      const { path, lines, saved, id } = await post("/api/bench/save/file", { name });
      this.setSaved(saved);
      byId("bench-name").value = "";
      byId("bench-lines").replaceChildren(...lines.map(commandBox));
      say(`Saved as ${path}`);
      if (thenSearch) {
        byId("start").value = id;
        this.app.search.showLine();
        this.app.showTab("search");
        byId("seconds").focus();
      }
    })();
  }
}

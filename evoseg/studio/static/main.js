// The page: opens images, and connects its parts with each other and with the server's events.

import { Away } from "./away.js";
import { attempt, byId, copyText, get, listen, say } from "./api.js";
import { Bench } from "./bench.js";
import { Stage } from "./canvas.js";
import { Correct } from "./correct.js";
import { Images } from "./images.js";
import { listenToKeys, showKeys } from "./keys.js";
import { Library } from "./library.js";
import { Paint } from "./paint.js";
import { Search } from "./search.js";

const TABS = ["paint", "library", "search", "bench", "correct", "away"];

class App {
  constructor(project) {
    this.project = project;
    this.facts = null;
    this.doubt = false;
    this.stage = new Stage(byId("stage"), project.tile);
    this.paint = new Paint(this);
    this.images = new Images(project.images);
    this.search = new Search(this);
    this.bench = new Bench(this);
    this.library = new Library(this);
    this.correct = new Correct(this);
    this.away = new Away(this);
    this.tab = "paint";
    this.setHand();
    this.images.addEventListener("chosen", (event) => this.open(event.detail));
    this.stage.addEventListener("moved", () => this.showZoom());
    this.stage.root.addEventListener("pointermove", () => this.showPlace());
    this.listen();
    listenToKeys(this);
    this.paint.setLive(project.live);
    const asked = location.hash.slice(1);
    if (asked === "search") {
      this.showTab("search");
      this.search.watchNewest();
    }
    const wanted = project.images.find((image) => image.id === asked) || project.images[0];
    this.images.choose(wanted.id);
    this.events = listen({
      hello: attempt(() => this.connected()),
      live: (live) => this.paint.setLive(live),
      strokes: ({ image, ...done }) => {
        this.paint.took(image, done);
        this.bench.scores.clear(); // they were of other labels
      },
      objects: (told) => this.labelled(told),
      bench: (told) => this.bench.told(told),
      runs: ({ runs }) => this.search.setRuns(runs),
    });
    this.paint.resend();
  }

  // The stream of events has begun, perhaps anew: what happened meanwhile is asked for.
  async connected() {
    const project = await get("/api/project");
    for (const { id, state } of project.images) this.images.setState(id, state);
    this.paint.setLive(project.live);
    if (this.facts) {
      const facts = await get(`/api/images/${this.facts.id}`);
      if (facts.strokes && facts.id === this.facts.id) this.paint.took(facts.id, { ...facts.strokes, state: facts.state });
    }
  }

  open(id) {
    return attempt(async () => {
      const facts = await get(`/api/images/${id}`);
      if (id !== this.images.open) return;
      this.facts = facts;
      byId("image-name").textContent = `${facts.name}, ${facts.width} × ${facts.height}`;
      history.replaceState(null, "", `#${id}`);
      this.stage.open(facts);
      this.paint.opened(facts);
      this.bench.opened();
      this.library.opened();
      this.correct.opened();
    })();
  }

  // Objects of an image have changed; if they became its mask, or are no longer, its strokes have changed, too.
  async labelled({ image, state, labels, objects }) {
    this.images.setState(image, state);
    this.correct.told(image, objects);
    if (this.facts?.id !== image || this.facts.labels === labels) return;
    await attempt(async () => {
      const facts = await get(`/api/images/${image}`);
      if (this.facts.id !== image) return;
      this.facts = facts;
      this.stage.layers.strokes.touch();
      this.paint.opened(facts);
      this.setHand();
    })();
  }

  // What the pointer and the keys do on the image.
  setHand() {
    this.stage.hand = this.tab === "correct" ? this.correct : this.paint;
    this.stage.aside.strokes = this.tab === "correct" && this.correct.isOpen;
    this.stage.root.classList.toggle("closed", this.stage.hand.closed);
    this.stage.redraw();
  }

  listen() {
    for (const kind of ["down", "drag", "up"]) this.stage.addEventListener(kind, (event) => this.stage.hand[kind](event.detail));
    this.stage.addEventListener("double", () => this.stage.hand.closePolygon?.());
    byId("zoom-in").addEventListener("click", () => this.stage.zoom(1.25));
    byId("zoom-out").addEventListener("click", () => this.stage.zoom(0.8));
    byId("zoom-fit").addEventListener("click", () => this.stage.fit());
    byId("show-strokes").addEventListener("click", () => this.toggle("show-strokes", (on) => { this.stage.shown.strokes = on; }));
    byId("show-answer").addEventListener("click", () => this.toggle("show-answer", (on) => { this.stage.shown.answer = on; }));
    byId("show-doubt").addEventListener("click", () => this.toggle("show-doubt", (on) => {
      this.doubt = on;
      if (on) this.showAnswer(true);
      this.paint.setSource();
    }));
    byId("help-open").addEventListener("click", showKeys);
    byId("dialog-close").addEventListener("click", () => byId("dialog").close());
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", attempt(() => copyText(byId(button.dataset.copy).textContent)));
    }
    for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => this.showTab(tab));
    document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      this.showTab(TABS[(TABS.indexOf(this.tab) + by + TABS.length) % TABS.length]);
      byId(`tab-${this.tab}`).focus();
    });
  }

  toggle(id, set) {
    const on = byId(id).getAttribute("aria-pressed") !== "true";
    byId(id).setAttribute("aria-pressed", String(on));
    set(on);
    this.stage.redraw();
  }

  // Shows the answer of a source over the image.
  sourceChosen(source) {
    this.search.drawSources();
    byId("answer-source").value = source;
    if (source !== "objects") {
      this.search.answer = source;
      byId("correct-source").value = source;
      this.away?.choose(source);
    }
    this.showAnswer(true);
    if (this.facts) this.paint.setSource();
  }

  // Sources of finished pipelines, with their names.
  pipelines() {
    const { live } = this.paint, found = [];
    if (live.number && Object.keys(live.programs).length === 1) found.push(["live", "live answer"]);
    for (const { id, name } of this.bench?.saved || []) found.push([id, name]);
    for (const run of [...this.search.runs].reverse()) {
      if (run.state !== "done" && run.state !== "interrupted") continue;
      if (!run.answers?.length) found.push([run.id, `run ${run.name}`]);
      for (const answer of run.answers || []) found.push([`${run.id}#${answer}`, `${answer}, ${run.name}`]);
    }
    return found;
  }

  openPipeline(source) {
    this.showTab("bench");
    return this.bench.open(this.pipelines().map(([key]) => key).find((key) => key === source || key.startsWith(`${source}#`)));
  }

  undo() { return this.tab === "bench" ? this.bench.act("undo") : this.stage.hand.undo(); }
  redo() { return this.tab === "bench" ? this.bench.act("redo") : this.stage.hand.redo(); }

  showAnswer(on) {
    if ((byId("show-answer").getAttribute("aria-pressed") === "true") !== on) byId("show-answer").click();
  }

  showTab(wanted) {
    this.stage.hand.cancel();
    if (this.tab === "correct" && wanted !== this.tab) this.correct.left();
    this.tab = wanted;
    for (const tab of TABS) {
      const chosen = tab === wanted;
      byId(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
      byId(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
      byId(`panel-${tab}`).hidden = !chosen;
    }
    if (wanted === "away") this.away.refresh();
    if (wanted === "library") this.library.open();
    this.setHand();
    this.correct.refresh();
    this.bench.setLayers();
  }

  nextTab() { this.showTab(TABS[(TABS.indexOf(this.tab) + 1) % TABS.length]); }

  showZoom() {
    const percent = 100 * this.stage.view.scale;
    byId("zoom").textContent = `${percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
  }

  showPlace() {
    const { pointer, image } = this.stage;
    const inside = pointer && pointer.x >= 0 && pointer.y >= 0 && pointer.x < image.width && pointer.y < image.height;
    byId("place").textContent = inside ? `${Math.floor(pointer.y)}, ${Math.floor(pointer.x)}` : "";
  }
}

get("/api/project").then((project) => { window.studio = new App(project); }).catch((error) => say(error.message, true));

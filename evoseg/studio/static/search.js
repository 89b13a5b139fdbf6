// Searches: start, watch, stop and resume, and show what a run has found over the image.

import { METRICS, attempt, byId, element, get, post, redraw, say, setCommand } from "./api.js";
import { cloud, curves } from "./charts.js";

const PROPOSERS = {
  classic: "classic recipes", start: "given programs", warm: "solved tasks", random: "random programs",
  vary: "mutation and crossover", tune: "tuning", fuse: "sums of curves", network: "networks", agent: "language model",
};
const GOING = ["running", "starting", "finishing"];

const score = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

export class Search {
  constructor(app) {
    this.app = app;
    this.runs = [];
    this.open = null;
    this.picked = []; // ids of runs that are put side by side
    this.beside = []; // what is known of them
    byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    byId("search-form").addEventListener("input", () => this.showLine());
    byId("answer-source").addEventListener("change", () => app.sourceChosen(byId("answer-source").value));
    this.showLine();
    attempt(async () => this.setRuns((await get("/api/runs")).runs))();
  }

  request() {
    return {
      seconds: Number(byId("seconds").value) || 60, task: byId("task").value, networks: byId("networks").checked,
      start: byId("start").value,
    };
  }

  showLine() {
    clearTimeout(this.asking);
    this.asking = setTimeout(attempt(async () => {
      setCommand(byId("search-line"), (await post("/api/runs/line", this.request())).line);
    }), 150);
  }

  start() {
    return attempt(async () => {
      const { folder, runs } = await post("/api/runs", this.request());
      say(`The search writes to ${folder}`);
      this.setRuns(runs);
      this.choose(runs.find((run) => run.folder === folder).id);
    })();
  }

  versionOf(id) {
    const run = this.runs.find((one) => one.id === id);
    return run ? `${run.state}-${run.best}` : "";
  }

  setRuns(runs) {
    const before = this.versionOf(this.shownRun());
    this.runs = runs;
    const list = [...runs].reverse().map((run) => {
      const text = GOING.includes(run.state) ? `${run.state}${run.words ? `: ${run.words.split("\n").at(-1)}` : ""}` : run.state;
      const isPicked = this.picked.includes(run.id);
      const box = element("input", {
        type: "checkbox", checked: isPicked, disabled: !isPicked && (this.isFull || !run.evaluations), "aria-label": `Put ${run.name} beside others`,
        onchange: () => this.pick(run.id),
      });
      return element("li", {}, runs.length > 1 ? box : null, element(
        "button", { type: "button", "aria-current": String(run.id === this.open), onclick: () => this.choose(run.id) },
        element("span", {}, run.name), element("span", { class: "score" }, run.best === undefined ? "" : score(run.best)),
        element("span", { class: "faint" }, text),
        element("span", { class: "faint" }, run.evaluations === undefined ? "" : `${run.evaluations} candidates`),
      ));
    });
    redraw(byId("runs"), ...(list.length ? list : [element("li", { class: "faint" }, "No search on this folder yet.")]));
    this.drawSources();
    const going = this.watching && [...runs].reverse().find((run) => GOING.includes(run.state) && run.evaluations);
    if (going) {
      this.watching = false;
      this.open = going.id;
      this.show(going.id);
    }
    this.picked = this.picked.filter((id) => runs.some((run) => run.id === id));
    byId("runs-note").hidden = runs.length < 2 || this.isComparing;
    if (this.open || this.isComparing) this.refresh();
    if (this.app.facts && this.versionOf(this.shownRun()) !== before) this.app.paint.setSource();
    this.app.away?.sourcesChanged();
    this.app.bench?.sourcesChanged();
  }

  shownRun() { return byId("answer-source").value.split("#")[0]; }

  drawSources() {
    const select = byId("answer-source"), before = select.value;
    const runs = this.runs.filter((run) => run.evaluations || run.state === "done").reverse().map((run) => [run.id, `run ${run.name}`]);
    const bench = this.app.bench?.isOpen ? [["bench", "workbench"]] : [];
    const shown = this.app.library?.shown;
    const stored = shown ? [[`program:${shown.program}`, `answer ${shown.number} of the library`]] : [];
    const answers = [["live", "live answer"], ...bench, ...stored, ...runs];
    const objects = this.app.correct?.isOpen ? [["objects", "corrected objects"]] : [];
    select.replaceChildren(...[...answers, ...objects].map(([value, name]) => element("option", { value }, name)));
    select.value = [before, this.answer, "live"].find((wanted) => [...select.options].some(({ value }) => value === wanted));
    if (select.value !== "objects") this.answer = select.value; // what is shown again when the objects are not
    this.app.correct?.drawSources(answers, this.answer);
  }

  // Opens the next run that is going, and shows its best pipeline: for a search that was started beside the studio.
  watchNewest() { this.watching = true; }

  choose(id) {
    this.open = id;
    this.picked = this.beside = [];
    this.setRuns(this.runs);
    this.app.bench.setLayers();
  }

  // Side by side

  get isComparing() { return this.picked.length > 1; }
  get isFull() { return this.picked.length >= this.app.project.beside.length; }

  pick(id) {
    this.picked = this.picked.includes(id) ? this.picked.filter((one) => one !== id) : [...this.picked, id];
    if (!this.isComparing) {
      this.beside = [];
      byId("run").hidden = !this.open;
    }
    this.setRuns(this.runs);
    this.app.bench.setLayers();
  }

  colour(i) { return `rgb(${this.app.project.beside[i].join(" ")})`; }

  // A run with its pipeline, if there is one already.
  async known(id) {
    const run = await get(`/api/runs/${id}`);
    const found = await get(`/api/bench/beside?${new URLSearchParams({ source: id })}`).catch(() => ({}));
    return { ...run, pipeline: found };
  }

  compare(runs) {
    this.beside = runs.map((run, i) => ({ ...run, colour: this.colour(i) }));
    const swatch = (i) => {
      const made = element("span", { class: "swatch" });
      made.style.background = this.colour(i);
      return made;
    };
    const names = this.beside.map((run, i) => element("li", {}, swatch(i), `${i + 1} ${run.name}`));
    const drawn = this.beside.filter((run) => run.curve?.length);
    const box = byId("run");
    box.hidden = false;
    redraw(box, element("h2", {}, "Side by side"), element("ul", { class: "legend" }, ...names), ...(drawn.length ? [curves(drawn)] : []), this.table(swatch));
    this.app.bench.setLayers();
  }

  table(swatch) {
    const runs = this.beside, some = (of) => runs.some((run) => of(run) !== undefined && of(run) !== null);
    const test = (run) => run.scores?.test, expected = (run) => run.scores?.selection, cost = (run) => run.pipeline.cost;
    const whole = (value, unit = "") => (value === undefined || value === null ? "-" : `${Number(value.toPrecision(3))}${unit}`);
    const rows = [["metric", (run) => METRICS[run.metric] || run.metric || "-"], ["search images", (run) => score(run.scores?.search ?? run.best)]];
    if (some(test)) rows.push(["test images", (run) => score(test(run))]);
    if (some(expected)) rows.push(["new images, expected", (run) => score(expected(run))]);
    rows.push(["ms/Mpx", (run) => whole(cost(run))], ["steps", (run) => whole(run.pipeline.n_steps)]);
    rows.push(["candidates", (run) => String(run.evaluations ?? "-")], ["time", (run) => whole(run.seconds, " s")]);
    const head = runs.map((run, i) => element("th", { scope: "col", class: "number", title: run.name }, swatch(i), String(i + 1)));
    const body = rows.map(([name, of]) => element("tr", {}, element("th", { scope: "row" }, name), ...runs.map((run) => element("td", { class: "number" }, of(run)))));
    return element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...head)), element("tbody", {}, ...body));
  }

  // The address of a tile of their answers' outlines.
  outlines(image, z, row, col) {
    if (!this.beside.length) return null;
    const programs = this.beside.map((run) => run.pipeline.digest || "-").join(" ");
    return `/api/images/${image}/outlines/${z}/${row}/${col}.png?${new URLSearchParams({ programs })}`;
  }

  // One request at a time; what has changed meanwhile is asked for afterwards.
  async refresh() {
    this.stale = true;
    if (this.refreshing) return;
    this.refreshing = true;
    while (this.stale) {
      this.stale = false;
      const { open, picked } = this;
      await attempt(async () => {
        const runs = await Promise.all(this.isComparing ? picked.map((id) => this.known(id)) : [get(`/api/runs/${open}`)]);
        if (open !== this.open || picked.join() !== this.picked.join()) return;
        if (this.isComparing) this.compare(runs);
        else this.draw(runs[0]);
      })();
    }
    this.refreshing = false;
  }

  act(action) {
    return attempt(async () => this.setRuns((await post(`/api/runs/${this.open}`, { action })).runs))();
  }

  draw(run) {
    const going = GOING.includes(run.state);
    const box = byId("run");
    box.hidden = false;
    const parts = [element("h2", {}, `Run ${run.name}`)];
    if (run.state === "failed") parts.push(element("pre", { tabindex: 0, role: "group", "aria-label": "Why it failed" }, run.words));
    if (going && run.budget) {
      const left = Math.max(0, run.budget - run.seconds);
      parts.push(element("progress", { max: run.budget, value: Math.min(run.seconds, run.budget), "aria-label": "Time used" }));
      parts.push(element("p", { class: "faint" }, run.words || `${left.toFixed(0)} s left`));
    }
    // A short search may return a pipeline before it has scored a candidate of its own.
    const found = run.has_pipeline || (run.best !== undefined && run.best !== null);
    if (found) parts.push(this.scores(run));
    const buttons = [];
    if (going) buttons.push(element("button", { type: "button", onclick: () => this.act("stop") }, "Stop, and choose the best"));
    if (run.state === "interrupted") buttons.push(element("button", { type: "button", onclick: () => this.act("resume") }, "Resume"));
    if (found) buttons.push(element("button", { type: "button", onclick: () => this.show(run.id) }, "Show on the image"));
    if (run.has_pipeline && !going) buttons.push(element("button", { type: "button", onclick: () => this.app.openPipeline(run.id) }, "Open the pipeline"));
    if (run.report) buttons.push(element("a", { href: `/api/runs/${run.id}/report`, target: "_blank", rel: "noopener", class: "button" }, "Report"));
    parts.push(element("div", { class: "buttons" }, ...buttons));
    if (run.curve?.length) {
      parts.push(element("h2", {}, "Best score on the search images"), curves([run]));
      parts.push(element("h2", {}, "Score and cost"), cloud(run.cloud));
      parts.push(element("h2", {}, "Who proposed what"), this.proposers(run.proposers));
      parts.push(element("details", {}, element("summary", {}, "Best program so far"), element("pre", { tabindex: 0, role: "group", "aria-label": "Best program so far" }, run.program)));
    }
    redraw(box, ...parts);
  }

  scores(run) {
    const name = METRICS[run.metric] || run.metric;
    const rows = [element("dt", {}, `${name} on the search images`), element("dd", {}, score(run.scores?.search ?? run.best))];
    if (run.scores?.test !== undefined && run.scores.test !== null) {
      rows.push(element("dt", {}, `${name} on ${run.splits.test} test images`), element("dd", {}, score(run.scores.test)));
    } else if (run.scores) {
      rows.push(element("dt", {}, `${name} expected on new images`), element("dd", {}, score(run.scores.selection)));
    }
    return element("dl", { class: "scores" }, ...rows);
  }

  proposers(rows) {
    const head = ["", "candidates", "improved", "best"].map((name, i) => element("th", { class: i ? "number" : "", scope: "col" }, name));
    const body = [...rows].sort((a, b) => b.improved - a.improved || b.best - a.best).map((row) => element(
      "tr", {}, element("th", { scope: "row" }, PROPOSERS[row.name] || row.name),
      ...[row.n, row.improved, score(row.best)].map((value) => element("td", { class: "number" }, String(value))),
    ));
    return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  }

  show(id) {
    this.app.sourceChosen(id);
  }
}

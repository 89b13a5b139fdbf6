// The library: solved tasks that are like these images, and what their pipelines do on them.

import { METRICS, attempt, byId, element, get, percent, post, redraw, say, setCommand } from "./api.js";

const QUESTIONS = ["similar", "reuse"];
const LIKE = 0.5; // likeness from which tasks are of one kind

export class Library {
  constructor(app) {
    this.app = app;
    this.found = { similar: { state: "none" }, reuse: { state: "none" } };
    this.shown = null; // the answer that is shown on the image
    for (const question of QUESTIONS) {
      byId(`${question}-ask`).addEventListener("click", () => this.toggle(question));
    }
    byId("reuse-task").addEventListener("change", () => this.showLine("reuse"));
  }

  // When the tab is opened first, what is known is asked for.
  open() {
    if (this.asked) return;
    this.asked = true;
    for (const question of QUESTIONS) {
      this.showLine(question);
      this.refresh(question);
    }
  }

  request() { return { task: byId("reuse-task").value }; }

  showLine(question) {
    return attempt(async () => setCommand(byId(`${question}-line`), (await post(`/api/library/${question}/line`, this.request())).line))();
  }

  toggle(question) {
    const action = this.found[question].state === "running" ? "stop" : "ask";
    return attempt(async () => {
      await post(`/api/library/${question}/${action}`, this.request());
      await this.refresh(question);
    })();
  }

  async refresh(question) {
    clearTimeout(this[`waiting-${question}`]);
    await attempt(async () => {
      const found = await get(`/api/library/${question}`);
      this.found[question] = found;
      this.draw(question);
      if (found.state === "running") this[`waiting-${question}`] = setTimeout(() => this.refresh(question), 700);
    })();
  }

  draw(question) {
    const { state, words } = this.found[question], running = state === "running";
    byId(`${question}-ask`).textContent = running ? "Stop" : byId(`${question}-ask`).dataset.name;
    byId(`${question}-state`).textContent = running ? words || "Starting…" : state === "failed" ? words : "";
    const parts = state !== "done" ? [] : question === "similar" ? this.tasks() : this.answers();
    redraw(byId(`${question}-found`), ...parts);
  }

  // Similar tasks

  tasks() {
    const { any_alike: any, similar } = this.found.similar;
    const note = any ? [] : [element("p", { class: "note" }, "Nothing like these images has been solved yet, as far as one can see. The nearest tasks:")];
    return [...note, ...similar.map((task) => this.task(task))];
  }

  task(task) {
    const about = [task.foreground || task.title, task.modality].filter(Boolean).join(", ");
    const scores = [["likeness", task.likeness], ["expected score here", task.expected], ["score on its own images", task.own_score]];
    const rows = scores.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value === null ? "-" : value.toFixed(2))]);
    return element(
      "div", { class: "task" }, element("img", { src: `/api/library/tasks/${task.id}.png`, alt: `Images of ${task.task} with what was sought outlined`, loading: "lazy", height: 96 }),
      element("strong", {}, task.task), element("p", { class: "faint" }, about), element("dl", { class: "scores" }, ...rows),
      task.why.length && task.likeness >= LIKE ? element("p", { class: "faint" }, `Agrees in: ${task.why.join("; ")}.`) : null,
    );
  }

  // Answers of stored pipelines

  answers() {
    const { answers } = this.found.reuse;
    if (!answers.length) return [element("p", { class: "note" }, "No stored pipeline finds anything here that is worth showing. Paint a few strokes instead.")];
    const page = element("a", { href: "/api/library/reuse/page", target: "_blank", rel: "noopener" }, "All answers as a page");
    return [
      element("p", { class: "faint" }, "Judge by the outlines. Answers from images like yours come first; the others were chosen because they differ."),
      ...answers.map((answer) => this.answer(answer)), element("p", {}, page),
    ];
  }

  answer(answer) {
    const { facts } = this.app;
    const words = [`marks ${percent(answer.share)}`, `stable ${answer.stability.toFixed(2)}`, `alike ${answer.likeness.toFixed(2)}`];
    if (answer.scale !== 1) words.push(`lengths x ${answer.scale}`);
    if (answer.score !== null) words.push(`${METRICS[answer.metric] || answer.metric} ${answer.score.toFixed(3)}`);
    const name = `${answer.number} ${answer.source}`;
    const isShown = this.shown?.program === answer.program;
    return element(
      "div", { class: "answer" },
      element("button", { type: "button", class: "step", "aria-pressed": String(isShown), onclick: () => this.show(answer) },
        element("img", { src: facts ? `/api/images/${facts.id}/programs/${answer.program}/thumbnail.png` : "", alt: "", width: 64, height: 48 }),
        element("span", { class: "step-name" }, element("strong", {}, name), element("span", { class: "faint" }, words.join(", ")))),
      element("button", { type: "button", "aria-label": `Pick answer ${answer.number}`, onclick: () => this.pick(answer) }, "Pick"),
    );
  }

  show(answer) {
    this.shown = answer;
    this.draw("reuse");
    this.app.sourceChosen(`program:${answer.program}`);
  }

  // Keeps the pipeline of an answer as a file, and puts it on the workbench.
  pick(answer) {
    return attempt(async () => {
      const taken = new Set(this.app.bench.saved.map(({ name }) => name));
      const plain = answer.source.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 50) || "picked";
      let name = plain;
      for (let n = 2; taken.has(name); n++) name = `${plain}-${n}`;
      const { id, path, saved } = await post("/api/library/reuse/pick", { number: answer.number, name });
      this.app.bench.setSaved(saved);
      say(`Saved as ${path}`);
      await this.app.openPipeline(id);
    })();
  }

  opened() { if (this.found.reuse.state === "done") this.draw("reuse"); }
}

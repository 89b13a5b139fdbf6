// Taking it away: apply a pipeline to images, look at the results, export it as code.

import { attempt, byId, commandBox, copyText, element, get, post, redraw, say, setCommand, showDialog } from "./api.js";

const FORMS = { python: "Python", cpp: "C++", imagej: "ImageJ macro", json: "JSON" };

export class Away {
  constructor(app) {
    this.app = app;
    byId("apply-form").addEventListener("submit", (event) => { event.preventDefault(); this.apply(); });
    byId("apply-form").addEventListener("input", () => this.showLine());
    byId("exports").replaceChildren(...app.project.forms.map((form) => element(
      "button", { type: "button", onclick: attempt(() => this.export(form)) }, FORMS[form] || form)));
    this.sourcesChanged();
    this.refresh();
  }

  sourcesChanged() {
    const options = this.app.pipelines().map(([id, name]) => element("option", { value: id }, name));
    const select = byId("source"), before = select.value;
    select.replaceChildren(...options);
    if ([...select.options].some((option) => option.value === before)) select.value = before;
    select.disabled = !options.length;
    for (const button of [...byId("exports").children, byId("apply-form").querySelector("[type=submit]")]) button.disabled = !options.length;
    this.showLine();
  }

  // What is seen on the image is what is applied, unless something else is chosen.
  choose(source) {
    const option = [...byId("source").options].find(({ value }) => value === source || value.startsWith(`${source}#`));
    if (!option) return;
    byId("source").value = option.value;
    this.showLine();
  }

  request() {
    return { source: byId("source").value, images: byId("apply-images").value.trim(), table: byId("apply-table").checked };
  }

  showLine() {
    clearTimeout(this.asking);
    const request = this.request();
    this.asking = setTimeout(attempt(async () => {
      setCommand(byId("apply-line"), request.source ? (await post("/api/results/line", request)).line : "");
    }), 150);
  }

  apply() {
    return attempt(async () => {
      const result = await post("/api/results", this.request());
      say(`Results are written to ${result.folder}`);
      this.showLine();
      this.refresh();
    })();
  }

  async export(form) {
    const { source } = this.request();
    const found = await get(`/api/export?${new URLSearchParams({ source, to: form })}`);
    const link = element("a", { href: URL.createObjectURL(new Blob([found.text], { type: "text/plain" })), download: found.name, class: "button" }, `Download ${found.name}`);
    showDialog(
      `${FORMS[form] || form}: runs without evoseg`,
      element("div", { class: "buttons" }, link, element("button", { type: "button", onclick: () => copyText(found.text) }, "Copy")),
      commandBox(found.line),
      element("pre", { tabindex: 0, role: "group", "aria-label": found.name }, found.text),
    );
  }

  refresh() {
    clearTimeout(this.waiting);
    return attempt(async () => {
      const { results } = await get("/api/results");
      redraw(byId("results"), ...(results.length ? results.map((one) => this.draw(one)) : [element("p", { class: "faint" }, "Nothing has been applied yet.")]));
      if (results.some((one) => one.running)) this.waiting = setTimeout(() => this.refresh(), 700);
    })();
  }

  draw(result) {
    const parts = [element("strong", {}, result.name), " ", element("span", { class: "faint" }, `${result.done} of ${result.total} images`)];
    if (result.running) {
      parts.push(element("progress", { max: Math.max(1, result.total), value: result.done, "aria-label": "Images done" }));
      parts.push(element("div", { class: "buttons" }, element("button", { type: "button", onclick: attempt(async () => { await post(`/api/results/${result.name}/stop`); this.refresh(); }) }, "Stop")));
    }
    const pictures = result.overlays.slice(0, 24).map((name, i) => element(
      "button", { type: "button", title: name, "aria-label": `Show ${name}`, onclick: () => this.picture(result, i) },
      element("img", { src: `/api/results/${result.name}/${i}.png`, alt: "", loading: "lazy", width: 92, height: 92 }),
    ));
    parts.push(element("div", { class: "gallery" }, ...pictures));
    if (result.rows.length) parts.push(element("details", {}, element("summary", {}, "Table"), this.table(result.rows)));
    if (!result.done && result.words) parts.push(element("pre", { tabindex: 0, role: "group", "aria-label": "Messages" }, result.words));
    parts.push(commandBox(result.line));
    return element("div", { class: "result" }, ...parts);
  }

  picture(result, i) {
    showDialog(result.overlays[i], element("img", { src: `/api/results/${result.name}/${i}.png`, alt: `The image ${result.overlays[i]} with what was found outlined` }));
  }

  table(rows) {
    const shown = Object.keys(rows[0]).filter((name) => rows.some((row) => row[name] !== ""));
    const words = { foreground_share: "foreground" };
    const cell = (name, value) => (name === "foreground_share" && value !== "" ? `${(100 * value).toFixed(1)} %` : value);
    const head = shown.map((name) => element("th", { scope: "col" }, words[name] || name));
    const body = rows.map((row) => element("tr", {}, ...shown.map((name) => element("td", {}, cell(name, row[name])))));
    return element("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table of results" }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  }
}

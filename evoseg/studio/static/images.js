// The images on the left: thumbnails with their state, and which one is open.

import { byId, element } from "./api.js";

const WORDS = { unlabelled: "no label", strokes: "strokes", mask: "mask", test: "test" };

export class Images extends EventTarget {
  constructor(images) {
    super();
    this.images = images;
    this.open = null;
    this.list = byId("images");
    byId("filter").addEventListener("change", () => this.draw());
    this.draw();
  }

  draw() {
    const wanted = byId("filter").value;
    const shown = this.images.filter((image) => !wanted || image.state === wanted);
    byId("image-count").textContent = wanted ? `${shown.length} of ${this.images.length}` : this.images.length;
    this.list.replaceChildren(...shown.map((image) => element("li", {}, this.button(image))));
  }

  button(image) {
    image.caption = element("span", { class: `state ${image.state}` }, WORDS[image.state]);
    image.button = element(
      "button",
      { type: "button", title: image.name, "aria-current": String(image.id === this.open), onclick: () => this.choose(image.id) },
      element("img", { src: `/api/images/${image.id}/thumbnail.png`, alt: "", loading: "lazy", width: 160, height: 120 }),
      element("span", { class: "caption" }, element("span", { class: "name" }, image.name), image.caption),
    );
    return image.button;
  }

  choose(id) {
    if (!this.images.some((image) => image.id === id)) return;
    this.open = id;
    for (const image of this.images) image.button?.setAttribute("aria-current", String(image.id === id));
    this.find(id).button?.scrollIntoView({ block: "nearest" });
    this.dispatchEvent(new CustomEvent("chosen", { detail: id }));
  }

  step(by) {
    const shown = this.images.filter((image) => image.button?.isConnected);
    const at = shown.findIndex((image) => image.id === this.open);
    if (shown.length) this.choose(shown[Math.min(shown.length - 1, Math.max(0, at + by))].id);
  }

  find(id) {
    return this.images.find((image) => image.id === id);
  }

  setState(id, state) {
    const image = this.find(id);
    if (!image || image.state === state) return;
    image.state = state;
    if (!image.caption) return;
    image.caption.className = `state ${state}`;
    image.caption.textContent = WORDS[state];
  }
}

// The image in the middle: tiles at every zoom, the answer and the strokes over it, and what the pointer does.

const MOST_TILES = 240;
const EMPTY = { bitmap: null };

class TileLayer {
  // `address(z, row, col)` gives a tile's address, or null where there is none. A tile whose address has changed is shown
  // until the new one is there, so that nothing flickers.
  constructor(canvas, redraw) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.redraw = redraw;
    this.tiles = new Map();
    this.address = () => null;
    this.generation = 0;
  }

  clear() {
    this.generation += 1;
    this.tiles.clear();
  }

  // Tiles of `side` pixels, times two for each zoom, that share pixels with a box are asked for again when they are drawn
  // next; without a box, all of them.
  touch(box, side) {
    const [top, left, bottom, right] = box || [0, 0, Infinity, Infinity];
    for (const [key, tile] of this.tiles) {
      const [z, row, col] = key.split("/").map(Number), size = side * 2 ** z;
      if (row * size < bottom && top < (row + 1) * size && col * size < right && left < (col + 1) * size) tile.wanted = null;
    }
  }

  tile(z, row, col) {
    const key = `${z}/${row}/${col}`;
    const wanted = this.address(z, row, col);
    const known = this.tiles.get(key);
    if (known) {
      this.tiles.delete(key);
      this.tiles.set(key, known);
    }
    if (wanted && (!known || known.wanted !== wanted)) this.fetch(key, wanted, known);
    return this.tiles.get(key) || EMPTY;
  }

  async fetch(key, wanted, known) {
    const tile = { wanted, bitmap: known ? known.bitmap : null, loading: true };
    this.tiles.set(key, tile);
    const generation = this.generation;
    let bitmap = null;
    try {
      const answer = await fetch(wanted);
      if (answer.status === 200) bitmap = await createImageBitmap(await answer.blob());
    } catch {
      tile.wanted = null; // asked for again when it is drawn next
    }
    tile.loading = false;
    if (generation !== this.generation || this.tiles.get(key) !== tile) return;
    tile.bitmap = bitmap;
    while (this.tiles.size > MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
    this.redraw();
  }

  get loading() {
    return [...this.tiles.values()].some((tile) => tile.loading);
  }
}

export class Stage extends EventTarget {
  constructor(root, tileSide) {
    super();
    this.root = root;
    this.side = tileSide;
    this.image = null;
    this.view = { x: 0, y: 0, scale: 1 };
    this.shown = { strokes: true, answer: true };
    this.opacity = 1;
    this.pending = [];
    this.draft = null;
    this.pointer = null;
    this.crosshair = null;
    this.hand = null; // what is done with the pointer, and how it looks
    this.aside = { strokes: false, answer: false }; // layers that another one takes the place of
    const redraw = () => this.redraw();
    this.layers = {
      image: new TileLayer(root.querySelector("#layer-image"), redraw),
      answer: new TileLayer(root.querySelector("#layer-answer"), redraw),
      other: new TileLayer(root.querySelector("#layer-other"), redraw),
      strokes: new TileLayer(root.querySelector("#layer-strokes"), redraw),
    };
    this.cursor = root.querySelector("#layer-cursor").getContext("2d");
    new ResizeObserver(() => this.resize()).observe(root);
    this.listen();
    this.resize();
  }

  // The view

  open(image) {
    this.image = image;
    this.pending = [];
    this.draft = null;
    for (const layer of Object.values(this.layers)) layer.clear();
    this.crosshair = { x: image.width / 2, y: image.height / 2 };
    this.fit();
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    const box = this.root.getBoundingClientRect();
    this.width = Math.max(1, box.width);
    this.height = Math.max(1, box.height);
    for (const canvas of this.root.querySelectorAll("canvas")) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    this.redraw();
  }

  fit() {
    if (!this.image) return;
    const scale = Math.min(this.width / this.image.width, this.height / this.image.height) * 0.98;
    this.view.scale = Math.min(scale, 8);
    this.centre(this.image.width / 2, this.image.height / 2);
  }

  centre(x, y) {
    this.view.x = x - this.width / this.view.scale / 2;
    this.view.y = y - this.height / this.view.scale / 2;
    this.moved();
  }

  showBox([top, left, bottom, right]) {
    const around = 2.5;
    const scale = Math.min(this.width / (around * (right - left) + 60), this.height / (around * (bottom - top) + 60), 8);
    this.view.scale = Math.max(scale, this.view.scale * 0.2);
    this.crosshair = { x: (left + right) / 2, y: (top + bottom) / 2 };
    this.centre(this.crosshair.x, this.crosshair.y);
  }

  zoom(factor, at = { x: this.width / 2, y: this.height / 2 }) {
    const before = this.toImage(at);
    const least = Math.min(0.9 * Math.min(this.width, this.height) / Math.max(this.image.width, this.image.height), 1) / 4;
    this.view.scale = Math.min(64, Math.max(least, this.view.scale * factor));
    this.view.x = before.x - at.x / this.view.scale;
    this.view.y = before.y - at.y / this.view.scale;
    this.moved();
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y -= dy / this.view.scale;
    this.moved();
  }

  moved() {
    this.dispatchEvent(new CustomEvent("moved"));
    this.redraw();
  }

  toImage(at) {
    return { x: this.view.x + at.x / this.view.scale, y: this.view.y + at.y / this.view.scale };
  }

  // The pointer

  listen() {
    const root = this.root;
    let moving = null;
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("wheel", (event) => {
      if (!this.image) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.0016)), this.at(event));
    }, { passive: false });
    root.addEventListener("pointerdown", (event) => {
      if (!this.image) return;
      root.focus({ preventScroll: true });
      root.setPointerCapture(event.pointerId);
      if (event.button !== 0 || this.spaced || event.shiftKey) {
        moving = this.at(event);
        root.classList.add("moving");
      } else {
        this.tell("down", this.toImage(this.at(event)));
      }
    });
    root.addEventListener("pointermove", (event) => {
      if (!this.image) return;
      const at = this.at(event);
      this.pointer = this.toImage(at);
      if (moving) {
        this.pan(at.x - moving.x, at.y - moving.y);
        moving = at;
        return;
      }
      const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      for (const one of all.length ? all : [event]) this.tell("drag", this.toImage(this.at(one)));
      this.redraw();
    });
    const up = () => {
      root.classList.remove("moving");
      if (!moving) this.tell("up", this.pointer);
      moving = null;
    };
    root.addEventListener("pointerup", up);
    root.addEventListener("pointercancel", up);
    root.addEventListener("pointerleave", () => { this.pointer = null; this.redraw(); });
    root.addEventListener("dblclick", (event) => this.tell("double", this.toImage(this.at(event))));
  }

  tell(kind, place) {
    this.dispatchEvent(new CustomEvent(kind, { detail: place }));
  }

  at(event) {
    const box = this.root.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  // Drawing

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    if (!this.image) return;
    this.drawTiles(this.layers.image, true);
    this.layers.answer.canvas.style.opacity = this.opacity;
    this.drawTiles(this.layers.answer, this.shown.answer && !this.aside.answer);
    this.drawTiles(this.layers.other, this.shown.answer);
    this.drawTiles(this.layers.strokes, this.shown.strokes && !this.aside.strokes);
    this.settle();
    const context = this.layers.strokes.context;
    for (const edit of [...this.pending, ...(this.draft ? [this.draft] : [])]) this.drawEdit(context, edit);
    this.drawCursor();
  }

  begin(context) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    const scale = this.view.scale * this.ratio;
    context.setTransform(scale, 0, 0, scale, -this.view.x * scale, -this.view.y * scale);
  }

  drawTiles(layer, shown) {
    const { context } = layer;
    this.begin(context);
    if (!shown) return;
    const wanted = Math.floor(Math.log2(1 / (this.view.scale * this.ratio)) + 0.3);
    const z = Math.max(0, Math.min(this.image.levels - 1, wanted));
    context.imageSmoothingEnabled = this.view.scale < 3;
    // Coarser tiles stand in until finer ones are there.
    if (layer === this.layers.image && z < this.image.levels - 1) this.drawLevel(layer, this.image.levels - 1);
    this.drawLevel(layer, z);
  }

  drawLevel(layer, z) {
    const side = this.side * 2 ** z;
    const { x, y, scale } = this.view;
    const last = { row: Math.ceil(this.image.height / side), col: Math.ceil(this.image.width / side) };
    const rows = [Math.max(0, Math.floor(y / side)), Math.min(last.row, Math.ceil((y + this.height / scale) / side))];
    const cols = [Math.max(0, Math.floor(x / side)), Math.min(last.col, Math.ceil((x + this.width / scale) / side))];
    for (let row = rows[0]; row < rows[1]; row++) {
      for (let col = cols[0]; col < cols[1]; col++) {
        const { bitmap } = layer.tile(z, row, col);
        if (!bitmap) continue;
        const wide = Math.min(side, this.image.width - col * side);
        const high = Math.min(side, this.image.height - row * side);
        layer.context.drawImage(bitmap, col * side, row * side, wide, high);
      }
    }
  }

  // An edit that the server has made is drawn by hand until its tiles are there.
  settle() {
    if (!this.layers.strokes.loading) this.pending = this.pending.filter((edit) => !edit.done);
  }

  drawEdit(context, edit) {
    context.save();
    context.globalCompositeOperation = edit.label ? "source-over" : "destination-out";
    context.strokeStyle = context.fillStyle = edit.colour;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * edit.radius;
    context.beginPath();
    edit.points.forEach(([row, col], i) => (i ? context.lineTo(col, row) : context.moveTo(col, row)));
    if (edit.tool === "polygon") {
      if (edit.open && this.pointer) context.lineTo(this.pointer.x, this.pointer.y);
      context.lineWidth = 1.5 / this.view.scale;
      context.globalAlpha = edit.open ? 0.35 : 1;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
    } else if (edit.tool === "brush") {
      const [row, col] = edit.points[0];
      if (edit.points.length === 1) context.lineTo(col + 1e-3, row);
      if (edit.rim) {
        context.strokeStyle = "black";
        context.lineWidth = 4 * edit.radius;
        context.stroke();
        context.strokeStyle = edit.colour;
        context.lineWidth = 2 * edit.radius;
      }
      context.stroke();
    }
    context.restore();
  }

  drawCursor() {
    const context = this.cursor;
    this.begin(context);
    const { radius, colour, closed, tool } = this.hand.brush();
    const keyboard = document.activeElement === this.root && !this.pointer;
    const place = this.pointer || (keyboard ? this.crosshair : null);
    if (!place || closed) return;
    for (const [style, width] of [["rgb(0 0 0 / 75%)", 3], [colour, 1.4]]) {
      context.strokeStyle = style;
      context.lineWidth = width / this.view.scale;
      context.beginPath();
      if (tool === "brush" || tool === "erase") context.arc(place.x, place.y, Math.max(radius, 0.5), 0, 2 * Math.PI);
      if (keyboard || tool === "fill" || tool === "object" || tool === "polygon") {
        const arm = 9 / this.view.scale;
        context.moveTo(place.x - arm, place.y);
        context.lineTo(place.x + arm, place.y);
        context.moveTo(place.x, place.y - arm);
        context.lineTo(place.x, place.y + arm);
      }
      context.stroke();
    }
  }
}

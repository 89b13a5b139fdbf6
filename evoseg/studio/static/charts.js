// Small charts as SVG: the best score over time, and the front of score and cost.

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 320, HIGH = 150, LEFT = 40, BOTTOM = 24, TOP = 8, RIGHT = 8;

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function frame(label, x, y, format) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chart", role: "img", "aria-label": label });
  svg.append(shape("path", { class: "axis", d: `M${LEFT} ${TOP}V${HIGH - BOTTOM}H${WIDE - RIGHT}` }));
  svg.append(shape("text", { x: LEFT - 5, y: HIGH - BOTTOM, "text-anchor": "end" }, y[0].toFixed(2)));
  svg.append(shape("text", { x: LEFT - 5, y: TOP + 9, "text-anchor": "end" }, y[1].toFixed(2)));
  svg.append(shape("text", { x: LEFT, y: HIGH - 8 }, format(x[0])));
  svg.append(shape("text", { x: WIDE - RIGHT, y: HIGH - 8, "text-anchor": "end" }, format(x[1])));
  return svg;
}

const scale = ([low, high], from, to) => (v) => from + ((v - low) / (high - low || 1)) * (to - from);

export function curve(points, seconds) {
  const y = [Math.max(0, points[0].score - 0.02), Math.min(1, points.at(-1).score + 0.02)];
  const x = [0, Math.max(seconds, points.at(-1).seconds, 1)];
  const svg = frame(`Best score on the search images over time: ${points.at(-1).score.toFixed(3)}`, x, y, (v) => `${v.toFixed(0)} s`);
  const px = scale(x, LEFT, WIDE - RIGHT), py = scale(y, HIGH - BOTTOM, TOP);
  let path = "";
  for (const point of points) path += path ? `H${px(point.seconds)}V${py(point.score)}` : `M${px(point.seconds)} ${py(point.score)}`;
  svg.append(shape("path", { class: "curve", d: `${path}H${px(x[1])}` }));
  for (const point of points) {
    const dot = shape("circle", { class: "at", cx: px(point.seconds), cy: py(point.score), r: 2.5 });
    dot.append(shape("title", {}, `${point.score.toFixed(3)} at ${point.seconds.toFixed(1)} s, by ${point.proposer}`));
    svg.append(dot);
  }
  return svg;
}

export function cloud(points) {
  const log = (v) => Math.log10(Math.max(v, 0.01));
  const costs = points.map((point) => log(point.cost));
  const best = Math.max(...points.map((point) => point.score));
  const y = [Math.max(0, best - 0.5), Math.min(1, best + 0.02)];
  const x = [Math.min(...costs), Math.max(...costs)];
  const svg = frame("Score and cost of the candidates", x, y, (v) => `${(10 ** v).toPrecision(2)} ms/Mpx`);
  const px = scale(x, LEFT + 4, WIDE - RIGHT - 4), py = scale(y, HIGH - BOTTOM, TOP);
  for (const point of [...points].sort((a, b) => a.front - b.front)) {
    if (point.score < y[0]) continue;
    const attributes = { class: point.front ? "front" : "dot", cx: px(log(point.cost)), cy: py(point.score), r: point.front ? 3.5 : 2 };
    const dot = shape("circle", attributes);
    dot.append(shape("title", {}, `${point.score.toFixed(3)}, ${point.cost.toPrecision(3)} ms per megapixel, ${point.steps} steps`));
    svg.append(dot);
  }
  return svg;
}

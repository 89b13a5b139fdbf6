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

// Of one run or several, each `{ curve, seconds, name, colour }`; without a colour, in that of the page.
export function curves(runs) {
  const best = runs.map(({ curve }) => curve.at(-1).score), first = runs.map(({ curve }) => curve[0].score);
  const y = [Math.max(0, Math.min(...first) - 0.02), Math.min(1, Math.max(...best) + 0.02)];
  const x = [0, Math.max(...runs.map(({ curve, seconds }) => Math.max(seconds, curve.at(-1).seconds, 1)))];
  const said = runs.map(({ name }, i) => `${runs.length > 1 ? `${name} ` : ""}${best[i].toFixed(3)}`).join(", ");
  const svg = frame(`Best score on the search images over time: ${said}`, x, y, (v) => `${v.toFixed(0)} s`);
  const px = scale(x, LEFT, WIDE - RIGHT), py = scale(y, HIGH - BOTTOM, TOP);
  for (const { curve, seconds, name, colour } of runs) {
    let path = "";
    for (const point of curve) path += path ? `H${px(point.seconds)}V${py(point.score)}` : `M${px(point.seconds)} ${py(point.score)}`;
    const end = Math.max(seconds, curve.at(-1).seconds);
    const line = shape("path", { class: "curve", d: `${path}H${px(runs.length > 1 ? end : x[1])}` });
    line.style.stroke = colour || "";
    svg.append(line);
    for (const point of curve) {
      const dot = shape("circle", { class: "at", cx: px(point.seconds), cy: py(point.score), r: 2.5 });
      dot.style.fill = colour || "";
      const whose = runs.length > 1 ? `${name}: ` : "";
      dot.append(shape("title", {}, `${whose}${point.score.toFixed(3)} at ${point.seconds.toFixed(1)} s, by ${point.proposer}`));
      svg.append(dot);
    }
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

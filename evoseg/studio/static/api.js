// Talks to the server: requests, events, strokes that are kept until they are acknowledged, and small helpers.

const UNSENT = "evoseg-unsent";

export class Refused extends Error {}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("The studio does not answer. Is it still running? Strokes are kept in this tab.");
  }
  if (answer.status === 401) throw new Refused("The studio was restarted. In this tab, open the address that it printed.");
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(body.error || `The request failed (${answer.status}).`);
  return body;
}

export const get = (path) => request(path, {});

export const post = (path, body = {}, keepalive = false) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), keepalive });

export function listen(handlers) {
  const source = new EventSource("/api/events");
  for (const [kind, handler] of Object.entries(handlers)) {
    source.addEventListener(kind, (event) => handler(JSON.parse(event.data)));
  }
  return source;
}

// Strokes that the server has not acknowledged yet survive a reload of the tab.
export const unsent = {
  all: () => JSON.parse(sessionStorage.getItem(UNSENT) || "[]"),
  keep(image, edit) {
    sessionStorage.setItem(UNSENT, JSON.stringify([...this.all(), { image, edit }]));
  },
  drop(id) {
    sessionStorage.setItem(UNSENT, JSON.stringify(this.all().filter((one) => one.edit.id !== id)));
  },
};

const messageOf = () => document.getElementById("message");
let clearing = 0;

export function say(text, bad = false) {
  const message = messageOf();
  message.textContent = text;
  message.title = text;
  message.classList.toggle("bad", bad);
  clearTimeout(clearing);
  if (!bad) clearing = setTimeout(() => { message.textContent = ""; }, 6000);
}

// Runs what a person has asked for, and says so if it fails.
export const attempt = (work) => (...args) => Promise.resolve().then(() => work(...args)).catch((error) => say(error.message, true));

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Draws the contents of a box anew. What had the focus, or was unfolded, has it again if it is still there.
export function redraw(box, ...parts) {
  const controls = () => [...box.querySelectorAll("a[href], button, input, summary, [tabindex]")];
  const name = (node) => node.ariaLabel || node.textContent;
  const unfolded = () => [...box.querySelectorAll("details")];
  const before = controls(), focused = before.indexOf(document.activeElement), open = unfolded().map((node) => node.open);
  box.replaceChildren(...parts);
  unfolded().forEach((node, i) => { node.open = Boolean(open[i]); });
  if (focused < 0) return;
  const named = controls().filter((node) => name(node) === name(before[focused]));
  const nth = before.slice(0, focused).filter((node) => name(node) === name(before[focused])).length;
  (named[nth] || named.at(-1))?.focus({ preventScroll: true });
}

// Of a group of choices, marks the one that is made, which alone is a stop of the Tab key.
export function check(group, isChosen) {
  [...group.children].forEach((choice, i) => {
    choice.setAttribute("aria-checked", String(isChosen(choice, i)));
    choice.tabIndex = isChosen(choice, i) ? 0 : -1;
  });
}

export const byId = (id) => document.getElementById(id);

export async function copyText(text) {
  await navigator.clipboard.writeText(text);
  say("Copied.");
}

export function showDialog(title, ...content) {
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...content);
  byId("dialog").showModal();
}

// A command, wrapped between its words only as far as they are short enough.
export function setCommand(node, line) {
  node.replaceChildren(...line.split(" ").flatMap((word) => [element("span", {}, word), " "]).slice(0, -1));
}

export function commandBox(line) {
  const code = element("code");
  setCommand(code, line);
  return element("div", { class: "command" }, code, element("button", { type: "button", onclick: attempt(() => copyText(line)) }, "Copy"));
}

export const METRICS = { iou: "IoU", dice: "Dice", ap50: "AP50", f1: "F1" };

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.1 ? 1 : 0)} %`;

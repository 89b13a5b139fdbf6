// What is wanting in the page as it stands, for test_studio_in_chromium.py: contrast (WCAG 2.2, 1.4.3 and 1.4.11), the
// order of focus (2.4.3), and whether it is seen (2.4.7, 2.4.11). Each function returns a list of complaints.

(() => {
  const LEAST = { text: 4.5, large: 3, part: 3 };
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";
  const CUTTING = /auto|scroll|hidden|clip/;

  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const isClear = (colour) => colour === "transparent" || channels(colour)[3] === 0;
  const over = (colour, ground) => {
    const [r, g, b, alpha = 1] = channels(colour);
    return channels(ground).slice(0, 3).map((below, i) => alpha * [r, g, b][i] + (1 - alpha) * below);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (colour, ground) => {
    const [a, b] = [luminance(over(colour, ground)), luminance(channels(ground).slice(0, 3))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const groundOf = (node) => {
    for (; node; node = node.parentElement) {
      const { backgroundColor } = getComputedStyle(node);
      if (!isClear(backgroundColor)) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const nameOf = (node) => `${node.tagName.toLowerCase()}#${node.id}.${node.getAttribute("class") || ""} '${node.textContent.trim().slice(0, 30)}'`;
  const isShown = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const isOff = (node) => Boolean(node.closest(":disabled"));
  const parentsOf = function* (node) { while ((node = node.parentElement)) yield node; };

  // Text

  function text() {
    const found = [];
    const judge = (node, style, colour, ground) => {
      const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const seen = ratio(colour, ground);
      if (seen < (isLarge ? LEAST.large : LEAST.text)) found.push(`${nameOf(node)}: text ${seen.toFixed(2)}`);
    };
    for (const node of document.querySelectorAll("body *")) {
      if (!isShown(node) || isOff(node)) continue;
      const style = getComputedStyle(node), hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      if (hasText) judge(node, style, node.closest("svg") ? style.fill : style.color, groundOf(node));
      if (node.placeholder) judge(node, style, getComputedStyle(node, "::placeholder").color, groundOf(node));
    }
    return found;
  }

  // Edges of fields and toggles, and the parts of charts

  function parts() {
    const found = [];
    const judge = (node, what, colour, ground) => {
      const seen = ratio(colour, ground);
      if (seen < LEAST.part) found.push(`${nameOf(node)}: ${what} ${seen.toFixed(2)}`);
    };
    for (const node of document.querySelectorAll("select, input[type=text], input[type=number], button.toggle, [role=radio], .buttons button")) {
      const { borderTopColor } = getComputedStyle(node);
      if (isShown(node) && !isOff(node) && !isClear(borderTopColor)) judge(node, "edge", borderTopColor, groundOf(node.parentElement));
    }
    for (const node of document.querySelectorAll("input[type=range], input[type=checkbox], progress")) {
      if (isShown(node) && !isOff(node)) judge(node, "accent", getComputedStyle(node).accentColor, groundOf(node.parentElement));
    }
    for (const node of document.querySelectorAll("[role=tab][aria-selected=true], #images [aria-current=true]")) {
      if (isShown(node)) judge(node, "mark", getComputedStyle(node).borderBottomColor, groundOf(node.parentElement));
    }
    for (const node of document.querySelectorAll("svg.chart :is(path, circle)")) {
      if (!isShown(node)) continue;
      const { fill, stroke, opacity } = getComputedStyle(node), colour = fill === "none" ? stroke : fill;
      judge(node, "part", `rgba(${channels(colour).slice(0, 3)}, ${opacity})`, groundOf(node.closest("svg")));
    }
    return found;
  }

  // Focus

  // What the Tab key should come to, in the order of the document.
  const stops = () => [...document.querySelectorAll(CONTROLS)].filter((node) => node.tabIndex >= 0 && !isOff(node) && isShown(node));

  const regionOf = (node) => node.closest("header, nav, main, aside, dialog") || document.body;

  // Where it would be if nothing were scrolled.
  function placeOf(node) {
    const box = node.getBoundingClientRect();
    let [top, left] = [box.top, box.left];
    for (const parent of parentsOf(node)) { top += parent.scrollTop; left += parent.scrollLeft; }
    return { top, left, bottom: top + box.height, right: left + box.width };
  }

  function order(before, after) {
    if (!before || before.matches(".skip") || regionOf(before) !== regionOf(after)) return [];
    const [a, b] = [placeOf(before), placeOf(after)];
    const isBelow = b.top >= a.bottom - 1, isBeside = b.left >= a.right - 1 && b.bottom > a.top;
    const isInside = before.contains(after) || after.contains(before);
    return isBelow || isBeside || isInside ? [] : [`${nameOf(after)} is before ${nameOf(before)} on the screen`];
  }

  function focus(node) {
    const found = [], say = (what) => found.push(`${nameOf(node)}: ${what}`);
    const style = getComputedStyle(node), width = parseFloat(style.outlineWidth), offset = parseFloat(style.outlineOffset);
    if (style.outlineStyle === "none" || width < 2) return [`${nameOf(node)}: no outline`];
    const ground = groundOf(offset < 0 ? node : node.parentElement);
    if (ratio(style.outlineColor, ground) < LEAST.part) say(`outline ${ratio(style.outlineColor, ground).toFixed(2)}`);
    const box = node.getBoundingClientRect(), by = Math.max(0, width + offset);
    const seen = { top: box.top - by, left: box.left - by, bottom: box.bottom + by, right: box.right + by };
    // What is taller than its scrolling panel cannot be seen whole.
    for (const parent of [...parentsOf(node), document.documentElement]) {
      const isRoot = parent === document.documentElement;
      if (!isRoot && !CUTTING.test(getComputedStyle(parent).overflowX + getComputedStyle(parent).overflowY)) continue;
      const around = isRoot ? { top: 0, left: 0, bottom: innerHeight, right: innerWidth } : parent.getBoundingClientRect();
      const isTall = box.height > around.bottom - around.top;
      const before = found.length;
      if (seen.left < around.left - 0.6 || seen.right > around.right + 0.6) say(`cut off beside by ${nameOf(parent)}`);
      if (!isTall && (seen.top < around.top - 0.6 || seen.bottom > around.bottom + 0.6)) say(`${seen.top} to ${seen.bottom} is cut off at ${around.top} or ${around.bottom} by ${nameOf(parent)}`);
      if (found.length > before) break;
    }
    const top = document.elementFromPoint((box.left + box.right) / 2, Math.min(innerHeight - 1, (box.top + box.bottom) / 2));
    if (top && !node.contains(top) && !top.contains(node)) say(`covered by ${nameOf(top)}`);
    return found;
  }

  // Begins a walk at the skip link; `step` judges where the Tab key has come to, and returns null at the end.
  let walked = [];
  function begin() {
    document.activeElement.blur();
    document.querySelector(".skip").focus({ focusVisible: true });
    walked = [];
  }
  function step() {
    const node = document.activeElement;
    if (node === document.body || (walked.length && node === walked[0])) return null;
    const found = [...order(walked.at(-1), node), ...focus(node)];
    if (walked.includes(node)) found.push(`${nameOf(node)}: comes twice`);
    walked.push(node);
    return found;
  }
  function missed() {
    const wanted = stops(), names = (nodes) => nodes.map(nameOf).join(", ");
    const found = [];
    const never = wanted.filter((node) => !walked.includes(node)), extra = walked.filter((node) => !wanted.includes(node));
    if (never.length) found.push(`never reached: ${names(never)}`);
    if (extra.length) found.push(`reached, but no control: ${names(extra)}`);
    const isSorted = walked.every((node, i) => !i || walked[i - 1].compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING);
    if (!isSorted) found.push("not in the order of the document");
    return found;
  }

  window.audit = { text, parts, begin, step, missed, count: () => walked.length };
})();

"""A rule-based expert in the place of a language model: reads the data card and writes programs by a few rules."""

import json
import re
from typing import Any


def expert(request: dict[str, Any]) -> str:
    """Return the answer to a request, as JSON."""
    told = data_of(request)
    if told.get("card", {}).get("planes"):
        names, *rows = told["card"]["planes"]
        told["card"]["planes"] = [dict(zip(names, row, strict=True)) for row in rows]
    system = str(request["messages"][0]["content"])
    if "Answer with: `summary`" in system:
        return json.dumps(_description(told.get("card", {})))
    if "Answer with `findings`" in system:
        return json.dumps({"findings": ["the worst image differs from the others"], "advice": ["flatten it first"]})
    if "Answer with `verdicts`" in system:
        content = request["messages"][1]["content"]
        n = 0 if isinstance(content, str) else sum(part["type"] == "image_url" for part in content)
        verdicts = [{"number": i, "marks": told.get("wanted", ""), "fits": 10 - i} for i in range(1, max(n, 1) + 1)]
        return json.dumps({"verdicts": verdicts})
    if "Answer with `task`" in system:
        choices = {one["task"]: one["metrics"] for one in told.get("choices", [{"task": "binary", "metrics": ["iou"]}])}
        rules = told["card"].get("task_by_rules", {"task": next(iter(choices)), "why": "it is the first"})
        task = rules["task"] if rules["task"] in choices else next(iter(choices))
        reason = f"By rules, since {rules['why']}."
        return json.dumps({"task": task, "metric": choices[task][0], "radius_px": 0, "reason": reason})
    lines = [*told.get("tried", []), *told.get("last_round", {}).get("outcomes", [])]
    tried = {re.sub(r"^p[0-9]+ ", "", line).rpartition(": ")[0] for line in lines}
    recipes = [*(_crossed() if lines and told.get("others") else []), *_recipes(told["card"])]
    fresh = [(name, text) for name, text in recipes if not any(known.startswith(name) for known in tried)]
    found = [{"name": name, "idea": name, "program": text} for name, text in fresh[:4]]
    return json.dumps({"programs": found or [{"name": "plain", "idea": "", "program": _plain(told["card"])}]})


def data_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document of the first message from the user."""
    content = next(m["content"] for m in request["messages"] if m["role"] == "user")
    text = content if isinstance(content, str) else content[0]["text"]
    document: dict[str, Any] = json.loads(text[text.index("\n\n{") :])
    return document


def _description(card: dict[str, Any]) -> dict[str, Any]:
    planes = card["planes"]
    best = planes[0]["plane"] if planes else "no plane"
    return {
        "summary": f"{card['images']} images of {card['channels']} channels.",
        "foreground": f"about {card['objects'].get('per_image', 0)} objects per image, clearest in {best}",
        "cues": [p["plane"] for p in planes[:3]],
        "difficulties": ["uneven light"] if planes and planes[0]["share_of_slow_variation"] > 0.5 else [],
    }


def _numbers(card: dict[str, Any]) -> tuple[float, int, int, float]:
    """Return thickness, radius of a top-hat, area to remove, and sigma of a smoothing."""
    objects = card["objects"]
    thickness = float(objects.get("thickness_px", 8.0))
    area = int(objects.get("area_px_10_50_90_percent", [30])[0])
    return thickness, max(2, min(40, round(thickness))), max(2, min(5000, area // 2)), max(0.5, min(6.0, thickness / 6))


def _program(*lines: str) -> str:
    return "\n".join(["def pipeline(image):", *(f"    {line}" for line in lines)])


def _plain(card: dict[str, Any]) -> str:
    return _program(f"a = {card['planes'][0]['plane']}", "return threshold(a)")


def _filters(card: dict[str, Any], sign: float) -> list[tuple[str, list[str]]]:
    """Return filters that take a plane called a to one called b, the most fitting first."""
    thickness, radius, _, smooth = _numbers(card)
    polarity = "bright" if sign > 0 else "dark"
    hat = "white_tophat" if sign > 0 else "black_tophat"
    blurred = f"s = gaussian(a, sigma={smooth:.2g})"
    scale = max(0.5, min(10.0, thickness / 3))
    filters = [
        ("top-hat", [blurred, f"b = {hat}(s, radius={radius})"]),
        ("flattened", [blurred, f"b = flatten(s, sigma={max(8.0, min(60.0, 3 * thickness)):.3g})"]),
        ("normalised", [blurred, f"b = local_normalise(s, radius={max(5, min(40, 2 * radius))})"]),
        ("reconstructed", [blurred, *_reconstructed(polarity, radius)]),
        ("difference of Gaussians", [f'b = dog(a, sigma={scale:.2g}, polarity="{polarity}")']),
    ]
    lines = [
        ("ridges", [f'b = hessian_ridge(a, sigma={max(0.7, scale / 2):.2g}, polarity="{polarity}")']),
        ("lines", [f'b = oriented(a, width={max(1.0, min(12.0, thickness)):.2g}, polarity="{polarity}")']),
    ]
    texture = [("texture", [f"t = deviation(a, radius={max(2, min(20, radius // 2))})", "b = gaussian(t, sigma=3.0)"])]
    long = card["objects"].get("area_over_squared_thickness", 1.0) > 6
    found = lines + filters if long else filters + lines
    weak = max((abs(p["objects_minus_rest"]) for p in card["planes"]), default=0.0) < 0.6
    return texture + found if weak else found + texture


def _reconstructed(polarity: str, radius: int) -> list[str]:
    side = "r = s" if polarity == "bright" else "i = invert(s)"
    source = "s" if polarity == "bright" else "i"
    lines = [f"o = reconstruct_open({source}, radius={max(1, min(15, radius))})", f"b = subtract({source}, o)"]
    return lines if side == "r = s" else [side, *lines]


def _recipes(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return programs, the most promising first: filters on the best planes, alone and two together."""
    _, _, area, _ = _numbers(card)
    round_ones = card["objects"].get("area_over_squared_thickness", 1.0) < 3
    tails = ["m = threshold(b)", f"n = remove_small(m, area={area})"]
    tails += (
        ["f = fill_holes(n)", "return open_mask(f, radius=1)"] if round_ones else ["return close_mask(n, radius=1)"]
    )
    planes = card["planes"][:3]
    found = []
    for rank, plane in enumerate(planes):
        around, rest = plane["objects_minus_surroundings"], plane["objects_minus_rest"]
        for place, (name, lines) in enumerate(_filters(card, around if abs(around) > abs(rest) / 2 else rest)):
            text = _program(f"a = {plane['plane']}", *lines, *tails)
            found.append((rank * 3 + place, f"{name} of {plane['plane']}", text))
    if len(planes) > 1:
        found += [(2 + i, name, text) for i, (name, text) in enumerate(_pairs(card, planes[0], planes[1], tails))]
    return [(name[:80], text) for _, name, text in sorted(found, key=lambda entry: entry[0])]


def _pairs(card: dict[str, Any], one: Any, other: Any, tails: list[str]) -> list[tuple[str, str]]:
    """Return programs that join two planes in which objects are made bright."""
    _, _, _, smooth = _numbers(card)
    sides = []
    for name, plane in (("p", one), ("q", other)):
        call = f"{name} = gaussian({plane['plane']}, sigma={smooth:.2g})"
        flip = [f"{name}1 = invert({name})"] if plane["objects_minus_rest"] < 0 else []
        sides.append(([call, *flip], f"{name}1" if flip else name))
    (first, a), (second, b) = sides
    return [
        (f"{how} of two planes", _program(*first, *second, f"b = {how}({a}, {b})", *tails))
        for how in ("geometric_mean", "add", "minimum", "subtract")
    ]


def _crossed() -> list[tuple[str, str]]:
    """Return programs that join the masks of the leader and of a program that is unlike it."""
    return [
        (f"{how} of two programs", _program(f"return {how}(leader(image), other1(image))"))
        for how in ("mask_and", "reconstruct_mask")
    ]

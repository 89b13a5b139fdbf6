"""The words in which results are put."""

METRIC_WORDS = {
    "iou": "IoU",
    "dice": "Dice",
    "mcc": "MCC",
    "f_beta": "F-beta",
    "boundary_f": "boundary F",
    "buffered_iou": "buffered IoU",
    "ap50": "AP50",
    "ap": "AP",
    "pq": "PQ",
    "f1": "F1",
    "f2": "F2",
    "closeness": "closeness",
    "score": "score",
}


def baseline_words(name: str, metric: str) -> str:
    """Return what a baseline of the result document is called in a sentence."""
    if name == "classic":
        return "the best classic recipe"
    if metric == "closeness":
        return "assuming no shift"
    return f"answering '{'everything' if name == 'all' else name}'"


def within(radius: float | None) -> str:
    """Say within how many px points match; nothing of other tasks."""
    return "" if radius is None else f" within {radius:g} px"


def sheet_title(dataset: str, n: int, shown: int, score: float, metric: str, on_test: bool) -> str:
    """Return the title of a contact sheet."""
    some = f"the worst {shown} of {n}" if shown < n else f"{n}"
    if on_test:
        return f"{dataset}: {some} test images, worst first; mean {metric} {score:.2f}"
    return f"{dataset}: {some} search images, worst first; mean {metric} {score:.2f}, not proven (no test images)"

"""`evoseg apply` and `evoseg score`: a finished pipeline on images."""

import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from evoseg.base.notes import Telling
from evoseg.commands.options import AXES, CHANNEL, PAGE, chosen

if TYPE_CHECKING:
    from evoseg.app.applying import Applied
    from evoseg.app.classes import ClassPipeline
    from evoseg.app.scoring import Scores
    from evoseg.data.dataset import Dataset
    from evoseg.data.reading import Reading
    from evoseg.pipeline import Pipeline

_QUIET_S = 3.0
"""Shortest time between two lines about progress."""

_PIPELINE = typer.Argument(
    metavar="PIPELINE",
    help="Pipeline file (.evo or .json), or folder or id of a run; RUN#3 is number 3 of its front. Of a search for "
    "classes, its folder, id or classes.json.",
)


def apply(
    pipeline: Annotated[str, _PIPELINE],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images and folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for masks/ and overlays/.")],
    workers: Annotated[
        int, typer.Option(help="Number of images processed at the same time; memory use grows with it.", min=1, max=256)
    ] = 1,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="CSV file to write with the measurements of every object.", show_default=False
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also process subfolders, and keep their structure in OUT.")
    ] = False,
    axes: Annotated[str, AXES] = "",
    page: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Page of TIFF stacks to read, from 0 (T=0,Z=3 if there are two axes); all: an answer per page.",
            show_default=False,
        ),
    ] = "",
    channel: Annotated[str, CHANNEL] = "",
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip images that already have an answer and an overlay, to continue an interrupted batch.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks, overlays and table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Segment images with a pipeline.

    A mask is written to OUT/masks/NAME.png (0 and 255; of classes, the class of each pixel), objects to
    OUT/masks/NAME.tif (32 bits, one number per object), and points to OUT/points/NAME.csv. An overlay for viewing is
    written to OUT/overlays/NAME.png. A pipeline for registration takes folders with pairs/ and writes OUT/shifts.csv.
    Files are read as they were for the search, so page and channel need not be given again. The pipeline's parameters
    are used as they are; nothing is fitted. If images differ from those that the pipeline was made for, a warning or an
    error says so once for each kind of difference. If an image fails, the others are still segmented, and the exit code
    is 1. TIFF images of any size are filtered band by band.
    """
    import json

    from evoseg.app import applying
    from evoseg.app.classes import read_program
    from evoseg.base.errors import PipelineError, SettingsError
    from evoseg.base.kinds import Kind
    from evoseg.pipeline import Pipeline

    program, reading = read_program(pipeline)
    reading = chosen(axes, "" if page == applying.ALL else page, channel).or_else(reading)
    if isinstance(program, Pipeline) and program.output is Kind.GRAY:
        if table:
            raise PipelineError("the pipeline gives planes for registration, which hold no objects. Leave out --table.")
        if recursive or skip_existing or page == applying.ALL:
            raise SettingsError(
                "the pipeline registers pairs of images, for which there is no --recursive, --skip-existing or --page "
                "all. Leave them out."
            )
        raise typer.Exit(_register(program, images, reading, out, workers, overwrite=overwrite, as_json=as_json))
    watch = _Watch()
    found = applying.apply(
        program,
        images,
        out,
        recursive=recursive,
        axes=reading.axes,
        page=applying.ALL if page == applying.ALL else reading.page,
        channel=reading.channel,
        table=table,
        skip_existing=skip_existing,
        overwrite=overwrite,
        workers=workers,
        listed=watch.listed,
        told=watch.told,
        done=watch.done,
    )
    _print_errors([*watch.rest(), *applying.unlike(found, refused=True)])
    failed = [result for result in found if result.fault]
    if as_json:
        print(json.dumps({"pipeline": program.digest, "images": [_row(result) for result in found]}, indent=1))
    else:
        print(_applied_text(found, table))
    raise typer.Exit(1 if failed else 0)


def _register(
    program: "Pipeline",
    folders: list[Path],
    reading: "Reading",
    out: Path,
    workers: int,
    *,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write the shifts of pairs of images and return the exit code."""
    import json

    from evoseg.app import registering
    from evoseg.app.runs import make_folder, refuse_existing

    refuse_existing([out.expanduser() / registering.TABLE], overwrite=overwrite)
    shifts, found, telling = registering.register(program, folders, workers, reading), [], Telling()
    make_folder(out.expanduser())
    try:
        for one in shifts:
            found.append(one)
            if one.fault:
                _print_errors(telling.lines(one.fault))
    except KeyboardInterrupt as error:
        path = registering.write_shifts(found, out, overwrite=overwrite)
        error.add_note(f"what was found until then is in {path}")
        raise
    _print_errors(telling.rest())
    path = registering.write_shifts(found, out, overwrite=overwrite)
    done = [one for one in found if not one.fault]
    if as_json:
        pairs = [
            {"name": one.stem} | ({"fault": one.fault} if one.fault else {"dy": one.shift[0], "dx": one.shift[1]})
            for one in found
        ]
        print(json.dumps({"pipeline": program.digest, "shifts": str(path.absolute()), "pairs": pairs}, indent=1))
    else:
        print(f"{len(done)} of {len(found)} pairs registered\nshifts    {path}")
    return 0 if len(done) == len(found) else 1


def _print_errors(lines: "Iterable[str]") -> None:
    """Print errors about images on stderr."""
    for line in lines:
        print(f"error: {line}", file=sys.stderr)


class _Watch:
    """Says now and then on stderr how far the work is."""

    def __init__(self) -> None:
        self._n_images = 0
        self._n_done = 0
        self._telling = Telling()
        self._told_s = monotonic()

    def listed(self, n_images: int) -> None:
        """Hear how many images there are."""
        self._n_images = n_images

    def done(self, result: "Applied") -> None:
        """Count one image more, and say why it failed, unless others will have failed for the same reason."""
        self._n_done += 1
        if result.fault and not result.unlike:
            _print_errors(self._telling.lines(result.fault))
        self._tell(f"{self._n_done} of {self._n_images} images")

    def rest(self) -> list[str]:
        """Return how many errors of each kind were not told."""
        return self._telling.rest()

    def told(self, stem: str, share: float) -> None:
        """Hear how far a large image is."""
        self._tell(f"{self._n_done} of {self._n_images} images, {stem} {100 * share:.0f} %")

    def _tell(self, words: str) -> None:
        if monotonic() - self._told_s >= _QUIET_S:
            self._told_s = monotonic()
            print(words, file=sys.stderr, flush=True)


def _row(result: "Applied") -> dict[str, object]:
    if result.fault:
        return {"name": result.stem, "fault": result.fault}
    name = "points" if result.answer.suffix == ".csv" else "mask"
    files = {name: str(result.answer.absolute()), "overlay": str(result.overlay.absolute())}
    if result.skipped:
        return {"name": result.stem, **files, "skipped": True}
    objects = {} if result.count is None else {"objects": result.count}
    return {
        "name": result.stem,
        **files,
        "foreground_share": result.share,
        **objects,
        "seconds": round(result.seconds, 6),
    }


def _applied_text(found: "list[Applied]", table: Path | None) -> str:
    done = [result for result in found if not result.fault and not result.skipped]
    skipped = [result for result in found if not result.fault and result.skipped]
    failed = len(found) - len(done) - len(skipped)
    pixels, seconds = sum(r.pixels for r in done), sum(r.seconds for r in done)
    lines = [f"{len(done)} of {len(found)} images segmented"]
    lines[0] += f", {len(skipped)} skipped, since they have answers" if skipped else ""
    lines[0] += f", {failed} failed (see above)" if failed else ""
    if done:
        share = 100 * sum(r.share * r.pixels for r in done) / pixels
        n_found = sum(r.count or 0 for r in done)
        if done[0].answer.suffix == ".csv":
            lines[0] += f"; {n_found} {'point' if n_found == 1 else 'points'} in {pixels / 1e6:.1f} Mpx"
        else:
            lines[0] += f"; foreground {share:.1f} % of {pixels / 1e6:.1f} Mpx"
            lines[0] += "" if done[0].count is None else f", {n_found} objects"
        lines.append(f"{pixels / 1e6 / max(seconds, 1e-9):.1f} Mpx/s in the pipeline, without reading and writing")
    if some := [*done, *skipped]:
        n_folders = some[0].stem.count("/") + 1
        lines += [
            f"answers   {some[0].answer.parents[n_folders - 1]}",
            f"overlays  {some[0].overlay.parents[n_folders - 1]}",
        ]
    if table:
        lines.append(f"table     {table}")
    return "\n".join(lines)


def score(
    pipeline: Annotated[str, _PIPELINE],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder with images/ and masks/, points/, or pairs/.")
    ],
    split: Annotated[
        str, typer.Option(help="Images to score: test, search, selection, or all (every labelled image).")
    ] = "test",
    task: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py", help="Python file that defines your own task; its code is run.", show_default=False
        ),
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(
            help="Largest distance in px at which points match (default: from the run or dataset.yaml, else 6).",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to list per image: iou, dice, mcc ...; ap50 ... for objects (default: the first).",
            show_default=False,
        ),
    ] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a pipeline on a dataset.

    Prints the mean of every metric, and one metric image by image. The pipeline's parameters are used as they are;
    nothing is fitted. In a pipeline for classes, each class is scored as foreground.
    """
    import json

    from evoseg.app import scoring
    from evoseg.app.classes import ClassPipeline, read_program
    from evoseg.app.datasets import name_of, opened
    from evoseg.app.kept import count_looks, radius_of
    from evoseg.app.tasks import check_names, named
    from evoseg.base.errors import SettingsError

    own = None if task is None else named(task)
    check_names(own or "auto", metric)
    program, reading = read_program(pipeline)
    data = opened(dataset, chosen(axes, page, channel).or_else(reading))
    if isinstance(program, ClassPipeline):
        if own is not None or radius is not None:
            raise SettingsError("classes are scored as foreground. Leave out --task and --radius.")
        print(_class_scores(pipeline, program, data, split, metric or "iou", as_json=as_json))
        return
    kind = scoring.scored_kind(program, own)
    check_names(kind.name, metric)
    metric = metric or kind.metrics[0]
    scores = scoring.score(program, data, split, task=own, radius=radius_of(pipeline) if radius is None else radius)
    per_image = scores.of(metric)
    looks = count_looks(pipeline, "score", program.digest, data, per_image)
    if not as_json:
        print(_scores_text(scores, name_of(data), metric) + _looks_text(pipeline, looks))
        return
    document = {
        "dataset": name_of(data),
        "dataset_digest": data.survey.digest,
        "digest": program.digest,
        "split": split,
        "n_images": len(per_image),
        "metric": metric,
        "radius_px": scores.radius,
        "score": scores.mean[metric],
        "interval": scoring.interval(list(per_image.values())),
        "all_metrics": scores.mean,
        "per_image": scores.per_image,
        "looks": looks,
    }
    print(json.dumps(document, indent=1))


def _looks_text(source: str, looks: int | None) -> str:
    """Say how often the test images of a run have been looked at, if these are some."""
    if looks is None:
        return ""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(looks % 10 * (looks // 10 % 10 != 1), "th")
    return (
        f"\nThis is the {looks}{ending} look at test images of the run {source}, the search's own included. A pipeline "
        "that is chosen by such scores has no held-out score any more."
    )


def _class_scores(
    source: str, program: "ClassPipeline", data: "Dataset", split: str, metric: str, *, as_json: bool
) -> str:
    import json

    from evoseg.app.classes import mean_of, score_classes
    from evoseg.app.datasets import name_of
    from evoseg.app.kept import count_looks
    from evoseg.app.tasks import check_names
    from evoseg.app.words import METRIC_WORDS

    check_names("binary", metric)
    per_image = score_classes(program, data, split, metric)
    by_class = {name: sum(scores.values()) / len(scores) for name, scores in per_image.items()}
    stems = next(iter(per_image.values()))
    n_images = len(stems)
    looks = count_looks(source, "score", program.digest, data, stems)
    if as_json:
        document = {"dataset": name_of(data), "digest": program.digest, "split": split, "n_images": n_images}
        document |= {"looks": looks}
        document |= {"metric": metric, "score": mean_of(per_image), "by_class": by_class, "per_image": per_image}
        return json.dumps(document, indent=1)
    lines = [f"{name_of(data)}: {METRIC_WORDS[metric]} of classes, mean over {n_images} images of the split {split}"]
    lines += [f"  {value:7.3f}  {name}" for name, value in by_class.items()]
    return "\n".join([*lines, f"  {mean_of(per_image):7.3f}  mean of the classes"]) + _looks_text(source, looks)


def _scores_text(scores: "Scores", name: str, metric: str) -> str:
    from evoseg.app.scoring import interval
    from evoseg.app.words import METRIC_WORDS, within
    from evoseg.metrics.shifts import error_px

    per_image = scores.of(metric)
    split = "labelled" if scores.split == "all" else scores.split
    lines = [f"{name}: mean over {len(per_image)} {split} images{within(scores.radius)}"]
    for key, value in scores.mean.items():
        between = interval(list(scores.of(key).values()))
        note = f"  95 % interval {between[0]:.3f} to {between[1]:.3f}" if between else ""
        lines.append(f"  {METRIC_WORDS[key]:14s}{value:7.3f}{note}")
    if metric == "closeness":
        errors = [error_px(value) for value in per_image.values()]
        lines.append(f"  shifts are off by {median(errors):.3f} px (median), at most {max(errors):.3f}")
    lines.append(f"{METRIC_WORDS[metric]} per image, worst first")
    lines += [f"  {value:7.3f}  {stem}" for stem, value in sorted(per_image.items(), key=lambda item: item[1])]
    return "\n".join(lines)

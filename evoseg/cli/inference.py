"""`evoseg apply` and `evoseg score`: a finished pipeline on images."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evoseg.cli.shared import (
    ALLOW_CODE,
    AXES,
    BAD_PIXELS,
    CHANNEL,
    JSON,
    PAGE,
    PIPELINE_HELP,
    SERIES,
    TRANSFORM,
    chosen,
)
from evoseg.core.disk import expand
from evoseg.core.notes import NotePrinter, name_some

if TYPE_CHECKING:
    from evoseg.cli.progress import Tell
    from evoseg.datasets.dataset import Dataset
    from evoseg.datasets.reading import ReadOptions
    from evoseg.inference.apply import Applied
    from evoseg.inference.multiclass import ClassPipeline
    from evoseg.inference.register import RegisteredPair
    from evoseg.inference.score import Scores
    from evoseg.pipeline import Pipeline

_NAMED = 5
"""Images that are named at most."""
_LISTED = 20
"""Images without a result that are listed at most."""

_PIPELINE = typer.Argument(
    metavar="PIPELINE",
    help=f"{PIPELINE_HELP} For several classes, the folder or id of their search, or its classes.json.",
)


_IMAGES = typer.Argument(metavar="IMAGES", help="Images and folders of images.")
_OUT = typer.Option(help="Folder for masks/ and overlays/.")
_FORMATS = typer.Option(
    metavar="LIST",
    help="Further files with the objects, separated by commas: labels (OME-TIFF with a number per object), "
    "rois (ImageJ), geojson (QuPath), coco (one file for all images) (default: none).",
    show_default=False,
)
_WORKERS = typer.Option(help="Number of images processed at the same time; memory use grows with it.", min=1, max=256)
_TABLE = typer.Option(
    metavar="FILE.csv",
    help="CSV file to write with measurements of every object, named like scikit-image's region properties.",
    show_default=False,
)
_IMAGE_TABLE = typer.Option(
    metavar="FILE.csv",
    help="CSV file to write with one line per image: what was found, the trust in it (0 to 1), and whether the image "
    "is unfamiliar.",
    show_default=False,
)
_TRUST = typer.Option(
    "--trust/--no-trust",
    help="Also run up to four other pipelines of the run, to estimate how reliable each result is.",
)
_DOUBT = typer.Option(
    metavar="DIR",
    help="Folder for a grey picture of each image that is bright where the result is uncertain.",
    show_default=False,
)
_RECURSIVE = typer.Option("--recursive", help="Also process the images in subfolders; OUT gets the same subfolders.")
_SKIP_EXISTING = typer.Option(
    "--skip-existing",
    help="Skip images whose results exist already, to continue an interrupted batch with the same pipeline.",
)
_OVERWRITE = typer.Option("--overwrite", help="Replace files that exist.")


def apply(
    pipeline: Annotated[str, _PIPELINE],
    images: Annotated[list[Path], _IMAGES],
    out: Annotated[Path, _OUT],
    formats: Annotated[str, _FORMATS] = "",
    workers: Annotated[int, _WORKERS] = 1,
    table: Annotated[Path | None, _TABLE] = None,
    image_table: Annotated[Path | None, _IMAGE_TABLE] = None,
    trust: Annotated[bool, _TRUST] = True,
    doubt: Annotated[Path | None, _DOUBT] = None,
    recursive: Annotated[bool, _RECURSIVE] = False,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    transform: Annotated[str, TRANSFORM] = "",
    bad_pixels: Annotated[Path | None, BAD_PIXELS] = None,
    skip_existing: Annotated[bool, _SKIP_EXISTING] = False,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Segment images with a pipeline.

    Results: a mask is written to OUT/masks/NAME.png (0 and 255; for several classes, the class of each pixel), objects
    to OUT/masks/NAME.tif (32 bits, one number per object), points to OUT/points/NAME.csv, and an overlay for viewing to
    OUT/overlays/NAME.png. With --formats, the objects are also written for other programs, to OUT/labels/NAME.ome.tif,
    OUT/rois/NAME.zip, OUT/geojson/NAME.geojson and OUT/coco.json. With --page all, the masks or objects of a stack are
    also written as a stack, to OUT/stacks/NAME.tif. A pipeline for registration takes folders with pairs/, and writes
    aligned images to OUT/aligned/NAME.tif and the transforms to OUT/shifts.csv or OUT/transforms.csv.

    Images: they are read as in the search, so page and channel need not be given again. The pipeline's parameters are
    used as they are; nothing is fitted. Large TIFF images are processed strip by strip. If an image fails, the others
    are still segmented, and the exit code is 1.

    Reliability: if images differ from those that the pipeline was made for, for example in channels, data type or pixel
    size, a warning or an error says so once. An image is called unfamiliar if it looks unlike them. The trust in a
    result is 1 if all pipelines of the run agree on it.
    """
    import json

    from evoseg.cli.progress import show_words
    from evoseg.core.kinds import Kind
    from evoseg.datasets.reading import ALL_PAGES
    from evoseg.inference import apply as applying
    from evoseg.inference.multiclass import read_others, read_program
    from evoseg.pipeline import Pipeline

    program, reading = read_program(pipeline, allow_code=allow_code)
    reading = chosen(axes, page, channel, series, transform=transform, bad_pixels=bad_pixels).or_else(reading)
    if isinstance(program, Pipeline) and program.output is Kind.GRAY:
        given: dict[str, object] = {"--table": table, "--image-table": image_table, "--doubt": doubt}
        given |= {
            "--formats": formats,
            "--recursive": recursive,
            "--skip-existing": skip_existing,
            "--page all": reading.page == ALL_PAGES,
        }
        _refuse_for_pairs([option for option, value in given.items() if value])
        raise typer.Exit(_register(program, images, reading, out, workers, overwrite=overwrite, as_json=as_json))
    _refuse_transform(transform)
    with show_words() as tell:
        watch = _Watch(tell)
        found = applying.apply(
            program,
            images,
            out,
            recursive=recursive,
            axes=reading.axes,
            page=reading.page,
            channel=reading.channel,
            series=reading.series,
            bad_pixels=bad_pixels,
            formats=formats,
            table=table,
            image_table=image_table,
            trust=trust,
            others=read_others(pipeline, program) if trust else None,
            doubt=doubt,
            skip_existing=skip_existing,
            overwrite=overwrite,
            workers=workers,
            on_listed=watch.progress.set_total,
            on_progress=watch.progress.show_share,
            on_result=watch.add_result,
        )
    _print_errors([*watch.rest(), *applying.describe_differences(found, refused=True)])
    failed = [result.name for result in found if result.fault]
    _list_failed(failed)
    if as_json:
        print(json.dumps({"pipeline": program.digest, "images": [_row(result) for result in found]}, indent=1))
    else:
        further = {name: out / place for name, place in applying.further_places(formats).items()}
        stacks = out / applying.STACKS if reading.page == ALL_PAGES else None
        stacks = stacks if stacks and expand(stacks).is_dir() else None
        written = {**further, "stacks": stacks, "table": table, "images": image_table, "doubt": doubt}
        print(_applied_text(found, written, trust=trust))
    raise typer.Exit(1 if failed else 0)


def _list_failed(names: list[str]) -> None:
    """Print which images have no result, if there are several; of one, the error says it."""
    if len(names) > 1:
        more = f" and {len(names) - _LISTED} more; --image-table lists all" if len(names) > _LISTED else ""
        print(f"{len(names)} images have no result: {', '.join(names[:_LISTED])}{more}", file=sys.stderr)


def _refuse_for_pairs(options: list[str]) -> None:
    """Refuse options that mean nothing where pairs of images are registered."""
    from evoseg.core.errors import PipelineError, SettingsError

    if "--table" in options:
        raise PipelineError(
            "the pipeline returns planes for registration, which contain no objects. Leave out --table."
        )
    if options:
        raise SettingsError(
            f"the pipeline registers pairs of images, for which there is no {' or '.join(options)}. Leave "
            f"{'it' if len(options) == 1 else 'them'} out."
        )


def _refuse_transform(transform: str) -> None:
    """Refuse a transform where no pairs of images are registered."""
    from evoseg.core.errors import SettingsError

    if transform:
        raise SettingsError(f"the pipeline does not register pairs of images. Leave out --transform {transform}.")


def _register(
    program: "Pipeline",
    folders: list[Path],
    reading: "ReadOptions",
    out: Path,
    workers: int,
    *,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write what moves pairs of images, and the images aligned, and return the exit code."""
    import json

    from evoseg.inference import register as registering

    pairs, found = registering.register_pairs(program, folders, out, workers, reading, overwrite=overwrite), []
    telling = NotePrinter()
    try:
        for one in pairs:
            found.append(one)
            if one.fault:
                _print_errors(telling.lines(one.fault))
    except KeyboardInterrupt as error:
        path = registering.write_transforms(found, out, overwrite=overwrite)
        error.add_note(f"the results so far are in {path}")
        raise
    _print_errors(telling.rest())
    path = registering.write_transforms(found, out, overwrite=overwrite)
    done = [one for one in found if not one.fault]
    if as_json:
        document = {"pipeline": program.digest, path.stem: str(path.absolute()), "pairs": [_pair(one) for one in found]}
        print(json.dumps(document, indent=1))
    else:
        places = {path.stem: path} | {name: out / name for name in (registering.ALIGNED, registering.OVERLAYS)}
        print(f"{len(done)} of {len(found)} pairs registered")
        print("\n".join(f"{name:11s}{place}" for name, place in places.items()))
    return 0 if len(done) == len(found) else 1


def _pair(one: "RegisteredPair") -> dict[str, Any]:
    """Return a pair as the JSON document has it."""
    if one.fault:
        return {"name": one.stem, "fault": one.fault}
    if one.kind == "shift":
        return {"name": one.stem, "dy": one.transform[0, 2], "dx": one.transform[1, 2]}
    return {"name": one.stem, "transform": one.transform.tolist()}


def _print_errors(lines: "Iterable[str]") -> None:
    """Print errors about images on stderr."""
    for line in lines:
        print(f"error: {line}", file=sys.stderr)


class _Watch:
    """Tells on stderr how far the images are, and why some of them failed."""

    def __init__(self, tell: "Tell") -> None:
        from evoseg.cli.progress import BatchProgress

        self.progress = BatchProgress(tell)
        self._telling = NotePrinter()

    def add_result(self, result: "Applied") -> None:
        """Count an image, and say why it failed, unless others will have failed for the same reason."""
        if result.fault and not result.unlike:
            _print_errors(self._telling.lines(result.fault))
        self.progress.add(skipped=result.skipped)

    def rest(self) -> list[str]:
        """Return how many errors of each kind were not printed."""
        return self._telling.rest()


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
        "trust": result.trust,
        "unfamiliar": result.unfamiliar,
        "distance": result.distance,
    }


def _applied_text(found: "list[Applied]", written: dict[str, Path | None], *, trust: bool) -> str:
    done = [result for result in found if not result.fault and not result.skipped]
    skipped = [result for result in found if not result.fault and result.skipped]
    failed = len(found) - len(done) - len(skipped)
    pixels, seconds = sum(r.pixels for r in done), sum(r.seconds for r in done)
    lines = [f"{len(done)} of {len(found)} images segmented"]
    lines[0] += f", {len(skipped)} skipped because they have results" if skipped else ""
    lines[0] += f", {failed} failed (see above)" if failed else ""
    if done:
        share = 100 * sum(r.share * r.pixels for r in done) / pixels
        n_found = sum(r.count or 0 for r in done)
        if done[0].answer.suffix == ".csv":
            lines[0] += f"; {n_found} {'point' if n_found == 1 else 'points'} in {pixels / 1e6:.2f} Mpx"
        else:
            lines[0] += f"; foreground {share:.1f} % of {pixels / 1e6:.2f} Mpx"
            lines[0] += "" if done[0].count is None else f", {n_found} objects"
        lines.append(f"{pixels / 1e6 / max(seconds, 1e-9):.1f} Mpx/s in the pipeline, without reading and writing")
        lines += [*([_trust_text(done)] if trust else []), *_familiarity_text(done)]
    if some := [*done, *skipped]:
        n_folders = some[0].stem.count("/") + 1
        lines += [
            f"results   {some[0].answer.parents[n_folders - 1]}",
            f"overlays  {some[0].overlay.parents[n_folders - 1]}",
        ]
    lines += [f"{name:10s}{path}" for name, path in written.items() if path]
    return "\n".join(lines)


def _trust_text(done: "list[Applied]") -> str:
    """Say how far the results can be trusted, and which ones least."""
    known = sorted((result.trust, result.stem) for result in done if result.trust is not None)
    if not known:
        return (
            "trust     unknown: no other pipeline of the search was found to compare with; name the run, or put its "
            "result.json beside the pipeline"
        )
    least = ", ".join(f"{stem} {value:.2f}" for value, stem in known[:_NAMED])
    return f"trust     mean {sum(value for value, _ in known) / len(known):.2f}; lowest: {least}"


def _familiarity_text(done: "list[Applied]") -> list[str]:
    """Name the images that look unlike those that the pipeline was made for; nothing if that is not known."""
    if all(result.unfamiliar is None for result in done):
        return []
    strange = [result.stem for result in done if result.unfamiliar]
    if not strange:
        return ["familiar  all images look like those that the pipeline was made for"]
    images = "image looks" if len(strange) == 1 else "images look"
    named = name_some(strange, _NAMED)
    return [f"unfamiliar: {len(strange)} {images} unlike those that the pipeline was made for: {named}"]


_DATASET = typer.Argument(metavar="DATASET", help="Folder with images/ and masks/, points/, or pairs/.")
_SPLIT = typer.Option(help="Images to score: test, search, selection, or all (every labelled image).")
_TASK = typer.Option(
    metavar="FILE.py", help="Python file that defines your own task; its code is run.", show_default=False
)
_RADIUS = typer.Option(
    help="Largest distance in px at which points match (default: from the run or dataset.yaml, else 6).",
    show_default=False,
)
_METRIC = typer.Option(
    help="Metric to list per image: iou, dice, mcc ...; ap50 ... for objects (default: that of the run, else the "
    "first).",
    show_default=False,
)
_CLASSES = typer.Option(
    metavar="NAMES",
    help="Classes of annotated outlines that count as objects, by name, separated by commas (default: those of "
    "dataset.yaml, else those of the run, else all).",
    show_default=False,
)


def score(
    pipeline: Annotated[str, _PIPELINE],
    dataset: Annotated[Path, _DATASET],
    split: Annotated[str, _SPLIT] = "test",
    task: Annotated[Path | None, _TASK] = None,
    radius: Annotated[float | None, _RADIUS] = None,
    metric: Annotated[str | None, _METRIC] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    classes: Annotated[str, _CLASSES] = "",
    transform: Annotated[str, TRANSFORM] = "",
    bad_pixels: Annotated[Path | None, BAD_PIXELS] = None,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Score a pipeline on a dataset.

    Prints the mean of every metric, how many objects were missed and how many false alarms there were, and one metric
    image by image. The pipeline's parameters are used as they are; nothing is fitted. In a pipeline for classes, each
    class is scored as foreground.
    """
    import json

    from evoseg.evolve.tasks.task_kinds import check_names, resolve_task
    from evoseg.inference import score as scoring
    from evoseg.inference.multiclass import ClassPipeline, read_program
    from evoseg.metrics import metric_name
    from evoseg.runs.opening import open_to_score
    from evoseg.runs.stored import count_looks, read_metric, read_radius, read_recorded_options

    own = None if task is None else resolve_task(task)
    metric = None if metric is None else metric_name(metric)
    check_names(own or "auto", metric)
    program, reading = read_program(pipeline, allow_code=allow_code)
    reading = chosen(axes, page, channel, series, classes, transform, bad_pixels).or_else(reading)
    data = open_to_score(dataset, reading, read_recorded_options(pipeline))
    if isinstance(program, ClassPipeline):
        _refuse_for_classes(own, radius)
        print(_class_scores(pipeline, program, data, split, metric, as_json=as_json))
        return
    kind = scoring.find_task_kind(program, own)
    if metric is None and (of_run := read_metric(pipeline)) in kind.metrics:
        metric = of_run  # else it is a run of your own task, which --task did not name here
    radius = read_radius(pipeline) if radius is None else radius
    scores = scoring.score(program, data, split, task=own, radius=radius, metric=metric)
    looks = count_looks(pipeline, program.digest, data, scores.per_image)
    if as_json:
        print(json.dumps(_score_document(program, data, scores, looks), indent=1))
    else:
        print(f"{scores}{_looks_text(pipeline, looks)}")


def _refuse_for_classes(own: str | None, radius: float | None) -> None:
    from evoseg.core.errors import SettingsError

    if own is not None or radius is not None:
        raise SettingsError("classes are scored as foreground. Leave out --task and --radius.")


def _score_document(program: "Pipeline", data: "Dataset", scores: "Scores", looks: int | None) -> dict[str, object]:
    from dataclasses import asdict

    from evoseg.inference.score import bootstrap_interval
    from evoseg.metrics.detections import worst_image
    from evoseg.runs.opening import dataset_name

    return {
        "dataset": dataset_name(data),
        "dataset_digest": data.survey.digest,
        "digest": program.digest,
        "split": scores.split,
        "n_images": len(scores.per_image),
        "metric": scores.metric,
        "radius_px": scores.radius,
        "score": scores.score,
        "interval": bootstrap_interval(list(scores.of(scores.metric).values())),
        "all_metrics": scores.mean,
        "per_image": scores.per_image,
        "detections": {stem: asdict(one) for stem, one in scores.detections.items()},
        "worst": worst_image(scores.detections),
        "looks": looks,
    }


def _looks_text(source: str, looks: int | None) -> str:
    """Say how often the test images of a run have been looked at, if these are some."""
    if looks is None:
        return ""
    run = source.rpartition("#")[0] or source
    ending = {1: "st", 2: "nd", 3: "rd"}.get(looks % 10 * (looks // 10 % 10 != 1), "th")
    return (
        f"\nThis is the {looks}{ending} use of the test images of run {run}, including the search. If you "
        "choose a pipeline by such scores, they are no longer held-out scores."
    )


def _class_scores(
    source: str, program: "ClassPipeline", data: "Dataset", split: str, metric: str | None, *, as_json: bool
) -> str:
    import json

    from evoseg.datasets.classes import as_classes
    from evoseg.evolve.tasks.task_kinds import check_names
    from evoseg.inference.multiclass import find_classes_file, mean_over_classes, read_document, score_classes
    from evoseg.metrics import METRIC_LABELS
    from evoseg.runs.opening import dataset_name
    from evoseg.runs.stored import count_looks

    file = find_classes_file(source)
    metric = metric or (read_document(file).get("metric") if file else None) or "iou"
    check_names("binary", metric)
    data = as_classes(data, {part.value: part.name for part in program.parts})
    per_image = score_classes(program, data, split, metric)
    by_class = {name: sum(scores.values()) / len(scores) for name, scores in per_image.items()}
    stems = next(iter(per_image.values()))
    n_images = len(stems)
    looks = count_looks(source, program.digest, data, stems)
    if as_json:
        document = {"dataset": dataset_name(data), "digest": program.digest, "split": split, "n_images": n_images}
        document |= {"looks": looks}
        document |= {
            "metric": metric,
            "score": mean_over_classes(per_image),
            "by_class": by_class,
            "per_image": per_image,
        }
        return json.dumps(document, indent=1)
    lines = [
        f"{dataset_name(data)}: {METRIC_LABELS[metric]} of classes, mean over {n_images} images of the split {split}"
    ]
    lines += [f"  {value:7.3f}  {name}" for name, value in by_class.items()]
    return "\n".join([*lines, f"  {mean_over_classes(per_image):7.3f}  mean of the classes"]) + _looks_text(
        source, looks
    )

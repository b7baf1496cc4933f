"""`spine-landmarks dataset`: its arguments, and each command as a sequence of the library's own steps.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.arguments import ORDERS, positive, slice_index, spacing
from SpineLandmarksLib.cli.team import add_team
from SpineLandmarksLib.errors import SpineLandmarksError, StoreError

if TYPE_CHECKING:
    from SpineLandmarksLib.annotation.revision import Revision
    from SpineLandmarksLib.formats import Reading
    from SpineLandmarksLib.store.store import Store


Parsers = argparse._SubParsersAction
Command = Callable[[argparse.Namespace], int]


def add_dataset(commands: Parsers[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("dataset", help="grow a data set: add, check, split, compare, anonymize, export, import")
    verbs = p.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_making(verbs)
    _add_looking(verbs)
    _add_deciding(verbs)
    _add_files(verbs)
    _add_queue(verbs)
    add_team(verbs, partial(_verb, verbs))


def _verb(
    verbs: Parsers[argparse.ArgumentParser], name: str, run: Command, text: str, dataset: bool = True
) -> argparse.ArgumentParser:
    p = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    if dataset:
        p.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder")
        p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.set_defaults(run=run)
    return p


def _add_making(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "init", _init, "make a data set, of the folder's landmarks.json where it has one")
    p.add_argument("--author", default="imported", metavar="NAME", help="who annotated and signed what is there")
    p = _verb(verbs, "add", _add, "add studies: DICOM, NIfTI and picture trees, or another data set")
    p.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    what = "Tianchi JSON; CSV, markups or results named as their study; a folder of these"
    p.add_argument("--annotations", action="append", default=[], type=Path, metavar="FILE", help=what)
    p.add_argument("--author", default="imported", metavar="NAME", help="of annotations that do not name theirs")
    _add_reading(p)
    p.add_argument("--patient", metavar="REGEX", help="whose first group finds the patient in the path of an image")
    p.add_argument("--spacing", type=spacing, metavar="MM", help="mm per pixel of pictures; X,Y if they differ")
    p.add_argument("--slice", type=slice_index, default=None, metavar="auto|INDEX")
    what = "predicts what is not annotated: current, a bundle, or none (default current)"
    p.add_argument("--bundle", default="current", metavar="NAME_OR_DIR", help=what)


def _add_looking(verbs: Parsers[argparse.ArgumentParser]) -> None:
    _verb(verbs, "check", _check, "look for mistakes; status 1 when there are any")
    _verb(verbs, "status", _status, "say how far the work is")
    p = _verb(verbs, "diff", _diff, "compare two annotators: distances and Bland-Altman limits")
    p.add_argument("annotators", nargs=2, metavar="NAME")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")


def _add_deciding(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "split", _split, "lock a hold-out of patients that no training may see")
    p.add_argument("--holdout", required=True, type=positive, metavar="N", help="patients")
    p.add_argument("--seed", type=int, default=0)
    p = _verb(verbs, "sign-off", _sign_off, "say that the latest landmarks of studies are right")
    p.add_argument("studies", nargs="*", metavar="STUDY", help="default: all that are decided and not signed off")
    p.add_argument("--by", required=True, metavar="NAME")
    p = _verb(verbs, "choose", _choose, "go on from one of several versions of a study")
    p.add_argument("study", metavar="STUDY")
    p.add_argument("revision", metavar="REVISION")
    p.add_argument("--by", required=True, metavar="NAME")


def _add_files(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "export", _export, "write landmarks.json, or everything to a folder of its own")
    p.add_argument("--output", type=Path, metavar="DIR", help="write the whole store there, as plain files")
    p.add_argument("--unsigned", action="store_true", help="also what is decided, but not signed off")
    p = _verb(verbs, "import", _import, "take in an export, revisions, or landmark files named as their study")
    p.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    p.add_argument("--author", default="imported", metavar="NAME", help="of landmark files")
    _add_reading(p)
    p = _verb(verbs, "anonymize", _anonymize, "copy DICOM without the patient, geometry and pixels kept", dataset=False)
    p.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument(
        "--key", type=Path, metavar="FILE", help="secret that gives the same new names again; made if missing"
    )


def _add_reading(p: argparse.ArgumentParser) -> None:
    p.add_argument("--frame", choices=("ras", "lps"), help="of positions in landmark files, whatever they say")
    p.add_argument("--unit", choices=("mm", "cm", "m"), default="mm", help="of these positions (default mm)")


def _reading(options: argparse.Namespace) -> Reading:
    from SpineLandmarksLib.formats import Reading

    return Reading(options.frame and options.frame.upper(), options.unit)


def _add_queue(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "queue", _queue, "list the studies that are most worth correcting next")
    p.add_argument("--count", type=positive, default=10, metavar="N")
    p.add_argument("--bundle", default="current", metavar="NAME_OR_DIR", help="model in doubt (default current)")
    p.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=f"default {ORDERS[0]}")
    p.add_argument("--locked", action="store_true", help="those of the hold-out, which the queue leaves out")
    p.add_argument("--for", dest="annotator", metavar="NAME", help="leave out what others have been given")


def _opened(options: argparse.Namespace, read_only: bool = False) -> Store:
    from SpineLandmarksLib.store.folder import open_dataset

    return open_dataset(options.dataset, options.store, read_only)


def _complain(problems: Sequence[str]) -> int:
    """Tell each problem; the status that the command ends with."""
    for problem in problems:
        print(f"spine-landmarks: {problem}", file=sys.stderr)
    return int(bool(problems))


def _init(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.formats.landmarks_json import FILE_NAME
    from SpineLandmarksLib.store.add import adopt_landmarks
    from SpineLandmarksLib.store.folder import init_dataset

    def fill(store: Store) -> None:
        print(f"Made a data set in {options.dataset}; its store is {store.where}")
        if (options.dataset / FILE_NAME).is_file():
            count = adopt_landmarks(store, options.author)
            print(f"Took in {count} studies of {FILE_NAME}, as annotated and signed off by {options.author}")

    init_dataset(options.dataset, options.store, fill).close()
    return 0


def _add(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.cli.review import require_same_landmarks
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.retraining.registry import current_bundle
    from SpineLandmarksLib.store.add import Adding, AlreadyThere, add_source
    from SpineLandmarksLib.store.annotations import match, read_annotations
    from SpineLandmarksLib.store.find import find_sources
    from SpineLandmarksLib.store.folder import read_folder

    with _opened(options) as store:
        sources = find_sources(options.inputs, read_folder(options.dataset).id, options.patient)
        annotations = [
            one for path in options.annotations for one in read_annotations(path, _reading(options), store.schema)
        ]
        matched, problems = match(annotations, sources)
        if any(one.instance_uid for one in annotations):  # what they name is a slice, and the rest was not looked at
            sources = [source for source in sources if source.key in matched]
        bundle = None if options.bundle == "none" else options.bundle
        todo = [source for source in sources if source.key not in matched and source.annotation is None]
        model = current_bundle(store.folder, bundle) if bundle and todo else None
        if model is not None:
            require_same_landmarks(model, store.schema, "add without a model: --bundle none")
        localizer = Localizer.open(model) if model is not None else None
        how = Adding(options.spacing, options.slice, localizer, options.author)
        added = skipped = 0
        for source in sources:
            try:
                revisions = add_source(store, source, matched.get(source.key, []), how)
                print(f"  {source.key}: {_told(revisions)}")
                added += 1
            except AlreadyThere as error:
                skipped += 1
                print(f"  {error}")
            except SpineLandmarksError as error:
                problems.append(f"{source.key}: {error}")
        status = _complain(problems)
        print(
            f"{added} studies added, {skipped} were there, {len(problems)} problems. "
            f"Next: spine-landmarks dataset check {options.dataset}"
        )
    return status


def _told(revisions: list[Revision]) -> str:
    if not revisions:
        return "no landmarks"
    return "; ".join(
        f"{sum(not mark.is_absent for mark in one.landmarks)} landmarks by {one.author}"
        + (f" ({one.comment})" if one.comment else "")
        for one in revisions
    )


def _check(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.checks import check_dataset

    with _opened(options, read_only=True) as store:
        found = check_dataset(store)
        count = len(store.study_keys())
    for finding in found:
        print(f"{'error' if finding.is_error else 'note '} {finding.text}")
    errors = sum(finding.is_error for finding in found)
    print(f"{count} studies: {errors} errors, {len(found) - errors} notes")
    return int(errors > 0)


def _status(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.checks import status_lines

    with _opened(options, read_only=True) as store:
        print("\n".join(status_lines(store)))
    return 0


def _diff(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.agreement import compare_annotators, table_text, write_difference

    one, other = options.annotators
    with _opened(options, read_only=True) as store:
        compared = compare_annotators(store, one, other, store.schema)
    print(table_text(compared))
    print(f"Written: {', '.join(map(str, write_difference(compared, options.output)))}")
    return 0


def _split(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.splits import HOLDOUT_FILE, holdout, lock
    from SpineLandmarksLib.store.database import now

    with _opened(options, read_only=True) as store:
        studies = store.studies()
        signed = {revision.study for revision in store.signed_off()}
    patients = [study.patient for study in studies]
    _, rows = holdout(patients, options.holdout, options.seed)
    locked = {patients[row] for row in rows}
    lock(options.dataset, sorted(locked), seed=options.seed, locked=now())
    done = sum(study.patient in locked and study.key in signed for study in studies)
    print(
        f"Locked {len(locked)} patients with {len(rows)} studies, {done} of them signed off, in "
        f"{options.dataset / HOLDOUT_FILE}. No training takes them from now on"
    )
    return 0


def _sign_off(options: argparse.Namespace) -> int:
    """All that are named, or all that can be; those that cannot be are told."""
    from SpineLandmarksLib.store.checks import misreadings
    from SpineLandmarksLib.store.export import refresh_training_file

    with _opened(options) as store:
        signed = {revision.study for revision in store.signed_off()}
        chosen = options.studies or [key for key in store.study_keys() if key not in signed]
        done, problems = 0, []
        for key in chosen:
            try:
                head = store.head(store.study(key).key)
                if head is None or (not options.studies and head.is_prediction):
                    continue
                if not options.studies and head.undecided:
                    print(f"  {key}: waits for a word on {', '.join(head.undecided)}")
                    continue
                doubts = misreadings(store, [head])
                problems += doubts
                if options.studies or not doubts:  # who names a study has looked at it
                    store.sign_off(head.id, options.by)
                    done += 1
            except StoreError as error:
                problems.append(str(error))
        refresh_training_file(store)
    status = _complain(problems)
    print(f"{done} studies signed off by {options.by}")
    return status


def _choose(options: argparse.Namespace) -> int:
    with _opened(options) as store:
        dropped = store.choose(options.study, options.revision, options.by)
    print(f"{options.study} goes on from {options.revision}; set aside: {', '.join(dropped) or 'nothing'}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.cli.retrain import user_name
    from SpineLandmarksLib.formats.atomic import write_text_atomically
    from SpineLandmarksLib.store.audit import log_now, log_text
    from SpineLandmarksLib.store.checks import misreadings
    from SpineLandmarksLib.store.export import export, write_training_file

    with _opened(options) as store:
        revisions = store.signed_off()
        if options.unsigned:
            every = [store.heads(key) for key in store.study_keys()]
            revisions = [ends[0] for ends in every if len(ends) == 1 and not ends[0].undecided]
        _complain(misreadings(store, revisions))
        log_now(store, user_name(), "exported", detail=f"{len(revisions)} studies")
        if options.output is None:
            print(f"Written: {write_training_file(store, revisions)}, {len(revisions)} studies")
        else:
            count = export(store, options.output, revisions)
            write_text_atomically(options.output / "log.csv", log_text(store))
            print(
                f"Written to {options.output}: {count} studies with all their revisions, landmarks.json with "
                f"{len(revisions)} studies"
            )
    return 0


def _import(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.export import refresh_training_file
    from SpineLandmarksLib.store.import_files import import_files

    with _opened(options) as store:
        problems = []
        for path in options.paths:
            try:
                for line in import_files(store, path, options.author, _reading(options)):
                    print(line)
            except SpineLandmarksError as error:
                problems.append(str(error))
        refresh_training_file(store)
    return _complain(problems)


def _anonymize(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.imaging.anonymize import anonymize, read_key

    done = anonymize(options.inputs, options.output, read_key(options.key))
    status = _complain([f"left out {text}" for text in done.left_out])
    for text in done.warnings:
        print(f"  warning: {text}")
    print(f"{len(done.written)} images written to {options.output}, {len(done.left_out)} files left out")
    return status


def _queue(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.retraining.queue import by_chance, by_doubt, by_gain, waiting_studies
    from SpineLandmarksLib.retraining.registry import current_bundle

    with _opened(options, read_only=True) as store:
        waiting = waiting_studies(store, options.locked, options.annotator)
        if options.order == "random" or options.locked:  # a hold-out is no sample if its order follows a model
            places = by_chance(store, waiting, options.locked)
        elif options.order == "doubt":
            places = by_doubt(store, waiting)
        else:
            localizer = Localizer.open(current_bundle(store.folder, options.bundle))
            places = by_gain(store, waiting, localizer, options.count)
        for number, place in enumerate(places[: options.count], start=1):
            print(f"{number:3}  {place.key:24} {place.reason}")
        print(f"{len(waiting)} studies wait")
    return 0

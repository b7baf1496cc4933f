"""What the commands of `spine-landmarks dataset` do, as sequences of the library's own steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from SpineLandmarksLib.dataset.add import Adding, AlreadyThere, add_source
from SpineLandmarksLib.dataset.annotations import match, read_annotations
from SpineLandmarksLib.dataset.find import Source, find_sources
from SpineLandmarksLib.errors import SpineLandmarksError, StoreError
from SpineLandmarksLib.formats.landmarks_json import FILE_NAME, read_landmarks_json
from SpineLandmarksLib.review.doubt import UNREVIEWED
from SpineLandmarksLib.review.folder import init_dataset, open_dataset, read_folder
from SpineLandmarksLib.review.models import current_bundle
from SpineLandmarksLib.review.plain_files import write_training_file
from SpineLandmarksLib.review.revision import Revision, study_key_of
from SpineLandmarksLib.review.store import Store


@contextmanager
def opened(options: argparse.Namespace, read_only: bool = False) -> Iterator[Store]:
    store = open_dataset(options.dataset, options.store, read_only)
    try:
        yield store
    finally:
        store.close()


def init(options: argparse.Namespace) -> int:
    store = init_dataset(options.dataset, options.store)
    try:
        print(f"Made a data set in {options.dataset}; its store is {store.where}")
        if (options.dataset / FILE_NAME).is_file():
            _adopt(store, options.author)
    finally:
        store.close()
    return 0


def _adopt(store: Store, author: str) -> None:
    """Take in what was trained on already: pictures where they lie, landmarks as signed off."""
    rows = read_landmarks_json(store.folder)
    for row in rows:
        source = Source(row.image, study_key_of(row.image.stem), row.group, annotation=row)
        (revision,) = add_source(store, source, [], Adding(author=author, in_place=True))
        store.sign_off(revision.id, author)
    print(f"Took in {len(rows)} studies of {FILE_NAME}, as annotated and signed off by {author}")


def add(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.predict import Localizer

    with opened(options) as store:
        sources = find_sources(options.inputs, read_folder(options.dataset).id, options.patient)
        annotations = [one for path in options.annotations for one in read_annotations(path)]
        matched, problems = match(annotations, sources)
        if any(one.instance_uid for one in annotations):  # what they name is a slice, and the rest was not looked at
            sources = [source for source in sources if source.key in matched]
        bundle = None if options.bundle == "none" else options.bundle
        todo = [source for source in sources if source.key not in matched and source.annotation is None]
        localizer = Localizer.open(current_bundle(store.folder, bundle)) if bundle and todo else None
        how = Adding(options.spacing, options.slice, localizer, options.author)
        added = skipped = 0
        for source in sources:
            try:
                revisions = add_source(store, source, matched.get(source.key, []), how)
            except AlreadyThere as error:
                skipped += 1
                print(f"  {error}")
                continue
            except SpineLandmarksError as error:
                problems.append(f"{source.key}: {error}")
                continue
            added += 1
            print(f"  {source.key}: {_told(revisions)}")
        for problem in problems:
            print(f"spine-landmarks: {problem}", file=sys.stderr)
        print(
            f"{added} studies added, {skipped} were there, {len(problems)} problems. "
            f"Next: spine-landmarks dataset check {options.dataset}"
        )
    return int(bool(problems))


def _told(revisions: list[Revision]) -> str:
    if not revisions:
        return "no landmarks"
    return "; ".join(
        f"{sum(not mark.is_absent for mark in one.landmarks)} landmarks by {one.author}"
        + (f" ({one.comment})" if one.comment else "")
        for one in revisions
    )


def check(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.checks import check_dataset

    with opened(options, read_only=True) as store:
        found = check_dataset(store)
        count = len(store.studies())
    for finding in found:
        print(f"{'error' if finding.is_error else 'note '} {finding.text}")
    errors = sum(finding.is_error for finding in found)
    print(f"{count} studies: {errors} errors, {len(found) - errors} notes")
    return int(errors > 0)


def status(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.status import status_lines

    with opened(options, read_only=True) as store:
        print("\n".join(status_lines(store)))
    return 0


def diff(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.agreement import table_text
    from SpineLandmarksLib.dataset.diff import compare_annotators, write_difference

    with opened(options, read_only=True) as store:
        compared = compare_annotators(store, *options.annotators)
    print(table_text(compared))
    print(f"Written: {', '.join(map(str, write_difference(compared, options.output)))}")
    return 0


def split(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.review.history import now
    from SpineLandmarksLib.training.folds import holdout
    from SpineLandmarksLib.training.locked import FILE, lock

    with opened(options, read_only=True) as store:
        studies = store.studies()
        signed = {revision.study for revision in store.signed_off()}
    patients = [study.patient for study in studies]
    _, rows = holdout(patients, options.holdout, options.seed)
    locked = {patients[row] for row in rows}
    lock(options.dataset, sorted(locked), seed=options.seed, locked=now())
    done = sum(study.patient in locked and study.key in signed for study in studies)
    print(
        f"Locked {len(locked)} patients with {len(rows)} studies, {done} of them signed off, in "
        f"{options.dataset / FILE}. No training takes them from now on"
    )
    return 0


def sign_off(options: argparse.Namespace) -> int:
    """All that are named, or all that can be; those that cannot be are told."""
    with opened(options) as store:
        signed = {revision.study for revision in store.signed_off()}
        chosen = options.studies or [study.key for study in store.studies() if study.key not in signed]
        done, problems = 0, []
        for key in chosen:
            try:
                head = store.head(store.study(key).key)
                if head is None or (not options.studies and _is_open(head)):
                    continue
                store.sign_off(head.id, options.by)
                done += 1
            except StoreError as error:
                problems.append(str(error))
        _refresh(store)
    for problem in problems:
        print(f"spine-landmarks: {problem}", file=sys.stderr)
    print(f"{done} studies signed off by {options.by}")
    return int(bool(problems))


def _is_open(revision: Revision) -> bool:
    return any(mark.status in UNREVIEWED for mark in revision.landmarks)


def choose(options: argparse.Namespace) -> int:
    with opened(options) as store:
        dropped = store.choose(options.study, options.revision, options.by)
    print(f"{options.study} goes on from {options.revision}; set aside: {', '.join(dropped) or 'nothing'}")
    return 0


def export(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.review import plain_files

    with opened(options) as store:
        revisions = store.signed_off()
        if options.unsigned:
            revisions = [ends[0] for ends in map(store.heads, _keys(store)) if len(ends) == 1 and not _is_open(ends[0])]
        if options.output is None:
            print(f"Written: {write_training_file(store, revisions)}, {len(revisions)} studies")
        else:
            count = plain_files.export(store, options.output, revisions)
            print(
                f"Written to {options.output}: {count} studies with all their revisions, landmarks.json with "
                f"{len(revisions)} studies"
            )
    return 0


def _keys(store: Store) -> list[str]:
    return [study.key for study in store.studies()]


def import_(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.take_in import take_in

    with opened(options) as store:
        problems = []
        for path in options.paths:
            try:
                for line in take_in(store, path, options.author):
                    print(line)
            except SpineLandmarksError as error:
                problems.append(str(error))
        _refresh(store)
    for problem in problems:
        print(f"spine-landmarks: {problem}", file=sys.stderr)
    return int(bool(problems))


def anonymize(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset import anonymize as anonymizing

    done = anonymizing.anonymize(options.inputs, options.output, anonymizing.read_key(options.key))
    for text in done.left_out:
        print(f"spine-landmarks: left out {text}", file=sys.stderr)
    for text in done.doubts:
        print(f"  warning: {text}")
    print(f"{len(done.written)} images written to {options.output}, {len(done.left_out)} files left out")
    return int(bool(done.left_out))


def queue(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset import queue_commands

    return queue_commands.queue(options)


def simulate(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset import queue_commands

    return queue_commands.simulate(options)


def _refresh(store: Store) -> None:
    """landmarks.json says what is signed off."""
    revisions = store.signed_off()
    if revisions or (store.folder / FILE_NAME).exists():
        write_training_file(store, revisions)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "add": add,
    "check": check,
    "status": status,
    "diff": diff,
    "split": split,
    "sign-off": sign_off,
    "choose": choose,
    "export": export,
    "import": import_,
    "anonymize": anonymize,
    "queue": queue,
    "simulate": simulate,
}

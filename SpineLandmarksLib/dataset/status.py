"""Where a data set stands, in lines for people."""

from __future__ import annotations

from collections import Counter
from statistics import median

from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.unsaved import waiting
from SpineLandmarksLib.training.locked import locked_patients


def status_lines(store: Store) -> list[str]:
    """Counts of studies by how far they are, the hold-out, who has what, and the time it took."""
    studies = store.studies()
    ends = {study.key: store.heads(study.key) for study in studies}
    signed = {revision.study for revision in store.signed_off()}
    locked = locked_patients(store.folder)
    by_people = {key for key, heads in ends.items() if any(not is_prediction(head) for head in heads)}
    predicted = {key for key, heads in ends.items() if heads} - by_people
    held_out = [study for study in studies if study.patient in locked]
    lines = [
        f"{len(studies)} studies of {len({study.patient for study in studies})} patients in {store.where}",
        f"  signed off   {len(signed)}",
        f"  annotated    {len(by_people - signed)}, not signed off",
        f"  predicted    {len(predicted)}",
        f"  untouched    {len(studies) - len(by_people) - len(predicted)}",
        f"  locked       {len(held_out)} studies of {len(locked)} patients, "
        f"{sum(study.key in signed for study in held_out)} of them signed off",
    ]
    forks = [key for key, heads in ends.items() if len(heads) > 1]
    if forks:
        lines.append(f"  forked       {len(forks)}, choose one version of each: {', '.join(forks[:5])}")
    lines += [f"  waiting      {file}" for file, _ in waiting(store.folder)]
    assigned = Counter(store.assignments().values())
    lines += [f"{name} has {count} studies" for name, count in sorted(assigned.items())]
    return lines + _time_lines(store)


def is_prediction(revision: Revision) -> bool:
    """A model's work, not a person's."""
    return revision.author == revision.source_model


def seconds_by_study(store: Store) -> dict[str, float]:
    """What people spent on each study that they saved, in all its revisions."""
    spent: dict[str, float] = {}
    for study in store.studies():
        revisions = [one for one in store.history(study.key) if not is_prediction(one)]
        if revisions:
            spent[study.key] = sum(one.seconds_spent for one in revisions)
    return spent


def _time_lines(store: Store) -> list[str]:
    spent = [seconds for seconds in seconds_by_study(store).values() if seconds > 0]
    if not spent:
        return []
    return [f"Correcting took {sum(spent) / 60:.0f} min for {len(spent)} studies, {median(spent):.0f} s in the median"]

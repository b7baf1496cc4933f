"""What an annotator does, without a browser: take a study, correct it, sign it off, take the next.

Nothing here waits. Saving, reading and the model run elsewhere; `poll`, some times a second, takes what is done. All
texts are for people.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import REVISIONS
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.wording import still_true
from SpineLandmarksLib.errors import LandmarkError, SpineLandmarksError, StoreError
from SpineLandmarksLib.landmarks import UNREVIEWED, LandmarkSet
from SpineLandmarksLib.store.accounts import Account, accounts, find_account, one_of
from SpineLandmarksLib.store.checks import implausible
from SpineLandmarksLib.store.doubt import StudyDoubts, most_doubtful_first
from SpineLandmarksLib.store.exclusions import exclude_study, exclusions
from SpineLandmarksLib.store.export import refresh_training_file
from SpineLandmarksLib.store.folder import read_beside
from SpineLandmarksLib.store.readings import assign_readers, mark_gold, reopen_study, sign_study, standing
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.work import TeamWork, team_work
from SpineLandmarksLib.web.open_study import OpenStudy, StudyLoader
from SpineLandmarksLib.web.presence import Presence
from SpineLandmarksLib.web.saver import Saver
from SpineLandmarksLib.web.studies import Listing, listing
from SpineLandmarksLib.web.telling_thread import TellingThread
from SpineLandmarksLib.worker.localization import JobResult, LocalizationJob, LocalizationService

#: Between two looks at what others have done.
REFRESH_S = 4.0
#: After a study has opened, before work in the background begins: its picture comes first.
PICTURE_S = 0.5
#: Of the time, the part that may go into writing the training file, which holds every study.
TRAINING_FILE_SHARE = 0.05


@dataclass(frozen=True)
class Notification:
    """kind: info, warning or error. about: what was tried; an empty text about it means that it went well since."""

    text: str
    kind: str = "info"
    about: str = ""


class ReviewController:
    """store: of the data set. on_open: called with the session and its study whenever another one is shown, or with
    None; on_notify: with each text for the person; on_found: with the slice on which the model has found landmarks.
    locked: review the hold-out. order: of review, as soon as it is known. by_doubt: what the model doubts comes first,
    where no order is known. localizes: run the model on a study that has
    no landmarks yet, when it opens. on_done: called in any thread when there is something for `poll`.
    """

    def __init__(
        self,
        store: Store,
        localization: LocalizationService,
        on_open: Callable[[Session | None, OpenStudy | None], None] = lambda session, opened: None,
        on_notify: Callable[[Notification], None] = lambda notification: None,
        on_found: Callable[[int], None] = lambda index: None,
        locked: bool = False,
        clock: Callable[[], float] = time.monotonic,
        order: Future[list[str]] | None = None,
        localizes: bool = False,
        by_doubt: bool = False,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._localizes, self._to_localize, self._by_doubt = localizes, "", by_doubt
        self.store, self.localization, self.locked = store, localization, locked
        self._on_open, self._on_notify, self._on_found = on_open, on_notify, on_found
        self._threads = TellingThread("store", on_done)  # one thing at a time: a save comes before the sign-off of it
        self.saver = Saver(store.save, self._threads, store.folder, clock)
        self.loader = StudyLoader(store, "", on_done)
        self.annotator = ""
        self.account = Account("", None)
        self.people: tuple[str, ...] = ()
        self.listing = Listing()
        self._study_doubts = StudyDoubts()
        self._order: tuple[str, ...] = ()
        self.opened: OpenStudy | None = None
        self.session: Session | None = None
        self._clock = clock
        self._waiting: list[tuple[Future[Any], Callable[[Any], None]]] = []
        self._unreadable: set[str] = set()
        self._next_refresh = self._looked_at = self._next_training_file = 0.0
        self._is_taking = False
        if order is not None and order.done() and not order.exception():
            self._order = tuple(order.result())
        elif order is not None:
            self._waiting.append((order, self._take_order))
        self._to_sign: list[Session] = []
        self._signing: dict[Future[Any], Session] = {}
        self._problems: tuple[str, ...] = ()
        self._overtaken_by = ""
        self._seen_beside: dict[str, tuple[str, ...]] = {}
        self._reading = ""
        self._said: tuple[str, ...] = ()
        self._aside = TellingThread("training file", on_done)  # which nobody waits for: it holds every study
        self._is_training_file_old = False
        self._presence = Presence(store)

    # Beginning and end

    def begin(self, annotator: str) -> None:
        """Say who annotates, and take the first study."""
        name = " ".join(annotator.split())
        if not name:
            raise LandmarkError("Expected the name of the person who annotates; got none. Enter a name first")
        self.annotator = self.loader.annotator = name
        self._waiting.append((self._aside.submit(self._presence.claim, name), self._take_claim))
        if self.session is not None:
            self.session.author = name
        else:
            self.take_next()

    def close(self) -> str:
        """End threads and worker. What is not saved yet is written first; words for what the store does not take."""
        self.localization.close()
        self.loader.close()
        self._threads.shutdown(wait=True)
        self._aside.shutdown(wait=True)
        self.saver.finish()
        unsigned = self._sign_at_the_end()
        if self._is_training_file_old:
            with contextlib.suppress(Exception):
                refresh_training_file(self.store)
        self._presence.close()
        return (unsigned + self._left_words).strip()

    @property
    def _left_words(self) -> str:
        folders = sorted({str(file.parent) for _, file in self.saver.left if file is not None})
        if not folders:
            return ""
        return (
            f"The store did not take the last {len(self.saver.left)} steps. Nothing is lost: they lie in "
            f"{', '.join(folders)}. Go on with: spine-landmarks dataset import {self.store.folder} {folders[0]}/*.json"
        )

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way but a job of the model."""
        return bool(self._waiting) or not self.saver.is_idle or self._is_training_file_old

    def poll(self) -> bool:
        """Take what has happened since the last call; whether anything has."""
        changed = self.saver.poll()
        for note in self.saver.take_notes():
            self._notify(note, "warning")
        ready = [(future, then) for future, then in self._waiting if future.done()]
        for item in ready:
            self._waiting.remove(item)
            self._finish(*item)
        end = self.localization.poll()
        if end is not None:
            self._take_end(end)
        self._localize_what_opened()
        for session in [one for one in self._to_sign if one.is_saved]:
            self._to_sign.remove(session)
            others = self._seen_beside.get(session.study, ())
            future = self._ask(self._write_sign_off, self._signed_off, session.parent, session.study, others)
            self._signing[future] = session
        self._renew_training_file()
        self._look_around()
        return bool(changed or ready or end or self.localization.job)

    def _renew_training_file(self) -> None:
        is_due = self._is_training_file_old and self._clock() >= self._next_training_file
        if is_due and not self._is_taking and not self._signing:
            self._is_training_file_old = False
            self._waiting.append((self._aside.submit(_write_training_file, self.store, self._clock), self._written))

    def _localize_what_opened(self) -> None:
        job = self.localization.job
        if self.session is None or self._to_localize != self.session.study:
            return
        if self.session.events:  # somebody was faster
            self._to_localize = ""
        elif job is None:
            self._to_localize = ""
            with self._told():
                self._start(is_again=False)
        elif job.subject is not self.opened:  # nobody waits for it any more
            self.localization.cancel()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SpineLandmarksError as error:
            self._notify(str(error), "error")

    def _look_around(self) -> None:
        """See from time to time what others have done, and take what has come when there was nothing."""
        if self.annotator and self._clock() >= self._next_refresh and len(self._waiting) < 2:
            self._looked_at = self._clock()
            self._next_refresh = self._looked_at + REFRESH_S
            self.refresh()
            if self.session is None and self._to_do():
                self.take_next()

    @property
    def is_opening(self) -> bool:
        """Whether another study is on its way."""
        return self._is_taking

    def refresh(self) -> None:
        """Look what others have done."""
        opened = self.opened if self.opened and self.opened.view == "main" and self.saver.is_idle else None
        self._ask(self._look, self._take_look, opened, self.session.parent if self.session else None)

    def _look(self, opened: OpenStudy | None, parent: str | None) -> tuple[list[str], Listing, Revision | None]:
        problems = read_beside(self.store)
        known = accounts(self.store)
        self.people = tuple(one.name for one in known)
        self.account = one_of(known, self.annotator)
        heads = self.store.heads(opened.study.key) if opened else []
        unknown = [head for head in heads if opened and head.id not in (parent, *opened.others)]
        return problems, self._listed(), unknown[-1] if unknown else None

    def _listed(self) -> Listing:
        doubts = self._study_doubts.read(self.store)
        order = self._order or (most_doubtful_first(doubts) if self._by_doubt else ())
        return listing(self.store, self.annotator, order, self.locked, doubts)

    # Studies

    def take_next(self) -> None:
        """Open the next study that nobody else has; the current one is left as it is."""
        if self._is_taking or not self.annotator:
            return
        self._is_taking = True
        before = self.opened.study.key if self.opened else None
        self._ask(self._take_from_store, self._taken, before, self._untouched)

    def open(self, key: str) -> None:
        """Open a study of the list, if nobody else has it."""
        if self._is_taking or not self.annotator or (self.opened and self.opened.study.key == key):
            return
        self._is_taking = True
        self._ask(self._take_one, lambda key: self._taken((None, key)), key, self._untouched)

    def reopen(self, reason: str = "") -> None:
        """Let the open study be changed although it is signed off. Where there are accounts, a lead has to, with a
        reason, and the study is told to be open when the store has it.
        """
        session = self._open_session()
        if self.account.role is not None:
            whose = self.annotator if self.opened and self.opened.view == "own" else ""
            arguments = (self.store, session.study, self.annotator, reason, whose)
            self._is_training_file_old = True
            self._ask(reopen_study, lambda _: self._reopened(session), *arguments)
        else:
            self._reopened(session)

    def _reopened(self, session: Session) -> None:
        session.seal = ""
        self._to_sign = [one for one in self._to_sign if one is not session]
        self._ask(self.store.take, lambda key: self.refresh(), [session.study], self.annotator)

    @property
    def _untouched(self) -> str | None:
        """The open study, where nobody has worked on it yet: it need not be kept for this annotator."""
        if self.session is None or self.session.is_reviewed:
            return None
        return self.session.study if self.session.is_saved and not self.session.comment else None

    def sign_off(self) -> None:
        """Say that the current study is right, and go on to the next. Raises LandmarkError while one is undecided."""
        session = self._open_session()
        if self.undecided:
            raise LandmarkError(
                "Expected each landmark confirmed, corrected or marked as not visible; still to "
                f"decide: {', '.join(self.undecided)}"
            )
        if not session.events and session.parent is None:
            raise LandmarkError("Expected landmarks to sign off; nothing was done yet")
        session.seal = self.annotator
        self._to_sign.append(session)

    def implausible(self) -> list[str]:
        """What makes no sense in the points of the open study."""
        assert self.opened is not None
        return implausible(self.opened.study, self._open_session().current)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to be known of the open study, as long as it is true."""
        if self.opened is None or self.session is None:
            return ()
        given = [row.words for row in self.listing.rows if row.key == self.session.study and row.state == "given"]
        others = [f"This study is {words} now. What you change is kept beside theirs" for words in given]
        return (*others, *self.opened.notes, *still_true(self._said, self.session.to_review(), self.session.names))

    @property
    def undecided(self) -> list[str]:
        """Of the open study: landmarks, and corners in which its readers differ, that nobody has decided on."""
        if self.session is None or self.opened is None:
            return []
        asked = {*self.session.names, *self.opened.disputed}
        return [mark.name for mark in self.session.points if mark.name in asked and mark.status in UNREVIEWED]

    @property
    def is_decided(self) -> bool:
        """Whether the open study can be signed off."""
        return self.session is not None and not self.session.seal and not self.undecided

    def add(self, path: Path, ingest_upload: Callable[[Store, Path], str]) -> None:
        """Take in an uploaded file and open it; `ingest_upload` returns the study's key."""
        self._ask(ingest_upload, self._added, self.store, path)

    # What a lead does, and what leaves a study out

    def assign(self, people: Sequence[str], arbiter: str) -> None:
        """Give the open study to several readers, who do not see each other's points."""
        key = self._open_session().study
        arguments = (self.store, key, people, self.annotator, arbiter)
        self._ask(assign_readers, lambda _: self._gone(f"{key} is given to {' and '.join(people)}"), *arguments)

    def choose_gold(self) -> None:
        """Have every reader get the open study as if it were new."""
        key = self._open_session().study
        self._ask(mark_gold, lambda _: self._told_of(f"{key} is a gold case"), self.store, key, self.annotator)

    def exclude(self, reason: str) -> None:
        """Leave the open study out, and go on to the next."""
        key = self._open_session().study
        self._is_training_file_old = True
        self._ask(exclude_study, lambda _: self._gone(f"{key} is left out"), self.store, key, self.annotator, reason)

    def _gone(self, words: str) -> None:
        self._told_of(words)
        self.take_next()

    def _told_of(self, words: str) -> None:
        self._notify(words)
        self.refresh()

    def ask_for_work(self, then: Callable[[TeamWork], None]) -> None:
        """How much is done, by whom; comes later."""
        self._ask(lambda: team_work(self.store, set(self.store.signed_heads())), then)

    # The model

    def localize(self) -> None:
        """Find all landmarks anew, as one step, or for the first time. Raises LandmarkError and BackendError."""
        self._start(is_again=False)

    def relocalize(self) -> None:
        """Find those that no person has spoken of, around the others."""
        self._start(is_again=True)

    def _start(self, is_again: bool) -> None:
        session, opened = self._open_session(), self.opened
        session.require_unsealed()
        self._to_localize = ""
        assert opened is not None
        if self.localization.job is not None:
            raise LandmarkError("Expected one study at a time for the model; it is still at work. Wait, or cancel it")
        if opened.path is None:
            raise LandmarkError(
                "Expected the image as it was annotated, to run the model on; it has changed or is not "
                "there. The points can be corrected by hand"
            )
        self._at_start = session.current
        spacing_mm, given = None if opened.study.source else opened.study.spacing_mm, session.given()
        job = LocalizationJob(opened, is_again)
        self.localization.start(job, opened.path, spacing_mm=spacing_mm, given=given if is_again else None)

    def _take_end(self, end: JobResult) -> None:
        opened: OpenStudy = end.job.subject
        if end.landmarks is not None:
            found = replace(end.landmarks, input=opened.study.image, series_uid=opened.study.series_uid)
            end = replace(end, landmarks=found)
        if end.landmarks is None and (end.error or self.opened is opened):
            self._notify(end.error or "Cancelled; nothing was changed", "error" if end.error else "info")
        elif end.landmarks is None:  # nobody waits for it any more
            return
        elif self.opened is not opened or self.session is None:
            self._notify(f"The model is done with {opened.study.key}, which is no longer open. Nothing was changed")
        elif self.session.seal:
            self._notify(f"The model is done with {opened.study.key}, which is signed off. Nothing was changed")
        elif end.job.is_again or self.session.events or opened.landmarks is not None:
            self.session.merge_relocalized(end.landmarks, not end.job.is_again, self._at_start)
        else:
            self._begin_with(opened, end.landmarks)
        if end.landmarks is not None and self.opened is not None and self.opened.study.key == opened.study.key:
            self._said = end.landmarks.warnings
            if end.landmarks.slice_index is not None:
                self._on_found(end.landmarks.slice_index)

    def _begin_with(self, opened: OpenStudy, found: LandmarkSet) -> None:
        """The first landmarks of a study: the model's word is a revision of its own."""
        prediction = Revision(opened.study.key, found.bundle or "model", utc_now(), found, opened.study.reference)
        self._show(replace(opened, landmarks=found), opened.session(self.annotator, found), prediction)

    # Inside

    def _open_session(self) -> Session:
        if self.session is None:
            raise LandmarkError("Expected an open study; there is none. Choose one in the list")
        return self.session

    def _notify(self, text: str, kind: str = "info", about: str = "") -> None:
        self._on_notify(Notification(text, kind, about))

    def _ask(self, work: Callable[..., Any], then: Callable[[Any], None], *arguments: Any) -> Future[Any]:
        future = self._threads.submit(work, *arguments)
        self._waiting.append((future, then))
        return future

    def _finish(self, future: Future[Any], then: Callable[[Any], None]) -> None:
        signed = self._signing.pop(future, None)
        about = f"{getattr(then, '__name__', '')} {signed.study if signed else ''}"
        try:
            then(future.result())
            self._notify("", about=about)
        except Exception as error:  # whatever it was: the next study can be taken
            self._is_taking = False
            is_ours = isinstance(error, SpineLandmarksError)
            told = str(error) if is_ours else f"This is a fault of the program; please report it: {error!r}"
            self._notify(told, "error", about)
            if then == self._read:  # it is passed over from now on, and kept for nobody
                self._unreadable.add(self._reading)
                self._threads.submit(self.store.release, self._reading)
            if signed is not None:
                signed.seal = ""

    def _take_order(self, keys: list[str]) -> None:
        self._order = tuple(keys)
        self.refresh()

    def _take_claim(self, is_alone: bool) -> None:
        if not is_alone:
            self._notify(
                f"{self.annotator} works on this data set elsewhere, too. Under one name both are given the same "
                "studies: end the other reviewer, or use another name",
                "warning",
            )

    def _take_look(self, found: tuple[list[str], Listing, Revision | None]) -> None:
        problems, self.listing, other = found
        if other is not None:
            self._overtaken(other)
        if tuple(problems) != self._problems:  # each is told once
            self._problems = tuple(problems)
            self._notify("; ".join(problems), "warning", about=REVISIONS)
        took = self._clock() - self._looked_at  # thousands of studies are looked at less often
        self._next_refresh = max(self._next_refresh, self._clock() + 10 * min(took, REFRESH_S))

    def _overtaken(self, other: Revision) -> None:
        """Go on from what was saved elsewhere, or show both where it does not follow what was saved here."""
        is_late = self._is_taking or not self.saver.is_idle or other.id == self._overtaken_by
        if is_late or self.session is None or self.session.study != other.study or self.session in self._to_sign:
            return
        self._overtaken_by = other.id
        self._is_taking = True
        self._reading = other.study
        self._waiting.append((self.loader.read(other.study), self._read))
        self._notify(f"{other.author} has saved {other.study} elsewhere; it is shown as it is now")

    def _to_do(self, after: str | None = None) -> list[str]:
        return [key for key in self.listing.to_do(after) if key not in self._unreadable]

    def _take_from_store(self, before: str | None, untouched: str | None) -> tuple[Listing | None, str | None]:
        """In the order that was seen last: to list thousands anew takes longer than all the rest."""
        self.account = find_account(self.store, self.annotator)
        found, key = None, self._take_first(self._to_do(before))
        if key is None:
            found = self._listed()
            key = self._take_first([key for key in found.to_do(before) if key not in self._unreadable])
        if key is not None and untouched is not None:
            self.store.release(untouched)
        return found, key

    def _take_first(self, order: list[str]) -> str | None:
        """The first that waits still; what others have done since the list was made is passed over."""
        while order:
            key = self.store.take(order, self.annotator)
            if key is None or not (self._is_done(key) or key in exclusions(self.store)):
                return key
            self.store.release(key)
            order = [one for one in order if one != key]
        return None

    def _is_done(self, key: str) -> bool:
        seen = standing(self.store, key, self.annotator)
        heads = self.store.heads(key) if seen.view == "main" else []
        return bool(seen.signed_by) or (len(heads) == 1 and bool(self.store.signed_by(heads[0].id)))

    def _take_one(self, key: str, untouched: str | None) -> str:
        self.account = find_account(self.store, self.annotator)
        is_main = standing(self.store, key, self.annotator).view == "main"
        is_done = is_main and self._is_done(key)  # to look at it is not to take it
        if not is_done and self.store.take([key], self.annotator) is None:
            raise LandmarkError(f"{key} is with {self.store.assignments().get(key, 'somebody else')}. Take another one")
        if untouched is not None:
            self.store.release(untouched)
        return key

    def _taken(self, found: tuple[Listing | None, str | None]) -> None:
        listed, key = found
        self.listing = listed or self.listing
        if key is None:
            self._is_taking = False
            if self.listing.rows:
                self._notify(
                    "No other study waits for you"
                    if self.opened
                    else "No study waits: all are signed off, or with others"
                )
            return
        self._waiting.append((self.loader.read(key), self._read))
        self._reading = key

    def _read(self, opened: OpenStudy) -> None:
        self._is_taking = False
        self._show(opened, opened.session(self.annotator))
        self._said = opened.landmarks.warnings if opened.landmarks else ()
        self._to_localize = opened.study.key if self._localizes and not opened.landmarks and opened.path else ""
        self._next_refresh = self._clock() + PICTURE_S
        self._next_training_file = max(self._next_training_file, self._next_refresh)
        following = self._to_do(after=opened.study.key)
        if following:
            self.loader.preload(following[0])

    def _show(self, opened: OpenStudy, session: Session, prediction: Revision | None = None) -> None:
        self.opened, self.session = opened, session
        self._seen_beside[opened.study.key] = opened.others
        self.saver.watch(session, opened.study.reference, prediction, opened.history)
        self._on_open(session, opened)

    def _write_sign_off(self, revision: str, key: str, others: Sequence[str]) -> tuple[str, str]:
        words = sign_study(self.store, revision, self.annotator, others)
        self.store.release(key)
        return key, words

    def _sign_at_the_end(self) -> str:
        """Sign off what was still to be; words for what the store does not take."""
        failed = [session.study for future, session in self._signing.items() if future.exception()]
        self._is_training_file_old |= bool(self._signing or self._to_sign)
        for session in self._to_sign:
            try:
                if session.parent is None or not session.is_saved:
                    raise StoreError("Expected the study to be saved before it is signed off")
                self._write_sign_off(session.parent, session.study, self._seen_beside.get(session.study, ()))
            except Exception:  # whatever it is: the study is named
                failed.append(session.study)
        return f"Not signed off, as the store did not take it: {', '.join(failed)}. " if failed else ""

    def _written(self, done: tuple[str, float]) -> None:
        problem, took = done
        self._next_training_file = self._clock() + took / TRAINING_FILE_SHARE
        self._notify(problem, "warning", about="training file")

    def _signed_off(self, signed: tuple[str, str]) -> None:
        key, words = signed
        self._notify(words)
        self._is_training_file_old = True
        if self.opened is not None and self.opened.study.key == key:
            self.take_next()

    def _added(self, key: str) -> None:
        self.refresh()
        self.open(key)


def _write_training_file(store: Store, clock: Callable[[], float]) -> tuple[str, float]:
    """Words for what went wrong, if anything did, and the seconds that it took."""
    began = clock()
    try:
        refresh_training_file(store)
    except SpineLandmarksError as error:
        return f"landmarks.json could not be written: {error}", clock() - began
    return "", clock() - began

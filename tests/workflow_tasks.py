"""The tasks of random workflows, and the workflow that a recipe of workflows.py stands for."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from workflows import needed

from celeriac import Celeriac, Signature, chain, chord, group
from celeriac.errors import Ignore, Reject


def define(app: Celeriac, runs: Counter[tuple[str, int]]) -> None:
    """Give an app the tasks of recipes; each notes its runs."""

    @app.task(name="mark")
    def mark(*args: Any) -> list[Any]:
        runs["mark", args[-1]] += 1
        return list(args)

    @app.task(name="silent", ignore_result=True)
    def silent(*args: Any) -> list[Any]:
        runs["silent", args[-1]] += 1
        return list(args)

    @app.task(name="again", bind=True, max_retries=2)
    def again(self: Any, *args: Any) -> list[Any]:
        runs["again", args[-1]] += 1
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return list(args)

    @app.task(name="joined_by", bind=True)
    def joined_by(self: Any, *args: Any) -> list[Any]:
        runs["joined_by", args[-1]] += 1
        self.add_to_chord(mark.si(args[-1]))
        return list(args)

    @app.task(name="note")
    def note(value: Any, tag: int) -> None:
        runs["note", tag] += 1

    @app.task(name="errnote")
    def errnote(task_id: str, tag: int) -> None:
        runs["errnote", tag] += 1

    define_failing(app, runs)
    define_replaced(app, runs, mark)


def define_failing(app: Celeriac, runs: Counter[tuple[str, int]]) -> None:
    @app.task(name="boom")
    def boom(*args: Any) -> None:
        runs["boom", args[-1]] += 1
        raise ValueError(args[-1])

    @app.task(name="ignored")
    def ignored(*args: Any) -> None:
        runs["ignored", args[-1]] += 1
        raise Ignore("of no interest")

    @app.task(name="rejected")
    def rejected(*args: Any) -> None:
        runs["rejected", args[-1]] += 1
        raise Reject(f"not {args[-1]}", requeue=False)


def define_replaced(app: Celeriac, runs: Counter[tuple[str, int]], mark: Any) -> None:
    boom = app.tasks["boom"]

    def replaced(name: str, make: Any) -> None:
        @app.task(name=name, bind=True)
        def run(self: Any, *args: Any) -> None:
            runs[name, args[-1]] += 1
            self.replace(make(args, args[-1]))

    replaced("handed", lambda args, tag: chain(mark.si(*args), mark.s(tag)))
    replaced("spread", lambda _, tag: group(mark.si(tag), mark.si(tag)))
    replaced("fanned", lambda _, tag: chain(mark.si(tag), group(mark.s(tag), mark.s(tag))))
    replaced("woven", lambda _, tag: chord([mark.si(tag), mark.si(tag)], mark.s(tag)))
    replaced("dashed", lambda _, tag: chain(mark.si(tag), boom.si(tag), mark.si(tag)))
    replaced("torn", lambda _, tag: group(mark.si(tag), boom.si(tag)))


def build(app: Celeriac, recipe: Any) -> Signature[Any]:
    """Return the workflow of a recipe."""
    match recipe:
        case ("task", kind, tag):
            return _call(app, kind, tag)
        case ("chain", steps):
            return chain(*[build(app, step) for step in steps])
        case ("group", members):
            return group([build(app, member) for member in members])
        case ("chord", header, body):
            # Whether the others are waited for changes nothing of what is seen in the end.
            terms = {"join": "wait_all"} if len(header) % 2 == 0 else {}
            return chord([build(app, member) for member in header], build(app, body), **terms)
        case ("quorum", header, body):
            return chord([build(app, member) for member in header], build(app, body), join=f"quorum:{needed(header)}")
        case (what, inner, tag):
            made = build(app, inner)
            if what == "linked":
                made.link(app.tasks["note"].s(tag))
            else:
                made.link_error(app.tasks["errnote"].s(tag))
            return made


def _call(app: Celeriac, kind: str, tag: int) -> Signature[Any]:
    match kind:
        case "fixed":
            return app.tasks["mark"].si(tag)
        case "expired":
            return app.tasks["mark"].s(tag).set(expires=datetime(2020, 1, 1, tzinfo=UTC))
        case "revoked":
            id_ = app.new_id()
            app.revoke([id_])
            return app.tasks["mark"].s(tag).set(task_id=id_)
    return app.tasks[kind].s(tag)

"""Types that follow a task's function; checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from celeriac import AsyncResult, AsyncTask, Celeriac, EagerResult, ResultSet, Signature, Task, shared_task

app = Celeriac("types", broker="memory://")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(name="proj.shout", max_retries=5, acks_late=False)
def shout(text: str, *, loud: bool) -> str:
    return text.upper() if loud else text


@app.task(bind=True, autoretry_for=(OSError,))
def fetch(self: Task[..., Any], url: str) -> bytes:
    raise self.retry(countdown=1)


@app.task
async def crawl(url: str) -> list[str]:
    return [url]


@app.task(bind=True)
async def crawl_bound(self: Task[..., Any], url: str) -> list[str]:
    return [url]


@shared_task
def ping() -> str:
    return "pong"


@shared_task(bind=True)
def whoami(self: Task[..., Any], prefix: str) -> str:
    return f"{prefix}{self.request.id}"


assert_type(add(1, 2), int)
assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2).get(), int)
assert_type(add.apply_async((1,), countdown=3), AsyncResult[int])
assert_type(add.apply((1,)), EagerResult[int])
assert_type(add.apply((1,)).get(timeout=1), int)
assert_type(add.s(1), Signature[int])
assert_type(add.si(1, 2), Signature[int])
assert_type(add.s(1)(2), int)
assert_type(add.AsyncResult("id"), AsyncResult[int])
assert_type(shout("a", loud=True), str)
assert_type(shout.delay("a", loud=False), AsyncResult[str])
assert_type(fetch.delay("http://localhost"), AsyncResult[bytes])
assert_type(fetch("http://localhost"), bytes)
assert_type(ping.delay().get(), str)
assert_type(whoami.delay("x"), AsyncResult[str])
assert_type(fetch.apply_async(("http://localhost",), countdown=3), AsyncResult[bytes])
assert_type(fetch.apply_async(kwargs={"url": "http://localhost"}).get(timeout=1, propagate=False), bytes)
assert_type(fetch.s("http://localhost"), Signature[bytes])
assert_type(fetch.AsyncResult("id").get(), bytes)
assert_type(whoami("x"), str)
assert_type(whoami.s("x").set(queue="slow"), Signature[str])
assert_type(crawl.delay("x"), AsyncResult[list[str]])
assert_type(crawl.delay("x").get(), list[str])
assert_type(crawl.apply_async(("x",), expires=60), AsyncResult[list[str]])
assert_type(crawl.apply(("x",)), EagerResult[list[str]])
assert_type(crawl.s("x"), Signature[list[str]])
assert_type(crawl_bound.delay("x"), AsyncResult[list[str]])
assert_type(crawl_bound.si("x"), Signature[list[str]])
assert_type(app.publish_many([add.s(1), add.s(2)]), list[AsyncResult[int]])
assert_type(app.publish_many(crawl.s(url) for url in "ab"), list[AsyncResult[list[str]]])
assert_type(app.publish_many([fetch.s("http://localhost")], timeout=1)[0].get(), bytes)
assert_type(ResultSet([add.delay(1)]).get(), list[int])

an_async_task: AsyncTask[[str], list[str]] = crawl


async def from_a_coroutine() -> None:
    assert_type(await add.adelay(1, 2), AsyncResult[int])
    assert_type(await (await add.adelay(1, 2)), int)
    assert_type(await add.delay(1).aget(timeout=1), int)
    assert_type(await crawl("x"), list[str])
    assert_type(await crawl_bound("x"), list[str])
    assert_type(await crawl.delay("x"), list[str])
    assert_type(await crawl.adelay("x"), AsyncResult[list[str]])
    assert_type(await (await crawl_bound.adelay("x")), list[str])
    assert_type(await fetch.aapply_async(("http://localhost",), countdown=3), AsyncResult[bytes])
    await add.adelay("one")  # type: ignore[arg-type]


# What must be refused. An ignore that nothing needs is an error itself, so each of these lines is seen to be one.
add("one")  # type: ignore[arg-type]
add.delay()  # type: ignore[call-arg]
add.delay(1, z=2)  # type: ignore[call-arg]
add.si("one")  # type: ignore[arg-type]
shout.delay("a", True)  # type: ignore[call-arg]
fetch.delay(b"http://localhost")  # type: ignore[arg-type]
fetch.delay()  # type: ignore[call-arg]
crawl.delay(1)  # type: ignore[arg-type]
whoami.delay()  # type: ignore[call-arg]
whoami.delay("x", "y")  # type: ignore[call-arg]
crawl.delay(address="x")  # type: ignore[call-arg]
crawl_bound.delay()  # type: ignore[call-arg]
crawl_bound.delay(b"x")  # type: ignore[arg-type]

"""What this distribution adds to a worker; imported when it is active, and not before."""

from typing import Any

from celeriac.config.setting import Setting
from celeriac.kernel.hooks import hookimpl
from celeriac.kernel.steps import Step
from celeriac_hello.greeting import Greeting


@hookimpl
def celeriac_steps(blueprint: str) -> list[type[Step]]:
    return [Greeting] if blueprint == "worker" else []


@hookimpl
def celeriac_settings() -> list[Any]:
    return [Setting(name="hello_greeting", type=str, default="Hello", doc="What a worker says when it comes.")]

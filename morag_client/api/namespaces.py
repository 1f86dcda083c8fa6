"""What r3 has in the place of tasks, as the clients offer it: `client.stages` and `client.files`."""

from __future__ import annotations

from morag_client.api import files, stages
from morag_client.api.async_driver import AsyncDriver
from morag_client.api.calls import AsyncCall, Call
from morag_client.api.driver import Driver


class Stages:
    """r3's stages."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    list = Call(stages.list_stages)
    execute = Call(stages.execute)
    chain = Call(stages.chain)
    status = Call(stages.status)


class Files:
    """The files that r3's stages left."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    download = Call(files.download_stage_file)
    info = Call(files.info)
    list = Call(files.list_stage_files)


class AsyncStages:
    """r3's stages, awaited."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    list = AsyncCall(stages.list_stages)
    execute = AsyncCall(stages.execute)
    chain = AsyncCall(stages.chain)
    status = AsyncCall(stages.status)


class AsyncFiles:
    """The files that r3's stages left, awaited."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    download = AsyncCall(files.download_stage_file)
    info = AsyncCall(files.info)
    list = AsyncCall(files.list_stage_files)

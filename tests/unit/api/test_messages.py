"""What an error of the client says, and what nobody says beside it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from morag_client import MoragClient, NotSupported


def test_another_release_is_told_only_what_helps_it() -> None:
    with MoragClient(api_version="r1") as r1, pytest.raises(NotSupported, match="process is not in") as caught:
        r1.process(mode="convert", url="https://example.com/a")
    assert "client.stages" not in str(caught.value)
    with MoragClient(api_version="r3") as r3, pytest.raises(NotSupported, match=r"client\.stages"):
        r3.process(mode="convert", url="https://example.com/a")


def test_a_script_without_logging_sees_the_error_and_no_log() -> None:
    code = """if True:
        from morag_client import MoragClient
        MoragClient(base_url='http://127.0.0.1:9', attempts=2, api_version='r1').status('t')
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert "Unreachable: MoRAG at http://127.0.0.1:9 could not be reached" in done.stderr
    assert "stamina" not in done.stderr.replace("/stamina/", "")

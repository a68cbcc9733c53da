"""An application behind uvicorn, over loopback, until SIGTERM: what was accepted is answered."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fdl
from fdl import export
from fdl.serve.__main__ import main


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "model.safetensors"), "--port", "0"])
    assert "No such file" in capsys.readouterr().err


def test_nothing_accepted_is_lost_on_sigterm(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    model = export.export(lambda w, x: x @ w, np.eye(2, dtype=np.float32), fdl.ShapeDtypeStruct((4, 2), "float32"))
    export.save(tmp_path / "model.safetensors", model)
    command = [sys.executable, "-m", "fdl.serve", str(tmp_path / "model.safetensors"), "--port", "0"]
    with subprocess.Popen([*command, "--drain-seconds", "0.5"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            lines = iter(server.stderr.readline, "")
            found = next(match for line in lines if (match := re.search(r"listening at http://127.0.0.1:(\d+)", line)))
            assert any("ready" in line for line in lines)
            counts, ended = [0, 0], threading.Barrier(3)

            def ask(i: int) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
                body, closing = json.dumps([[i, counts[i]]]), False
                while not closing:  # until the server says that it leaves
                    connection.request("POST", "/predict", body, {"content-type": "application/json"})
                    answer = connection.getresponse()
                    assert answer.status == 200 and json.loads(answer.read()) == [[i, 0]]
                    closing = answer.getheader("connection") == "close"
                    counts[i] += 1
                    if counts[i] == 3:
                        ended.wait(60)

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
            for thread in threads:
                thread.start()
            ended.wait(60)
            server.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join(60)
            told = "".join(lines)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert min(counts) >= 3 and f"answered {sum(counts)} of {sum(counts)} requests" in told, told

"""DICOM is decoded in a child process that holds one file and nothing else, with bounded memory and processor time.

What is in a DICOM file is parsed by codecs in native code that were not written for hostile input; a crash, a bomb or
an endless loop in them ends the child, and the person reads that the file is damaged. The child is started at the
first file, serves one file after the other, and ends with its parent. Nothing is written to disk.
"""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import HemaSealError, ImageBroken, ImageTooLarge, ImageTypeRefused

CPU_SECONDS: Final = 4.0  # for one file; 24 megapixels of JPEG 2000 take about 2
WALL_SECONDS: Final = 30.0  # where other processes take the processor's time
MEMORY_BYTES: Final = 224 * 2**20  # beyond what the child needs before its first file
_ROOT = Path(__file__).resolve().parents[2]
_LENGTHS = struct.Struct("<II")
_ERRORS = {error.code: error for error in (ImageBroken, ImageTooLarge, ImageTypeRefused)}


class DicomPicture(NamedTuple):
    """What a DICOM file shows.

    Attributes:
        pixels: uint8[h, w] grey or uint8[h, w, 3] RGB; rows as they are stored.
        frames: number of frames in the file.
        notes: how the picture was made of the stored values, in plain words, without names.
        burned_in: why text may be written into the picture, or "" when nothing speaks for it.
    """

    pixels: NDArray[np.uint8]
    frames: int
    notes: tuple[str, ...]
    burned_in: str


class DicomProcess:
    """A child that decodes; safe to call from several threads, which take turns."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, *, max_pixels: int, frame: int | None = None) -> DicomPicture:
        """Decode one frame; see `core.imaging.dicom.decode_dicom`.

        Raises:
            ImageTypeRefused, ImageTooLarge, ImageBroken: as `core.imaging.dicom.decode_dicom`; ImageBroken also when
                the child died of the file or took too long over it.
        """
        with self._turn:
            answer, body = self._ask({"max_pixels": max_pixels, "frame": frame}, data)
        if "error" in answer:
            raise _ERRORS[str(answer["error"])](str(answer["detail"]))
        pixels = np.frombuffer(body, np.uint8).reshape(answer["shape"])
        return DicomPicture(pixels, answer["frames"], tuple(answer["notes"]), answer["burned_in"])

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid if self._child is not None else None

    def stop(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _ask(self, question: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Send one file and wait for the answer; a child that does not give one is ended."""
        child = self._running()
        late = threading.Timer(WALL_SECONDS, child.kill)
        late.start()
        try:
            _send(child.stdin, question, data)  # type: ignore[arg-type]
            return _receive(child.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError, ValueError):
            self.stop()
            raise ImageBroken("decoding it failed or took too long") from None
        except BaseException:  # the caller was interrupted: an answer under way must not meet the next question
            self.stop()
            raise
        finally:
            late.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the child, started if there is none."""
        if self._child is None or self._child.poll() is not None:
            self.stop()
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
            self._child = subprocess.Popen(
                [sys.executable, "-m", "core.imaging.dicom_process"],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child


def _send(pipe: BinaryIO, head: dict[str, Any], body: bytes | memoryview) -> None:
    """Write a message: two lengths, a head in JSON, a body."""
    text = json.dumps(head).encode()
    pipe.write(_LENGTHS.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def _receive(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Raises:
        EOFError: the other side is gone.
    """
    head_length, body_length = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    return json.loads(_exactly(pipe, head_length)), _exactly(pipe, body_length)


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) != count:
        raise EOFError
    return data


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    """The child: answer one question after the other until the parent closes the pipe."""
    from core.imaging.dicom import decode_dicom, load_codecs  # noqa: PLC0415 - the parent never imports a DICOM parser

    load_codecs()
    _limit_memory()
    while True:
        try:
            question, data = _receive(source)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # ends this process, in native code too
        try:
            found = decode_dicom(data, **question)
        except HemaSealError as error:
            _send(sink, {"error": error.code, "detail": error.detail}, b"")
        else:
            head = {"frames": found.frames, "notes": found.notes, "burned_in": found.burned_in}
            _send(sink, {**head, "shape": found.pixels.shape}, np.ascontiguousarray(found.pixels).data.cast("B"))
            del found
        signal.setitimer(signal.ITIMER_PROF, 0)
        del data


def _limit_memory() -> None:
    """Bound the address space from here on and allow no core dump; systems without /proc bound by their own means."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)

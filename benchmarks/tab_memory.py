"""What a tab of a real Chromium holds in memory, by Chromium's own account (DevTools and memory-infra), in MiB."""

import time
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks.processes import resident

MB = 2**20
DUMP_S = 120.0
_TRACED = {"includedCategories": ["disabled-by-default-memory-infra"], "memoryDumpConfig": {"triggers": []}}
_HELD = {
    "blink_gc/main/heap": "allocated_objects_size",
    "partition_alloc/allocated_objects": "effective_size",
    "malloc": "allocated_objects_size",
}
"""Of each of a tab's allocators but that of JavaScript, the figure that says what it holds."""


class TabMemory:
    """Reads what one tab holds; it has to be the largest of its browser."""

    def __init__(self, browser: Browser, page: Page) -> None:
        """Open a line to the browser and one to the tab; nothing is read yet."""
        self._page = page
        self._browser, self._tab = browser.new_browser_cdp_session(), page.context.new_cdp_session(page)
        self._tab.send("Performance.enable")
        self._events: list[dict[str, Any]] = []
        self._is_complete = False
        self._browser.on("Tracing.dataCollected", lambda sent: self._events.extend(sent["value"]))
        self._browser.on("Tracing.tracingComplete", self._complete)

    def pid(self) -> int:
        """Return the id of its process, the largest that draws pages."""
        processes = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        return max((int(one["id"]) for one in processes if one["type"] == "renderer"), key=resident)

    def heap_and_nodes(self) -> tuple[float, int]:
        """Return what its JavaScript holds after a garbage collection, and how many elements there are."""
        self._tab.send("HeapProfiler.collectGarbage")
        read = {one["name"]: one["value"] for one in self._tab.send("Performance.getMetrics")["metrics"]}
        return round(read["JSHeapUsedSize"] / MB, 2), int(read["Nodes"])

    def besides(self) -> float:
        """Return what its other allocators hold after a garbage collection.

        Raises:
            TimeoutError: the browser gave no account.
        """
        self._events.clear()
        self._is_complete = False
        self._browser.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": _TRACED})
        self._browser.send("Tracing.requestMemoryDump", {"deterministic": True, "levelOfDetail": "detailed"})
        self._browser.send("Tracing.end")
        deadline = time.monotonic() + DUMP_S
        while not self._is_complete:
            if time.monotonic() > deadline:
                raise TimeoutError("the browser gave no account of its memory")
            self._page.wait_for_timeout(50)
        pid = self.pid()
        own = [one["args"].get("dumps", {}) for one in self._events if one.get("pid") == pid]
        dumps = [dump.get("allocators", {}) for dump in own]
        found = {name: told["attrs"] for dump in dumps for name, told in dump.items() if "attrs" in told}
        return round(sum(int(found[name][size]["value"], 16) for name, size in _HELD.items()) / MB, 2)

    def _complete(self, _sent: dict[str, Any]) -> None:
        self._is_complete = True

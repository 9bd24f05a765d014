#!/usr/bin/env python3
"""Submit-and-next against Label Studio (pip, SQLite) that runs already: N annotators, each gets the next task and posts an
annotation, again and again. All share one account, so its locks are not tested. Prints one JSON line.

usage: bench_label_studio.py URL TOKEN N SECONDS"""

import json
import sys
import threading
import time
import urllib.request

N_TASKS = 6000
CONFIG = (
    '<View><Text name="p" value="$prompt"/><Text name="a" value="$a"/><Text name="b" value="$b"/>'
    '<Choices name="c" toName="p"><Choice value="A"/><Choice value="B"/></Choices></View>'
)
ANSWER = {
    "result": [{"from_name": "c", "to_name": "p", "type": "choices", "value": {"choices": ["A"]}}],
    "lead_time": 1,
}

url, token = sys.argv[1:3]
n, seconds = int(sys.argv[3]), float(sys.argv[4])
headers = {"Authorization": "Token " + token, "Content-Type": "application/json"}


def call(method, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"{}")


def quantile(p):
    return round(1000 * sorted(latencies)[min(len(latencies) - 1, int(p * len(latencies)))], 1) if latencies else None


def work():
    while time.time() < end:
        begun = time.perf_counter()
        try:
            task = call("GET", f"/api/projects/{project}/next")
            call("POST", f"/api/tasks/{task['id']}/annotations/", ANSWER)
            latencies.append(time.perf_counter() - begun)
        except Exception as error:
            errors.append(repr(error)[:100])
            time.sleep(0.05)


new = {"title": "bench", "label_config": CONFIG, "maximum_annotations": 1}
project = call("POST", "/api/projects", new)["id"]
tasks = [
    {"data": {"prompt": f"prompt {i} " * 20, "a": f"answer a {i} " * 40, "b": f"answer b {i} " * 40}}
    for i in range(N_TASKS)
]
for i in range(0, N_TASKS, 1000):
    call("POST", f"/api/projects/{project}/import", tasks[i : i + 1000])

latencies, errors = [], []
begun = time.time()
end = begun + seconds
threads = [threading.Thread(target=work) for _ in range(n)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
took = time.time() - begun
stored = call("GET", f"/api/projects/{project}").get("total_annotations_number")
print(
    json.dumps(
        {
            "bench": "label_studio",
            "annotators": n,
            "seconds": round(took, 1),
            "annotations_per_s": round(len(latencies) / took, 1),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "errors": len(errors),
            "last_error": errors[-1] if errors else "",
            "acknowledged": len(latencies),
            "total_annotations": stored,
        }
    )
)

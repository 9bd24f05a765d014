"""llama.cpp's decode speed on a GGUF file, through its own server in the package xllamacpp.

usage: bench_llamacpp.py MODEL.gguf THREADS PROMPT NEW. For each line on standard input, a number of sequences, it samples NEW
tokens of as many sequences at once behind random prompts of PROMPT tokens and prints one line of JSON.
"""

import json, random, sys, threading, urllib.request
import xllamacpp

file, threads, prompt, new = sys.argv[1], *map(int, sys.argv[2:5])
MOST = 8
params = xllamacpp.CommonParams()
params.model.path = file
params.n_ctx, params.n_parallel, params.warmup, params.verbosity = MOST * 512, MOST, True, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
random.seed(0)


def one(out):
    # Temperature alone, over the whole vocabulary; no end, so that every sequence has NEW tokens.
    ask = dict(prompt=[random.randrange(100, 40000) for _ in range(prompt)], n_predict=new, temperature=1.0, top_k=0, top_p=1.0,
               min_p=0.0, samplers=["temperature"], ignore_eos=True, cache_prompt=False, seed=random.randrange(1 << 30))
    request = urllib.request.Request(
        f"{server.listening_address}/completion", json.dumps(ask).encode(), {"Content-Type": "application/json"})
    out.append(json.load(urllib.request.urlopen(request))["timings"])


def run(n):
    timings = []
    all = [threading.Thread(target=one, args=(timings,)) for _ in range(n)]
    [thread.start() for thread in all]
    [thread.join() for thread in all]
    # The first token comes with the prompt. They decode together: the longest time is that of all.
    return sum(t["predicted_n"] - 1 for t in timings) / (max(t["predicted_ms"] for t in timings) / 1000)


run(1)
for line in sys.stdin:
    print(json.dumps(dict(tokens_per_second=run(int(line)), version=xllamacpp.__version__)), flush=True)

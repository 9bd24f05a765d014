"""OpenAI's own Python client against `laurel-trainer serve` on the default model: chat, streaming, n, seeds, stop strings,
log-probabilities, adapters, errors.

LAUREL_TRAINER_BIN and LAUREL_MODEL name the program and the model. Exits non-zero when something does not hold.
"""

import math
import os
import subprocess
from pathlib import Path

import openai

ADAPTER = Path(__file__).resolve().parents[2] / "trainer" / "tests" / "parity" / "golden" / "adapter"
RIVERS = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name three rivers of Europe."}]


def main() -> None:
    command = [os.environ["LAUREL_TRAINER_BIN"], "serve", "--model", os.environ["LAUREL_MODEL"], "--name", "base",
               "--adapter", f"tuned={ADAPTER}", "--listen", "127.0.0.1:0", "--precision", "quantized"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = server.stdout.readline().strip().removeprefix("Listening on ")
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        for check in (models, chat, streaming, choices, stops, logprobs, completions, adapters, settings, errors):
            check(client)
            print(f"{check.__name__}: holds")
        server.terminate()
        assert server.wait(30) == 0, "SIGTERM ends it cleanly"
    finally:
        server.kill()


def ask(client, **settings):
    settings = dict(model="base", messages=RIVERS, max_tokens=40, seed=3) | settings
    return client.chat.completions.create(**settings)


def models(client) -> None:
    assert [model.id for model in client.models.list()] == ["base", "tuned"]
    assert client.models.retrieve("tuned").id == "tuned"


def chat(client) -> None:
    first, again, other = ask(client), ask(client), ask(client, seed=4)
    message = first.choices[0].message
    assert message.role == "assistant" and message.content
    assert message.content == again.choices[0].message.content, "the same seed, the same text"
    assert message.content != other.choices[0].message.content
    usage = first.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens <= usage.prompt_tokens + 40
    short = ask(client, max_completion_tokens=3, temperature=0).choices[0]
    assert short.finish_reason == "length"


def streaming(client) -> None:
    whole = ask(client)
    text, reason, usage = "", None, None
    for chunk in ask(client, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    assert (text, reason) == (whole.choices[0].message.content, whole.choices[0].finish_reason)
    assert usage == whole.usage
    # Characters of several tokens.
    emoji = [{"role": "user", "content": "Repeat exactly: 🙂 你好 🙂 Straße 🙂"}]
    for seed in range(4):
        pieces = [chunk.choices[0].delta.content or "" for chunk in ask(client, messages=emoji, seed=seed, stream=True)]
        assert not any("\ufffd" in piece for piece in pieces), pieces
    with ask(client, stream=True, max_tokens=1000) as stream:
        next(iter(stream))
    assert ask(client, max_tokens=4).choices, "who leaves a stream does not stop the server"


def choices(client) -> None:
    four, again = ask(client, n=4), ask(client, n=4)
    texts = [choice.message.content for choice in four.choices]
    assert [choice.index for choice in four.choices] == [0, 1, 2, 3] and len(set(texts)) > 1
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] == ask(client).choices[0].message.content, "a choice does not depend on the others"
    streamed = [""] * 4
    for chunk in ask(client, n=4, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def stops(client) -> None:
    whole = ask(client, temperature=0).choices[0].message.content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 5]
    for given in (stop, [stop, "never met \x01"]):
        choice = ask(client, temperature=0, stop=given).choices[0]
        assert choice.message.content == whole[: whole.index(stop)] and choice.finish_reason == "stop"
    assert ask(client, temperature=0, stop="never met \x01").choices[0].message.content == whole


def logprobs(client) -> None:
    choice = ask(client, temperature=0, logprobs=True, top_logprobs=5).choices[0]
    entries = choice.logprobs.content
    assert bytes(byte for entry in entries for byte in entry.bytes).decode() == choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 5 and entry.logprob <= 0
        assert entry.top_logprobs[0].token == entry.token, "greedy"
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-4


def completions(client) -> None:
    settings = dict(model="base", prompt=["The capital of France is", "1, 2, 3,"], max_tokens=8, temperature=0, logprobs=2)
    answer = client.completions.create(**settings)
    assert "Paris" in answer.choices[0].text and len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.tokens) == len(answer.choices[0].logprobs.token_logprobs) == 8
    streamed = ["", ""]
    for chunk in client.completions.create(**settings, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == [choice.text for choice in answer.choices]


def adapters(client) -> None:
    texts = [ask(client, model=model, temperature=0).choices[0].message.content for model in ("base", "tuned", "base")]
    assert texts[0] == texts[2] != texts[1]


def settings(client) -> None:
    greedy = ask(client, temperature=0).choices[0].message.content
    assert ask(client, extra_body={"top_k": 1}).choices[0].message.content == greedy
    assert ask(client, extra_body={"min_p": 1.0}).choices[0].message.content == greedy
    assert ask(client, top_p=1e-6).choices[0].message.content == greedy
    assert ask(client, temperature=0, extra_body={"repetition_penalty": 2.0}).choices[0].message.content != greedy
    assert ask(client, temperature=0, presence_penalty=2, frequency_penalty=2).choices[0].message.content != greedy


def errors(client) -> None:
    for kind, param, wrong in [
        (openai.NotFoundError, "model", dict(model="gpt-4")),
        (openai.BadRequestError, "messages", dict(messages=[])),
        (openai.BadRequestError, "messages", dict(messages=[{"role": "user", "content": "word " * 9000}])),
        (openai.BadRequestError, "temperature", dict(temperature="warm")),
        (openai.BadRequestError, "n", dict(n=1000)),
        (openai.BadRequestError, "stop", dict(stop=list("abcde"))),
        (openai.BadRequestError, "tools", dict(tools=[{"type": "function", "function": {"name": "f"}}])),
    ]:
        try:
            ask(client, **wrong)
        except kind as error:
            assert error.param == param and error.type == "invalid_request_error" and error.message, error
        else:
            raise AssertionError(f"{param} was taken")
    assert ask(client, max_tokens=4).choices, "the server goes on"


if __name__ == "__main__":
    main()

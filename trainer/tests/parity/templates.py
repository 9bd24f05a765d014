"""Chat templates as transformers renders them and TRL masks them, for trainer/tests/templates.rs.

    python trainer/tests/parity/templates.py

Needs transformers. Writes templates/tokenizer/ (a byte-level vocabulary with every template's control tokens) and
templates/expected.json. The templates are those of the models, as TRL stores them (Apache-2.0), and Mistral's;
ChatML and Alpaca are ours, from trainer/src/data/templates.
"""

import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent / "templates"
OURS = HERE.parent.parent.parent / "src/data/templates"
CONTROL = """<s> </s> <|begin_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> <|im_start|> <|im_end|>
<start_of_turn> <end_of_turn> <|user|> <|assistant|> <|system|> <|end|> [INST] [/INST] <think> </think>""".split()


def turn(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = {
    "one turn": [turn("user", "Name a river.")],
    "blank space": [turn("user", "  Name a river.\n")],
    "system": [turn("system", "Be brief."), turn("user", "Name a river.")],
    "three turns": [turn("user", "Hello"), turn("assistant", "Hi!"), turn("user", "Name a river – or \"two\".")],
}
ANSWER = [turn("assistant", "The Rhône, in French <b>le Rhône</b> 🌊")]


def make_tokenizer():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("t", "h"), ("th", "e"), ("i", "v"), ("iv", "e"), ("ive", "r"), ("Ġ", "r"), ("i", "n")]
    words = letters + ["".join(pair) for pair in pairs]
    inner = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=pairs))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    folder = HERE / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}) + "\n")
    return tokenizer


def expected(tokenizer, template, prompt):
    def ids(messages, **options):
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=True, return_dict=False, **options
        )

    try:
        text = tokenizer.apply_chat_template(prompt, chat_template=template, tokenize=False, add_generation_prompt=True)
        # As TRL's SFT and DPO trainers do: the completion is what follows the prompt's tokens.
        prompt_ids, whole = ids(prompt, add_generation_prompt=True), ids(prompt + ANSWER)
    except Exception as error:  # the template's own complaint
        return {"error": str(error)}
    assert whole[: len(prompt_ids)] == prompt_ids
    return {"text": text, "prompt_ids": prompt_ids, "completion_ids": whole[len(prompt_ids) :]}


def main():
    tokenizer = make_tokenizer()
    sources = {path.stem: path.read_text() for path in sorted(HERE.glob("*.jinja"))}
    sources |= {name: (OURS / f"{name}.jinja").read_text() for name in ["chatml", "alpaca", "alpaca_lf"]}
    cases = [
        {"template": name, "case": case, "prompt": prompt, "answer": ANSWER, **expected(tokenizer, source, prompt)}
        for name, source in sources.items()
        for case, prompt in CONVERSATIONS.items()
    ]
    (HERE / "expected.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n")
    for case in cases:
        print(case["template"], case["case"], case.get("error") or len(case["completion_ids"]))


if __name__ == "__main__":
    main()

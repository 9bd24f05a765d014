"""Reads what Laurel exported and trained with the peers' own libraries.

Usage: check.py OUT, where OUT holds preference.jsonl, implicit.jsonl and adapter/ (written by `cargo xtask
parity`, which also sets LAUREL_MODEL and LAUREL_TRAINER_BIN). Exits non-zero when something does not hold.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from huggingface_hub import ModelCard
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

MAX_DIFFERENCE = 1e-3


def main() -> None:
    out = Path(sys.argv[1])
    gguf = Path(os.environ["LAUREL_MODEL"])
    torch.manual_seed(0)
    model_dir = out / "model"
    convert(gguf, model_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)

    preference = load_dataset("json", data_files=str(out / "preference.jsonl"), split="train")
    implicit = load_dataset("json", data_files=str(out / "implicit.jsonl"), split="train")
    assert len(preference) == len(implicit) > 0
    print(f"load_dataset reads {len(preference)} rows: {preference.column_names}")

    common = dict(
        output_dir=str(out / "trl"), max_steps=1, per_device_train_batch_size=2, max_length=256,
        report_to="none", use_cpu=True, save_strategy="no", bf16=False, gradient_checkpointing=False,
    )
    lora = dict(r=4, target_modules=["q_proj", "v_proj"])
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
        args=DPOConfig(**common), train_dataset=preference, processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **lora),
    )
    print(f"DPOTrainer, one step: loss {trainer.train().training_loss:.4f}")
    scorer = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1, dtype=torch.float32)
    scorer.config.pad_token_id = tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=scorer, args=RewardConfig(**common), train_dataset=implicit, processing_class=tokenizer,
        peft_config=LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora),
    )
    print(f"RewardTrainer, one step: loss {trainer.train().training_loss:.4f}")
    imitated = load_dataset("json", data_files=str(out / "sft.jsonl"), split="train")
    written = [row for row in imitated if row["generator"] == "annotator"]
    assert len(written) > 0 and len(imitated) > len(written), "demonstrations beside chosen answers"
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
        args=SFTConfig(**common), train_dataset=imitated, processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **lora),
    )
    print(f"SFTTrainer, one step on {len(imitated)} rows: loss {trainer.train().training_loss:.4f}")

    check_card(out / "adapter" / "README.md")
    compare_logprobs(out / "adapter", gguf, model_dir, tokenizer, preference)
    compare_kinds(out, gguf, model_dir, tokenizer, preference)


def convert(gguf: Path, to: Path) -> None:
    """The GGUF as a plain folder of transformers, in f32."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        config.pop(key, None)
    # The conversion reads it as f32 and writes 9.999999747378752e-06.
    config["rms_norm_eps"] = 1e-5
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)
    # The conversion loses the model's pre-tokenizer, which splits digits one by one.
    file = to / "tokenizer.json"
    parts = json.loads(file.read_text())
    digits = {"type": "Digits", "individual_digits": True}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    parts["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, bytes_]}
    file.write_text(json.dumps(parts, ensure_ascii=False))


def check_card(file: Path) -> None:
    """The hub's own reader takes the card: what it is an adapter of, and its figures."""
    card = ModelCard.load(file)
    assert card.data.library_name == "peft" and card.data.base_model, card.data
    figures = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert figures and "## Training data" in card.text, card.data
    print(f"ModelCard reads the card: adapter of {card.data.base_model}, {figures}")


# What a spec says of the adapter, by the name of the round's folder.
KINDS = {
    "rslora": dict(type="lora", rank=4, use_rslora=True, dropout=0.1),
    "dora": dict(type="lora", rank=4, use_dora=True, target_modules="all-linear", exclude_modules=["o_proj"]),
    "patterns": dict(type="lora", rank=4, use_dora=True, use_rslora=True, target_modules=r".*\.(q_proj|v_proj|up_proj)",
                     rank_pattern={"v_proj": 2, r"1\..*": 3}, alpha_pattern={"self_attn.*": 8}),
    "blocks": dict(type="lora", rank=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[0, 7]),
    "ia3": dict(type="ia3", target_modules=["k_proj", "up_proj", "down_proj"], feedforward_modules=["up_proj", "0.mlp.down_proj"]),
}


def compare_kinds(out: Path, gguf: Path, model_dir: Path, tokenizer, rows) -> None:
    """Adapters of each kind, trained for a few steps by Laurel, in PEFT."""
    for name, shape in KINDS.items():
        folder = train(out / f"kind-{name}", gguf, out / "preference.jsonl", "sft", shape)
        print(name, end=": ")
        compare_logprobs(folder, gguf, model_dir, tokenizer, rows)
    folder = train(out / "kind-reward", gguf, out / "preference.jsonl", "reward", KINDS["dora"])
    compare_scores(folder, gguf, model_dir, tokenizer, rows)


def train(out: Path, gguf: Path, data: Path, kind: str, shape: dict) -> Path:
    hyper = dict(max_steps=3, learning_rate=0.01, batch_size=2, max_length=256, held_out=0)
    spec = dict(kind=kind, model=str(gguf.resolve()), data=str(data.resolve()), adapter=shape, hyper=hyper)
    out.mkdir(parents=True, exist_ok=True)
    (out / "spec.json").write_text(json.dumps(spec))
    subprocess.check_call([os.environ["LAUREL_TRAINER_BIN"], "round", str(out / "spec.json"), "--out", str(out / "run")])
    return out / "run" / "adapter"


def compare_scores(adapter: Path, gguf: Path, model_dir: Path, tokenizer, rows) -> None:
    """A reward model's scores, with its head from the adapter's weights, against `laurel-trainer score`."""
    command = [os.environ["LAUREL_TRAINER_BIN"], "score", "--model", str(gguf), "--adapter", str(adapter)]
    command += ["--data", str(adapter.parent.parent.parent / "preference.jsonl")]
    ours = [json.loads(line) for line in subprocess.check_output(command, text=True).splitlines()]
    base = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1, dtype=torch.float32)
    base.config.pad_token_id = tokenizer.pad_token_id
    model = PeftModel.from_pretrained(base, adapter).eval()
    worst = 0.0
    for row, found in zip(rows.select(range(min(8, len(rows)))), ours):
        for side in ("chosen", "rejected"):
            text = tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                wanted = model(input_ids=torch.tensor([ids])).logits.item()
            worst = max(worst, abs(wanted - found[f"{side}_score"]) / max(1.0, abs(wanted)))
    print(f"scores of a reward model: largest difference {worst:.2e}")
    assert worst <= MAX_DIFFERENCE


def compare_logprobs(adapter: Path, gguf: Path, model_dir: Path, tokenizer, rows) -> None:
    """Per-token log-probabilities: PEFT's loading of Laurel's adapter against `laurel-trainer logprobs`."""
    samples = []
    for row in rows.select(range(min(8, len(rows)))):
        for side in ("chosen", "rejected"):
            text = tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
            samples.append(tokenizer(text, add_special_tokens=False)["input_ids"])
    data = adapter.parent / "ids.jsonl"
    data.write_text("".join(json.dumps({"ids": ids, "from": 1}) + "\n" for ids in samples))
    command = [os.environ["LAUREL_TRAINER_BIN"], "logprobs", "--model", str(gguf)]
    command += ["--adapter", str(adapter), "--data", str(data)]
    ours = [json.loads(line)["logps"] for line in subprocess.check_output(command, text=True).splitlines()]
    assert len(ours) == len(samples)

    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    worst, moved = 0.0, 0.0
    with torch.no_grad():
        for ids, found in zip(samples, ours):
            tokens = torch.tensor([ids])
            wanted = token_logps(model, tokens)
            assert len(found) == len(wanted), (len(found), len(wanted))
            worst = max(worst, (torch.tensor(found) - wanted).abs().max().item())
            with model.disable_adapter():
                moved = max(moved, (token_logps(model, tokens) - wanted).abs().max().item())
    print(f"log-probabilities: largest difference a token {worst:.2e} (the adapter moves them by up to {moved:.2e})")
    assert moved > MAX_DIFFERENCE, "the adapter does nothing, so the comparison shows nothing"
    assert worst <= MAX_DIFFERENCE


def token_logps(model, tokens):
    """Log-probability of every token but the first."""
    logps = model(tokens).logits[0, :-1].log_softmax(-1)
    return logps.gather(1, tokens[0, 1:, None]).squeeze(1)


if __name__ == "__main__":
    main()

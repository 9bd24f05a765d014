"""SentencePiece vocabularies in GGUF files, for trainer/tests/vocabularies.rs.

    python trainer/tests/parity/vocabularies.py

Needs sentencepiece, gguf, transformers and xllamacpp (llama.cpp as a package). Trains two small BPE models on the
project's own texts, the one as Llama 2's (a space before every text), the other as Gemma's (none, and pieces that are
found before merging), writes their vocabularies as llama.cpp's converter does, and a third time under the name of
Phi-3. expected.json has the ids of llama.cpp for every text; where no special token stands in it they must be
SentencePiece's, and transformers' differences are counted.
"""

import json
import pathlib
import tempfile
import urllib.request

import gguf
import numpy as np
import sentencepiece
import xllamacpp
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent / "vocabularies"
ROOT = HERE.parent.parent.parent.parent
MORE = """강이 바다로 흐른다. 한국어 문장도 배운다. 안녕하세요, 반갑습니다.
def f(x):\n    return x + 1\n        # spaces        and        more spaces
naïve café, Straße, señor; 1234567890 3.14159 ==== ---- aaaa aaaaaaaa
""".split("\n") * 8
SPACES = ["▁" * n for n in range(2, 9)]
SHAPES = {
    "llama": dict(control=["[INST]", "[/INST]"], user_defined=[], prefix=True, architecture="llama"),
    "gemma": dict(control=["<start_of_turn>", "<end_of_turn>"], user_defined=["\n\n", "\n\n\n", "<b>", *SPACES], prefix=False, architecture="gemma2"),
    "phi3": dict(control=["<|user|>", "<|end|>", "<|endoftext|>"], user_defined=[], prefix=True, architecture="phi3"),
}
TEXTS = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  ", "Name a river.", "\n", "\n\n", "a\n\n\nb", "\n a", "\t\tx", "\r\nx",
    "a" * 7, "a" * 23, "=" * 9, "a" + " " * 5 + "b", "a" + " " * 13 + "b", " " * 6 + "b", "x" + " " * 30,
    "안녕하세요, 강이 흐른다.", "뷁", "한국어 문장", "🌊", "a🌊 b 🏞️🏞️", "naïve café", "e\u0301", "Straße", "日本語", "\u00a0x", "a\u2003b",
    "▁", "a▁b", "▁▁a ▁", "<0x0A>", "<0xE2>", "3.14159 + 1234567890 = 1e9", "def f(x):\n    return x  # \t y\n",
    "The trainer's rows are JSON Lines; a round is a pure function of its spec.", "\x00", "a\x01b", "ﬁ ﷺ ①", "ǅ", "<b>bold</b> <b>",
]
SPECIAL = [
    "<s>a", "<s> a", "a</s>b", "a </s> b", "</s>", "</s></s>\n", "<unk>", "a<unk> b", "{0}hi{1}", "{0} hi {1}\n", "{0}\nhi{1}\n{0}",
    "<s>{0} hi  {1} there</s>\n", "<s>\n\n{0}", "x{0}  y",
]


def train(shape, folder):
    corpus = [line for name in ("README.md", "docs/ARCHITECTURE.md", "docs/OPERATIONS.md") for line in (ROOT / name).read_text().splitlines()]
    file = folder / "corpus.txt"
    file.write_text("\n".join(corpus + MORE))
    sentencepiece.SentencePieceTrainer.train(
        input=str(file), model_prefix=str(folder / "m"), model_type="bpe", vocab_size=900, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=shape["prefix"],
        allow_whitespace_only_pieces=True, split_digits=True, character_coverage=0.999, num_threads=1, max_sentence_length=20000,
        control_symbols=shape["control"], user_defined_symbols=shape["user_defined"], minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))


def write(shape, processor, file, with_weights):
    """As llama.cpp's converter: user-defined pieces with their spaces as spaces. llama.cpp reads no file without weights."""
    writer = gguf.GGUFWriter(str(file), shape["architecture"])
    n = processor.get_piece_size()
    tokens, types = [], []
    for at in range(n):
        piece = processor.id_to_piece(at)
        kind = gguf.TokenType.NORMAL
        if processor.is_unknown(at):
            kind = gguf.TokenType.UNKNOWN
        elif processor.is_control(at):
            kind = gguf.TokenType.CONTROL
        elif processor.is_byte(at):
            kind = gguf.TokenType.BYTE
        elif piece in shape["user_defined"]:
            kind, piece = gguf.TokenType.USER_DEFINED, piece.replace("▁", " ")
        tokens.append(piece)
        types.append(kind)
    writer.add_name(shape["name"])
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([processor.get_score(at) for at in range(n)])
    writer.add_token_types(types)
    if not shape["prefix"]:
        # Files of models with Llama's own shape say nothing of these: the defaults are theirs.
        writer.add_add_space_prefix(False)
        writer.add_add_bos_token(True)
        writer.add_bos_token_id(processor.bos_id())
        writer.add_eos_token_id(processor.eos_id())
        writer.add_unk_token_id(processor.unk_id())
    if with_weights:
        weights(writer, n)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if with_weights:
        writer.write_tensors_to_file()
    writer.close()


def weights(writer, n_vocab):
    hidden = 32
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(hidden)
    writer.add_layer_norm_rms_eps(1e-5)
    zeros = lambda *shape: np.zeros(shape, dtype=np.float32)  # noqa: E731
    tensors = {"token_embd": (n_vocab, hidden), "output": (n_vocab, hidden), "output_norm": (hidden,)}
    tensors |= {f"blk.0.{name}": (hidden,) for name in ["attn_norm", "ffn_norm"]}
    tensors |= {f"blk.0.{name}": (hidden, hidden) for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]}
    for name, size in tensors.items():
        writer.add_tensor(f"{name}.weight", zeros(*size))


def llama_cpp(file):
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = 256
    params.warmup = False
    server = xllamacpp.Server(params)

    def ids(text):
        body = json.dumps(dict(content=text, add_special=False, parse_special=True)).encode()
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["tokens"]

    return ids, server


def main():
    expected = {}
    for name, shape in SHAPES.items():
        shape["name"] = name
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            processor = train(shape, folder)
            write(shape, processor, HERE / f"{name}.gguf", with_weights=False)
            # llama.cpp reads the weights of the llama family alone here; the vocabulary goes by the model's name.
            write(shape | dict(architecture="llama"), processor, folder / "m.gguf", with_weights=True)
            theirs, server = llama_cpp(folder / "m.gguf")
            transformers = AutoTokenizer.from_pretrained(str(HERE), gguf_file=f"{name}.gguf")
            cases, differ = [], []
            for text in TEXTS + [text.format(*shape["control"]) for text in SPECIAL]:
                ids = theirs(text)
                if text in TEXTS and name != "gemma":
                    assert ids == processor.encode(text), (name, text, ids, processor.encode(text))
                if ids != transformers.encode(text, add_special_tokens=False):
                    differ.append(text)
                cases.append(dict(text=text, ids=ids))
            expected[name] = cases
            print(f"{name}: {len(cases)} texts; transformers differs on {len(differ)}: {differ}")
            if name == "gemma":
                print("SentencePiece differs on", [t for t in TEXTS if theirs(t) != processor.encode(t)])
            del server
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()

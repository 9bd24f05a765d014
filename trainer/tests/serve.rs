//! `laurel-trainer serve` as a process, asked over HTTP. The model is a tiny random one with a vocabulary of letters.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A server, ended when the test is.
struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT/v1`
    base: String,
    _folder: tempfile::TempDir,
}

const TEMPLATE: &str = "{% for message in messages %}{{ message['content'] }}{% endfor %}:";

fn tiny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/families/llama2")
}

/// A model's folder: 48 tokens, all but the last a character each.
fn model(folder: &Path) {
    for file in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(file), folder.join(file)).unwrap();
    }
    let letters = ('a'..='z').chain("ĠĊ:.,#".chars()).map(String::from);
    let more = "0123456789-+=*/".chars().map(String::from);
    let vocabulary: serde_json::Map<_, _> = letters.chain(more).zip((0..).map(Value::from)).collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let end = json!({
        "id": vocabulary.len(), "content": "</s>", "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [end], "pre_tokenizer": bytes, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"eos_token": "</s>", "chat_template": TEMPLATE});
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laurel-trainer"));
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--device",
            "cpu",
            "--name",
            "tiny",
            "--model",
        ])
        .arg(folder)
        .args(more);
    command
}

impl Server {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path());
        let adapter = format!("tuned={}", tiny().join("adapter").display());
        let mut child = command(folder.path(), &["--adapter", &adapter])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let base = line.trim().strip_prefix("Listening on ").expect(&line).to_owned();
        Self {
            child,
            base,
            _folder: folder,
        }
    }

    fn health(&self) -> (u16, Value) {
        let root = self.base.strip_suffix("/v1").unwrap();
        answer(ureq::get(format!("{root}/health")).call().unwrap())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let request = ureq::get(url).config().http_status_as_error(false).build();
        answer(request.call().unwrap())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_with(path, "", body.to_string().as_bytes())
    }

    fn post_with(&self, path: &str, key: &str, body: &[u8]) -> (u16, Value) {
        let request = ureq::post(format!("{}{path}", self.base))
            .config()
            .http_status_as_error(false)
            .build()
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {key}"));
        answer(request.send(body).unwrap())
    }

    /// An answer that must be one.
    fn chat(&self, on_top: Value) -> Value {
        let (status, answer) = self.post("/chat/completions", &chat(on_top));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Sends a chat's head and body, waits for the status, and hangs up.
    fn begin(&self, length: usize, body: &str) -> u16 {
        let address = self.base.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address.strip_suffix("/v1").unwrap()).unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        write!(connection, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        let mut status = [0; 12];
        connection.read_exact(&mut status).unwrap();
        let status = std::str::from_utf8(&status).unwrap();
        status.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
    }

    /// The chunks of a stream.
    fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let request = ureq::post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let mut answer = request.send(body.to_string()).unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = answer.body_mut().read_to_string().unwrap();
        let mut events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        let chunk = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        events.into_iter().map(chunk).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&text).expect(&text))
}

fn chat(on_top: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "tell me"}], "max_tokens": 12, "seed": 5,
    });
    body.as_object_mut()
        .unwrap()
        .extend(on_top.as_object().unwrap().clone());
    body
}

fn content(answer: &Value, choice: usize) -> &str {
    answer["choices"][choice]["message"]["content"].as_str().unwrap()
}

#[test]
fn models_are_the_base_and_its_adapters() {
    let server = Server::start();
    let (status, models) = server.get("/models");
    assert_eq!(status, 200);
    let models: Vec<_> = models["data"].as_array().unwrap().clone();
    let summary: Vec<_> = models
        .iter()
        .map(|model| (&model["id"], &model["parent"]))
        .collect();
    assert_eq!(
        summary,
        [(&json!("tiny"), &Value::Null), (&json!("tuned"), &json!("tiny"))]
    );
    assert_eq!(server.get("/models/tuned").1["id"], "tuned");
    assert_eq!(server.get("/models/none").0, 404);
    assert_eq!(server.health(), (200, json!({"status": "ok"})));
}

#[test]
fn the_same_seed_gives_the_same_choices_and_each_choice_its_own() {
    let server = Server::start();
    let first = server.chat(json!({"n": 4}));
    let texts: Vec<&str> = (0..4).map(|choice| content(&first, choice)).collect();
    assert!(texts.iter().any(|text| *text != texts[0]), "{texts:?}");
    // Among others and alone, asked for again.
    assert_eq!(server.chat(json!({"n": 4}))["choices"], first["choices"]);
    assert_eq!(content(&server.chat(json!({})), 0), texts[0]);
    assert_ne!(
        server.chat(json!({"n": 4, "seed": 6}))["choices"],
        first["choices"]
    );
    assert_eq!(first["object"], "chat.completion");
    // "tell me:" is eight letters.
    assert_eq!(first["usage"]["prompt_tokens"], 8);
    let n = first["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(first["usage"]["total_tokens"], 8 + n);
    for choice in first["choices"].as_array().unwrap() {
        assert!(["stop", "length"].contains(&choice["finish_reason"].as_str().unwrap()));
        assert_eq!(choice["message"]["role"], "assistant");
        assert_eq!(choice["logprobs"], Value::Null);
    }
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let server = Server::start();
    let asked = json!({"n": 2, "logprobs": true, "top_logprobs": 2, "stop": ["a", "zz"]});
    let whole = server.chat(asked.clone());
    let mut streamed = chat(asked);
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let mut chunks = server.stream("/chat/completions", &streamed);
    let usage = chunks.pop().unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]),
        (&json!([]), &whole["usage"])
    );
    for index in 0..2 {
        let mut text = String::new();
        let mut tokens = Vec::new();
        let mut reason = Value::Null;
        for chunk in chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["index"] == index)
        {
            assert_eq!(
                (&chunk["object"], &chunk["id"]),
                (&json!("chat.completion.chunk"), &chunks[0]["id"])
            );
            let choice = &chunk["choices"][0];
            text += choice["delta"]["content"].as_str().unwrap_or_default();
            tokens.extend(
                choice["logprobs"]["content"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default(),
            );
            if !choice["finish_reason"].is_null() {
                reason = choice["finish_reason"].clone();
            }
        }
        let choice = &whole["choices"][index];
        assert_eq!(text, content(&whole, index));
        assert_eq!(reason, choice["finish_reason"]);
        assert_eq!(&Value::from(tokens), &choice["logprobs"]["content"]);
    }
}

#[test]
fn log_probabilities_name_each_token_of_the_text() {
    let server = Server::start();
    let asked = json!({"logprobs": true, "top_logprobs": 3, "temperature": 0});
    let answer = server.chat(asked);
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let text: String = tokens
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(text, content(&answer, 0));
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(
            (&top[0]["token"], &top[0]["logprob"]),
            (&token["token"], &token["logprob"]),
            "greedy"
        );
        let bytes: Vec<u8> = serde_json::from_value(token["bytes"].clone()).unwrap();
        assert_eq!(bytes, token["token"].as_str().unwrap().as_bytes());
    }
    let body =
        json!({"model": "tiny", "prompt": "tell me:", "temperature": 0, "logprobs": 2, "max_tokens": 12});
    let (_, plain) = server.post("/completions", &body);
    let choice = &plain["choices"][0];
    assert_eq!(choice["text"], content(&answer, 0), "the template adds a colon");
    let offsets: Vec<u64> = serde_json::from_value(choice["logprobs"]["text_offset"].clone()).unwrap();
    assert_eq!(offsets, (0..tokens.len() as u64).collect::<Vec<_>>());
    assert_eq!(choice["logprobs"]["token_logprobs"][0], tokens[0]["logprob"]);
    assert_eq!(
        choice["logprobs"]["top_logprobs"][0].as_object().unwrap().len(),
        2
    );
}

#[test]
fn the_models_name_picks_the_adapter() {
    let server = Server::start();
    let base = server.chat(json!({"n": 8}));
    let tuned = server.chat(json!({"n": 8, "model": "tuned"}));
    assert_ne!(base["choices"], tuned["choices"]);
    assert_eq!(tuned["model"], "tuned");
    assert_eq!(server.chat(json!({"n": 8}))["choices"], base["choices"]);
}

#[test]
fn a_stop_text_ends_the_answer_before_it() {
    let server = Server::start();
    let whole = server.chat(json!({"temperature": 0}));
    let text = content(&whole, 0);
    assert!(text.len() >= 4, "{text}");
    let stop = &text[1..3];
    let stopped = server.chat(json!({"temperature": 0, "stop": stop, "logprobs": true}));
    let at = text.find(stop).unwrap();
    assert_eq!(
        (content(&stopped, 0), &stopped["choices"][0]["finish_reason"]),
        (&text[..at], &json!("stop"))
    );
    assert_eq!(
        stopped["choices"][0]["logprobs"]["content"]
            .as_array()
            .unwrap()
            .len(),
        at
    );
    assert_eq!(stopped["usage"]["completion_tokens"], at);
}

#[test]
fn several_prompts_have_their_choices_one_after_the_other() {
    let server = Server::start();
    let body = json!({"model": "tiny", "prompt": ["ab", [2, 3]], "n": 2, "seed": 1, "max_tokens": 6});
    let (status, both) = server.post("/completions", &body);
    assert_eq!((status, both["choices"].as_array().unwrap().len()), (200, 4));
    assert_eq!(both["object"], "text_completion");
    assert_eq!(both["usage"]["prompt_tokens"], 4);
    let body = json!({"model": "tiny", "prompt": "ab", "n": 2, "seed": 1, "max_tokens": 6});
    assert_eq!(
        server.post("/completions", &body).1["choices"][1],
        both["choices"][1]
    );
}

#[test]
fn a_bad_request_is_told_what_is_wrong_and_the_server_goes_on() {
    let server = Server::with(&["--slots", "2", "--queue", "4"]);
    let cases = [
        (chat(json!({"model": "gpt-4"})), 404, "model", "model_not_found"),
        (chat(json!({"messages": []})), 400, "messages", ""),
        (
            chat(json!({"messages": [{"role": "user", "content": "x".repeat(80)}]})),
            400,
            "messages",
            "context_length_exceeded",
        ),
        (
            chat(json!({"messages": [{"role": "user", "content": 5}]})),
            400,
            "messages[0].content",
            "",
        ),
        (chat(json!({"temperature": "warm"})), 400, "temperature", ""),
        (chat(json!({"n": 7})), 400, "n", ""),
        (
            chat(json!({"tools": [{"type": "function"}]})),
            400,
            "tools",
            "unsupported_parameter",
        ),
    ];
    for (body, status, param, code) in cases {
        let (found, answer) = server.post("/chat/completions", &body);
        let error = &answer["error"];
        assert_eq!(found, status, "{answer}");
        assert_eq!(error["param"], param, "{answer}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code);
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().len() > 10);
    }
    let text = json!({"model": "tiny", "prompt": [1, 48]});
    assert_eq!(server.post("/completions", &text).1["error"]["param"], "prompt");
    let empty = json!({"model": "tiny", "prompt": ""});
    assert_eq!(server.post("/completions", &empty).0, 400);
    assert_eq!(server.post_with("/chat/completions", "", b"{\"model\":").0, 400);
    assert_eq!(server.begin(5 << 20, ""), 413, "said before the body is read");
    assert_eq!(server.get("/chat/completions").0, 405);
    let (status, nothing) = server.get("/embeddings");
    assert_eq!(
        (status, &nothing["error"]["type"]),
        (404, &json!("invalid_request_error"))
    );
    let form = ureq::post(format!("{}/chat/completions", server.base))
        .config()
        .http_status_as_error(false)
        .build();
    assert_eq!(
        answer(form.header("content-type", "text/plain").send("{}").unwrap()).0,
        415
    );
    assert!(!content(&server.chat(json!({"temperature": 0})), 0).is_empty());
}

#[test]
fn without_a_key_of_the_file_nobody_is_let_in() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), "first\nsecond\n").unwrap();
    let server = Server::with(&["--api-key-file", keys.path().to_str().unwrap()]);
    let body = chat(json!({})).to_string();
    for wrong in ["", "third", "First"] {
        let (status, answer) = server.post_with("/chat/completions", wrong, body.as_bytes());
        assert_eq!(
            (status, &answer["error"]["code"]),
            (401, &json!("invalid_api_key"))
        );
    }
    assert_eq!(server.get("/models").0, 401);
    assert_eq!(
        server.post_with("/chat/completions", "second", body.as_bytes()).0,
        200
    );
    assert_eq!(server.health().0, 200, "whoever watches needs none");
}

#[test]
fn who_hangs_up_frees_the_slot() {
    let server = Server::with(&["--slots", "1", "--queue", "1"]);
    let body = chat(json!({"stream": true, "max_tokens": 1000})).to_string();
    for _ in 0..5 {
        // That the one before is gone may not have been noticed yet.
        while server.begin(body.len(), &body) != 200 {}
    }
    let last = loop {
        match server.post("/chat/completions", &chat(json!({"temperature": 0}))) {
            (429, _) => {}
            (status, answer) => break (status, content(&answer, 0).to_owned()),
        }
    };
    assert!(last.0 == 200 && !last.1.is_empty());
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_cleanly() {
    let mut server = Server::start();
    server.chat(json!({}));
    let pid = server.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_served_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let empty = tempfile::NamedTempFile::new().unwrap();
    let same = format!("tiny={}", tiny().join("adapter").display());
    for (more, says) in [
        (["--adapter", "x=/nowhere"], "x"),
        (["--adapter", &same], "two models are called"),
        (["--context", "65"], "--context must be 2 to 64"),
        (["--api-key-file", empty.path().to_str().unwrap()], "has no key"),
    ] {
        let output = command(folder.path(), &more).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let last = said.trim_end().lines().last().unwrap();
        assert!(
            !output.status.success() && last.starts_with("laurel-trainer: "),
            "{said}"
        );
        assert!(last.contains(says), "{said}");
    }
}

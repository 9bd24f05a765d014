//! Against a small server on this machine that serves the hub's paths: redirects to where the bytes lie, ranges,
//! ETags; it can break off and spoil what it sends.

use super::*;
use crate::data::template::hex;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    /// Of `org/name`.
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes of a large file that are sent before the connection breaks, once.
    break_after: Option<usize>,
    spoil: bool,
    wants_token: bool,
    /// `GET path range`
    log: Vec<String>,
}

struct Server {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
                .collect(),
            ..State::default()
        }));
        let (own, base) = (state.clone(), endpoint.clone());
        // Ends with the test's process: it waits for connections only.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &own, &base);
            }
        });
        Self { endpoint, state }
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub {
            endpoint: self.endpoint.clone(),
            cache: Cache::new(cache.to_owned()),
            token: None,
            offline: false,
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

/// One request and its answer; a large file (of more than 100 bytes) is an LFS file and lies elsewhere.
fn answer(mut stream: TcpStream, state: &Mutex<State>, base: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let header = |name: &str| {
        let mut found = lines.iter().filter_map(|line| line.split_once(": "));
        found
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let range = header("range").unwrap_or_default();
    let mut state = state.lock().unwrap();
    state.log.push(format!("{path} {range}").trim().to_owned());
    if state.wants_token
        && header("authorization").as_deref() != Some("Bearer secret")
        && !path.starts_with("/cdn/")
    {
        return send(&mut stream, "401 Unauthorized", &[], b"");
    }
    let commit = ("x-repo-commit", COMMIT.to_owned());
    if let Some(revision) = path.strip_prefix("/api/models/org/name/revision/") {
        assert!(["main", "v1"].contains(&revision), "{revision}");
        let siblings: Vec<_> = state
            .files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return send(&mut stream, "200 OK", &[], body.as_bytes());
    }
    let resolved = path
        .strip_prefix("/org/name/resolve/")
        .and_then(|rest| rest.split_once('/'));
    if let Some((revision, name)) = resolved {
        assert!(["main", "v1", COMMIT].contains(&revision), "{revision}");
        let Some(bytes) = state.files.get(name).cloned() else {
            return send(&mut stream, "404 Not Found", &[], b"");
        };
        if bytes.len() > 100 {
            let hash = hex(&Sha256::digest(&bytes));
            let headers = [
                commit,
                ("x-linked-etag", format!("\"{hash}\"")),
                ("location", format!("{base}/cdn/{name}")),
            ];
            return send(&mut stream, "302 Found", &headers, b"");
        }
        let etag = ("etag", format!("\"{:040x}\"", bytes.len()));
        return send_range(&mut stream, &range, &[commit, etag], &bytes, None);
    }
    let Some(name) = path.strip_prefix("/cdn/") else {
        return send(&mut stream, "404 Not Found", &[], b"");
    };
    let mut bytes = state.files[name].clone();
    if state.spoil {
        bytes[77] ^= 1;
    }
    // The question for the size asks for one byte.
    let break_after = match range.ends_with("-0") {
        true => None,
        false => state.break_after.take(),
    };
    send_range(&mut stream, &range, &[], &bytes, break_after);
}

fn send_range(
    stream: &mut TcpStream,
    range: &str,
    headers: &[(&str, String)],
    bytes: &[u8],
    break_after: Option<usize>,
) {
    let (from, to) = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .expect("every get has a range");
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().map_or(bytes.len(), |to| to + 1);
    let part = &bytes[from..to];
    let content_range = format!("bytes {from}-{}/{}", to.max(1) - 1, bytes.len());
    let mut headers = headers.to_vec();
    headers.push(("content-range", content_range));
    head(stream, "206 Partial Content", &headers, part.len());
    let sent = break_after.unwrap_or(part.len()).min(part.len());
    let _ = stream.write_all(&part[..sent]);
}

fn send(stream: &mut TcpStream, status: &str, headers: &[(&str, String)], body: &[u8]) {
    head(stream, status, headers, body.len());
    let _ = stream.write_all(body);
}

fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, String)], length: usize) {
    let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all((text + "\r\n").as_bytes());
}

fn large(seed: u8) -> Vec<u8> {
    (0..5000u32).map(|i| (i * 31 % 251) as u8 ^ seed).collect()
}

fn error(hub: &Hub, id: &str) -> String {
    let text = format!("{:#}", hub.locate(Path::new(id)).unwrap_err());
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn ids_are_told_from_paths() {
    let id = |repo: &str, revision: &str, file: Option<&str>| {
        Some(Id {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    };
    assert_eq!(Id::parse("org/name"), id("org/name", "main", None));
    assert_eq!(Id::parse("org/name@v1"), id("org/name", "v1", None));
    assert_eq!(
        Id::parse("org/name/m.gguf"),
        id("org/name", "main", Some("m.gguf"))
    );
    assert_eq!(
        Id::parse("o/n@v1:q/m.Q4.GGUF"),
        id("o/n", "v1", Some("q/m.Q4.GGUF"))
    );
    for path in [
        "model.gguf",
        "./org/name",
        "../name",
        "/models/name",
        "org/name/folder",
        "org/",
        "org/name:../../m.gguf",
        "org/na me",
        "",
    ] {
        assert_eq!(Id::parse(path), None, "{path:?}");
    }
}

#[test]
fn a_file_comes_once_and_is_then_used_without_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("m.gguf", large(1))]);
    let hub = server.hub(dir.path());
    let located = hub.locate(Path::new("org/name/m.gguf")).unwrap();
    assert_eq!(fs::read(&located.path).unwrap(), large(1));
    assert_eq!(located.name, "m.gguf");
    assert!(
        located
            .path
            .ends_with(format!("models--org--name/snapshots/{COMMIT}/m.gguf"))
    );
    assert!(!server.log().is_empty());
    let offline = Hub {
        offline: true,
        ..server.hub(dir.path())
    };
    assert_eq!(offline.locate(Path::new("org/name:m.gguf")).unwrap(), located);
    assert_eq!(server.log(), [""; 0]);
    let text = error(&offline, "org/name:other.gguf");
    assert!(text.contains("HF_HUB_OFFLINE"), "{text}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("m.gguf", large(1))]);
    server.set(|state| state.break_after = Some(3000));
    let hub = server.hub(dir.path());
    let text = error(&hub, "org/name/m.gguf");
    assert!(text.contains("goes on from there"), "{text}");
    server.log();
    let located = hub.locate(Path::new("org/name/m.gguf")).unwrap();
    assert_eq!(fs::read(&located.path).unwrap(), large(1));
    let ranges = server.log();
    assert!(
        ranges.iter().any(|line| line == "/cdn/m.gguf bytes=3000-"),
        "{ranges:?}"
    );
}

#[test]
fn a_corrupt_file_is_refused_and_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("m.gguf", large(1))]);
    server.set(|state| state.spoil = true);
    let hub = server.hub(dir.path());
    let text = error(&hub, "org/name/m.gguf");
    assert!(text.contains("corrupt") && text.contains("m.gguf"), "{text}");
    server.set(|state| state.spoil = false);
    let located = hub.locate(Path::new("org/name/m.gguf")).unwrap();
    assert_eq!(fs::read(&located.path).unwrap(), large(1));
}

#[test]
fn what_was_not_checked_before_a_kill_is_checked_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("m.gguf", large(1))]);
    let hub = server.hub(dir.path());
    let path = hub.locate(Path::new("org/name/m.gguf")).unwrap().path;
    let blob = fs::canonicalize(&path).unwrap();
    fs::write(&blob, large(2)).unwrap();
    fs::write(unchecked(&blob), "").unwrap();
    assert!(error(&hub, "org/name/m.gguf").contains("corrupt"));
    assert!(!blob.exists());
}

#[test]
fn a_folder_has_its_small_files_and_only_the_weights_that_count() {
    let dir = tempfile::tempdir().unwrap();
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let server = Server::start(&[
        ("README.md", b"# m".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{ }".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("model-1.safetensors", large(1)),
        ("model-2.safetensors", large(2)),
        ("pytorch_model.bin", large(3)),
    ]);
    let hub = server.hub(dir.path());
    let located = hub.locate(Path::new("org/name@v1")).unwrap();
    assert_eq!(located.name, "org/name");
    let mut names: Vec<String> = fs::read_dir(&located.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        fs::read(located.path.join("model-2.safetensors")).unwrap(),
        large(2)
    );
    server.log();
    assert_eq!(hub.locate(Path::new("org/name@v1")).unwrap(), located);
    assert_eq!(server.log(), [""; 0]);
    // Half a model in the cache is completed.
    fs::remove_file(located.path.join("model-2.safetensors")).unwrap();
    hub.locate(Path::new("org/name@v1")).unwrap();
    assert!(located.path.join("model-2.safetensors").exists());
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("m.gguf", large(1)), ("notes.txt", b"-".to_vec())]);
    let hub = server.hub(dir.path());
    let text = error(&hub, "org/name/other.gguf");
    assert!(
        text.contains("other.gguf") && text.contains("revision main"),
        "{text}"
    );
    let text = error(&hub, "org/name");
    assert!(
        text.contains("config.json") && text.contains("org/name:FILE.gguf"),
        "{text}"
    );
    server.set(|state| state.wants_token = true);
    assert!(error(&hub, "org/name/m.gguf").contains("HF_TOKEN"));
    let with_token = Hub {
        token: Some("secret".to_owned()),
        ..server.hub(dir.path())
    };
    with_token.locate(Path::new("org/name/m.gguf")).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Hub {
        endpoint: format!("http://{nobody}"),
        ..server.hub(&dir.path().join("empty"))
    };
    let text = error(&away, "org/name/m.gguf");
    assert!(
        text.contains("cannot be reached") && text.contains("local path"),
        "{text}"
    );
    let text = error(&away, "models/no/such/file");
    assert!(text.contains("hub id such as"), "{text}");
}

#[test]
fn a_local_path_wins() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("org/name");
    fs::create_dir_all(&folder).unwrap();
    let located = locate_in(dir.path(), Path::new("org/name")).unwrap();
    assert_eq!((located.path, located.name.as_str()), (folder, "name"));
}

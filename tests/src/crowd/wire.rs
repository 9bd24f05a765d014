//! HTTP/1.1 over one kept connection, as little as a measurement needs: hundreds of callers share two cores with the
//! server, and what a full client computes would be measured with it.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

pub struct Reply {
    pub status: u16,
    /// The value of `set-cookie`, if any.
    pub cookie: Option<String>,
    pub body: Vec<u8>,
}

/// One caller of the server, with a session once it has a cookie.
pub struct Wire {
    /// Host and port.
    address: String,
    /// `name=value`.
    pub cookie: String,
    stream: Option<TcpStream>,
}

impl Wire {
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            cookie: String::new(),
            stream: None,
        }
    }

    /// Posts JSON to a path of the API. An error is a connection that failed or an answer that cannot be read; the next
    /// call makes a new connection then.
    pub async fn post(&mut self, path: &str, body: &str) -> Result<Reply> {
        let request = format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.cookie,
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let reply = timeout(PATIENCE, exchange(&mut stream, request.as_bytes())).await;
        let reply = reply.context("no answer came in time")??;
        self.stream = Some(stream);
        Ok(reply)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Reply> {
    stream.write_all(request).await?;
    let mut bytes = Vec::with_capacity(16 << 10);
    let head = loop {
        receive(stream, &mut bytes).await?;
        if let Some(at) = find(&bytes, END_OF_HEAD) {
            break at;
        }
    };
    let text = std::str::from_utf8(&bytes[..head]).context("the head of an answer is text")?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    let status = status.with_context(|| format!("no status in {text:?}"))?;
    let cookie = header(text, "set-cookie").map(str::to_owned);
    let length: usize = header(text, "content-length")
        .and_then(|length| length.parse().ok())
        .with_context(|| format!("no length in {text:?}"))?;
    let mut body = bytes.split_off(head + END_OF_HEAD.len());
    while body.len() < length {
        receive(stream, &mut body).await?;
    }
    Ok(Reply { status, cookie, body })
}

async fn receive(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    if stream.read_buf(bytes).await? == 0 {
        bail!("the connection was closed");
    }
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_answer_in_pieces_is_read_whole_and_a_closed_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wire = Wire::new(&listener.local_addr().unwrap().to_string());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            for pieces in [[
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Le",
                "ngth: 4\r\n\r\nfo",
                "ur",
            ]] {
                let _ = stream.read(&mut request).await.unwrap();
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                }
            }
            let _ = stream.read(&mut request).await.unwrap();
        });
        let reply = wire.post("/x", "{}").await.unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"four".as_slice()));
        assert_eq!(reply.cookie.as_deref(), Some("a=b"));
        assert!(wire.post("/x", "{}").await.is_err());
        server.await.unwrap();
    }
}

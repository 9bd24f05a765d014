//! Archives on their way: a tar file (POSIX ustar) is written while it is sent, so that neither memory nor disk holds it. Its
//! length is known before its first byte.

use crate::store::{self, Db, snapshots};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use laurel_protocol::{SnapshotId, Timestamp};
use std::{io, path::PathBuf};
use tokio::{
    fs::File,
    io::{AsyncWrite, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

const BLOCK: u64 = 512;
/// Bytes between whoever writes and whoever sends.
const BUFFER: usize = 256 * 1024;

/// A file of the archive.
pub struct Entry {
    /// Its path in the archive, at most 100 bytes.
    name: String,
    size: u64,
    content: Content,
}

enum Content {
    Text(String),
    File(PathBuf),
    Rows(Db, SnapshotId),
}

impl Entry {
    pub fn text(name: impl Into<String>, text: String) -> Self {
        Self {
            name: name.into(),
            size: text.len() as u64,
            content: Content::Text(text),
        }
    }

    pub async fn file(name: impl Into<String>, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            size: tokio::fs::metadata(&path).await?.len(),
            content: Content::File(path),
        })
    }

    /// A snapshot's rows as they are streamed elsewhere.
    pub async fn rows(name: impl Into<String>, db: &Db, snapshot: SnapshotId) -> store::Result<Self> {
        Ok(Self {
            name: name.into(),
            size: snapshots::size_bytes(db, snapshot).await?,
            content: Content::Rows(db.clone(), snapshot),
        })
    }

    fn n_bytes(&self) -> u64 {
        BLOCK + self.size.next_multiple_of(BLOCK)
    }
}

/// The archive as an answer that a browser saves under `name`.
pub fn answer(name: &str, entries: Vec<Entry>, at: Timestamp) -> Response {
    let n_bytes = entries.iter().map(Entry::n_bytes).sum::<u64>() + 2 * BLOCK;
    let (reader, writer) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        // An archive that breaks off is shorter than it said, so that nobody takes a part for the whole.
        if let Err(error) = write(writer, entries, at).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::error!(%error, "An archive broke off: {error}");
        }
    });
    let mut response = Body::from_stream(ReaderStream::new(reader)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n_bytes));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-tar"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

async fn write(mut out: impl AsyncWrite + Unpin, entries: Vec<Entry>, at: Timestamp) -> io::Result<()> {
    for entry in entries {
        out.write_all(&head(&entry.name, entry.size, at)).await?;
        let n = match entry.content {
            Content::Text(text) => {
                out.write_all(text.as_bytes()).await?;
                text.len() as u64
            }
            Content::File(path) => tokio::io::copy(&mut File::open(path).await?, &mut out).await?,
            Content::Rows(db, id) => write_rows(&mut out, &db, id).await?,
        };
        if n != entry.size {
            return Err(io::Error::other(format!("{} has changed meanwhile", entry.name)));
        }
        let padding = entry.size.next_multiple_of(BLOCK) - entry.size;
        out.write_all(&vec![0; padding as usize]).await?;
    }
    out.write_all(&[0; 2 * BLOCK as usize]).await?;
    out.shutdown().await
}

async fn write_rows(out: &mut (impl AsyncWrite + Unpin), db: &Db, id: SnapshotId) -> io::Result<u64> {
    let (mut after, mut n_bytes) = (-1, 0);
    loop {
        let page = snapshots::lines(db, id, after).await.map_err(io::Error::other)?;
        let Some((last, _)) = page.last() else {
            return Ok(n_bytes);
        };
        after = *last;
        let lines: String = page.into_iter().map(|(_, line)| line + "\n").collect();
        out.write_all(lines.as_bytes()).await?;
        n_bytes += lines.len() as u64;
    }
}

/// The block before a file's bytes.
fn head(name: &str, size: u64, at: Timestamp) -> [u8; BLOCK as usize] {
    let mut head = [0; BLOCK as usize];
    let mut put = |from: usize, bytes: &[u8]| head[from..from + bytes.len()].copy_from_slice(bytes);
    // A longer name is split at its last folder: 155 bytes more.
    let (folder, name) = match name.len() {
        0..=100 => ("", name),
        _ => name.rsplit_once('/').unwrap_or(("", name)),
    };
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(345, &folder.as_bytes()[..folder.len().min(155)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &size_field(size));
    put(136, format!("{:011o}\0", (at.0 / 1000).max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}

/// Eleven octal digits; from 8 GiB on GNU's binary form, which every tar reads.
fn size_field(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if size < 1 << 33 {
        field.copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use std::process::Command;

    #[tokio::test]
    async fn what_is_packed_comes_out_of_tar_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        std::fs::write(&file, vec![7; 100_001]).unwrap();
        let long = "n".repeat(90);
        let entries = vec![
            Entry::text("a/README.md", "# Ä\n".to_owned()),
            Entry::file("a/weights", file).await.unwrap(),
            Entry::text("a/empty", String::new()),
            Entry::text(format!("a/{long}/adapter_model.safetensors"), "w".to_owned()),
        ];
        let response = answer("x.tar", entries, Timestamp(1_700_000_000_000));
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(bytes.len().to_string(), length);
        let archive = folder.path().join("x.tar");
        std::fs::write(&archive, &bytes).unwrap();
        let mut tar = Command::new("tar");
        let status = tar.arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status();
        assert!(status.unwrap().success());
        let read = |name: &str| std::fs::read(folder.path().join("a").join(name)).unwrap();
        assert_eq!(read("README.md"), "# Ä\n".as_bytes());
        assert_eq!((read("weights"), read("empty")), (vec![7; 100_001], Vec::new()));
        assert_eq!(read(&format!("{long}/adapter_model.safetensors")), b"w");
    }

    #[test]
    fn a_size_beyond_eleven_octal_digits_is_written_in_binary() {
        assert_eq!(&size_field((1 << 33) - 1), b"77777777777\0");
        assert_eq!(size_field(1 << 33)[0], 0x80);
        assert_eq!(size_field((1 << 33) + 5)[11], 5);
    }
}

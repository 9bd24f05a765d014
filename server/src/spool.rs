//! A long answer on its way: written to a file without a name as fast as it is made, and read from there as fast as
//! the client takes it. A client that stalls then holds a file, and neither a database connection nor a snapshot.

use axum::body::Bytes;
use futures_util::{Stream, stream};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};
use tokio::{sync::watch, task::spawn_blocking};

/// Bytes that a reader takes at once.
const PIECE: u64 = 64 * 1024;

#[derive(Clone, Copy, Default)]
struct Progress {
    n_bytes: u64,
    whole: bool,
}

/// The end that is written to. Dropped before [`Self::finish`], it breaks the reader's stream, so that nobody takes
/// a part for the whole.
pub struct Writer {
    file: Arc<File>,
    progress: watch::Sender<Progress>,
}

/// A file in `folder` that goes when both ends are gone, and the stream of what is written to it.
pub fn open(folder: &Path) -> io::Result<(Writer, impl Stream<Item = io::Result<Bytes>> + Send + 'static)> {
    let file = Arc::new(tempfile::tempfile_in(folder)?);
    let (progress, watched) = watch::channel(Progress::default());
    let reader = Reader {
        file: file.clone(),
        progress: watched,
        at: 0,
    };
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let piece = reader.next().await?;
        Ok(piece.map(|piece| (piece, reader)))
    });
    Ok((Writer { file, progress }, pieces))
}

impl Writer {
    /// Adds bytes at the end; `false` when nobody reads any more.
    pub async fn write(&mut self, bytes: Vec<u8>) -> io::Result<bool> {
        let (file, at) = (self.file.clone(), self.progress.borrow().n_bytes);
        let n_bytes = at + bytes.len() as u64;
        spawn_blocking(move || file.write_all_at(&bytes, at))
            .await
            .map_err(io::Error::other)??;
        let whole = false;
        Ok(self.progress.send(Progress { n_bytes, whole }).is_ok())
    }

    /// Nothing more comes.
    pub fn finish(self) {
        self.progress.send_modify(|progress| progress.whole = true);
    }

    /// Resolves when nobody reads any more.
    pub async fn abandoned(&self) {
        self.progress.closed().await;
    }
}

struct Reader {
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
    at: u64,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.at < progress.n_bytes {
                return self.read(progress.n_bytes).await.map(Some);
            }
            if progress.whole {
                return Ok(None);
            }
            let broke_off = |_| io::Error::other("the writer broke off");
            self.progress.changed().await.map_err(broke_off)?;
        }
    }

    async fn read(&mut self, end: u64) -> io::Result<Bytes> {
        let (file, at) = (self.file.clone(), self.at);
        let mut piece = vec![0; usize::try_from((end - at).min(PIECE)).unwrap_or(0)];
        let piece = spawn_blocking(move || file.read_exact_at(&mut piece, at).map(|()| piece))
            .await
            .map_err(io::Error::other)??;
        self.at += piece.len() as u64;
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::pin::pin;

    #[tokio::test]
    async fn a_reader_gets_what_was_written_before_and_after_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, pieces) = open(folder.path()).unwrap();
        let mut pieces = pin!(pieces);
        assert!(writer.write(vec![1; 100_000]).await.unwrap());
        let mut all = pieces.next().await.unwrap().unwrap().to_vec();
        assert!(writer.write(vec![2; 3]).await.unwrap());
        writer.finish();
        while let Some(piece) = pieces.next().await {
            all.extend(piece.unwrap());
        }
        assert_eq!(all, [vec![1; 100_000], vec![2; 3]].concat());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_writer_that_breaks_off_breaks_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, pieces) = open(folder.path()).unwrap();
        let mut pieces = pin!(pieces);
        writer.write(b"half".to_vec()).await.unwrap();
        drop(writer);
        assert_eq!(pieces.next().await.unwrap().unwrap().as_ref(), b"half");
        assert!(pieces.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_writer_hears_that_its_reader_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, pieces) = open(folder.path()).unwrap();
        drop(pieces);
        writer.abandoned().await;
        assert!(!writer.write(b"more".to_vec()).await.unwrap());
    }
}

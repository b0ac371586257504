//! Files on disk: uploads on their way in, originals, thumbnails. Names come from ids, never from users.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::io::AsyncWriteExt as _;
use wire::{PhotoId, limits::MAX_FILE_BYTES};

use crate::names;

/// No upload takes as long as that from its last byte to its row.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// The folder of all files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    /// Makes the folders and discards uploads that a crash cut short: all, or where other processes are receiving into
    /// the same folder, those that nothing was written to for a day.
    pub(crate) fn open(root: &Path, is_shared: bool) -> io::Result<Self> {
        let files = Self { root: root.to_owned() };
        for folder in ["incoming", "originals", "thumbnails"] {
            fs::create_dir_all(files.folder(folder))?;
        }
        let age = if is_shared { LEFT_BEHIND } else { Duration::ZERO };
        for entry in fs::read_dir(files.folder("incoming"))? {
            discard(&entry?, age)?;
        }
        Ok(files)
    }

    /// A new file to stream an upload into.
    pub(crate) async fn receive(&self) -> io::Result<Incoming> {
        let whole = Whole(self.folder("incoming").join(names::random()));
        let file = tokio::fs::File::create_new(&whole.0).await?;
        Ok(Incoming { file, whole, bytes: 0 })
    }

    /// The photo as it was uploaded. Kept as it is, never served: it may hold a place.
    pub(crate) fn original(&self, photo: &PhotoId) -> PathBuf {
        self.folder("originals").join(photo.as_str())
    }

    /// Its thumbnail.
    pub(crate) fn thumbnail(&self, photo: &PhotoId) -> PathBuf {
        self.folder("thumbnails").join(format!("{photo}.jpg"))
    }

    /// Puts a photo's thumbnail in its place, whole: someone may be reading the one that was there.
    pub(crate) fn store_thumbnail(&self, photo: &PhotoId, jpeg: &[u8]) -> io::Result<()> {
        let path = self.folder("incoming").join(names::random());
        fs::write(&path, jpeg)?;
        fs::rename(path, self.thumbnail(photo))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Removes a file that is at least so old. One that is gone meanwhile was another's.
fn discard(file: &fs::DirEntry, age: Duration) -> io::Result<()> {
    let removed = file.metadata().and_then(|metadata| {
        // Of the future by another machine's clock: young.
        let old = metadata.modified()?.elapsed().unwrap_or_default() >= age;
        if old { fs::remove_file(file.path()) } else { Ok(()) }
    });
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// An upload on its way in; removed on drop.
#[derive(Debug)]
pub(crate) struct Incoming {
    file: tokio::fs::File,
    whole: Whole,
    bytes: u64,
}

impl Incoming {
    /// Appends a chunk. False: the file would be larger than [`MAX_FILE_BYTES`].
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> io::Result<bool> {
        self.bytes += chunk.len() as u64;
        if self.bytes > MAX_FILE_BYTES {
            return Ok(false);
        }
        self.file.write_all(chunk).await.map(|()| true)
    }

    /// All of it has come. It is on disk before it is anywhere else: a row that says "received" never names half a file.
    /// And it is closed: a form of many files, and there are many forms, holds one open.
    pub(crate) async fn whole(mut self) -> io::Result<Whole> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        Ok(self.whole)
    }
}

/// An upload that has come; removed on drop unless it was kept.
#[derive(Debug)]
pub(crate) struct Whole(PathBuf);

impl Whole {
    /// Moves it to `place`.
    pub(crate) async fn keep(self, place: &Path) -> io::Result<()> {
        tokio::fs::rename(&self.0, place).await
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Gone already where it was kept; what can't be removed goes at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_that_has_come_is_closed_and_gone_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path(), false).unwrap();
        let place = dir.path().join("originals/a");
        for is_kept in [false, true] {
            let mut incoming = files.receive().await.unwrap();
            assert!(incoming.write(b"photo").await.unwrap());
            let whole = incoming.whole().await.unwrap();
            let path = whole.0.clone();
            let open: Vec<PathBuf> =
                fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
            assert!(path.exists() && !open.contains(&path));
            if is_kept {
                whole.keep(&place).await.unwrap();
            } else {
                drop(whole);
            }
            assert_eq!((path.exists(), fs::read(&place).is_ok_and(|bytes| bytes == b"photo")), (false, is_kept));
        }
    }
}

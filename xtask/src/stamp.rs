//! Skipping work whose inputs have not changed since it was last done.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that remembers the inputs of the last successful run.
pub(crate) struct Stamp {
    file: PathBuf,
    inputs: String,
}

impl Stamp {
    /// `inputs` are files and folders; the names and the contents of all files in them count. The hash is the standard
    /// library's: another Rust version may only mean that the work is done once more.
    pub(crate) fn new(file: PathBuf, inputs: &[PathBuf]) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        for path in inputs {
            add(path, &mut hasher).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(Self { file, inputs: format!("{:016x}", hasher.finish()) })
    }

    /// Whether the work was done with exactly these inputs.
    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|stamped| stamped == self.inputs)
    }

    /// Whether it was, and nobody else has made `output` since, from inputs that we do not know.
    pub(crate) fn is_current_for(&self, output: &Path) -> bool {
        let made = |file: &Path| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        self.is_current() && made(output).is_some_and(|output| Some(output) <= made(&self.file))
    }

    /// Remembers that it was.
    pub(crate) fn set(&self) -> Result<()> {
        fs::write(&self.file, &self.inputs).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

fn add(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    hasher.write(path.as_os_str().as_encoded_bytes());
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(entry, hasher));
    }
    let bytes = fs::read(path)?;
    hasher.write_usize(bytes.len());
    hasher.write(&bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stamp_is_current_until_a_file_in_the_folder_changes_or_comes() {
        let dir = tempfile::tempdir().unwrap();
        let src = dir.path().join("src");
        fs::create_dir(&src).unwrap();
        fs::write(src.join("a.rs"), "a").unwrap();
        let stamp = || Stamp::new(dir.path().join("stamp"), std::slice::from_ref(&src)).unwrap();

        assert!(!stamp().is_current());
        stamp().set().unwrap();
        assert!(stamp().is_current());
        fs::write(src.join("a.rs"), "b").unwrap();
        assert!(!stamp().is_current());
        stamp().set().unwrap();
        fs::write(src.join("b.rs"), "").unwrap();
        assert!(!stamp().is_current());
    }

    #[test]
    fn an_output_that_is_missing_or_newer_than_the_stamp_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("output");
        let stamp = Stamp::new(dir.path().join("stamp"), &[]).unwrap();
        stamp.set().unwrap();
        assert!(!stamp.is_current_for(&output));
        let file = fs::File::create(&output).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - Duration::from_secs(60)).unwrap();
        assert!(stamp.is_current_for(&output));
        file.set_modified(now + Duration::from_secs(60)).unwrap();
        assert!(!stamp.is_current_for(&output));
    }

    #[test]
    fn an_input_that_is_missing_is_an_error() {
        assert!(Stamp::new("stamp".into(), &["no/such/file".into()]).is_err());
    }
}

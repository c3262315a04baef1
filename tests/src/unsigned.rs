//! A module that nobody has signed: one of ours, whose manifest a test has changed.

use std::path::Path;

use tempfile::TempDir;

use crate::{dist, folder};

/// Such a module, in a folder of its own.
pub struct Unsigned {
    folder: TempDir,
    manifest: String,
}

impl Unsigned {
    /// This module, with its manifest as it is.
    ///
    /// # Panics
    /// When it is not packaged.
    pub fn of(module: &str) -> Unsigned {
        Unsigned::beside(&dist::bundle("modules", module))
    }

    /// The one in this folder, with its manifest as it is.
    ///
    /// # Panics
    /// When it is not there.
    pub fn beside(real: &Path) -> Unsigned {
        let manifest = std::fs::read_to_string(real.join("module.toml")).unwrap();
        let out = Unsigned { folder: folder::with_mode(0o755), manifest };
        std::fs::copy(real.join("module.wasm"), out.path().join("module.wasm")).unwrap();
        out.lie(&[]);
        out
    }

    /// From here on its manifest is the real one but for these pieces.
    ///
    /// # Panics
    /// When one is not in it.
    pub fn lie(&self, changes: &[(&str, &str)]) {
        let lie = changes.iter().fold(self.manifest.clone(), |text, (piece, instead)| {
            assert!(text.contains(piece), "the manifest does not say {piece}");
            text.replacen(piece, instead, 1)
        });
        std::fs::write(self.path().join("module.toml"), lie).unwrap();
    }

    /// The line of the configuration that names it.
    pub fn line(&self) -> String {
        format!("module = {}\n", self.path().display())
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

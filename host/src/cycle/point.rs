//! The recovery point, written into `ipc_folder` just before "frozen", so that it lies inside the snapshot.
//!
//! The file is made in prepare, at its full size and on disk; in the window it is only overwritten and its data synced:
//! no allocation of blocks, no change of a folder. Where the filesystem is synced afterwards anyway, that takes it along.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde_json::json;
use stillpoint_contract::message::Coordinate;

use crate::broker::state::{RECOVERY_POINT, StateFolder};

const SIZE: usize = 4096;

/// The file, ready to be written.
#[derive(Debug)]
pub struct PointFile {
    file: std::fs::File,
    device: u64,
    cycle: String,
    workload: String,
}

impl PointFile {
    /// Makes the file with nothing in it but the cycle.
    ///
    /// # Errors
    /// What the system gives, such as a full filesystem.
    pub async fn make(folder: StateFolder, cycle: &str, workload: &str) -> io::Result<PointFile> {
        let content = padded(json!({ "cycle": cycle, "workload": workload, "frozen": false }).to_string())?;
        let made = tokio::task::spawn_blocking(move || folder.replace(RECOVERY_POINT, &content)).await;
        let file = made.map_err(io::Error::other)??.into_std();
        let device = file.metadata()?.dev();
        Ok(PointFile { file, device, cycle: cycle.into(), workload: workload.into() })
    }

    /// The filesystem on which it lies.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Writes the recovery point, and syncs it where nobody else will.
    ///
    /// # Errors
    /// What the system gives; `InvalidData` for a point above 4 KiB.
    pub async fn write(&self, point: &[Coordinate], at: jiff::Timestamp, sync: bool) -> io::Result<()> {
        let content = padded(
            json!({
                "cycle": self.cycle,
                "workload": self.workload,
                "frozen": true,
                "at": at.to_string(),
                "point": as_json(point),
            })
            .to_string(),
        )?;
        let file = self.file.try_clone()?;
        // On a thread of its own: a filesystem that hangs must not stop the clock.
        tokio::task::spawn_blocking(move || {
            file.write_all_at(&content, 0)?;
            if sync { file.sync_data() } else { Ok(()) }
        })
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
    }
}

/// The coordinates as a list of name and value.
pub fn as_json(point: &[Coordinate]) -> serde_json::Value {
    point.iter().map(|c| json!({ "name": c.name, "value": c.value })).collect()
}

fn padded(text: String) -> io::Result<Vec<u8>> {
    let mut bytes = text.into_bytes();
    if bytes.len() >= SIZE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the recovery point is longer than 4 KiB"));
    }
    bytes.resize(SIZE - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

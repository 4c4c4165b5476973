//! What is done to a training.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::training::{self, CHECKPOINT, EVERY};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Kills,
    FullDisk,
    ReadOnly,
    CutCheckpoint,
    ClockGoesBack,
}

/// The size of the file system, a few times that of a checkpoint.
const DISK: &str = "size=512k";
/// The most kills of a training.
const KILLS: usize = 6;

#[derive(Default)]
pub(crate) struct Counts {
    /// The trainings of each fault.
    pub(crate) rounds: [usize; 5],
    pub(crate) kills: usize,
    pub(crate) resumed: usize,
    pub(crate) errors: usize,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::Kills, Self::FullDisk, Self::ReadOnly, Self::CutCheckpoint, Self::ClockGoesBack];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kills => "killed at random moments",
            Self::FullDisk => "full disk",
            Self::ReadOnly => "read-only folder",
            Self::CutCheckpoint => "last checkpoint cut",
            Self::ClockGoesBack => "clock goes back",
        }
    }

    pub(crate) fn needs_disk(self) -> bool {
        matches!(self, Self::FullDisk | Self::ReadOnly)
    }
}

/// A small file system in memory.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts it, or returns `None` if the process may not.
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let disk = Self(folder.to_owned());
        run("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs"], folder).ok().map(|()| disk)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    fn set_writable(&self, writable: bool) -> Result<(), Box<dyn Error>> {
        let mode = format!("remount,{},{DISK}", if writable { "rw" } else { "ro" });
        run("mount", &["-o", &mode], &self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &[], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<(), Box<dyn Error>> {
    let output = Command::new(program).args(arguments).arg(folder).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// Trains in `folder` under a fault, and compares the end with `expected`. A training that is complete before it
/// is killed does not count.
pub(crate) fn round(
    fault: Fault,
    folder: &Path,
    disk: Option<&Disk>,
    expected: &str,
    rng: &mut ChaCha8Rng,
    counts: &mut Counts,
) -> Result<(), Box<dyn Error>> {
    let checkpoint = folder.join(CHECKPOINT);
    let previous = folder.join(format!("{CHECKPOINT}.previous"));
    // The step of the last checkpoint is known to be at least this.
    let mut least = 0;
    let kills = if fault == Fault::Kills { rng.random_range(1..=KILLS) } else { 1 };
    for _ in 0..kills {
        let mut training = training::start(folder)?;
        training.wait(rng.random_range(1..40))?;
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        check_resumed(training.resumed, least, counts)?;
        let Some(step) = training.kill()? else { return Ok(()) };
        // Every step was printed after the checkpoints before it were written.
        least = step.saturating_sub(1) / EVERY * EVERY;
        counts.kills += 1;
    }
    match (fault, disk) {
        (Fault::FullDisk, Some(disk)) => {
            // A training may go on in the space of files that it removes or replaces.
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path != checkpoint {
                    fs::remove_file(path)?;
                }
            }
            let filler = disk.folder().join("filler");
            fill(&filler)?;
            counts.errors += refused(folder, &checkpoint)?;
            fs::remove_file(filler)?;
        }
        (Fault::ReadOnly, Some(disk)) => {
            disk.set_writable(false)?;
            let refused = refused(folder, &checkpoint);
            disk.set_writable(true)?;
            counts.errors += refused?;
        }
        (Fault::CutCheckpoint, _) if checkpoint.exists() => {
            let length = fs::metadata(&checkpoint)?.len();
            let file = OpenOptions::new().write(true).open(&checkpoint)?;
            file.set_len(rng.random_range(0..length))?;
            counts.errors += refused(folder, &checkpoint)?;
            match previous.exists() {
                true => fs::rename(&previous, &checkpoint)?,
                false => fs::remove_file(&checkpoint)?,
            }
            least = least.saturating_sub(EVERY);
        }
        (Fault::ClockGoesBack, _) => {
            let later = SystemTime::now() + Duration::from_secs(86_400 * rng.random_range(1..400));
            for entry in fs::read_dir(folder)? {
                File::options().write(true).open(entry?.path())?.set_modified(later)?;
            }
        }
        _ => {}
    }
    let mut training = training::start(folder)?;
    // A training of which everything is done prints no step.
    let (end, resumed) = (training.wait(1)?, training.resumed);
    let end = match end {
        Some(end) => end,
        None => training.finish()?,
    };
    check_resumed(resumed, least, counts)?;
    if end != expected {
        return Err(format!("the end is {end}, expected {expected}").into());
    }
    let known = [CHECKPOINT.to_owned(), format!("{CHECKPOINT}.previous")];
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            return Err(format!("{name} is left in the folder").into());
        }
    }
    if let Some(place) = Fault::ALL.iter().position(|&other| other == fault) {
        counts.rounds[place] += 1;
    }
    Ok(())
}

/// Fails if a training resumed before its last checkpoint.
fn check_resumed(
    resumed: Option<usize>,
    least: usize,
    counts: &mut Counts,
) -> Result<(), Box<dyn Error>> {
    counts.resumed += usize::from(resumed.is_some());
    match resumed.unwrap_or(0) {
        step if step < least => {
            Err(format!("resumed at {step}, the checkpoint had {least}").into())
        }
        _ => Ok(()),
    }
}

/// Runs a training that cannot go on. Returns 1 if its error names the checkpoint or its folder.
fn refused(folder: &Path, checkpoint: &Path) -> Result<usize, Box<dyn Error>> {
    let message = training::start(folder)?.error()?;
    match message.contains(&checkpoint.display().to_string()) {
        true => Ok(1),
        false => Err(format!("the error does not name the checkpoint: {message}").into()),
    }
}

/// Writes to `file` until its file system is full.
fn fill(file: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = File::create(file)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

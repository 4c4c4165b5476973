//! A soak: training and streaming under faults, for as long as wanted.
//!
//!     cargo bench -p recurrent-benches --bench soak [-- --minutes 60] [-- --seed N]
//!
//! Each round trains a classifier in a process of its own, with a checkpoint after every few steps, and does
//! to it what the round draws: kills at random moments, a full disk, a folder that cannot be written, a cut
//! checkpoint, or a clock that goes back. The training then continues until it is complete. Meanwhile another
//! thread steps a stream, and each of its blocks is compared with one pass over the whole block.
//!
//! Requirements: every training ends with the weights, bit for bit, of one that nothing interrupted; it resumes
//! no earlier than from its last checkpoint; nothing but the checkpoints is left in its folder; an error names
//! the file; the stream equals the pass; and the memory of the process stays within 4 MiB after its first
//! tenth. The faults of the disk need `mount`, so the privileges of root; otherwise they are left out.
#![allow(missing_docs)]

mod faults;
#[path = "../support/table.rs"]
mod table;
mod training;
mod watched;

use std::error::Error;
use std::time::{Duration, Instant};

use faults::{Counts, Disk, Fault};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use table::print_table;
use watched::{Watched, resident_kilobytes};

/// The command line: `--train FOLDER` is the process of a training.
struct Options {
    minutes: f64,
    seed: u64,
    train: Option<std::path::PathBuf>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { minutes: 1.0, seed: 1, train: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument}: expected a value"));
        match argument.as_str() {
            "--minutes" => options.minutes = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--train" => options.train = Some(value()?.into()),
            // Cargo's own.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    if let Some(folder) = &options.train {
        return training::run(folder);
    }
    let root = std::env::temp_dir().join(format!("recurrent-soak-{}", std::process::id()));
    std::fs::create_dir_all(&root)?;
    let disk = Disk::mount(&root.join("disk"));
    if disk.is_none() {
        println!("no file system can be mounted: without a full disk and a read-only one");
    }
    let result = soak(&options, &root, disk.as_ref());
    drop(disk);
    std::fs::remove_dir_all(&root)?;
    result
}

fn soak(
    options: &Options,
    root: &std::path::Path,
    disk: Option<&Disk>,
) -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let expected = training::start(&root.join("whole"))?.finish()?;
    let (begin, whole) = (Instant::now(), Duration::from_secs_f64(60.0 * options.minutes));
    let (mut counts, mut memory) = (Counts::default(), Vec::new());
    let watched = Watched::start(options.seed);
    while begin.elapsed() < whole {
        let fault = Fault::ALL[rng.random_range(0..Fault::ALL.len())];
        let folder = match (fault.needs_disk(), disk) {
            (true, None) => continue,
            (true, Some(disk)) => disk.folder().join("run"),
            (false, _) => root.join("run"),
        };
        let round = faults::round(fault, &folder, disk, &expected, &mut rng, &mut counts);
        round.map_err(|error| format!("{}: {error}", fault.name()))?;
        std::fs::remove_dir_all(&folder)?;
        memory.push((begin.elapsed(), resident_kilobytes()?));
    }
    let steps = watched.stop()?;
    report(&counts, &memory, steps, begin.elapsed())
}

fn report(
    counts: &Counts,
    memory: &[(Duration, usize)],
    steps: u64,
    time: Duration,
) -> Result<(), Box<dyn Error>> {
    let rows = Fault::ALL
        .iter()
        .zip(counts.rounds)
        .map(|(fault, rounds)| vec![fault.name().to_owned(), rounds.to_string()]);
    print_table(&["fault", "trainings"], &rows.collect::<Vec<_>>());
    println!(
        "{} kills, {} resumptions, {} errors that name the file",
        counts.kills, counts.resumed, counts.errors
    );
    println!("{steps} steps of a stream, equal to whole passes");
    let warm = memory.iter().filter(|(at, _)| *at * 10 >= time).map(|&(_, kilobytes)| kilobytes);
    let warm: Vec<usize> = warm.collect();
    let (Some(first), Some(last)) = (warm.first(), warm.last()) else {
        println!("too short for the memory");
        return Ok(());
    };
    let (least, most) = (warm.iter().min().unwrap_or(first), warm.iter().max().unwrap_or(first));
    println!(
        "memory over {:.1} minutes, after the first tenth: first {first} KB, last {last}, least {least}, most {most}",
        time.as_secs_f64() / 60.0
    );
    match *most > first + 4096 {
        true => Err(format!("the memory grew from {first} to {most} KB").into()),
        false => Ok(()),
    }
}

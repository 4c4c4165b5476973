//! Tests of the temporary files of writers that were killed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use ndarray::array;
use recurrent::io;
use recurrent::optim::Sgd;
use recurrent::train::Trainer;

use crate::common::temporary::Folder;
use crate::stopping::{Number, Numbers};

/// Returns the number of a process that has ended.
fn dead() -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    child.id()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn train(folder: &Path, name: &str) {
    let trainer = Trainer::new(Sgd::new(0.1).unwrap()).epochs(1);
    let trainer = trainer.checkpoint(folder.join(name));
    trainer.fit(&mut Number::new(1.0), &Numbers(vec![2.0]), None).unwrap();
}

#[test]
fn a_training_removes_the_files_of_killed_writers_and_no_others() {
    let (folder, dead) = (Folder::new("abandoned"), dead());
    let (own, locked) = (format!(".{}.99999.tmp", std::process::id()), format!(".{dead}.7.tmp"));
    let others = ["5.0.tmp", ".x.0.tmp", ".5.x.tmp", ".5.tmp", ".5.0.tmp.x", "run.tmp"];
    for name in others.iter().copied().chain([&own[..], &locked[..]]) {
        fs::write(folder.0.join(name), "kept").unwrap();
    }
    let lock = File::open(folder.0.join(&locked)).unwrap();
    lock.lock().unwrap();
    for call in [0, 1, 12] {
        fs::write(folder.0.join(format!(".{dead}.{call}.tmp")), "abandoned").unwrap();
    }
    train(&folder.0, "run");
    let mut expected: Vec<String> = others.iter().map(|&name| name.to_owned()).collect();
    expected.extend([own.clone(), locked.clone(), "run".to_owned()]);
    expected.sort();
    let seen = names(&folder.0);
    // Only some systems have a list of processes; elsewhere a file without a lock is abandoned.
    let without_own = |names: Vec<String>| -> Vec<String> {
        names.into_iter().filter(|name| *name != own || cfg!(target_os = "linux")).collect()
    };
    assert_eq!(without_own(seen), without_own(expected));
    drop(lock);
    fs::remove_file(folder.0.join("run")).unwrap();
    train(&folder.0, "run");
    assert!(!folder.0.join(&locked).exists());
}

#[test]
fn a_file_older_than_the_process_of_its_number_is_abandoned() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let folder = Folder::new("older-than-its-process");
    let path = folder.0.join(format!(".{}.99999.tmp", std::process::id()));
    let file = File::create(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    train(&folder.0, "run");
    assert_eq!(names(&folder.0), ["run"]);
}

#[test]
fn a_file_that_is_saved_removes_them_too() {
    let (folder, dead) = (Folder::new("abandoned-saves"), dead());
    fs::write(folder.0.join(format!(".{dead}.0.tmp")), "abandoned").unwrap();
    io::save(folder.0.join("weights"), &array![1.0]).unwrap();
    assert_eq!(names(&folder.0), ["weights"]);
}

#[test]
fn writers_in_one_folder_do_not_disturb_each_other() {
    let folder = Folder::new("many-writers");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let folder = &folder.0;
            scope.spawn(move || {
                for _ in 0..10 {
                    io::save(folder.join(format!("weights-{thread}")), &array![1.0]).unwrap();
                    let run = format!("run-{thread}");
                    train(folder, &run);
                    fs::remove_file(folder.join(run)).unwrap();
                }
            });
        }
    });
    let left = names(&folder.0);
    assert!(left.iter().all(|name| !name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn a_training_goes_on_from_the_checkpoint_before_a_damaged_one() {
    let train = |folder: &Folder, epochs: usize| {
        let trainer =
            Trainer::new(Sgd::new(0.1).unwrap()).epochs(epochs).keep_previous_checkpoint(true);
        let trainer = trainer.checkpoint(folder.0.join("run"));
        let mut model = Number::new(1.0);
        trainer.fit(&mut model, &Numbers(vec![2.0, 5.0]), None).map(|_| model.w)
    };
    let (whole, cut) = (Folder::new("previous_whole"), Folder::new("previous_cut"));
    let expected = train(&whole, 6).unwrap();
    train(&cut, 3).unwrap();
    assert_eq!(names(&cut.0), ["run", "run.previous"]);
    let (last, previous) = (cut.0.join("run"), cut.0.join("run.previous"));
    assert_ne!(fs::read(&last).unwrap(), fs::read(&previous).unwrap());
    let length = fs::metadata(&last).unwrap().len();
    // The other name is that of another file, so this cuts the last checkpoint alone.
    fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(length - 1).unwrap();
    assert!(matches!(train(&cut, 6), Err(recurrent::Error::Format { .. })));
    fs::rename(&previous, &last).unwrap();
    assert_eq!(train(&cut, 6).unwrap(), expected);
    assert_eq!(names(&cut.0), ["run", "run.previous"]);
}

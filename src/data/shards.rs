//! [`Manifest`]: a list of the files of a data set; [`Sharded`]: those of them that one rank reads.
#![expect(clippy::indexing_slicing, reason = "the index is that of a file or a rank")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::Rng;
use serde::Deserialize;

use crate::data::{Scaler, Source};
use crate::error::{Error, Result};

/// A file of a data set, and the number of its samples.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Shard {
    /// The path of the file.
    pub path: PathBuf,
    /// The number of samples in the file.
    pub samples: usize,
}

/// The files of a data set, each with the number of its samples, by which distributed training gives each file
/// to one rank.
///
/// A manifest is a JSON file, with paths relative to its folder:
///
/// ```json
/// [{"path": "monday.csv", "samples": 1200}, {"path": "tuesday.csv", "samples": 950}]
/// ```
///
/// The samples are numbered in the order of the files. So every rank knows all numbers and the batches of an
/// epoch, and computes those samples of a batch that are in its files. Batches are the same for any number of
/// ranks. A rank with fewer samples, or without a file, has a smaller or no part in some batches, with the
/// weight of that part. All ranks take part in every step, so none waits for steps that another does not make.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("recurrent-doc-shards-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("train.json");
/// use recurrent::data::{Manifest, Source};
/// use recurrent::{Error, Result};
///
/// /// Numbers, one in a line.
/// struct Lines(Vec<f64>);
/// impl Source<Vec<f64>> for Lines {
///     fn len(&self) -> usize { self.0.len() }
///     fn batch(&self, samples: &[usize]) -> Result<Vec<f64>> {
///         Ok(samples.iter().map(|&i| self.0[i]).collect())
///     }
/// }
///
/// # std::fs::write(folder.join("a.txt"), "1\n2\n").unwrap();
/// # std::fs::write(folder.join("b.txt"), "3\n4\n5\n").unwrap();
/// std::fs::write(&path, r#"[{"path": "a.txt", "samples": 2}, {"path": "b.txt", "samples": 3}]"#).unwrap();
/// let manifest = Manifest::read(&path)?;
/// let (rank, size) = (1, 2); // those of the communicator
/// let source = manifest.shards(rank, size, |files| {
///     let read = |file: &&std::path::Path| std::fs::read_to_string(file).unwrap();
///     let text: String = files.iter().map(read).collect();
///     Ok(Lines(text.lines().map(|line| line.parse().unwrap()).collect()))
/// })?;
/// assert_eq!(source.len(), 5); // in all files
/// assert_eq!(source.batch(&[1])?, [2.0]); // the larger file is that of rank 0
/// assert!(!source.holds(2));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    path: PathBuf,
    shards: Vec<Shard>,
}

impl Manifest {
    /// Reads the manifest `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Format`] if it is no such list, names no file, or names a
    /// file twice.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_path(path.as_ref().to_owned())
    }

    fn read_path(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Io { path: path.clone(), source })?;
        let refuse =
            |problem| Err(Error::Format { path: path.clone(), format: "manifest", problem });
        let mut shards: Vec<Shard> = match serde_json::from_str(&text) {
            Ok(shards) => shards,
            Err(error) => return refuse(error.to_string()),
        };
        if shards.is_empty() {
            return refuse("no files".to_owned());
        }
        let mut paths = BTreeSet::new();
        if let Some(shard) = shards.iter().find(|shard| !paths.insert(&shard.path)) {
            return refuse(format!("{} twice", shard.path.display()));
        }
        if shards.iter().try_fold(0_usize, |sum, shard| sum.checked_add(shard.samples)).is_none() {
            return refuse("more samples than can be numbered".to_owned());
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        shards.iter_mut().for_each(|shard| shard.path = folder.join(&shard.path));
        Ok(Self { path, shards })
    }

    /// Returns the files in order.
    pub fn files(&self) -> &[Shard] {
        &self.shards
    }

    /// Returns the number of samples of all files.
    pub fn samples(&self) -> usize {
        self.shards.iter().map(|shard| shard.samples).sum()
    }

    /// Returns the indices of the files of `rank`, one of `size` ranks, in order.
    ///
    /// From the largest file to the smallest, each goes to the rank that has the fewest samples until then.
    /// Every file is that of one rank. With fewer files than ranks, some have none.
    ///
    /// # Errors
    /// Unless `rank` is less than `size`.
    pub fn of_rank(&self, rank: usize, size: usize) -> Result<Vec<usize>> {
        if rank >= size {
            return Err(Error::argument("rank", format!("less than {size} (size)"), rank));
        }
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
        order.sort_by_key(|&file| std::cmp::Reverse(self.shards[file].samples));
        let mut totals = vec![0; size.min(order.len())];
        let mut own = Vec::new();
        for file in order {
            let least = (0..totals.len()).min_by_key(|&rank| totals[rank]).unwrap_or(0);
            totals[least] += self.shards[file].samples;
            if least == rank {
                own.push(file);
            }
        }
        own.sort_unstable();
        Ok(own)
    }

    /// Returns the samples of all files, of which `rank` holds those of its own files. `read` returns the
    /// samples of these files in order. It is not called if there is none.
    ///
    /// # Errors
    /// If `read` fails, it returns another number of samples than the manifest, or `rank` is not less than
    /// `size`.
    pub fn shards<B, S: Source<B>>(
        &self,
        rank: usize,
        size: usize,
        read: impl FnOnce(&[&Path]) -> Result<S>,
    ) -> Result<Sharded<S>> {
        let own = self.of_rank(rank, size)?;
        let paths: Vec<&Path> = own.iter().map(|&file| &*self.shards[file].path).collect();
        let held = if own.is_empty() { None } else { Some(read(&paths)?) };
        let expected: usize = own.iter().map(|&file| self.shards[file].samples).sum();
        let got = held.as_ref().map_or(0, |held| held.len());
        if got != expected {
            let files: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let argument = format!("samples of {}", files.join(", "));
            let expected = format!("{expected} as in {}", self.path.display());
            return Err(Error::argument(argument, expected, got));
        }
        let (mut start, mut place, mut parts) = (0, 0, Vec::new());
        for (file, shard) in self.shards.iter().enumerate() {
            let range = start..start + shard.samples;
            start = range.end;
            if own.binary_search(&file).is_ok() {
                parts.push((range, place));
                place += shard.samples;
            }
        }
        Ok(Sharded { held, parts, len: start })
    }
}

/// The samples of all files of a [`Manifest`], of which this process [holds](Source::holds) some.
#[derive(Clone, Debug)]
pub struct Sharded<S> {
    /// The samples of this process, if it has files.
    held: Option<S>,
    /// The numbers of the samples of each file, and the index in `held` of the first.
    parts: Vec<(Range<usize>, usize)>,
    /// The number of all samples.
    len: usize,
}

impl<S> Sharded<S> {
    /// Returns the index in `held` of sample `index`, if this process holds it.
    fn place(&self, index: usize) -> Option<usize> {
        let part = self.parts.partition_point(|(range, _)| range.end <= index);
        let (range, place) = self.parts.get(part).filter(|(range, _)| range.contains(&index))?;
        Some(place + index - range.start)
    }

    /// Returns the held samples, and the places in them of the samples `indices`.
    fn places(&self, indices: &[usize]) -> Result<(&S, Vec<usize>)> {
        let refuse = |index| {
            let argument = format!("sample {index}");
            Error::argument(argument, "a sample in a file of this rank", "one in another file")
        };
        let place = |&index: &usize| self.place(index).ok_or_else(|| refuse(index));
        let places = indices.iter().map(place).collect::<Result<_>>()?;
        let held =
            self.held.as_ref().ok_or_else(|| refuse(indices.first().copied().unwrap_or(0)))?;
        Ok((held, places))
    }
}

impl<B: 'static, S: Source<B>> Source<B> for Sharded<S> {
    fn len(&self) -> usize {
        self.len
    }

    /// Returns the length of a sample that this process holds, and 0 of another.
    fn length(&self, index: usize) -> usize {
        let held = self.held.as_ref().zip(self.place(index));
        held.map_or(0, |(held, place)| held.length(place))
    }

    fn columns(&self) -> &[String] {
        self.held.as_ref().map_or(&[], |held| held.columns())
    }

    fn holds(&self, index: usize) -> bool {
        self.place(index).is_some()
    }

    fn batch(&self, indices: &[usize]) -> Result<B> {
        let (held, places) = self.places(indices)?;
        held.batch(&places)
    }

    fn scaled_once(&self, scaler: &Scaler) -> Result<Option<Box<dyn Source<B> + '_>>> {
        let (parts, len) = (self.parts.clone(), self.len);
        let held = match &self.held {
            None => None,
            Some(held) => match held.scaled_once(scaler)? {
                None => return Ok(None),
                scaled => scaled,
            },
        };
        Ok(Some(Box::new(Sharded { held, parts, len })))
    }

    fn check_finite(&self, index: usize) -> Result<()> {
        let (held, places) = self.places(&[index])?;
        held.check_finite(places[0])
    }

    fn draw(&self, indices: &[usize], rng: &mut dyn Rng) -> Result<B> {
        let (held, places) = self.places(indices)?;
        held.draw(&places, rng)
    }
}

//! Zip files: their entries are changed and packed again, with their checksums.

use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::pickle::pickle;
use crate::dice::Dice;

/// The name and the bytes of an entry.
type Entry = (String, Vec<u8>);

/// A mutation of the bytes of an entry, which it knows by its name.
type Of = fn(&mut Dice, &str, &[u8], &[u8]) -> Vec<u8>;

/// Changes a file of `torch.save`.
pub(crate) fn pytorch(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    // Safetensors are read as well.
    if !file.starts_with(b"PK") {
        return super::safetensors(dice, file, other);
    }
    entries_of(dice, file, other, |dice, name, bytes, other| match name.ends_with(".pkl") {
        true => pickle(dice, bytes, other),
        false => super::bytes(dice, bytes, other),
    })
}

/// Changes a `.keras` file.
pub(crate) fn keras(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    entries_of(dice, file, other, |dice, name, bytes, other| match name.ends_with(".json") {
        true => super::json(dice, bytes, other),
        false => super::hdf5(dice, bytes, other),
    })
}

/// Changes an `.npz` file.
pub(crate) fn npz(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    entries_of(dice, file, other, |dice, _, bytes, other| super::npy(dice, bytes, other))
}

fn entries_of(dice: &mut Dice, file: &[u8], other: &[u8], of: Of) -> Vec<u8> {
    let entries = entries(file).filter(|entries| !entries.is_empty() && !dice.one_in(6));
    let Some(mut entries) = entries else { return super::bytes(dice, file, other) };
    let others = self::entries(other).unwrap_or_default();
    for _ in 0..1 + dice.below(2) {
        let place = dice.below(entries.len());
        match dice.below(8) {
            0 => super::list(dice, &mut entries, &others),
            _ if entries.is_empty() => {}
            1 => {
                let name = super::bytes(dice, entries[place].0.as_bytes(), b"data/config.pkl.npy");
                entries[place].0 = String::from_utf8_lossy(&name).into_owned();
            }
            _ => {
                let (name, bytes) = &entries[place];
                let end = name.rsplit(['/', '.']).next().unwrap_or_default();
                let other = others.iter().find(|other| other.0.ends_with(end));
                let other = other.map_or(&[][..], |other| &other.1);
                entries[place].1 = of(dice, name, bytes, other);
            }
        }
    }
    let method = match dice.below(8) {
        0 => CompressionMethod::Deflated,
        _ => CompressionMethod::Stored,
    };
    packed(&entries, method)
}

fn entries(file: &[u8]) -> Option<Vec<Entry>> {
    let mut zip = ZipArchive::new(Cursor::new(file)).ok()?;
    let count = zip.len();
    let entry = |index| {
        let mut entry = zip.by_index(index).ok()?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        Some((entry.name().ok()?.into_owned(), bytes))
    };
    (0..count).map(entry).collect()
}

/// Returns the zip file. Of two entries of one name the first is packed: the writer refuses the second.
fn packed(entries: &[Entry], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        if zip.start_file(&name[..], options).is_ok() {
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

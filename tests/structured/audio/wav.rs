//! Tests of WAV files.

use std::fs;

use proptest::prelude::*;
use recurrent::Error;
use recurrent::audio::Wav;

use crate::common::temporary::{File, Folder};

const INTEGER: u16 = 1;
const FLOAT: u16 = 3;

/// Returns a WAV file.
fn wav(format: u16, bits: u16, channels: u16, sample_rate: u32, data: &[u8]) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([format, channels].map(u16::to_le_bytes).concat());
    bytes.extend([sample_rate, sample_rate * u32::from(align)].map(u32::to_le_bytes).concat());
    bytes.extend([align, bits].map(u16::to_le_bytes).concat());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn read(bytes: &[u8]) -> Result<Wav, Error> {
    Wav::read(&File::with("sound.wav", bytes).0)
}

fn samples(format: u16, bits: u16, data: &[u8]) -> Vec<f32> {
    read(&wav(format, bits, 1, 8000, data)).unwrap().mix_down()
}

#[test]
fn integers_of_each_width_are_from_minus_one_to_one() {
    assert_eq!(samples(INTEGER, 8, &[0, 128, 192, 255]), [-1.0, 0.0, 0.5, 127.0 / 128.0]);
    let words = [i16::MIN, -1, 0, 8192, i16::MAX].map(i16::to_le_bytes).concat();
    let expected = [-1.0, -1.0 / 32768.0, 0.0, 0.25, 32767.0 / 32768.0];
    assert_eq!(samples(INTEGER, 16, &words), expected);
    let three = |x: i32| x.to_le_bytes()[..3].to_vec();
    let words = [-(1 << 23), 1 << 21, (1 << 23) - 1].map(three).concat();
    assert_eq!(samples(INTEGER, 24, &words), [-1.0, 0.25, 8_388_607.0 / 8_388_608.0]);
    let words = [i32::MIN, 1 << 29, -(1 << 30)].map(i32::to_le_bytes).concat();
    assert_eq!(samples(INTEGER, 32, &words), [-1.0, 0.25, -0.5]);
}

#[test]
fn floats_are_taken_as_they_are() {
    let values = [-1.5_f32, 0.1, f32::MIN_POSITIVE];
    assert_eq!(samples(FLOAT, 32, &values.map(f32::to_le_bytes).concat()), values);
}

#[test]
fn channels_are_mixed_or_chosen() {
    let data = [[16384_i16, -16384, 8192], [0, 32, 64]].concat();
    let data: Vec<u8> = data.into_iter().flat_map(i16::to_le_bytes).collect();
    let wav = read(&wav(INTEGER, 16, 3, 44_100, &data)).unwrap();
    assert_eq!((wav.channels(), wav.len(), wav.sample_rate()), (3, 2, 44_100));
    assert_eq!(wav.mix_down(), [0.25 / 3.0, 32.0 / 32768.0]);
    assert_eq!(wav.channel(1).unwrap(), [-0.5, 32.0 / 32768.0]);
    assert_eq!(wav.channel(2).unwrap(), [0.25, 64.0 / 32768.0]);
    let message = wav.channel(3).unwrap_err().to_string();
    assert!(message.ends_with("channel: expected less than 3 (channels), got 3"), "{message}");
}

#[test]
fn another_sample_rate_is_refused() {
    let wav = read(&wav(INTEGER, 8, 1, 8000, &[0])).unwrap();
    assert_eq!(wav.clone().expect_sample_rate(8000).unwrap(), wav);
    let message = wav.expect_sample_rate(16_000).unwrap_err().to_string();
    assert!(message.ends_with("sample_rate: expected 16000 Hz, got 8000 Hz"), "{message}");
    assert!(message.contains("sound.wav"), "{message}");
}

#[test]
fn a_file_without_samples_is_empty() {
    let wav = read(&wav(INTEGER, 16, 2, 8000, &[])).unwrap();
    assert!(wav.is_empty() && wav.mix_down().is_empty());
    assert_eq!(wav.len(), 0);
    assert!(wav.channel(1).unwrap().is_empty());
}

#[test]
fn files_that_cannot_be_read_are_told_from_files_that_are_not_wav() {
    let folder = Folder::new("sounds");
    assert!(matches!(Wav::read(folder.path("missing.wav")), Err(Error::Io { .. })));
    assert!(matches!(Wav::read(&folder.0), Err(Error::Io { .. })));
    fs::write(folder.path("text.wav"), "no sound, and long enough for a header of a file").unwrap();
    assert!(matches!(Wav::read(folder.path("text.wav")), Err(Error::Format { .. })));
    for (format, bits) in [(FLOAT, 64), (2, 16), (7, 8), (INTEGER, 64), (INTEGER, 12)] {
        let result = read(&wav(format, bits, 1, 8000, &[0; 24]));
        assert!(matches!(result, Err(Error::Format { .. })), "{format}, {bits}: {result:?}");
    }
}

#[test]
fn a_file_cut_at_any_place_is_refused() {
    let whole = wav(INTEGER, 24, 2, 8000, &[1; 18]);
    assert!(read(&whole).is_ok());
    for length in 0..whole.len() {
        let result = read(&whole[..length]);
        assert!(matches!(result, Err(Error::Format { .. })), "{length} bytes: {result:?}");
    }
    let message = read(&whole[..whole.len() - 1]).unwrap_err().to_string();
    assert!(message.ends_with("not a WAV file: it ends before its last sample"), "{message}");
}

#[test]
fn samples_that_are_not_finite_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let data = [0.0, value].map(f32::to_le_bytes).concat();
        let message = read(&wav(FLOAT, 32, 1, 8000, &data)).unwrap_err().to_string();
        assert!(message.ends_with(&format!("not a WAV file: sample 1 is {value}")), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_header_never_panics(
        changes in prop::collection::vec((0_usize..44, any::<u8>()), 1..4),
        bits in prop::sample::select(vec![8_u16, 16, 24, 32]),
    ) {
        let mut bytes = wav(INTEGER, bits, 2, 8000, &[7; 48]);
        for (place, value) in changes {
            bytes[place] = value;
        }
        if let Ok(wav) = read(&bytes) {
            prop_assert_eq!(wav.mix_down().len(), wav.len());
            prop_assert!(wav.mix_down().iter().all(|x| x.is_finite()));
        }
    }
}

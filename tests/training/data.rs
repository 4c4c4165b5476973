//! Tests of the order of an epoch: each sample once, the same for the same seed, similar lengths together.

use proptest::prelude::*;
use recurrent::data::Batches;

/// Returns the number of steps of padding if each batch is as long as its longest sequence.
fn padding(batches: &[Vec<usize>], lengths: &[usize]) -> usize {
    let of = |batch: &Vec<usize>| {
        let longest = batch.iter().map(|&i| lengths[i]).max().unwrap_or(0);
        batch.iter().map(|&i| longest - lengths[i]).sum::<usize>()
    };
    batches.iter().map(of).sum()
}

proptest! {
    #[test]
    fn an_epoch_has_each_sample_once_in_batches_of_the_size_asked(
        lengths in prop::collection::vec(0_usize..50, 0..90),
        (size, buckets, seed, epoch) in (1_usize..9, 1_usize..6, any::<u64>(), 0_u64..5),
    ) {
        let batches = Batches::new(size).unwrap().shuffled(seed).bucketed(buckets).unwrap();
        let order = batches.epoch(&lengths, epoch);
        prop_assert_eq!(&order, &batches.epoch(&lengths, epoch));
        let short = order.iter().filter(|batch| batch.len() < size).count();
        prop_assert!(short <= 1 && order.iter().all(|batch| (1..=size).contains(&batch.len())));
        let mut seen = order.concat();
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..lengths.len()));
    }
}

#[test]
fn without_a_seed_samples_keep_their_order() {
    let order = Batches::new(2).unwrap().epoch(&[5, 1, 3], 7);
    assert_eq!(order, [vec![0, 1], vec![2]]);
}

#[test]
fn epochs_and_seeds_differ_and_buckets_spare_padding() {
    let lengths: Vec<usize> = (0..400).map(|i| (i * 7919) % 101).collect();
    let batches = |seed| Batches::new(16).unwrap().shuffled(seed);
    assert_ne!(batches(1).epoch(&lengths, 0), batches(1).epoch(&lengths, 1));
    assert_ne!(batches(1).epoch(&lengths, 0), batches(2).epoch(&lengths, 0));
    let plain = padding(&batches(1).epoch(&lengths, 0), &lengths);
    let bucketed = batches(1).bucketed(10).unwrap().epoch(&lengths, 0);
    assert!(padding(&bucketed, &lengths) * 3 < plain);
    // The batches are not sorted by length: a training loop would see all short ones first.
    let longest: Vec<usize> =
        bucketed.iter().map(|b| b.iter().map(|&i| lengths[i]).max().unwrap()).collect();
    assert!(!longest.is_sorted());
}

#[test]
fn sizes_of_zero_are_refused() {
    assert!(Batches::new(0).is_err());
    assert!(Batches::new(1).unwrap().bucketed(0).is_err());
}

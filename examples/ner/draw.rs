//! The pictures: a sentence with its entities, and the transition scores.

use std::collections::BTreeSet;

use recurrent::data::Unit;

use crate::common::options::{Failure, Options};
use crate::common::pictures::{COLOURS, HeatMap, Marked, heat_maps, marked_words};
use crate::{Tagger, tag};

/// The sentence of the picture.
const SHOWN: &str = "Last week Maria Keller flew from Vienna to Chicago to meet John Brown of Hartwell \
                     Industries , which has an office near Lake Michigan .";

/// Draws a sentence with the entities that the model finds in it, and the scores by which the CRF lets one tag
/// follow another.
pub(crate) fn draw(options: &Options, model: &Tagger) -> Result<(), Failure> {
    let words = Unit::Word.tokens(SHOWN);
    let kinds: BTreeSet<_> = model.labels().iter().filter_map(|tag| tag.split_once('-')).collect();
    let mark = |(word, tag): (&String, &String)| {
        let kind = tag.split_once('-').map(|(_, kind)| kinds.iter().position(|k| k.1 == kind));
        Marked {
            word: word.clone(),
            colour: COLOURS[kind.flatten().unwrap_or(0) % COLOURS.len()],
            strength: if kind.is_some() { 0.35 } else { 0.0 },
            note: tag.strip_prefix("B-").unwrap_or_default().to_owned(),
        }
    };
    let found = tag(model, &[&words])?;
    let lines = [("Found".to_owned(), words.iter().zip(&found[0]).map(mark).collect())];
    marked_words(&options.out.join("ner_sentence.svg"), &lines)?;

    let Some((crf, rules)) = model.crf().and_then(|crf| Some((crf, crf.rules()?))) else {
        return Ok(());
    };
    // The scores of forbidden pairs are never read.
    let mut scores = crf.transitions().to_owned();
    let allowed = |(i, j): (usize, usize)| rules.may_follow(i, j);
    let least = scores.indexed_iter().filter(|&(place, _)| allowed(place)).map(|(_, score)| score);
    let least = least.copied().fold(f32::INFINITY, f32::min);
    scores.indexed_iter_mut().filter(|(place, _)| !allowed(*place)).for_each(|(_, s)| *s = least);
    let (rows, columns) = (model.labels().to_vec(), model.labels().to_vec());
    let title =
        "Score of a tag (column) after another (row); white: least, or forbidden".to_owned();
    let map = HeatMap { title, rows, columns, values: scores.view(), numbers: false };
    heat_maps(&options.out.join("ner_transitions.svg"), &[map])
}

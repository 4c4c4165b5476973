//! Tests of the form of the tokens of a vocabulary: the same for all that enter it and all that are looked up.

use proptest::prelude::*;
use recurrent::data::{Unit, Vocabulary, VocabularyBuilder};

fn words() -> VocabularyBuilder {
    Vocabulary::builder(Unit::Word).lowercase(true)
}

#[test]
fn special_and_given_tokens_are_found_however_they_are_written() {
    let special = || words().special(&["<PAD>", "<Unk>"]).unknown("<UNK>");
    for vocabulary in [
        special().fit(["The dog"]).unwrap(),
        special().fixed(&["DOG", "the"]).unwrap(),
        special().fit_tokens([["The", "dog"]]).unwrap(),
    ] {
        assert_eq!(vocabulary.tokens(), ["<pad>", "<unk>", "dog", "the"]);
        assert_eq!(
            vocabulary.encode_tokens(&["<PAD>", "<pad>", "<uNk>", "new"]).unwrap(),
            [0, 0, 1, 1]
        );
        assert_eq!(vocabulary.encode("the THE Dog").unwrap(), [3, 3, 2]);
        for (token, number) in [("The", 3), ("the", 3), ("DOG", 2), ("<PAD>", 0), ("<unk>", 1)] {
            assert_eq!(vocabulary.number(token), Some(number));
        }
        assert_eq!(vocabulary.number("new"), None);
    }
    let exact = Vocabulary::builder(Unit::Word).special(&["<PAD>"]).fit(["The"]).unwrap();
    assert_eq!((exact.number("<PAD>"), exact.number("<pad>")), (Some(0), None));
    assert_eq!((exact.number("The"), exact.number("the")), (Some(1), None));
}

#[test]
fn tokens_that_differ_in_case_alone_are_one_token() {
    let twice = words().special(&["<PAD>", "<pad>"]).fit(["a"]).unwrap_err().to_string();
    assert_eq!(twice, "tokens[1]: expected a new token, got <pad>");
    let twice = words().fixed(&["The", "the"]).unwrap_err().to_string();
    assert_eq!(twice, "tokens[1]: expected a new token, got the");
    let composed = Vocabulary::builder(Unit::Word).fixed(&["é", "e\u{301}"]);
    assert!(composed.is_err());
    // A special token that the texts contain in another case is counted once.
    let known = words().special(&["THE"]).fit(["the The cat"]).unwrap();
    assert_eq!(known.tokens(), ["the", "cat"]);
    assert_eq!(words().special(&["THE"]).max_size(1).fit(["the cat"]).unwrap().tokens(), ["the"]);
    assert_eq!(words().min_count(2).fit(["A a b"]).unwrap().tokens(), ["a"]);
}

#[test]
fn a_vocabulary_from_a_file_has_the_same_form() {
    let text = r#"{"unit":"word","lowercase":true,"unknown":"<UNK>","tokens":["<UNK>","The"]}"#;
    let read: Vocabulary = serde_json::from_str(text).unwrap();
    assert_eq!(read.encode("THE cat").unwrap(), [1, 0]);
    assert_eq!((read.number("The"), read.number("<UNK>")), (Some(1), Some(0)));
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<Vocabulary>(&again).unwrap(), read);
    let refused = [
        text.replace("\"The\"", "\"The\",\"the\""),
        text.replace("\"<UNK>\",\"The\"", ""),
        text.replace(":\"<UNK>\"", ":\"<PAD>\""),
        text.replace("\"lowercase\":true", "\"lowercase\":true,\"stem\":true"),
        text.replace("word", "sentence"),
    ];
    for text in refused {
        assert!(serde_json::from_str::<Vocabulary>(&text).is_err(), "{text}");
    }
}

#[test]
fn letters_whose_case_is_not_simple_are_found() {
    // İ becomes two code points. J̌ composes when it is lowercased. Σ at the end of a word becomes ς. ẞ becomes ß.
    for word in ["İstanbul", "J\u{30c}", "ΟΔΟΣ", "STRAẞE", "É", "E\u{301}", "Å", "\u{212b}", "Ǆ"]
    {
        for unit in [Unit::Word, Unit::Character] {
            let builder = || Vocabulary::builder(unit).lowercase(true);
            let fitted = builder().fit([word]).unwrap();
            let lower = word.to_lowercase();
            assert_eq!(fitted.encode(&lower).is_ok(), unit == Unit::Word || word != "ΟΔΟΣ");
            let tokens = unit.tokens(word);
            let given = builder().special(&["Pad"]).fit_tokens([&tokens]).unwrap();
            for token in &tokens {
                assert_eq!(given.encode(token).unwrap(), [given.number(token).unwrap()]);
                assert_eq!(
                    fitted.encode_tokens(&[token]).unwrap(),
                    [fitted.number(token).unwrap()]
                );
            }
            assert_eq!(fitted.encode(word).unwrap(), fitted.encode_tokens(&tokens).unwrap());
        }
    }
    // The word is lowercased alone: ^ is ignored by the rule of Σ, but ends a word.
    let greek = words().fixed(&["ΑΣ", "^", "Β"]).unwrap();
    assert_eq!(greek.encode("ΑΣ^Β").unwrap(), [0, 1, 2]);
}

proptest! {
    #[test]
    fn every_way_in_and_every_way_of_looking_up_agree(
        text in "\\PC{1,30}", unit in 0..2_usize, lowercase: bool,
    ) {
        let unit = [Unit::Character, Unit::Word][unit];
        let cut = unit.tokens(&text);
        prop_assume!(!cut.is_empty());
        let builder = || Vocabulary::builder(unit).lowercase(lowercase);
        let fitted = builder().fit([&text]).unwrap();
        prop_assert_eq!(&fitted, &builder().fit_tokens([&cut]).unwrap());
        prop_assert_eq!(fitted.encode(&text).unwrap(), fitted.encode_tokens(&cut).unwrap());
        for (number, token) in fitted.tokens().iter().enumerate() {
            prop_assert_eq!(fitted.number(token), Some(number));
        }
        for token in &cut {
            prop_assert!(fitted.number(token).is_some());
        }
        let json = serde_json::to_string(&fitted).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), fitted);
    }
}

#[test]
fn tokens_that_are_cut_already_are_counted_as_they_are() {
    let texts = [vec!["new york", "is"], vec![], vec!["is", "it?"]];
    let build = || Vocabulary::builder(Unit::Word).special(&["<s>"]);
    let fitted = build().fit_tokens(&texts).unwrap();
    assert_eq!(fitted.tokens(), ["<s>", "is", "it?", "new york"]);
    assert_eq!(build().min_count(2).fit_tokens(&texts).unwrap().tokens(), ["<s>", "is"]);
    assert_eq!(build().max_size(3).fit_tokens(&texts).unwrap().tokens(), ["<s>", "is", "it?"]);
    let owned: Vec<Vec<String>> = vec![vec!["a".to_owned()]];
    assert_eq!(build().fit_tokens(&owned).unwrap().tokens(), ["<s>", "a"]);
    let none: [[&str; 0]; 0] = [];
    let error = Vocabulary::builder(Unit::Word).fit_tokens(none).unwrap_err().to_string();
    assert_eq!(error, "tokens: expected at least 1, got 0");
    assert!(Vocabulary::builder(Unit::Word).unknown("x").fit_tokens(&texts).is_err());
}

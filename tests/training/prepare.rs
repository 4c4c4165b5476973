//! Tests of vocabularies, scaling, windows, data sets, splits and tables: results and errors.

use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use recurrent::data::{Dataset, Scaler, Source, Table, Texts, Unit, Vocabulary, Windows, split};
use recurrent::{Error, Result};

use crate::common::temporary::File;

/// Returns values that are all different.
fn numbered(rows: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(t, j)| (t * columns + j) as f64)
}

proptest! {
    #[test]
    fn no_window_sees_the_future_and_no_training_window_the_test(
        rows in 2..60_usize, length in 1..8_usize, horizon in 1..5_usize, stride in 1..4_usize,
        boundary in 0..60_usize,
    ) {
        let series = numbered(rows, 2);
        let windows = Windows::new(length, horizon).unwrap().stride(stride).unwrap().targets(&[1]);
        let row_of = |value: f64| value as usize / 2;
        let Ok((train, test)) = windows.split(&series, boundary) else {
            let boundary = boundary.min(rows);
            let late = rows - boundary.saturating_sub(length);
            prop_assert!(boundary < length + horizon || late < length + horizon);
            return Ok(());
        };
        for (part, is_train) in [(&train, true), (&test, false)] {
            let all: Vec<usize> = (0..part.len()).collect();
            let batch = part.batch(&all).unwrap();
            prop_assert_eq!(&batch.targets, &[1]);
            for b in all {
                let value = |t: usize| batch.x.values()[[t, b, 0]];
                let seen: Vec<usize> = (0..length).map(|t| row_of(value(t))).collect();
                let told: Vec<usize> = batch.y.row(b).iter().map(|&value| row_of(value)).collect();
                let run: Vec<usize> = (seen[0]..seen[0] + length + horizon).collect();
                prop_assert_eq!([seen, told.clone()].concat(), run);
                prop_assert!(batch.y.row(b).iter().all(|value| value % 2.0 == 1.0));
                prop_assert!(told.iter().all(|&row| (row < boundary) == is_train));
            }
        }
        // The next window would not fit.
        let last = train.start(train.len() - 1).unwrap();
        prop_assert!(last + stride + length + horizon > train.series().nrows());
    }

    #[test]
    fn scaling_is_undone_by_its_inverse_and_known_by_its_figures(
        values in prop::collection::vec(-1e3..1e3_f64, 12), kind in 0..2_usize,
    ) {
        let rows = Array2::from_shape_vec((4, 3), values).unwrap();
        let fit = [Scaler::standard::<f64>, Scaler::min_max::<f64>][kind];
        let scaler = fit(&[rows.slice(ndarray::s![..1, ..]), rows.slice(ndarray::s![1.., ..])]).unwrap();
        let scaled = scaler.transform(&rows).unwrap();
        let back = scaler.inverse_transform(&scaled).unwrap();
        prop_assert!((&back - &rows).iter().all(|d| d.abs() < 1e-10));
        for column in scaled.columns() {
            if kind == 0 {
                prop_assert!(column.mean().unwrap().abs() < 1e-9);
                prop_assert!((column.std(0.0) - 1.0).abs() < 1e-9);
            } else {
                prop_assert!((0.0..=1.0).contains(&column.fold(f64::INFINITY, |a, &b| a.min(b))));
                prop_assert!((column.fold(0.0_f64, |a, &b| a.max(b)) - 1.0).abs() < 1e-12);
            }
        }
        let one = scaler.columns(&[2]).unwrap().transform(&rows.column(2).to_owned().insert_axis(ndarray::Axis(1)));
        prop_assert_eq!(one.unwrap().column(0).to_vec(), scaled.column(2).to_vec());
    }

    #[test]
    fn a_split_loses_no_sample_and_repeats_none(
        classes in prop::collection::vec(0..4_usize, 1..80), test in 0.05..0.95_f64, seed: u64,
    ) {
        let n = classes.len();
        let all: Vec<usize> = (0..n).collect();
        let stratified = split::stratified(&classes, test, seed);
        let parts = [split::random(n, test, seed), split::by_time(n, test), stratified];
        let held_of = |n: usize| (n as f64 * test).round() as usize;
        let count = |part: &[usize], class| part.iter().filter(|&&i| classes[i] == class).count();
        // The training part keeps a sample of each class.
        let held_of_class = |class| {
            let number = count(&all, class);
            held_of(number).min(number.saturating_sub(1))
        };
        let of_classes = (0..4).map(held_of_class).sum();
        for (parts, held) in parts.into_iter().zip([held_of(n), held_of(n), of_classes]) {
            prop_assert_eq!(parts.is_err(), held == 0 || held == n);
            let Ok((train, test)) = parts else { continue };
            prop_assert_eq!(test.len(), held);
            let mut both = [train, test].concat();
            both.sort();
            prop_assert_eq!(&both, &all);
        }
        if let Ok((_, held)) = split::stratified(&classes, test, seed) {
            for class in 0..4 {
                prop_assert_eq!(count(&held, class), held_of_class(class));
            }
        }
        if let Ok((train, held)) = split::by_time(n, test) {
            prop_assert!(train.last() < held.first());
        }
    }

    #[test]
    fn decoding_an_encoded_text_joins_its_tokens(text in "\\PC{1,40}", unit in 0..3_usize) {
        let (unit, space) = [(Unit::Character, ""), (Unit::Word, " "), (Unit::Whitespace, " ")][unit];
        prop_assume!(!unit.tokens(&text).is_empty());
        let vocabulary = Vocabulary::builder(unit).fit([&text]).unwrap();
        let numbers = vocabulary.encode(&text).unwrap();
        let decoded = vocabulary.decode(&numbers).unwrap();
        prop_assert_eq!(decoded, unit.tokens(&text).join(space));
        let json = serde_json::to_string(&vocabulary).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
    }
}

#[test]
fn a_vocabulary_counts_cuts_and_knows_the_unknown() {
    let texts = ["b b b a a c", "a d"];
    let of = || Vocabulary::builder(Unit::Word).special(&["<unk>"]).unknown("<unk>");
    let common = of().min_count(2).fit(texts).unwrap();
    assert_eq!(common.tokens(), ["<unk>", "a", "b"]);
    assert_eq!(common.encode("d b").unwrap(), [0, 2]);
    assert_eq!(of().max_size(2).fit(texts).unwrap().tokens(), ["<unk>", "a"]);
    let composed = Vocabulary::builder(Unit::Word).lowercase(true).fit(["É"]).unwrap();
    assert_eq!(composed.encode("e\u{301}").unwrap(), [0]);
    assert_eq!(composed.encode_tokens(&["E\u{301}"]).unwrap(), [0]);
    let strict = Vocabulary::builder(Unit::Word).fit(texts).unwrap();
    assert_eq!(
        strict.encode("e").unwrap_err().to_string(),
        "text: expected tokens of the vocabulary, got e"
    );
    assert_eq!(
        strict.decode(&[9]).unwrap_err().to_string(),
        "numbers[0]: expected less than 4 (vocabulary_size), got 9"
    );
    let twice = Vocabulary::builder(Unit::Word).special(&["a"]).fixed(&["b", "a"]).unwrap_err();
    assert_eq!(twice.to_string(), "tokens[2]: expected a new token, got a");
    assert_eq!(
        strict.encode_all(["a", "b e"]).unwrap_err().to_string(),
        "texts[1]: expected tokens of the vocabulary, got e"
    );
    assert_eq!(
        strict.encode_tokens(&["a", "e"]).unwrap_err().to_string(),
        "tokens[1]: expected tokens of the vocabulary, got e"
    );
    assert_eq!(strict.encode_all(texts).unwrap()[1], strict.encode("a d").unwrap());
    assert!(Vocabulary::builder(Unit::Word).unknown("<unk>").fit(texts).is_err());
    let small = of().special(&["<unk>", "<pad>"]).max_size(1).fit(texts).unwrap_err();
    assert_eq!(small.to_string(), "max_size: expected at least 2 (special tokens), got 1");
    assert!(Vocabulary::builder(Unit::Word).fit([" "]).is_err());
}

#[test]
fn a_data_set_stacks_every_kind_of_target() -> Result<()> {
    let sequences = vec![array![[1.0]], array![[2.0], [3.0]]];
    let (x, classes) = Dataset::new(sequences.clone(), vec![4_usize, 5])?.all()?;
    assert_eq!((x.lengths(), &classes[..]), (&[1, 2][..], &[4, 5][..]));
    let values = vec![array![1.0, 2.0], array![3.0, 4.0]];
    let (_, values) = Dataset::<f64, Array1<f64>>::new(sequences.clone(), values)?.all()?;
    assert_eq!(values, array![[1.0, 2.0], [3.0, 4.0]]);
    let (_, numbers) = Dataset::new(sequences.clone(), vec![0.5, 2.0])?.batch(&[1, 0])?;
    assert_eq!(numbers, array![[2.0], [0.5]]);
    let (_, steps) = Dataset::new(sequences.clone(), vec![vec![7_usize], vec![8, 9]])?.all()?;
    assert_eq!(steps, array![[7, 8], [0, 9]]);
    let targets = Dataset::new(sequences.clone(), sequences.clone())?.batch(&[1])?;
    assert_eq!(targets.0, targets.1);
    let tokens = Dataset::<f32, usize>::from_tokens(vec![vec![2], vec![0, 1]], 3, vec![0, 1])?;
    let (x, _) = tokens.batch(&[1, 0])?;
    assert_eq!((x.features(), x.lengths()), (3, &[2, 1][..]));
    assert_eq!(x.tokens().unwrap()[[1, 0]], 1);
    assert_eq!(tokens.length(1), 2);
    Ok(())
}

#[test]
fn a_data_set_refuses_what_does_not_fit_and_names_it() {
    let says = |error: Error| error.to_string();
    let sequences = || vec![array![[1.0, 2.0]], array![[3.0, 4.0]]];
    let none = Dataset::<f64, usize>::new(vec![], vec![]).unwrap_err();
    assert_eq!(says(none), "sequences: expected at least 1, got 0");
    let empty = Dataset::new(vec![array![[1.0]], Array2::zeros((0, 1))], vec![0_usize, 1]);
    let expected = "expected sizes of at least 1, got [0, 1]";
    assert_eq!(says(empty.unwrap_err()), format!("sequences[1] [time, features]: {expected}"));
    let few = Dataset::new(sequences(), vec![0_usize]).unwrap_err();
    assert_eq!(says(few), "targets: expected [2] (sequences), got [1]");
    let wide = Dataset::new(vec![array![[1.0]], array![[1.0, 2.0]]], vec![0_usize, 1]).unwrap_err();
    assert_eq!(says(wide), "sequences[1]: expected [1, 1] (time, features), got [1, 2]");
    let long = Dataset::new(sequences(), vec![vec![0_usize], vec![0, 1]]).unwrap_err();
    assert_eq!(says(long), "targets[1]: expected [1] (time), got [2]");
    let token = Dataset::<f64, usize>::from_tokens(vec![vec![0, 3]], 3, vec![0]).unwrap_err();
    assert_eq!(says(token), "tokens[0][1]: expected less than 3 (vocabulary_size), got 3");
    let empty = Dataset::<f64, usize>::from_tokens(vec![vec![0], vec![]], 3, vec![0, 0]);
    let expected = "tokens[1]: expected at least one token, got an empty list";
    assert_eq!(says(empty.unwrap_err()), expected);
    let data = Dataset::new(sequences(), vec![0_usize, 1]).unwrap();
    assert_eq!(
        says(data.batch(&[0, 2]).unwrap_err()),
        "indices[1]: expected less than 2 (samples), got 2"
    );
    assert!(data.select(&[]).is_err());
    let windows = Windows::new(2, 1).unwrap();
    assert!(says(windows.cut(&numbered(2, 1)).unwrap_err()).contains("at least 3 rows"));
    assert_eq!(
        says(windows.targets(&[1]).cut(&numbered(5, 1)).unwrap_err()),
        "targets[0]: expected less than 1 (features), got 1"
    );
    let rows = Scaler::standard(&[Array2::<f64>::zeros((0, 2)).view()]).unwrap_err();
    assert_eq!(says(rows), "parts: expected at least one row, got none");
    let none = Scaler::standard::<f64>(&[]).unwrap_err();
    assert_eq!(says(none), "parts: expected at least 1, got 0");
    let scaler = Scaler::standard(&[array![[1.0], [f64::NAN]].view()]).unwrap_err();
    assert_eq!(says(scaler), "parts[0][1, 0]: expected a finite value, got NaN");
}

#[test]
fn texts_that_teach_nothing_are_refused_by_number() {
    let says = |texts: Result<Texts<f32>>| texts.unwrap_err().to_string();
    let new = |texts: &[&[usize]]| Texts::new(texts.iter().map(|t| t.to_vec()).collect(), 3);
    assert_eq!(says(new(&[])), "texts: expected at least 1, got 0");
    assert_eq!(says(new(&[&[0], &[]])), "texts[1]: expected at least one token, got an empty list");
    assert_eq!(
        says(new(&[&[0], &[1, 3]])),
        "texts[1][1]: expected less than 3 (vocabulary_size), got 3"
    );
    assert_eq!(says(Texts::pieces(&[0; 9], 1, 3)), "length: expected at least 2 tokens, got 1");
    assert_eq!(says(Texts::pieces(&[0], 100, 3)), "text: expected at least 2 tokens, got 1");
    assert_eq!(
        says(Texts::pieces(&[0, 1, 2, 0, 7], 3, 3)),
        "text[4]: expected less than 3 (vocabulary_size), got 7"
    );
    assert_eq!(Texts::<f32>::pieces(&[0, 1, 2], usize::MAX, 3).unwrap().len(), 1);
    let texts = new(&[&[0]]).unwrap();
    assert_eq!(
        says(texts.conditions(vec![Array1::zeros(0)])),
        "conditions[0]: expected at least 1, got 0"
    );
}

#[test]
fn quotes_in_a_tab_separated_file_are_characters_like_any_other() {
    let file = File::with("quotes.tsv", "text\tmood\n\"Good\t1\nI say \"no\"\t0\n\"Well\"\t1\n");
    let tabs = Table::reader().delimiter(b'\t');
    let table = tabs.read(&file.0).unwrap();
    assert_eq!(table.column::<String>("text").unwrap(), ["\"Good", "I say \"no\"", "\"Well\""]);
    assert_eq!(table.column::<usize>("mood").unwrap(), [1, 0, 1]);

    let quoted = File::with("quoted.tsv", "text\tmood\n\"tab\tand \"\"\nline\"\t1\nplain\t0\n");
    let table = tabs.quoting(true).read(&quoted.0).unwrap();
    assert_eq!(table.column::<String>("text").unwrap(), ["tab\tand \"\nline", "plain"]);
    let plain = File::with("plain.csv", "text,mood\n\"Good,1\nWell\",0\n");
    let table = Table::reader().quoting(false).read(&plain.0).unwrap();
    assert_eq!(table.column::<String>("text").unwrap(), ["\"Good", "Well\""]);
}

#[test]
fn a_quote_that_would_join_rows_is_refused_at_the_line_where_it_begins() {
    let says = |text: &str| {
        let file = File::with("joined.csv", text);
        let error = Table::read(&file.0).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", file.0.display())).unwrap().to_owned()
    };
    let or = "or a reader with `quoting(false)`";
    assert_eq!(
        says("text,mood\na,1\n\"Good film,1\nBad,0\n"),
        format!(r#"line 3: expected a closing quote, {or}, got "\"Good film,1""#)
    );
    assert_eq!(
        says("text,mood\na,1\n\"Good,1\n\"Bad,0\n"),
        format!(r#"line 3: expected a delimiter after the closing quote, {or}, got "\"Good,1""#)
    );
    // Line breaks within quotes are counted as lines. Closed quotes are not an error.
    assert_eq!(
        says("\u{feff}\"text\",mood\r\n\"a\r\nb\",1\r\nc,\"d\r\n"),
        format!(r#"line 4: expected a closing quote, {or}, got "\"d""#)
    );
    let file = File::with("closed.csv", "text,mood\n\"a \"\"b\"\"\" ,1\n\"\",\"2\"");
    let table = Table::read(&file.0).unwrap();
    assert_eq!(table.column::<String>("text").unwrap(), ["a \"b\"", ""]);
}

#[test]
fn a_delimiter_that_cannot_part_cells_is_refused() {
    let file = File::with("delimiter.csv", "a,b\n1,2\n");
    for (delimiter, shown) in [(b'"', "'\"'"), (b'\n', "'\\n'"), (0xe9, "'é'")] {
        let error = Table::reader().delimiter(delimiter).read(&file.0).unwrap_err().to_string();
        let expected = "an ASCII character other than a quote or a line break";
        assert_eq!(error, format!("delimiter: expected {expected}, got {shown}"));
    }
}

#[test]
fn each_row_has_a_class_where_a_row_is_a_sample() {
    let file = File::with("rows.csv", "name,origin\nOtto,de\nAnna,de\nNoor,nl\nJan,nl\nUwe,de\n");
    let table = Table::read(&file.0).unwrap();
    let (classes, names) = table.classes("origin").unwrap();
    assert_eq!(
        (&classes[..], &names[..]),
        (&[0, 0, 1, 1, 0][..], &["de".to_owned(), "nl".to_owned()][..])
    );
    assert_eq!(table.classes_as("origin", &["nl", "de"]).unwrap(), [1, 1, 0, 0, 1]);
    let says = |error: Error| error.to_string();
    assert!(
        says(table.classes_as("origin", &["de"]).unwrap_err())
            .ends_with("line 4, column origin: expected one of [\"de\"], got \"nl\"")
    );
    let file = File::with("gaps.csv", "name,origin\nOtto,de\nAnna,\n");
    let table = Table::read(&file.0).unwrap();
    assert!(
        says(table.classes("origin").unwrap_err())
            .ends_with("line 3, column origin: expected the name of a class, got \"\"")
    );
    assert!(says(table.classes("land").unwrap_err()).ends_with("got land"));
}

#[test]
fn a_cell_that_cannot_be_read_is_named_by_file_line_and_column() {
    let path = std::env::temp_dir().join(format!("recurrent-table-{}.csv", std::process::id()));
    let error = |text: &str, read: fn(&Table) -> Result<()>| {
        std::fs::write(&path, text).unwrap();
        let error = Table::read(&path).and_then(|table| read(&table)).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&error).to_owned()
    };
    let values = |table: &Table| table.values::<f32>(&["x", "y"]).map(|_| ());
    assert_eq!(
        error("x,y\n1,2\n\"3\n\",oops\n", values),
        "line 3, column y: expected a value of type f32 (invalid float literal), got \"oops\""
    );
    assert_eq!(
        error("x,y\n1,inf\n", values),
        "line 2, column y: expected a finite number, got \"inf\""
    );
    assert_eq!(error("x,y\n1,2\n3\n", values), "line 3: expected 2 cells, got \"1 cells\"");
    let message = error("x,z\n1,2\n", values);
    assert!(message.ends_with(".csv: expected one of [\"x\", \"z\"], got y"), "{message}");
    assert_eq!(error("", values), "line 1: expected the names of columns, got \"\"");
    assert_eq!(error("x,x\n1,2\n", values), "line 1: expected each name once, got \"x\"");
    let groups = |table: &Table| table.groups("x").map(|_| ());
    assert_eq!(
        error("x\n1\n2\n1\n", groups),
        "line 4, column x: expected a new text: the rows of a sequence must be neighbours, got \"1\""
    );
    let labels = |table: &Table| table.labels("x", "y").map(|_| ());
    assert_eq!(
        error("x,y\n1,a\n1,b\n", labels),
        "line 3, column y: expected \"a\", as the sequence began, got \"b\""
    );
    let unknown = |table: &Table| table.labels_as("x", "y", &["a", "b"]).map(|_| ());
    assert_eq!(
        error("x,y\n1, b\n2,c\n", unknown),
        "line 3, column y: expected one of [\"a\", \"b\"], got \"c\""
    );
    assert_eq!(
        error("x,y\n1, \n", labels),
        "line 2, column y: expected the name of a class, got \"\""
    );
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Table::read(&path), Err(Error::Io { .. })));
}

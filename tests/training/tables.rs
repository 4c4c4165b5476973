//! Tests of delimited files: the lines that errors name, quotes, and files with unusual rows or names.

use recurrent::Error;
use recurrent::data::{Table, TableReader};

use crate::common::temporary::File;

fn read(name: &str, text: impl AsRef<[u8]>) -> Table {
    Table::read(&File::with(name, text).0).unwrap()
}

/// Returns the line, the expected content and the given content of the error of reading `text`.
fn refused(reader: &TableReader, name: &str, text: impl AsRef<[u8]>) -> (u64, String, String) {
    parts(reader.read(&File::with(name, text).0).unwrap_err())
}

fn parts(error: Error) -> (u64, String, String) {
    match error {
        Error::Parse { line, expected, got, .. } => (line, expected, got),
        other => panic!("{other}"),
    }
}

/// Returns the line of the first cell of `x` that is not a number.
fn bad_line(text: impl AsRef<[u8]>) -> u64 {
    parts(read("lines.csv", text).values::<f64>(&["x"]).unwrap_err()).0
}

#[test]
fn an_error_names_the_line_of_the_file_whatever_ends_the_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let text = |lines: &[&str]| lines.join(end);
        assert_eq!(bad_line(text(&["id,x", "1,1", "1,2", "1,bad", ""])), 4, "{end:?}");
        assert_eq!(bad_line(text(&["id,x", "1,1", "1,2", "1,bad"])), 4, "{end:?}");
        assert_eq!(bad_line(text(&["id,x", "1,bad"])), 2, "{end:?}");
        assert_eq!(bad_line(text(&["", "", "id,x", "", "1,1", "", "", "1,bad", ""])), 8, "{end:?}");
        assert_eq!(bad_line(text(&["\u{feff}id,x", "1,1", "1,bad"])), 3, "{end:?}");
        // A row that spans lines: the next one begins on line 5.
        assert_eq!(bad_line(text(&["id,x", "\"a", "", "b\",1", "c,bad"])), 5, "{end:?}");
        // The line of a cell is that on which its row begins.
        assert_eq!(bad_line(text(&["id,x", "", "\"a", "b\",bad"])), 3, "{end:?}");
    }
    let mixed = "id,x\r\n1,1\n\r\n\r1,2\r\r\n1,3\n\n1,bad";
    // The lines: id,x | 1,1 | | | 1,2 | | 1,3 | | 1,bad
    assert_eq!(bad_line(mixed), 9);
}

#[test]
fn the_lines_of_a_large_file_are_exact() {
    let mut text = "id,x\r\n".to_owned();
    for i in 0..5000 {
        text += &format!("\"row\r\n{i}\",{i}\r\n\r\n"); // three lines each
    }
    assert_eq!(bad_line(text.clone() + "a,b\r\n"), 15_002);
    let groups = read("large.csv", text + "\"row\r\n7\",1").groups("id").unwrap_err();
    assert_eq!(parts(groups).0, 15_002);
}

#[test]
fn a_ragged_row_is_named_by_its_line() {
    let ragged = |text: &str| refused(&Table::reader(), "ragged.csv", text);
    let cells = |line, expected: &str, got: &str| (line, expected.to_owned(), got.to_owned());
    assert_eq!(ragged("a,b\r\n1,2\r\n3\r\n"), cells(3, "2 cells", "1 cells"));
    assert_eq!(ragged("a,b\n\n\n1,2\n\n3,4,5\n"), cells(6, "2 cells", "3 cells"));
    assert_eq!(ragged("a,b\n1,2\n3,4,\n"), cells(3, "2 cells", "3 cells"));
    assert_eq!(ragged("a,b\r1,2\r \r"), cells(3, "2 cells", "1 cells"));
    assert_eq!(ragged("a,b\n\"1\r\n\r\n\",2\n\n3"), cells(6, "2 cells", "1 cells"));
    // A decimal comma makes two cells.
    assert_eq!(ragged("a,b\n1,5,2\n"), cells(2, "2 cells", "3 cells"));
}

#[test]
fn text_that_is_not_utf_8_is_refused_on_its_line() {
    let reader = Table::reader();
    let (line, expected, _) = refused(&reader, "latin.csv", b"a,b\r\n1,2\r\n\r\n\xe9,3\r\n");
    assert_eq!((line, &expected[..]), (4, "UTF-8"));
    let (line, ..) = refused(&reader, "latin.csv", b"a,b\n\"1\n2\n\xff\",2\n");
    assert_eq!(line, 4);
    let (line, ..) = refused(&reader, "wide.csv", b"\xff\xfea\0,\0b\0\n\0");
    assert_eq!(line, 1);
}

#[test]
fn a_mistake_in_quotes_is_refused_at_the_line_of_the_quote() {
    let quote = |text: &str| refused(&Table::reader(), "quote.csv", text);
    let begun = |text: &str, line, cell: &str| {
        let (got_line, expected, got) = quote(text);
        assert_eq!((got_line, &got[..]), (line, cell), "{text:?}: {expected}");
    };
    begun("a,b\r\n\r\n1,\"x\r\n2,y\r\n3,z", 3, "\"x");
    begun("a,b\r1,2\r\"x,3\r4,5\r", 3, "\"x,3");
    begun("a,b\n1,\"", 2, "\"");
    begun("\"a,b\n1,2\n", 1, "\"a,b");
    // Text, or another quote, after the closing quote.
    begun("a,b\n1,\"x\ny\"z\n", 2, "\"x");
    begun("a,b\n\"x\" \"y\",1\n", 2, "\"x\" \"y\",1");
    begun("a,b\n\"x\" \",1\ny\",\"z\"\n", 2, "\"x\" \",1");
    begun("a,b\n\"x\"\t\"\",1\n", 2, "\"x\"\t\"\",1");
    // A quote within a cell that is not quoted is a character.
    let table = read("inner.csv", "a,b\n5\" pipe,x\"y\"\n\"\"\"q\"\"\" ,\"\"\n");
    let texts = |column| table.column::<String>(column).unwrap();
    assert_eq!(
        (texts("a"), texts("b")),
        (vec!["5\" pipe".to_owned(), "\"q\"".to_owned()], vec!["x\"y\"".to_owned(), String::new()])
    );
}

#[test]
fn quotes_are_characters_in_tab_separated_files() {
    let text = "label\ttext\nneg\t\"unclosed\npos\ta\npos\t\"b\"\nneg\tc\"\npos\t\"\"\n";
    let file = File::with("tabs.tsv", text);
    let tabs = Table::reader().delimiter(b'\t');
    let table = tabs.read(&file.0).unwrap();
    assert_eq!(table.rows(), 5);
    let texts = table.column::<String>("text").unwrap();
    assert_eq!(texts, ["\"unclosed", "a", "\"b\"", "c\"", "\"\""]);
    let (line, ..) = refused(&tabs.clone().quoting(true), "tabs.tsv", text);
    assert_eq!(line, 2);
    // Every other delimiter has quotes unless they are turned off.
    for delimiter in [b';', b'|', b' '] {
        let text = text.replace('\t', &char::from(delimiter).to_string());
        let reader = Table::reader().delimiter(delimiter);
        assert_eq!(refused(&reader, "other.csv", &text).0, 2);
        let file = File::with("plain.csv", &text);
        assert_eq!(reader.quoting(false).read(&file.0).unwrap().rows(), 5);
    }
}

#[test]
fn files_without_rows_or_names_are_read_or_refused() {
    for nothing in ["", "\u{feff}", "\n", "\r\n\r\n", "\r"] {
        let (line, expected, got) = refused(&Table::reader(), "nothing.csv", nothing);
        assert_eq!((line, &expected[..], &got[..]), (1, "the names of columns", ""));
    }
    for names in ["a,b", "a,b\n", "a,b\r\n\r\n", "\u{feff}\"a\" , b\r"] {
        let table = read("names.csv", names);
        assert_eq!((table.names(), table.rows()), (&["a".to_owned(), "b".to_owned()][..], 0));
        assert_eq!(table.values::<f32>(&["b", "a"]).unwrap().dim(), (0, 2));
        assert!(table.groups("a").unwrap().is_empty());
        assert_eq!(table.classes("a").unwrap(), (vec![], vec![]));
    }
    for text in ["x\n1\n2", "x\n1\n2\n", "x\r\n1\r\n2\r\n", "x\n 1 \n\" 2 \"\n\n"] {
        assert_eq!(read("end.csv", text).column::<usize>("x").unwrap(), [1, 2]);
    }
}

#[test]
fn a_repeated_name_is_refused_and_one_empty_name_is_a_name() {
    let repeated = |text: &str| refused(&Table::reader(), "twice.csv", text);
    let once = |line, name: &str| (line, "each name once".to_owned(), name.to_owned());
    assert_eq!(repeated("a,b,a\n1,2,3\n"), once(1, "a"));
    assert_eq!(repeated("\r\n\r\na, a \r\n1,2\r\n"), once(3, "a"));
    assert_eq!(repeated("a,,\n1,2,3\n"), once(1, ""));
    let index = read("index.csv", ",x\n0,5\n1,6\n");
    assert_eq!(index.column::<usize>("").unwrap(), [0, 1]);
    let names = ["up", "down", "up"];
    let labels = read("labels.csv", "x\nup\n").classes_as("x", &names).unwrap_err();
    assert_eq!(labels.to_string(), "names[2]: expected each name once, got \"up\" again");
}

#[test]
fn only_finite_numbers_are_values() {
    let reader = Table::reader().delimiter(b';');
    for cell in
        ["1e999", "-1e999", "inf", "-Infinity", "nan", "NaN", "1,5", "1 5", "0x1", "1_0", ""]
    {
        let file = File::with("cells.csv", format!("x;y\n1;0\n{cell};0\n"));
        let error = reader.read(&file.0).unwrap().values::<f64>(&["x"]).unwrap_err();
        let (line, _, got) = parts(error);
        assert_eq!((line, &got[..]), (3, cell));
    }
    let names = read("cells.csv", "x\ninf\nNaN\n");
    assert_eq!(names.column::<String>("x").unwrap(), ["inf", "NaN"]);
    assert_eq!(parts(names.column::<f32>("x").unwrap_err()).0, 2);
    assert_eq!(parts(read("cells.csv", "x\n1\n1e999\n").column::<f64>("x").unwrap_err()).0, 3);
    let file = File::with("cells.csv", "x;y\n1e39;0\n");
    let large = reader.read(&file.0).unwrap();
    assert!(large.values::<f32>(&["x"]).is_err() && large.values::<f64>(&["x"]).is_ok());
    for (cell, value) in
        [(" 1 ", 1.0), ("+1.", 1.0), ("1E2", 100.0), ("\" 1 \"", 1.0), ("1e-999", 0.0)]
    {
        let file = File::with("cells.csv", format!("x;y\n{cell};0\n"));
        assert_eq!(reader.read(&file.0).unwrap().values::<f64>(&["x"]).unwrap()[[0, 0]], value);
    }
}

/// The work for n columns would be n² comparisons: minutes for this file.
#[test]
fn a_file_of_many_columns_is_read_in_linear_time() {
    let names: Vec<String> = (0..200_000).map(|i| format!("column{i}")).collect();
    let row = vec!["1"; names.len()].join(",");
    let table = read("columns.csv", format!("{}\n{row}\n", names.join(",")));
    assert_eq!(table.names(), names);
    let values = table.values::<f32>(&names).unwrap();
    assert_eq!((values.dim(), values.sum()), ((1, 200_000), 200_000.0));
}

/// A line of more than 64 MiB, and a device that never ends.
#[test]
fn a_line_without_an_end_is_an_error() {
    let expected = "a line of at most 67108864 bytes";
    let mut text = b"x\n1\n".to_vec();
    text.resize(text.len() + (1 << 26) + 1, b'7');
    let (line, says, got) = refused(&Table::reader(), "endless.csv", &text);
    assert_eq!((line, &says[..]), (3, expected));
    assert_eq!(got, "67108865 bytes without an end");
    text.pop();
    text[4 + (1 << 25)] = b'\n';
    let (line, ..) = refused(&Table::reader(), "long.csv", [&text[..], b"\n1,2\n"].concat());
    assert_eq!(line, 5, "the line that is no row");
    if cfg!(unix) {
        for (device, what) in [("/dev/zero", expected), ("/dev/urandom", "UTF-8")] {
            let (line, says, _) = parts(Table::read(device).unwrap_err());
            assert!(line >= 1 && says == what, "{device}: {says}");
        }
    }
}

//! Tests of the times of rows: order, doubles, gaps, and the dates of a file.

use recurrent::data::{Table, TimeSteps};
use recurrent::{Error, Result};

const NAN: f64 = f64::NAN;

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

fn read(name: &str, text: &str) -> Table {
    let name = format!("recurrent-times-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let table = Table::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    table
}

/// Returns the line, the expected content and the given content of an error.
fn parts(error: Error) -> (u64, String, String) {
    match error {
        Error::Parse { line, expected, got, .. } => (line, expected, got),
        other => panic!("{other}"),
    }
}

#[test]
fn times_are_checked_for_order_doubles_and_gaps() {
    let check = |steps: &TimeSteps, times: &[f64]| match steps.check(times) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    let increasing = TimeSteps::increasing();
    for fine in [&[][..], &[5.0], &[-1.0, 0.0, 100.0]] {
        assert_eq!(check(&increasing, fine), "");
    }
    let later = |row, before, got: &str| {
        format!("times[{row}]: expected more than {before}, the time of the row before, got {got}")
    };
    assert_eq!(check(&increasing, &[0.0, 2.0, 1.0]), later(2, "2", "1"));
    assert_eq!(check(&increasing, &[0.0, 2.0, 2.0]), later(2, "2", "2"));
    assert_eq!(check(&increasing, &[0.0, NAN]), "times[1]: expected a finite time, got NaN");
    assert_eq!(
        check(&increasing, &[f64::NEG_INFINITY]),
        "times[0]: expected a finite time, got -inf"
    );
    let equal = TimeSteps::equal(0.0).unwrap();
    let tenths: Vec<f64> =
        (0..500).map(|i| format!("{}", f64::from(i) / 10.0).parse().unwrap()).collect();
    for fine in [&tenths[..], &tenths[..2], &[3.0], &[]] {
        assert_eq!(check(&equal, fine), "");
    }
    let mut gap = tenths.clone();
    gap.remove(300);
    assert!(check(&equal, &gap).starts_with("times[300]: expected 30 (0.1 after 29.9,"));
    assert_eq!(check(&equal, &[1.0, 3.0, 5.0, 5.0]), later(3, "5", "5"));
    assert_eq!(check(&equal, &[3.0, 1.0]), later(1, "3", "1"));
    let near = TimeSteps::equal(0.5).unwrap();
    assert_eq!(check(&near, &[0.0, 10.0, 20.5, 30.0]), "");
    let got = check(&near, &[0.0, 10.0, 20.75]);
    assert_eq!(got, "times[2]: expected 20 (10 after 10, tolerance 0.5), got 20.75");
    let hourly = TimeSteps::every(3600.0, 1.0).unwrap();
    assert_eq!(check(&hourly, &[0.0, 3601.0, 7200.0]), "");
    let got = check(&hourly, &[0.0, 3602.0]);
    assert_eq!(got, "times[1]: expected 3600 (3600 after 0, tolerance 1), got 3602");
    // The steps of a series whose first one is a gap.
    assert!(!check(&TimeSteps::every(1.0, 0.0).unwrap(), &[0.0, 2.0, 4.0]).is_empty());
    assert!(!check(&equal, &[-f64::MAX, f64::MAX]).is_empty());
}

#[test]
fn rules_of_times_are_checked() {
    for step in [0.0, -1.0, NAN, f64::INFINITY] {
        let expected = format!("step: expected a positive finite number, got {step}");
        assert_eq!(says(TimeSteps::every(step, 0.0)), expected);
    }
    for tolerance in [-1.0, NAN, f64::INFINITY] {
        let expected =
            format!("tolerance: expected a finite number of at least 0, got {tolerance}");
        assert_eq!(says(TimeSteps::every(1.0, tolerance)), expected);
        assert_eq!(says(TimeSteps::equal(tolerance)), expected);
    }
}

#[test]
fn the_times_of_a_table_are_checked_by_line() {
    let text = "id,t,date\r\na,1,2023-12-31\r\na,2,2024-01-01 06:30\r\n\r\nb,0.5,2024-01-01T08:00:15.5+01:30\r\nb,4,2024-02-29T00:00Z\r\n";
    let table = read("times.csv", text);
    let day = 86_400.0;
    let first = 19_722.0 * day; // 54 years, of which 13 are leap years before 2024: 54·365 + 13 − 1
    let expected =
        [first, first + day + 6.5 * 3600.0, first + day + 6.5 * 3600.0 + 15.5, first + 60.0 * day];
    assert_eq!(table.times("date", &TimeSteps::increasing()).unwrap(), expected);
    let (line, expected, got) = parts(table.times("t", &TimeSteps::increasing()).unwrap_err());
    assert_eq!((line, &got[..]), (5, "0.5"));
    assert_eq!(expected, "more than 2, the time of the row before");
    let of = |steps: &TimeSteps| table.sequence_times("id", "t", steps);
    assert_eq!(of(&TimeSteps::increasing()).unwrap(), [vec![1.0, 2.0], vec![0.5, 4.0]]);
    let (line, expected, _) = parts(of(&TimeSteps::every(1.0, 0.0).unwrap()).unwrap_err());
    assert_eq!((line, &expected[..]), (6, "1.5 (1 after 0.5, tolerance 0)"));
}

#[test]
fn cells_that_are_not_times_are_refused() {
    let times = |cells: &[&str]| {
        let table = read("dates.csv", &format!("t\n{}\n", cells.join("\n")));
        table.times("t", &TimeSteps::increasing()).map_err(parts)
    };
    for cell in [
        "2023-02-29",
        "1900-02-29",
        "2024-00-10",
        "2024-13-01",
        "2024-04-31",
        "2024-01-00",
        "2024-1-01",
        "2024-01-01T24:00",
        "2024-01-01T12:60",
        "2024-01-01T12:00:60",
        "2024-01-01T12",
        "2024-01-01x",
        "2024-01-01T12:00:1",
        "2024-01-01T12:00:01.",
        "2024-01-01T12:00+1",
        "2024-01-01T",
        "20é4-01-01",
        "2024-01-01T12:00:+1",
        "+024-01-01",
        "yesterday",
    ] {
        let (line, _, got) = times(&["2023-01-01", cell]).unwrap_err();
        assert_eq!((line, &got[..]), (3, cell));
    }
    assert_eq!(times(&["1", "2024-01-01"]).unwrap_err().0, 3);
    assert_eq!(times(&["2024-01-01", "1"]).unwrap_err().0, 3);
    for cell in ["nan", "inf"] {
        assert_eq!(times(&["1", cell]).unwrap_err().1, "a finite time");
    }
    assert!(times(&[]).unwrap().is_empty());
    assert_eq!(times(&["0001-01-01", "1970-01-01", "2000-02-29"]).unwrap()[1], 0.0);
    let eve = times(&["1969-12-31T23:59:59", "1970-01-01T00:00:00-00:30"]).unwrap();
    assert_eq!(eve, [-1.0, 1800.0]);
}

//! Data sets, windows, scaling, tables, vocabularies and splits.

use std::fs;

use ndarray::Array2;
use recurrent::Result;
use recurrent::data::{
    Batches, Dataset, Imputer, Labels, Manifest, Scaler, Sharded, Source, Table, Target, Texts,
    TimeSteps, Unit, Vocabulary, WindowedSeries, Windows, split,
};

use super::calls;
use super::given::Given;
use crate::common::temporary::Folder;

const WIDTH: usize = 2;

fn dataset(given: &mut Given) -> Result<Dataset<f32, usize>> {
    let sequences = (0..given.length(4)).map(|_| given.array2(3, WIDTH)).collect();
    Dataset::new(sequences, given.some(4, 9))
}

fn tokens(given: &mut Given) -> Result<Dataset<f32, Labels>> {
    let targets = given.lists(3, 4).into_iter().map(Labels).collect();
    Dataset::from_tokens(given.lists(3, 4), given.like(4), targets)
}

/// Makes batches of a source of any kind.
fn batches<B>(given: &mut Given, source: &dyn Source<B>) -> Result<()> {
    let index = given.index(source.len());
    source.check_finite(index)?;
    let _ = (source.length(index), source.columns(), source.is_empty());
    let indices = given.indices(source.len());
    source.batch(&indices)?;
    source.draw(&indices, given.rng())?;
    Ok(())
}

fn windows(given: &mut Given) -> Result<Windows> {
    Windows::new(given.like(2), given.like(1))?.stride(given.like(1))
}

fn cut(given: &mut Given) -> Result<WindowedSeries<f32>> {
    windows(given)?.cut(&given.array2(6, WIDTH))
}

fn series(given: &mut Given) -> Vec<Array2<f32>> {
    (0..given.length(2)).map(|_| given.array2(6, WIDTH)).collect()
}

fn parts(given: &mut Given, number: usize) -> (Vec<usize>, Vec<usize>) {
    if given.flag() {
        return ((0..number - 1).collect(), vec![number - 1]);
    }
    (given.indices(number), given.indices(number))
}

fn scaler(given: &mut Given) -> Result<Scaler> {
    let parts: Vec<_> = (0..given.length(2)).map(|_| given.array2(3, WIDTH)).collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    if given.flag() { Scaler::standard(&views) } else { Scaler::min_max(&views) }
}

fn imputer(given: &mut Given) -> Result<Imputer> {
    let parts: Vec<_> = (0..given.length(2)).map(|_| given.array2(3, WIDTH)).collect();
    Imputer::mean(&parts.iter().map(|part| part.view()).collect::<Vec<_>>())
}

fn table(given: &mut Given) -> Table {
    let folder = Folder::new("calls-data");
    let path = folder.path("table.csv");
    let rows = ["a,b,t\n", "x,1,0\n", "x,2,1\n", "y,?,2\n", "y,1e300,2024-01-01\n"];
    let rows = &rows[..if given.flag() { 3 } else { 1 + given.below(5) }];
    fs::write(&path, rows.concat()).unwrap();
    Table::read(&path).unwrap()
}

fn reader(given: &mut Given, delimiter: u8) -> Result<()> {
    let folder = Folder::new("calls-reader");
    let path = folder.path(given.text("table.csv").replace('\0', ""));
    if given.below(9) > 0 && !path.is_dir() {
        fs::write(&path, "a,b\n1,\"2\"\n").unwrap();
    }
    Table::reader().delimiter(delimiter).quoting(given.flag()).read(&path)?;
    Ok(())
}

fn column(given: &mut Given) -> &'static str {
    given.one(&["a", "b", "t", "c"])
}

fn columns(given: &mut Given) -> Vec<&'static str> {
    if given.flag() { vec!["b"] } else { (0..given.below(3)).map(|_| column(given)).collect() }
}

fn steps(given: &mut Given) -> Result<TimeSteps> {
    match given.below(3) {
        0 => Ok(TimeSteps::increasing()),
        1 => TimeSteps::equal(given.number(0.1)),
        _ => TimeSteps::every(given.number(1.0), given.number(0.1)),
    }
}

fn unit(given: &mut Given) -> Unit {
    given.one(&[Unit::Character, Unit::Word, Unit::Whitespace])
}

fn vocabulary(given: &mut Given) -> Result<Vocabulary> {
    let builder = Vocabulary::builder(unit(given)).special(&given.texts(&["<s>"]));
    let builder = builder.unknown(given.text("<unk>")).lowercase(given.flag());
    builder.max_size(given.like(9)).min_count(given.like(1)).fit(given.texts(&["a b", "é c"]))
}

/// Writes and reads the manifest of two files with three and two samples, or others.
fn manifest(given: &mut Given) -> Result<(Folder, Manifest)> {
    let folder = Folder::new("calls-manifest");
    let path = folder.path("list.json");
    let names = given.texts(&["a", "b"]);
    let list: Vec<_> = names
        .iter()
        .zip([given.like(3), given.like(2)])
        .map(|(name, samples)| serde_json::json!({ "path": name, "samples": samples }))
        .collect();
    std::fs::write(&path, serde_json::to_vec(&list).unwrap()).unwrap();
    Manifest::read(&path).map(|manifest| (folder, manifest))
}

/// Returns the samples of the only rank, or of one of several.
fn sharded(given: &mut Given, manifest: &Manifest) -> Result<Sharded<Dataset<f32, usize>>> {
    let (rank, size) = if given.flag() { (0, 1) } else { (given.index(2), given.like(2)) };
    let samples = if given.flag() { manifest.samples() } else { given.length(3) };
    manifest.shards(rank, size, |_| {
        let sequences = vec![Array2::ones((2, WIDTH)); samples.min(9)];
        let classes = vec![0; sequences.len()];
        Dataset::new(sequences, classes)
    })
}

calls! {
"data::Batches::", g:
    new = Batches::new(g.size())?.epoch(&[1, 2, 3], 0);
    shuffled = Batches::new(2)?.shuffled(g.size() as u64).epoch(&g.indices(5), 1);
    bucketed = Batches::new(g.size())?.bucketed(g.size())?.epoch(&g.indices(5), u64::MAX);
    epoch = Batches::new(g.size())?.epoch(&g.indices(5), g.size() as u64);
"data::Dataset::", g:
    new = { let d = dataset(g)?; batches(g, &d)? };
    from_tokens = { let d = tokens(g)?; batches(g, &d)? };
    scaled = { let s = scaler(g)?; let d = dataset(g)?.scaled(&s)?; batches(g, &d)? };
    select = { let d = dataset(g)?; let d = d.select(&g.indices(4))?; batches(g, &d)? };
    split = { let d = dataset(g)?; d.split(&parts(g, 4))? };
    with_characters = { let d = tokens(g)?; let words = d.targets().iter().map(|_| g.lists(2, 4)).collect(); let d = d.with_characters(words, g.like(4)); if let Ok(d) = &d { batches(g, d)?; } };
    with_columns = { let d = dataset(g)?.with_columns(&g.texts(&["a", "b"]))?; batches(g, &d)? };
"data::Manifest::", g:
    of_rank = { let (_folder, m) = manifest(g)?; m.of_rank(g.index(3), g.size())? };
    read = manifest(g)?;
    shards = { let (_folder, m) = manifest(g)?; let d = sharded(g, &m)?; batches(g, &d)? };
"data::Source::", g:
    batch = { let d = cut(g)?; batches(g, &d)? };
    check_finite = { let d = dataset(g)?; d.check_finite(g.index(4))? };
    check_finite = { let d = cut(g)?; let i = g.index(d.len()); d.check_finite(i)? };
    check_finite = { let d = Texts::<f32>::new(g.lists(3, 4), 4)?; d.check_finite(g.index(3))? };
    draw = { let d = Texts::<f32>::new(g.lists(3, 4), 4)?; batches(g, &d)? };
    holds = { let d = dataset(g)?; d.holds(g.index(4)) };
    holds = { let (_folder, m) = manifest(g)?; sharded(g, &m)?.holds(g.index(5)) };
    length = { let d = dataset(g)?; d.length(g.index(4)) };
    length = { let d = cut(g)?; let i = g.index(d.len()); d.length(i) };
    length = { let d = Texts::<f32>::new(g.lists(3, 4), 4)?; d.length(g.index(3)) };
    length = { let d = tokens(g)?; d.length(g.index(3)) };
    scaled_once = { let (s, d) = (scaler(g)?, cut(g)?); if let Some(d) = d.scaled_once(&s)? { batches(g, &*d)?; } };
    scaled_once = { let (s, d) = (scaler(g)?, dataset(g)?); if let Some(d) = d.scaled_once(&s)? { batches(g, &*d)?; } };
"data::Target::", g:
    stack = { let all: Vec<Labels> = g.lists(3, 4).into_iter().map(Labels).collect(); Labels::stack(&all.iter().collect::<Vec<_>>(), g.length(4))? };
    stack = { let all = g.indices(4); usize::stack(&all.iter().collect::<Vec<_>>(), g.length(1))? };
    stack = { let all: Vec<Array2<f32>> = series(g); Target::stack(&all.iter().collect::<Vec<_>>(), g.length(6))? };
"data::Imputer::", g:
    mean = imputer(g)?;
    add_indicator = imputer(g)?.add_indicator(g.flag()).transform(&g.array2(3, WIDTH))?;
    forward_fill = imputer(g)?.forward_fill(g.flag()).transform(&g.array2(3, WIDTH).mapv(|x| if x > 0.5 { f32::NAN } else { x }))?;
    names_out = imputer(g)?.add_indicator(g.flag()).names_out(&g.texts(&["a", "b"]))?;
    transform = imputer(g)?.transform(&g.array2(3, WIDTH))?;
"data::Scaler::", g:
    columns = scaler(g)?.columns(&g.indices(WIDTH))?;
    inverse_transform = scaler(g)?.inverse_transform(&g.array3([2, 2, WIDTH]))?;
    min_max = scaler(g)?;
    standard = scaler(g)?;
    transform = scaler(g)?.transform(&g.array2(3, WIDTH))?;
    transform = scaler(g)?.transform(&g.array1(WIDTH))?;
    transform = scaler(g)?.transform(&ndarray::arr0(g.number(0.5) as f32)).or_else(|error| if g.flag() { Ok(ndarray::arr0(0.0)) } else { Err(error) })?;
"data::Table::", g:
    read = if g.flag() { table(g).rows() } else { Table::read(g.text("no such file"))?.rows() };
    classes = table(g).classes(column(g))?;
    classes_as = table(g).classes_as(column(g), &g.texts(&["x", "y"]))?;
    column = table(g).column::<f64>(column(g))?;
    groups = table(g).groups(column(g))?;
    labels = table(g).labels(column(g), column(g))?;
    labels_as = table(g).labels_as(column(g), column(g), &g.texts(&["x", "y"]))?;
    sequence_times = { let s = steps(g)?; table(g).sequence_times(column(g), column(g), &s)? };
    sequences = table(g).sequences::<f32>(column(g), &columns(g))?;
    sequences_with_missing = table(g).sequences_with_missing::<f32>(column(g), &columns(g), &[g.text("?")])?;
    text = table(g).text(column(g), g.index(4)).map(str::to_owned)?;
    times = { let s = steps(g)?; table(g).times(column(g), &s)? };
    values = table(g).values::<f32>(&columns(g))?;
    values_with_missing = table(g).values_with_missing::<f32>(&columns(g), &[g.text("?")])?;
"data::TableReader::", g:
    delimiter = { let d = g.one(b",;\t\0\n\r\"\xff"); reader(g, d)? };
    quoting = reader(g, b',')?;
    read = reader(g, b',')?;
"data::Texts::", g:
    new = { let d = Texts::<f32>::new(g.lists(3, 4), g.like(4))?; batches(g, &d)? };
    conditions = { let conditions = (0..g.length(3)).map(|_| g.array1(2)).collect(); let d = Texts::<f32>::new(vec![vec![1]; 3], 4)?.conditions(conditions)?; batches(g, &d)? };
    pieces = { let d = Texts::<f32>::pieces(&g.indices(4), g.size(), g.like(4))?; batches(g, &d)? };
"data::TimeSteps::", g:
    check = { let s = steps(g)?; s.check(&[0.0, 1.0, g.number(2.0), g.number(3.0)])? };
    equal = TimeSteps::equal(g.number(0.1))?.check(&[0.0, 1.0, g.number(2.0)])?;
    every = TimeSteps::every(g.number(1.0), g.number(0.1))?.check(&[0.0, 1.0, g.number(2.0)])?;
"data::Unit::", g:
    tokens = unit(g).tokens(g.text("a, b"));
"data::Vocabulary::", g:
    builder = vocabulary(g)?;
    characters = vocabulary(g)?.characters(&g.texts(&["a", "b"]))?;
    decode = { let v = vocabulary(g)?; v.decode(&g.indices(v.len()))? };
    encode = vocabulary(g)?.encode(g.text("a b"))?;
    encode_all = vocabulary(g)?.encode_all(g.texts(&["a", "b"]))?;
    encode_tokens = vocabulary(g)?.encode_tokens(&g.texts(&["a", "b"]))?;
    number = vocabulary(g)?.number(g.text("a"));
    split = vocabulary(g)?.split(g.text("a b"));
"data::VocabularyBuilder::", g:
    fit = vocabulary(g)?;
    fit_tokens = Vocabulary::builder(unit(g)).max_size(g.size()).min_count(g.size()).fit_tokens([g.texts(&["a", "b"])])?;
    fixed = Vocabulary::builder(unit(g)).fixed(&g.texts(&["a", "b"]))?;
    lowercase = Vocabulary::builder(unit(g)).lowercase(g.flag()).fixed(&g.texts(&["a", "B"]))?;
    max_size = vocabulary(g)?;
    min_count = vocabulary(g)?;
    special = vocabulary(g)?;
    unknown = vocabulary(g)?;
"data::WindowedSeries::", g:
    series_of = { let d = cut(g)?; let i = g.index(d.len()); d.series_of(i)? };
    start = { let d = cut(g)?; let i = g.index(d.len()); d.start(i)? };
"data::Windows::", g:
    new = Windows::new(g.size(), g.size())?;
    columns = { let w = windows(g)?.columns(&g.texts(&["a", "b"])); let d = w.cut(&g.array2(6, WIDTH))?; batches(g, &d)? };
    cut = { let d = cut(g)?; batches(g, &d)? };
    many = { let d = windows(g)?.many(&series(g))?; batches(g, &d)? };
    split = windows(g)?.split(&g.array2(8, WIDTH), g.like(5))?;
    split_many = windows(g)?.split_many(&series(g), &[g.like(3), g.like(3)])?;
    split_series = windows(g)?.split_series(&series(g), &parts(g, 2))?;
    stride = windows(g)?.stride(g.size())?.cut(&g.array2(6, WIDTH))?;
    targets = { let w = windows(g)?.targets(&g.indices(WIDTH)); let d = w.cut(&g.array2(6, WIDTH))?; batches(g, &d)? };
"data::split::", g:
    by_time = split::by_time(g.length(6), g.number(0.3))?;
    random = split::random(g.length(6), g.number(0.3), g.size() as u64)?;
    stratified = split::stratified(&g.indices(3), g.number(0.3), 1)?;
}

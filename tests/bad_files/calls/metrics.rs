//! Metrics.

use recurrent::Result;
use recurrent::layer::crf::Scheme;
use recurrent::train::metrics::{
    Alignment, Bleu, BleuSmoothing, BleuTokenizer, Chrf, ClassificationMetrics, ErrorRate,
    ExactMatch, Perplexity, RegressionMetrics, SpanMetrics, SpanMode, TranscriptionMetrics,
    seasonal_error, spans_of,
};
use recurrent::train::{Score, predict};

use super::calls;
use super::given::Given;

fn classified(given: &mut Given) -> Result<ClassificationMetrics> {
    let mut metrics = ClassificationMetrics::default();
    for _ in 0..given.length(2) {
        let before = metrics.clone();
        let added = metrics.add(given.array1(3).view(), given.index(3));
        if let Err(error) = added {
            assert_eq!(before, metrics);
            return Err(error);
        }
    }
    let _ = (metrics.accuracy(), metrics.classes(), metrics.confusion().sum(), metrics.metrics());
    Ok(metrics)
}

fn tags(given: &mut Given) -> Vec<&'static str> {
    given.texts(&["B-x", "I-x", "O"])
}

fn mode(given: &mut Given) -> SpanMode {
    given.one(&[SpanMode::Lenient, SpanMode::Strict(Scheme::Iob2), SpanMode::Strict(Scheme::Bioes)])
}

fn spans(given: &mut Given) -> Result<SpanMetrics> {
    let mut metrics = SpanMetrics::new(mode(given));
    for _ in 0..2 {
        let before = metrics.clone();
        let (actual, predicted) = (tags(given), tags(given));
        if let Err(error) = metrics.add(&actual, &predicted) {
            assert_eq!(before, metrics);
            return Err(error);
        }
    }
    let _ = (metrics.micro_average(), metrics.weighted_average(), metrics.metrics());
    Ok(metrics)
}

fn bleu(given: &mut Given, bleu: &Bleu) -> Result<()> {
    let score = bleu.sentence(given.text("a b c"), &given.texts(&["a b c d"]))?;
    let _ = (score.bleu(), score.precisions(), score.brevity_penalty());
    let hypotheses = given.texts(&["a", "b c"]);
    let references: Vec<Vec<&str>> =
        (0..given.length(2)).map(|_| given.texts(&["a", "b"])).collect();
    bleu.corpus(&hypotheses, &references)?.bleu();
    Ok(())
}

fn chrf(given: &mut Given, chrf: &Chrf) -> Result<()> {
    chrf.sentence(given.text("a b c"), &given.texts(&["a b c d"]))?.chrf();
    let hypotheses = given.texts(&["a", "b c"]);
    let references: Vec<Vec<&str>> =
        (0..given.length(2)).map(|_| given.texts(&["a", "b"])).collect();
    chrf.corpus(&hypotheses, &references)?.chrf();
    Ok(())
}

fn regressed(given: &mut Given) -> RegressionMetrics {
    let mut metrics = RegressionMetrics::default();
    metrics.add(given.number(1.0), given.number(0.0));
    let _ = (metrics.mae(), metrics.rmse(), metrics.mape(), metrics.metrics());
    metrics
}

calls! {
"train::metrics::Alignment::", g:
    new = Alignment::new(&g.texts(&["a", "b"]), &g.texts(&["a", "c"])).edits().len();
"train::metrics::Bleu::", g:
    corpus = bleu(g, &Bleu::default())?;
    effective_order = { let b = Bleu::default().effective_order(g.flag()); bleu(g, &b)? };
    lowercase = { let b = Bleu::default().lowercase(g.flag()); bleu(g, &b)? };
    max_ngram_order = { let b = Bleu::default().max_ngram_order(g.size())?; bleu(g, &b)? };
    sentence = bleu(g, &Bleu::default())?;
    smoothing = { let n = g.number(1.0); let s = g.one(&[BleuSmoothing::AddK(n), BleuSmoothing::Floor(n), BleuSmoothing::Exp]); let b = Bleu::default().smoothing(s)?; bleu(g, &b)? };
    tokenizer = { let b = Bleu::default().tokenizer(g.one(&[BleuTokenizer::None, BleuTokenizer::V13a])); bleu(g, &b)? };
"train::metrics::BleuTokenizer::", g:
    words = g.one(&[BleuTokenizer::None, BleuTokenizer::V13a]).words(g.text("a, b"));
"train::metrics::Chrf::", g:
    beta = { let c = Chrf::default().beta(g.number(2.0))?; chrf(g, &c)? };
    char_order = { let c = Chrf::default().char_order(g.size())?; chrf(g, &c)? };
    corpus = chrf(g, &Chrf::plus_plus())?;
    eps_smoothing = { let c = Chrf::default().eps_smoothing(g.flag()); chrf(g, &c)? };
    lowercase = { let c = Chrf::default().lowercase(g.flag()); chrf(g, &c)? };
    sentence = chrf(g, &Chrf::default())?;
    whitespace = { let c = Chrf::default().whitespace(g.flag()); chrf(g, &c)? };
    word_order = { let c = Chrf::default().word_order(g.size())?; chrf(g, &c)? };
"train::metrics::ClassificationMetrics::", g:
    add = classified(g)?;
    add_loss = classified(g)?.add_loss(g.number(1.0), g.size());
    add_weighted_loss = classified(g)?.add_weighted_loss(g.number(1.0), g.number(1.0));
    class = classified(g)?.class(g.index(3));
    macro_average = classified(g)?.macro_average(g.indices(3));
    micro_average = classified(g)?.micro_average(g.indices(3));
    top_k = classified(g)?.top_k(g.size());
"train::metrics::ErrorRate::", g:
    characters = ErrorRate::characters(g.text("ab"), g.text("b")).rate();
    tokens = ErrorRate::tokens(&g.indices(3), &g.indices(3)).rate();
    words = ErrorRate::words(g.text("a b"), g.text("b")).rate();
"train::metrics::ExactMatch::", g:
    sentence = ExactMatch::sentence(&g.text("a"), &g.texts(&["a", "b"]))?.share();
"train::metrics::Perplexity::", g:
    add = { let mut p = Perplexity::default(); p.add(g.number(1.0), g.size()); (p.perplexity(), p.bits(), p.metrics()) };
"train::metrics::RegressionMetrics::", g:
    add = regressed(g);
    add_loss = regressed(g).add_loss(g.number(1.0), g.size());
    add_weighted_loss = regressed(g).add_weighted_loss(g.number(1.0), g.number(1.0));
    mase = regressed(g).mase(g.number(1.0));
    persistence = { let x = g.array1(5).to_vec(); RegressionMetrics::persistence(&x, g.size())? };
"train::metrics::SpanMetrics::", g:
    add = spans(g)?;
    new = spans(g)?;
    of_type = spans(g)?.of_type(g.text("x"));
    support = spans(g)?.support(g.text("x"));
"train::metrics::TranscriptionMetrics::", g:
    add = { let mut t = TranscriptionMetrics::default(); t.add(&g.indices(3), &g.indices(3)); (t.exact_match(), t.label_error_rate(), t.metrics()) };
"train::metrics::", g:
    seasonal_error = { let x = g.array1(5).to_vec(); seasonal_error(&x, g.size())? };
    spans_of = spans_of(&tags(g), mode(g))?;
"train::Score::", g:
    merge = { let (mut a, b) = (classified(g)?, classified(g)?); a.merge(b) };
    merge = { let (mut a, b) = (regressed(g), regressed(g)); a.merge(b) };
    merge = { let (mut a, b) = (spans(g)?, spans(g)?); a.merge(b) };
"train::", g:
    predict = { let d = recurrent::data::Dataset::<f32, usize>::new(vec![g.array2(2, 2)], vec![1])?; predict(&d, g.size(), |_: &(recurrent::Sequences<f32>, Vec<usize>)| Ok(vec![1]))? };
}

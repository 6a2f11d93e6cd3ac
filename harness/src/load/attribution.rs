//! What became of each request of a load, by the journal and never by what the target says: its class, what the
//! mocks and the database took of its time, and what it cost.

use super::generator::{Sent, TIMEOUT};
use super::{HitCost, Measured};
use crate::statistics::as_f64;
use fact_mocks::journal::{Entry, Upstream};
use fact_reports::run::{Class, Cost, Histogram, Load, Noise, Slow};
use hdrhistogram::Histogram as Hdr;
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap};

/// The histograms reach to an hour; anything longer counts as that.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// What the load was, beside its requests.
#[derive(Debug, Clone)]
pub struct Context {
    /// In words, for the report.
    pub description: String,
    /// Requests of the plan.
    pub planned: u64,
    /// What the answers of each class have to be.
    pub answers: IndexMap<String, String>,
    /// Statuses that will do while an upstream is broken.
    pub excused: Vec<u16>,
    /// The question that all hoped-for hits ask.
    pub repeated_question: Option<String>,
    /// Seconds of processor time of the target, where it can be read.
    pub target_cpu_seconds: Option<f64>,
    /// Peak memory of the target, where it can be read.
    pub target_peak_bytes: Option<u64>,
    /// How long was measured.
    pub seconds: f64,
    /// What the machine did meanwhile.
    pub noise: Noise,
    /// What a request that costs nothing took meanwhile.
    pub noise_ns: Vec<u64>,
    /// How often it has been looked at.
    pub looks: u32,
}

/// The three-significant-digit histograms of one class, in nanoseconds.
struct Times {
    response: Hdr<u64>,
    service: Hdr<u64>,
    upstream: Hdr<u64>,
    database: Hdr<u64>,
    own: Hdr<u64>,
}

impl Times {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let new = || Hdr::new_with_bounds(1, LONGEST_NS, 3);
        Ok(Self {
            response: new()?,
            service: new()?,
            upstream: new()?,
            database: new()?,
            own: new()?,
        })
    }
}

/// Attributes the journal's entries to the requests and sums up.
pub fn measure(
    sent: &[Sent],
    entries: &[Entry],
    context: &Context,
) -> Result<Measured, hdrhistogram::CreationError> {
    let by_nonce = group_by_nonce(entries);
    let shared: Vec<&Entry> = match &context.repeated_question {
        Some(question) => entries
            .iter()
            .filter(|entry| belongs_to(entry, question))
            .collect(),
        None => Vec::new(),
    };
    let mut measured = Measured {
        wrong: (!context.answers.is_empty()).then_some(0),
        sent: count(sent.len()),
        seconds: context.seconds,
        noise_ns: context.noise_ns.clone(),
        target_cpu_seconds: context.target_cpu_seconds,
        target_peak_bytes: context.target_peak_bytes,
        ..Measured::default()
    };
    let mut times: BTreeMap<String, Times> = BTreeMap::new();
    let mut slowest: BTreeMap<String, Vec<Slow>> = BTreeMap::new();
    let start_ns = sent.first().map_or(0, |request| request.due_ns);
    for request in sent {
        let own_entries = match by_nonce.get(request.planned.nonce.as_str()) {
            Some(entries) => entries.clone(),
            None if request.planned.class == "hit" => overlapping(&shared, request),
            None => Vec::new(),
        };
        let (class, mut failure) = classify(request, &own_entries);
        if failure.is_none() && is_wrong(request, context) {
            *measured.wrong.get_or_insert(0) += 1;
            failure = Some(WRONG.to_owned());
        }
        if !request.planned.measured {
            continue;
        }
        if matches!(&request.answer, Ok((status, _)) if context.excused.contains(status)) {
            measured.excused += 1;
            continue;
        }
        measured.measured += 1;
        measured
            .lag_ns
            .entry(request.planned.class.clone())
            .or_default()
            .push(request.sent_ns.saturating_sub(request.due_ns));
        let response_ns = request.done_ns.saturating_sub(request.due_ns);
        let slow = slowest.entry(class.clone()).or_default();
        keep_slowest(
            slow,
            || took(request, &own_entries, start_ns, failure.as_deref()),
            response_ns,
        );
        measured.answered += u64::from(request.answer.is_ok());
        measured.failed.push(failure.is_some());
        if let Some(failure) = failure {
            *measured.failures.entry(failure).or_default() += 1;
            let above_any_limit = response_ns.max(duration_ns(TIMEOUT));
            keep(&mut measured, &class, [above_any_limit; 3]);
            let class = entry(&mut times, &class)?;
            class.response.saturating_record(above_any_limit);
            continue;
        }
        measured.succeeded += 1;
        if class == "miss" {
            measured.miss_calls.calls += count(conversation(&own_entries).count());
            measured.miss_calls.answers += 1;
        }
        let split = Split::of(request, &own_entries);
        let first_byte_ns = request.first_byte_ns.saturating_sub(request.due_ns);
        keep(
            &mut measured,
            &class,
            [response_ns, first_byte_ns, split.own],
        );
        let class = entry(&mut times, &class)?;
        class.response.saturating_record(response_ns);
        class.service.saturating_record(split.service);
        class.upstream.saturating_record(split.upstream);
        class.database.saturating_record(split.database);
        class.own.saturating_record(split.own);
    }
    measured.billed_usd = billed_usd(sent, entries);
    measured.mock_lag_ns = mock_lag(entries);
    measured.hit_cost = hit_cost(sent, &shared);
    let mut report = report(sent, entries, context, &measured, &times)?;
    report.slowest = slowest;
    measured.report = Some(report);
    Ok(measured)
}

/// So many of each class are told about.
const SLOWEST: usize = 10;

fn keep_slowest(slowest: &mut Vec<Slow>, took: impl Fn() -> Slow, response_ns: u64) {
    let its = milliseconds(response_ns);
    let at = slowest.partition_point(|slow| slow.response_ms >= its);
    if at < SLOWEST {
        slowest.insert(at, took());
        slowest.truncate(SLOWEST);
    }
}

/// Where the time of one request went, from the send to the last byte, in nanoseconds.
struct Split {
    service: u64,
    upstream: u64,
    database: u64,
    /// The rest.
    own: u64,
}

impl Split {
    fn of(request: &Sent, entries: &[&Entry]) -> Self {
        let is_database = |entry: &Entry| entry.upstream == Upstream::Database;
        let preparing_ns: u64 = entries.iter().map(|entry| entry.preparing_ns).sum();
        let service = request.done_ns.saturating_sub(request.sent_ns);
        let all_ns = preparing_ns + covered(entries, |_| true);
        Self {
            service,
            upstream: covered(entries, |entry| !is_database(entry)),
            database: preparing_ns + covered(entries, is_database),
            own: service.saturating_sub(all_ns),
        }
    }
}

/// A slow request, for people.
fn took(request: &Sent, entries: &[&Entry], start_ns: u64, failure: Option<&str>) -> Slow {
    let split = Split::of(request, entries);
    let body_ns = match request.first_byte_ns {
        0 => 0,
        first => request.done_ns.saturating_sub(first),
    };
    let scheduled_ns: u64 = entries.iter().map(|entry| entry.scheduled_ns).sum();
    let faults = entries.iter().filter_map(|entry| entry.fault.clone());
    Slow {
        nonce: request.planned.nonce.clone(),
        due_ms: milliseconds(request.due_ns.saturating_sub(start_ns)),
        response_ms: milliseconds(request.done_ns.saturating_sub(request.due_ns)),
        late_ms: milliseconds(request.sent_ns.saturating_sub(request.due_ns)),
        scheduled_ms: milliseconds(scheduled_ns),
        upstream_ms: milliseconds(split.upstream),
        database_ms: milliseconds(split.database),
        own_ms: milliseconds(split.own.saturating_sub(body_ns)),
        body_ms: milliseconds(body_ns),
        faults: faults.collect(),
        failure: failure.map(str::to_owned),
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    as_f64(nanoseconds) / 1e6
}

/// Response, first byte and own time of one request.
fn keep(measured: &mut Measured, class: &str, times: [u64; 3]) {
    let kept = [
        &mut measured.response_ns,
        &mut measured.first_byte_ns,
        &mut measured.own_ns,
    ];
    for (kept, time) in kept.into_iter().zip(times) {
        kept.entry(class.to_owned()).or_default().push(time);
    }
}

fn conversation<'a>(entries: &'a [&Entry]) -> impl Iterator<Item = &'a Entry> {
    let entries = entries.iter().copied();
    entries.filter(|entry| entry.upstream == Upstream::Claude)
}

/// What Claude billed since the first measured request was due.
fn billed_usd(sent: &[Sent], entries: &[Entry]) -> f64 {
    let measured = sent.iter().filter(|request| request.planned.measured);
    let from = measured.map(|request| request.due_ns).min();
    let since = entries
        .iter()
        .filter(|entry| from.is_some_and(|from| entry.arrived_ns >= from));
    since
        .filter(|entry| entry.upstream == Upstream::Claude)
        .map(|entry| entry.cost_usd)
        .sum()
}

fn entry<'a>(
    times: &'a mut BTreeMap<String, Times>,
    class: &str,
) -> Result<&'a mut Times, hdrhistogram::CreationError> {
    use std::collections::btree_map::Entry as Slot;
    Ok(match times.entry(class.to_owned()) {
        Slot::Occupied(slot) => slot.into_mut(),
        Slot::Vacant(slot) => slot.insert(Times::new()?),
    })
}

fn group_by_nonce(entries: &[Entry]) -> HashMap<&str, Vec<&Entry>> {
    let mut groups: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        if let Some(nonce) = &entry.nonce {
            groups.entry(nonce.as_str()).or_default().push(entry);
        }
    }
    groups
}

/// Entries of the repeated question: Claude's by their text; statements have none, and are found by their time.
fn belongs_to(entry: &Entry, question: &str) -> bool {
    entry.nonce.is_none()
        && match entry.upstream {
            Upstream::Claude => entry.question.as_deref() == Some(question),
            Upstream::Arcade => true,
            Upstream::Database => {
                fact_mocks::relay::names_relation(&entry.what) && !is_probe(entry)
            }
        }
}

fn is_probe(entry: &Entry) -> bool {
    entry
        .application
        .as_deref()
        .is_some_and(|name| name.starts_with("fact-probe"))
}

/// What happened to the shared question while this request was under way.
fn overlapping<'a>(shared: &[&'a Entry], request: &Sent) -> Vec<&'a Entry> {
    shared
        .iter()
        .filter(|entry| entry.arrived_ns < request.done_ns && entry.ended_ns > request.sent_ns)
        .copied()
        .collect()
}

/// The class by what was seen; and why it is no success.
fn classify(request: &Sent, entries: &[&Entry]) -> (String, Option<String>) {
    let hoped = request.planned.class.clone();
    let body = match &request.answer {
        Err(reason) => return (hoped, Some(reason.clone())),
        Ok((status, _)) if *status != 200 => return (hoped, Some(format!("status {status}"))),
        Ok((_, body)) => body,
    };
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return (hoped, Some("the answer is not JSON".to_owned()));
    };
    if hoped == "tool" {
        let whole = body.get("result").is_some();
        return (
            hoped,
            (!whole).then(|| "the answer has no `result`".to_owned()),
        );
    }
    if body
        .get("response")
        .and_then(serde_json::Value::as_str)
        .is_none_or(str::is_empty)
    {
        return (hoped, Some("the answer has no `response`".to_owned()));
    }
    let conversed = conversation(entries).next().is_some();
    match (hoped.as_str(), conversed) {
        (_, true) => ("miss".to_owned(), None),
        ("hit", false) => ("hit".to_owned(), None),
        (_, false) => (
            hoped,
            Some("a question never asked before was answered without Claude".to_owned()),
        ),
    }
}

/// The failure of a request whose answer is not what it has to be.
pub const WRONG: &str = "a wrong answer";

fn is_wrong(request: &Sent, context: &Context) -> bool {
    let (Some(pattern), Ok((_, body))) =
        (context.answers.get(&request.planned.class), &request.answer)
    else {
        return false;
    };
    let response = serde_json::from_slice::<serde_json::Value>(body).ok();
    let response = response.as_ref().and_then(|body| body["response"].as_str());
    let text = match (request.planned.class.as_str(), response) {
        ("tool", _) => String::from_utf8_lossy(body).into_owned(),
        (_, response) => response.unwrap_or_default().to_owned(),
    };
    !crate::expect::matches(pattern, &text)
}

/// Nanoseconds that at least one of the chosen entries covers.
fn covered(entries: &[&Entry], chosen: impl Fn(&Entry) -> bool) -> u64 {
    let mut spans: Vec<(u64, u64)> = entries
        .iter()
        .filter(|entry| chosen(entry))
        .map(|entry| (entry.arrived_ns, entry.ended_ns))
        .collect();
    spans.sort_unstable();
    let mut total = 0;
    let mut reached = 0;
    for (from, to) in spans {
        total += to.saturating_sub(from.max(reached));
        reached = reached.max(to);
    }
    total
}

fn mock_lag(entries: &[Entry]) -> Vec<u64> {
    let scheduled = entries
        .iter()
        .filter(|entry| entry.scheduled_ns > 0 && entry.first_byte_ns >= entry.arrived_ns);
    scheduled
        .map(|entry| (entry.first_byte_ns - entry.arrived_ns).saturating_sub(entry.scheduled_ns))
        .collect()
}

/// The first answer has to be paid for; the others should be free. Its conversation's uncached price is what
/// each of them would have cost.
fn hit_cost(sent: &[Sent], shared: &[&Entry]) -> Option<HitCost> {
    let billed: Vec<&Entry> = shared
        .iter()
        .filter(|entry| entry.upstream == Upstream::Claude)
        .copied()
        .collect();
    let first = billed.iter().min_by_key(|entry| entry.arrived_ns)?;
    let first_request = sent.iter().find(|request| {
        request.planned.class == "hit"
            && request.sent_ns <= first.arrived_ns
            && first.arrived_ns < request.done_ns
    })?;
    let (first_turns, later): (Vec<&Entry>, Vec<&Entry>) = billed
        .iter()
        .copied()
        .partition(|entry| entry.arrived_ns < first_request.done_ns);
    let conversation_usd: f64 = first_turns.iter().map(|entry| entry.uncached_usd).sum();
    let answers = count(
        sent.iter()
            .filter(|request| request.planned.class == "hit")
            .count(),
    )
    .checked_sub(1)?;
    (answers > 0 && conversation_usd > 0.0).then(|| HitCost {
        answers,
        // The sum of nothing is a negative zero.
        billed_usd: later.iter().map(|entry| entry.cost_usd).sum::<f64>() + 0.0,
        uncached_usd: conversation_usd * as_f64(answers),
    })
}

fn report(
    sent: &[Sent],
    entries: &[Entry],
    context: &Context,
    measured: &Measured,
    times: &BTreeMap<String, Times>,
) -> Result<Load, hdrhistogram::CreationError> {
    let classes = times.iter().map(|(name, times)| {
        let class = Class {
            response: Histogram::from_hdr(&times.response),
            service: Histogram::from_hdr(&times.service),
            upstream: Histogram::from_hdr(&times.upstream),
            database: Histogram::from_hdr(&times.database),
            own: Histogram::from_hdr(&times.own),
        };
        (name.clone(), class)
    });
    Ok(Load {
        description: context.description.clone(),
        planned: context.planned,
        sent: count(sent.len()),
        succeeded: measured.succeeded,
        classes: classes.collect(),
        lag: histogram(measured.lag_ns.values().flatten())?,
        mock_lag: histogram(measured.mock_lag_ns.iter())?,
        cost: cost(entries),
        target_cpu_seconds: context.target_cpu_seconds,
        target_peak_bytes: context.target_peak_bytes,
        noise: Some(Noise {
            floor: histogram(context.noise_ns.iter())?,
            ..context.noise.clone()
        }),
        looks: context.looks,
        slowest: BTreeMap::new(),
    })
}

fn histogram<'a>(
    samples: impl Iterator<Item = &'a u64>,
) -> Result<Histogram, hdrhistogram::CreationError> {
    let mut hdr = Hdr::<u64>::new_with_bounds(1, LONGEST_NS, 3)?;
    samples.for_each(|sample| hdr.saturating_record(*sample));
    Ok(Histogram::from_hdr(&hdr))
}

fn cost(entries: &[Entry]) -> Cost {
    let mut cost = Cost::default();
    let mut conversations = std::collections::BTreeSet::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.upstream == Upstream::Claude)
    {
        cost.billed_usd += entry.cost_usd;
        cost.uncached_usd += entry.uncached_usd;
        conversations.insert(&entry.question);
        if let Some(usage) = &entry.usage {
            cost.input_tokens += usage.input_tokens;
            cost.cache_write_tokens += usage.cache_creation_input_tokens;
            cost.cache_read_tokens += usage.cache_read_input_tokens;
            cost.output_tokens += usage.output_tokens;
        }
    }
    cost.conversations = count(conversations.len());
    cost
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn duration_ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Planned;
    use bytes::Bytes;

    fn sent(class: &str, nonce: &str, sent_ns: u64, done_ns: u64, body: &'static str) -> Sent {
        let planned = Planned {
            due_ns: sent_ns,
            class: class.into(),
            nonce: nonce.into(),
            measured: true,
        };
        let answer = Ok((200, Bytes::from_static(body.as_bytes())));
        Sent {
            planned,
            due_ns: sent_ns,
            sent_ns,
            first_byte_ns: done_ns,
            done_ns,
            answer,
        }
    }

    fn claude(question: &str, nonce: Option<&str>, arrived_ns: u64, ended_ns: u64) -> Entry {
        Entry {
            question: Some(question.into()),
            nonce: nonce.map(Into::into),
            status: 200,
            first_byte_ns: ended_ns,
            ended_ns,
            cost_usd: 0.01,
            uncached_usd: 0.02,
            ..Entry::new(Upstream::Claude, "POST /v1/messages".into(), arrived_ns)
        }
    }

    fn context() -> Context {
        Context {
            description: String::new(),
            planned: 0,
            answers: IndexMap::new(),
            excused: Vec::new(),
            repeated_question: Some("q".into()),
            target_cpu_seconds: None,
            target_peak_bytes: None,
            seconds: 1.0,
            noise: Noise::default(),
            noise_ns: Vec::new(),
            looks: 1,
        }
    }

    const ANSWER: &str = r#"{"response":"x","metadata":{"cache_status":"hit"}}"#;

    #[test]
    fn a_hit_is_the_absence_of_a_conversation_whatever_the_target_says() {
        let requests = [
            sent("hit", "nonce-a", 100, 200, ANSWER),
            sent("hit", "nonce-b", 300, 400, ANSWER),
        ];
        let measured = measure(&requests, &[claude("q", None, 110, 190)], &context()).unwrap();
        assert_eq!(measured.response_ns["miss"], [100]);
        assert_eq!(measured.response_ns["hit"], [100]);
        let cost = measured.hit_cost.unwrap();
        assert_eq!(
            (cost.answers, cost.billed_usd, cost.uncached_usd),
            (1, 0.0, 0.02)
        );
    }

    #[test]
    fn the_bill_and_the_calls_are_of_what_is_measured() {
        let mut warm_up = sent("miss", "nonce-a", 0, 90, ANSWER);
        warm_up.planned.measured = false;
        let requests = [warm_up, sent("miss", "nonce-b", 100, 200, ANSWER)];
        let entries = [
            claude("m", Some("nonce-a"), 10, 80),
            claude("m", Some("nonce-b"), 110, 130),
            claude("m", Some("nonce-b"), 140, 190),
        ];
        let measured = measure(&requests, &entries, &context()).unwrap();
        assert!((measured.billed_usd - 0.02).abs() < 1e-12);
        assert_eq!(
            (measured.miss_calls.calls, measured.miss_calls.answers),
            (2, 1)
        );
        assert_eq!((measured.sent, measured.measured), (2, 1));
    }

    #[test]
    fn an_answer_that_no_conversation_can_explain_is_a_failure() {
        let measured = measure(&[sent("miss", "nonce-a", 0, 9, ANSWER)], &[], &context()).unwrap();
        assert_eq!((measured.measured, measured.succeeded), (1, 0));
        assert_eq!(measured.response_ns["miss"], [duration_ns(TIMEOUT)]);
    }

    #[test]
    fn a_wrong_answer_is_counted_and_an_excused_status_is_no_failure() {
        let mut broken = sent("hit", "nonce-c", 500, 600, "{}");
        broken.answer = Ok((503, Bytes::from_static(b"{}")));
        let requests = [
            sent("hit", "nonce-a", 100, 200, ANSWER),
            sent("hit", "nonce-b", 300, 400, r#"{"response":"y"}"#),
            broken,
        ];
        let context = Context {
            answers: IndexMap::from([("hit".to_owned(), "x*".to_owned())]),
            excused: vec![503],
            ..context()
        };
        let measured = measure(&requests, &[claude("q", None, 110, 190)], &context).unwrap();
        assert_eq!(
            (measured.wrong, measured.excused, measured.measured),
            (Some(1), 1, 2)
        );
        assert_eq!(measured.succeeded, 1);
    }

    #[test]
    fn own_time_is_the_rest_and_overlaps_count_once() {
        let entries = [
            claude("m", Some("nonce-a"), 10, 40),
            claude("m", Some("nonce-a"), 30, 60),
        ];
        let requests = [sent("miss", "nonce-a", 0, 100, ANSWER)];
        let report = measure(&requests, &entries, &context())
            .unwrap()
            .report
            .unwrap();
        let slow = &report.slowest["miss"][0];
        assert_eq!(slow.nonce, "nonce-a");
        assert!((slow.upstream_ms - 50e-6).abs() < 1e-9 && (slow.own_ms - 50e-6).abs() < 1e-9);
        let own = report.classes["miss"].own.to_hdr().unwrap();
        assert_eq!((own.min(), own.len()), (50, 1));
    }
}

//! What the engine counts: one list, shown as JSON and for Prometheus.

mod process;
mod series;
#[cfg(test)]
mod tests;

use fact_wire::{ErrorCode, Tokens};
use serde_json::{Map, Number, Value, json};
use series::{BOUNDS, Snapshot};
pub use series::{Family, Histogram};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The counters. Money is kept in billionths of a dollar.
#[derive(Default)]
pub struct Metrics {
    /// Questions asked.
    pub queries: AtomicU64,
    /// Answered from the cache.
    pub cache_hits: AtomicU64,
    /// Answered anew.
    pub cache_misses: AtomicU64,
    /// Answered from the cache although the time was over.
    pub cache_stale: AtomicU64,
    /// Answered together with an equal question.
    pub cache_collapsed: AtomicU64,
    /// Answers that made room for others.
    pub cache_evictions: AtomicU64,
    /// Answers in the cache.
    pub cache_entries: AtomicU64,
    /// Memory that they take.
    pub cache_bytes: AtomicU64,
    /// Requests to Claude, retries included.
    pub claude_requests: AtomicU64,
    /// Attempts by outcome.
    pub claude_attempts: Family<Histogram, 1>,
    /// Tool calls.
    pub tool_executions: AtomicU64,
    /// By tool and outcome.
    pub tool_calls: Family<Histogram, 2>,
    /// Refusals by a guard.
    pub refusals: AtomicU64,
    /// Answers with an error status.
    pub errors: AtomicU64,
    /// By code.
    pub errors_by_code: Family<AtomicU64, 1>,
    /// Requests by route, method and status.
    pub requests: Family<AtomicU64, 3>,
    /// Being answered.
    pub requests_under_way: AtomicU64,
    /// Conversations with Claude at the moment.
    pub conversations_under_way: AtomicU64,
    /// From the head of a request to the last byte of its answer.
    pub request_seconds: Histogram,
    /// Of that, the engine's own share.
    pub overhead: Histogram,
    /// How late the runtime does what is due.
    pub scheduling_delay: Histogram,
    /// Events by type and outcome.
    pub audit_events: Family<AtomicU64, 2>,
    /// Writing events to the disk.
    pub audit_flush: Histogram,
    /// Times that it failed.
    pub audit_failures: AtomicU64,
    /// 1 where nothing is sent to an upstream for now.
    pub breakers: Family<AtomicU64, 1>,
    input: AtomicU64,
    output: AtomicU64,
    cache_creation: AtomicU64,
    cache_read: AtomicU64,
    cost_nano_usd: AtomicU64,
    samplers: Mutex<Vec<Sampler>>,
}

/// Sets gauges to what they are now.
type Sampler = Box<dyn Fn(&Metrics) + Send + Sync>;

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations.
    Histogram,
}

/// A metric, without its value.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// For people.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// The values of a metric.
#[derive(Debug, Clone)]
enum Reading {
    One(Number),
    Many(Vec<(Vec<String>, Number)>),
    Durations(Vec<(Vec<String>, Snapshot)>),
}

impl Reading {
    fn whole(value: &AtomicU64) -> Self {
        Self::One(value.load(Relaxed).into())
    }

    fn real(value: f64) -> Self {
        Self::One(Number::from_f64(value).unwrap_or_else(|| 0.into()))
    }

    fn family<const LABELS: usize>(family: &Family<AtomicU64, LABELS>) -> Self {
        Self::Many(family.all(|value| value.load(Relaxed).into()))
    }

    fn counts<const LABELS: usize>(family: &Family<Histogram, LABELS>) -> Self {
        Self::Many(family.all(|histogram| histogram.snapshot().count().into()))
    }

    fn durations(histogram: &Histogram) -> Self {
        Self::Durations(vec![(Vec::new(), histogram.snapshot())])
    }
}

impl Metrics {
    /// Counts an error that was told, in an answer or at the end of a stream.
    pub fn count_error(&self, code: ErrorCode) {
        self.errors.fetch_add(1, Relaxed);
        let name = serde_json::to_value(code).unwrap_or_default();
        self.errors_by_code
            .add([name.as_str().unwrap_or("other")], 1);
    }

    /// Adds what an answer was billed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cost is small and not negative"
    )]
    pub fn bill(&self, tokens: Tokens, cost_usd: f64) {
        self.input.fetch_add(tokens.input, Relaxed);
        self.output.fetch_add(tokens.output, Relaxed);
        self.cache_creation
            .fetch_add(tokens.cache_creation, Relaxed);
        self.cache_read.fetch_add(tokens.cache_read, Relaxed);
        self.cost_nano_usd
            .fetch_add((cost_usd * 1e9) as u64, Relaxed);
    }

    /// Calls this before every showing, so that gauges say what is.
    pub fn sample(&self, sampler: impl Fn(&Self) + Send + Sync + 'static) {
        self.samplers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(sampler));
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of dollars")]
    fn cost_usd(&self) -> f64 {
        self.cost_nano_usd.load(Relaxed) as f64 / 1e9
    }

    /// The list.
    fn list(&self) -> Vec<(Metric, Reading)> {
        use Kind::{Counter, Gauge, Histogram};
        use Reading as R;
        for sampler in self
            .samplers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            sampler(self);
        }
        let mut list = Vec::new();
        let mut tell = |name, kind, help, labels, reading| {
            list.push((
                Metric {
                    name,
                    kind,
                    help,
                    labels,
                },
                reading,
            ));
        };
        tell(
            "fact_queries_total",
            Counter,
            "Questions asked.",
            &[][..],
            R::whole(&self.queries),
        );
        tell(
            "fact_cache_hits_total",
            Counter,
            "Questions answered from the cache.",
            &[],
            R::whole(&self.cache_hits),
        );
        tell(
            "fact_cache_misses_total",
            Counter,
            "Questions answered anew.",
            &[],
            R::whole(&self.cache_misses),
        );
        tell(
            "fact_cache_stale_total",
            Counter,
            "Questions answered from the cache although the time was over.",
            &[],
            R::whole(&self.cache_stale),
        );
        tell(
            "fact_cache_collapsed_total",
            Counter,
            "Questions answered together with an equal one.",
            &[],
            R::whole(&self.cache_collapsed),
        );
        tell(
            "fact_cache_evictions_total",
            Counter,
            "Answers that made room for others.",
            &[],
            R::whole(&self.cache_evictions),
        );
        tell(
            "fact_cache_entries",
            Gauge,
            "Answers in the cache.",
            &[],
            R::whole(&self.cache_entries),
        );
        tell(
            "fact_cache_bytes",
            Gauge,
            "Memory that the answers in the cache take.",
            &[],
            R::whole(&self.cache_bytes),
        );
        tell(
            "fact_claude_requests_total",
            Counter,
            "Requests to Claude, retries included.",
            &[],
            R::whole(&self.claude_requests),
        );
        tell(
            "fact_claude_attempts_total",
            Counter,
            "Requests to Claude by what came of them.",
            &["outcome"],
            R::counts(&self.claude_attempts),
        );
        tell(
            "fact_claude_attempt_seconds",
            Histogram,
            "From a request to Claude to the end of its answer.",
            &["outcome"],
            R::Durations(self.claude_attempts.all(series::Histogram::snapshot)),
        );
        tell(
            "fact_tool_executions_total",
            Counter,
            "Tool calls.",
            &[],
            R::whole(&self.tool_executions),
        );
        tell(
            "fact_tool_calls_total",
            Counter,
            "Tool calls by tool and outcome.",
            &["tool", "outcome"],
            R::counts(&self.tool_calls),
        );
        tell(
            "fact_tool_call_seconds",
            Histogram,
            "From a tool call to its outcome.",
            &["tool", "outcome"],
            R::Durations(self.tool_calls.all(series::Histogram::snapshot)),
        );
        tell(
            "fact_refusals_total",
            Counter,
            "Refusals by a guard.",
            &[],
            R::whole(&self.refusals),
        );
        tell(
            "fact_errors_total",
            Counter,
            "Answers with an error status.",
            &[],
            R::whole(&self.errors),
        );
        tell(
            "fact_errors_by_code_total",
            Counter,
            "Answers with an error status, by code.",
            &["code"],
            R::family(&self.errors_by_code),
        );
        tell(
            "fact_rate_limited_total",
            Counter,
            "Requests beyond a limit.",
            &[],
            R::One(of(&self.errors_by_code, |labels| {
                labels[0] == "RATE_LIMITED"
            })),
        );
        tell(
            "fact_requests_total",
            Counter,
            "Requests by route, method and status.",
            &["route", "method", "status"],
            R::family(&self.requests),
        );
        tell(
            "fact_requests_under_way",
            Gauge,
            "Requests being answered.",
            &[],
            R::whole(&self.requests_under_way),
        );
        tell(
            "fact_conversations_under_way",
            Gauge,
            "Conversations with Claude at the moment.",
            &[],
            R::whole(&self.conversations_under_way),
        );
        tell(
            "fact_request_seconds",
            Histogram,
            "From the head of a request to the last byte of its answer.",
            &[],
            R::durations(&self.request_seconds),
        );
        tell(
            "fact_overhead_seconds",
            Histogram,
            "The engine's own share of that: without the time in which only Claude, tools or the database were waited for.",
            &[],
            R::durations(&self.overhead),
        );
        tell(
            "fact_scheduling_delay_seconds",
            Histogram,
            "How late the engine does what is due; grows when it has too little processor time.",
            &[],
            R::durations(&self.scheduling_delay),
        );
        tell(
            "fact_audit_events_total",
            Counter,
            "Audit events on disk, by type and outcome.",
            &["type", "outcome"],
            R::family(&self.audit_events),
        );
        tell(
            "fact_audit_flush_seconds",
            Histogram,
            "Writing audit events to the disk.",
            &[],
            R::durations(&self.audit_flush),
        );
        tell(
            "fact_audit_failures_total",
            Counter,
            "Times that audit events could not be written.",
            &[],
            R::whole(&self.audit_failures),
        );
        tell(
            "fact_logins_total",
            Counter,
            "Logins by outcome.",
            &["outcome"],
            R::Many(self.logins()),
        );
        tell(
            "fact_breaker_open",
            Gauge,
            "1 where nothing is sent to an upstream for now.",
            &["upstream"],
            R::family(&self.breakers),
        );
        let tokens = [
            ("cache_creation", &self.cache_creation),
            ("cache_read", &self.cache_read),
            ("input", &self.input),
            ("output", &self.output),
        ];
        let tokens =
            tokens.map(|(kind, value)| (vec![kind.to_owned()], value.load(Relaxed).into()));
        tell(
            "fact_tokens_total",
            Counter,
            "Tokens as billed.",
            &["kind"],
            R::Many(tokens.to_vec()),
        );
        tell(
            "fact_cost_usd_total",
            Counter,
            "Dollars billed by Claude.",
            &[],
            R::real(self.cost_usd()),
        );
        let version = vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.into())];
        tell(
            "fact_build_info",
            Gauge,
            "The version that runs.",
            &["version"],
            R::Many(version),
        );
        list.extend(process::list());
        list
    }

    fn logins(&self) -> Vec<(Vec<String>, Number)> {
        let mut logins = self.audit_events.all(|value| value.load(Relaxed).into());
        logins.retain(|(labels, _)| labels[0] == "login");
        logins
            .into_iter()
            .map(|(labels, value)| (labels[1..].to_vec(), value))
            .collect()
    }

    /// Every metric that there is.
    pub fn metrics(&self) -> Vec<Metric> {
        self.list().into_iter().map(|(metric, _)| metric).collect()
    }

    /// As `GET /api/v1/metrics` says.
    pub fn as_json(&self) -> Value {
        let mut all = Map::new();
        for (metric, reading) in self.list() {
            let name = metric.name.trim_start_matches("fact_");
            let name = if name == "tokens_total" {
                "tokens"
            } else {
                name
            };
            let value = match reading {
                Reading::One(number) => Value::Number(number),
                Reading::Many(series) => nested(
                    series
                        .into_iter()
                        .map(|(labels, number)| (labels, Value::Number(number))),
                ),
                Reading::Durations(series) => nested(
                    series
                        .into_iter()
                        .map(|(labels, snapshot)| (labels, in_short(&snapshot))),
                ),
            };
            all.insert(name.to_owned(), value);
        }
        Value::Object(all)
    }

    /// As Prometheus reads it.
    pub fn as_prometheus(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        for (
            Metric {
                name,
                kind,
                help,
                labels,
            },
            reading,
        ) in self.list()
        {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            match reading {
                Reading::One(value) => {
                    let _ = writeln!(text, "{name} {value}");
                }
                Reading::Many(series) => {
                    for (values, value) in series {
                        let _ = writeln!(text, "{name}{} {value}", braces(labels, &values, None));
                    }
                }
                Reading::Durations(series) => {
                    for (values, snapshot) in series {
                        let bounds = BOUNDS
                            .iter()
                            .map(ToString::to_string)
                            .chain(["+Inf".to_owned()]);
                        for (bound, below) in bounds.zip(snapshot.below) {
                            let labels = braces(labels, &values, Some(&bound));
                            let _ = writeln!(text, "{name}_bucket{labels} {below}");
                        }
                        let labels = braces(labels, &values, None);
                        let (sum, count) = (snapshot.sum_seconds, snapshot.count());
                        let _ = writeln!(
                            text,
                            "{name}_sum{labels} {sum}\n{name}_count{labels} {count}"
                        );
                    }
                }
            }
        }
        text
    }
}

/// The sum over those with such labels.
fn of(family: &Family<AtomicU64, 1>, which: impl Fn(&[String]) -> bool) -> Number {
    let all = family.all(|value| value.load(Relaxed));
    let chosen = all.into_iter().filter(|(labels, _)| which(labels));
    chosen.map(|(_, value)| value).sum::<u64>().into()
}

/// `{a: {b: value}}` for the labels `a` and `b`; the value itself without labels.
fn nested(series: impl Iterator<Item = (Vec<String>, Value)>) -> Value {
    let mut all = Value::Object(Map::new());
    for (labels, value) in series {
        let mut place = &mut all;
        for label in labels {
            place = &mut place[label];
        }
        *place = value;
    }
    all
}

/// A histogram without its buckets; the shares are estimated from them.
fn in_short(snapshot: &Snapshot) -> Value {
    json!({
        "count": snapshot.count(), "sum": snapshot.sum_seconds,
        "p50": snapshot.quantile(0.5), "p95": snapshot.quantile(0.95), "p99": snapshot.quantile(0.99),
    })
}

fn braces(names: &[&str], values: &[String], bound: Option<&str>) -> String {
    let escape = |value: &str| {
        value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n")
    };
    let mut pairs: Vec<String> = names
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    pairs.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

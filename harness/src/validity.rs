//! Whether a load's figures can be believed: what the meters themselves did, held against the limits that they were
//! used for.

use crate::gates::{Limit, Subject, Time};
use crate::load::Measured;
use crate::statistics::quantile;

/// A meter that is later than this share of a limit is no meter for it.
const OF_THE_LIMIT: f64 = 0.1;
/// A hypervisor or a container's limit may take so much of the time, in percent.
const TAKEN_PERCENT: f64 = 10.0;

/// Why the figures cannot be believed: each with what was seen and what it is too much for.
pub fn doubts(limits: &[Limit], measured: &Measured) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut timed = false;
    for limit in limits {
        let Subject::Quantile { class, time, .. } = &limit.subject else {
            continue;
        };
        timed = true;
        let mut doubt = |what: String, late_ms: Option<f64>| {
            let late = late_ms.filter(|late| *late > limit.value / 1e6 * OF_THE_LIMIT);
            if let Some(late) = late {
                doubts.push(format!(
                    "{what} {late:.2} ms late at the 99th percentile, over a tenth of `{} {}`",
                    limit.name, limit.text
                ));
            }
        };
        if *time != Time::Own {
            let late = measured.lag_ns.get(class).and_then(|lags| p99_ms(lags));
            doubt(format!("requests of class `{class}` were sent"), late);
        }
        let noise = measured
            .report
            .as_ref()
            .and_then(|load| load.noise.as_ref());
        doubt(
            "a thread that only sleeps was woken".to_owned(),
            noise.map(|noise| noise.hiccups.p99_ms),
        );
        if class == "miss" {
            doubt(
                "the mocks answered".to_owned(),
                p99_ms(&measured.mock_lag_ns),
            );
            doubt(
                "the mocks' events in streams came".to_owned(),
                measured.mock_event_lag_ms,
            );
        }
    }
    if timed {
        doubts.extend(taken(measured));
    }
    doubts
}

/// Processor time that was there and not for us.
fn taken(measured: &Measured) -> Vec<String> {
    let noise = measured
        .report
        .as_ref()
        .and_then(|load| load.noise.as_ref());
    let Some(noise) = noise else {
        return Vec::new();
    };
    let stolen = noise
        .stolen_percent
        .filter(|percent| *percent > TAKEN_PERCENT);
    let stolen = stolen.map(|percent| {
        format!("the hypervisor took {percent:.0} % of this machine's processor time, over {TAKEN_PERCENT} %")
    });
    let throttled = noise
        .throttled_ms
        .map(|ms| ms / 10.0 / measured.seconds.max(f64::MIN_POSITIVE))
        .filter(|percent| *percent > TAKEN_PERCENT);
    let throttled = throttled.map(|percent| {
        format!("the container's processor limit held it up for {percent:.0} % of the time, over {TAKEN_PERCENT} %")
    });
    stolen.into_iter().chain(throttled).collect()
}

#[expect(clippy::cast_precision_loss, reason = "lags are far below 2^52 ns")]
fn p99_ms(lags: &[u64]) -> Option<f64> {
    let mut ordered = lags.to_vec();
    ordered.sort_unstable();
    quantile(&ordered, 0.99).map(|late| late as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates;

    #[test]
    fn late_events_of_the_mocks_are_a_doubt_about_limits_on_misses() {
        let doubts = |name: &str, late_ms: f64| {
            let limit = gates::parse(name, "<= 10 ms").unwrap();
            let measured = Measured {
                mock_event_lag_ms: Some(late_ms),
                ..Measured::default()
            };
            doubts(&[limit], &measured).len()
        };
        assert_eq!(doubts("miss.p99", 0.9), 0);
        assert_eq!(doubts("miss.p99", 1.1), 1);
        assert_eq!(doubts("hit.p99", 1.1), 0);
    }
}

//! Whether a load's figures can be believed: what the meters themselves did, held against the limits that they were
//! used for.

use crate::gates::{Level, Limit, Subject, Time};
use crate::load::Measured;
use crate::statistics::{as_f64, quantile};
use fact_reports::run::Noise;

/// A meter that is later than this share of a limit is no meter for it.
const OF_THE_LIMIT: f64 = 0.1;
/// A hypervisor or a container's limit may take so much of the time, in percent.
const TAKEN_PERCENT: f64 = 10.0;

/// Why the figures cannot be believed: each with what was seen and what it is too much for.
pub fn doubts(limits: &[Limit], measured: &Measured) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut timed = false;
    let load = measured.report.as_ref();
    let noise = load.and_then(|load| load.noise.as_ref());
    for limit in limits {
        let Subject::Quantile { class, time, .. } = &limit.subject else {
            continue;
        };
        // A limit that is only told may be tighter than any meter is.
        if limit.level == Level::Warn {
            continue;
        }
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
    let noise = noise.filter(|_| timed);
    doubts.extend(
        noise
            .into_iter()
            .flat_map(|noise| taken(noise, measured.seconds)),
    );
    doubts
}

/// Processor time that was there and not for us.
fn taken(noise: &Noise, seconds: f64) -> Vec<String> {
    let stolen = noise
        .stolen_percent
        .filter(|percent| *percent > TAKEN_PERCENT);
    let stolen = stolen.map(|percent| {
        format!("the hypervisor took {percent:.0} % of this machine's processor time, over {TAKEN_PERCENT} %")
    });
    let throttled = noise
        .throttled_ms
        .map(|ms| ms / 10.0 / seconds.max(f64::MIN_POSITIVE))
        .filter(|percent| *percent > TAKEN_PERCENT);
    let throttled = throttled.map(|percent| {
        format!("the container's processor limit held it up for {percent:.0} % of the time, over {TAKEN_PERCENT} %")
    });
    stolen.into_iter().chain(throttled).collect()
}

fn p99_ms(lags: &[u64]) -> Option<f64> {
    let mut ordered = lags.to_vec();
    ordered.sort_unstable();
    quantile(&ordered, 0.99).map(|late| as_f64(late) / 1e6)
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

    #[test]
    fn a_limit_that_is_only_told_needs_no_better_meter() {
        let limit = Limit {
            level: Level::Warn,
            ..gates::parse("miss.p99", "<= 10 ms").unwrap()
        };
        let measured = Measured {
            mock_event_lag_ms: Some(9.0),
            ..Measured::default()
        };
        assert_eq!(doubts(&[limit], &measured), [""; 0]);
    }

    #[test]
    fn time_that_others_took_is_a_doubt_when_it_is_much() {
        let noise = |stolen, throttled_ms| Noise {
            stolen_percent: Some(stolen),
            throttled_ms: Some(throttled_ms),
            ..Noise::default()
        };
        assert_eq!(taken(&noise(9.0, 900.0), 10.0).len(), 0);
        assert_eq!(taken(&noise(11.0, 900.0), 10.0).len(), 1);
        assert_eq!(taken(&noise(11.0, 1100.0), 10.0).len(), 2);
    }
}

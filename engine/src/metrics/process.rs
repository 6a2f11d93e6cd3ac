//! What the system says of this process. Empty where there is no `/proc`.

use super::{Kind, Metric, Reading};

/// `USER_HZ` is 100 on every architecture that Linux has today.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// The metrics of the process, by the names that everybody uses.
pub(super) fn list() -> Vec<(Metric, Reading)> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields.split_whitespace().collect())
        .unwrap_or_default();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let mut list = Vec::new();
    let mut tell = |name, kind, help, value: Option<f64>| {
        let metric = Metric {
            name,
            kind,
            help,
            labels: &[],
        };
        list.extend(value.map(|value| (metric, Reading::real(value))));
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let real = |number: u64| number as f64;
    let cpu = field(11)
        .zip(field(12))
        .map(|(user, system)| seconds(user + system));
    tell(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time used.",
        cpu,
    );
    tell(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory in use.",
        field(21).map(|pages| real(pages * PAGE_BYTES)),
    );
    tell(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Memory reserved.",
        field(20).map(real),
    );
    tell(
        "process_threads",
        Kind::Gauge,
        "Threads.",
        field(17).map(real),
    );
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    let open = open.and_then(|count| u64::try_from(count).ok()).map(real);
    tell(
        "process_open_fds",
        Kind::Gauge,
        "Open file descriptors.",
        open,
    );
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(real);
    tell(
        "process_max_fds",
        Kind::Gauge,
        "File descriptors that may be open.",
        most,
    );
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot: Option<u64> = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|text| text.trim().parse().ok());
    let began = boot
        .zip(field(19))
        .map(|(boot, ticks)| real(boot) + seconds(ticks));
    tell(
        "process_start_time_seconds",
        Kind::Gauge,
        "When it started, in seconds since 1970.",
        began,
    );
    list
}

//! How many cameras this machine carries, and what it runs out of: more and more of them until pictures are lost or late. The
//! cameras share the machine, so that they are made to cost little, and what they cost is told apart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::load::{self, FRAMES_PER_SECOND};
use crate::senders::Senders;
use crate::subject::{Operator, Subject as _};
use crate::support::{poll, process};

/// More than a second of a camera's bytes waiting for the program is late.
const LATE_BYTES: u64 = 500_000;
/// A sender that is behind its own time by more than this is no camera any more.
const SENDER_LATE: Duration = Duration::from_millis(500);
/// How long every camera may take to be live.
const PATIENCE: Duration = Duration::from_mins(3);
/// Rings fill up, and windows nearly.
const WARM_UP: Duration = Duration::from_secs(24);

/// One load.
struct Load {
    cameras: usize,
    /// Of the program, of the senders (both in cores), and of the machine's cores in all.
    program: f64,
    senders: f64,
    machine: f64,
    pss_bytes: u64,
    /// Bytes recorded a second.
    recorded: f64,
    sent: u64,
    received: u64,
    /// Frames that a reader within the program missed, connections made anew, runs cut.
    lost: u64,
    waiting: u64,
    sender_late: Duration,
}

impl Load {
    /// Of the machine's cores.
    fn busy_percent(&self) -> f64 {
        self.machine / cores() as f64 * 100.0
    }

    fn trouble(&self) -> Option<String> {
        if self.sender_late > SENDER_LATE {
            return Some(format!("the senders are late by {:.1} s", self.sender_late.as_secs_f64()));
        }
        if self.lost > 0 {
            return Some(format!("{} losses", self.lost));
        }
        if self.waiting > LATE_BYTES {
            return Some(format!("{} KiB of one camera waited to be read", self.waiting >> 10));
        }
        // A picture is passed on when the next one is there: the count of both may differ by one at each end.
        let missing = self.sent.saturating_sub(self.received);
        (missing > 2 * self.cameras as u64).then(|| format!("{missing} of {} pictures are missing", self.sent))
    }
}

/// Raises the load until something is late or lost, and returns the document.
pub fn markdown(step: usize, most: usize, seconds: u64, folder: &Path) -> String {
    let mut text = format!(
        "# How many cameras\n\nWritten by `make bench` (`cargo bench --bench run -- --ceiling`; `--step 50 --most 2000 --seconds 60` for other loads).\n\n\
         Cameras of 1080p25 at 4 Mbit/s, each recorded into MP4 files of a minute and served as HLS, by copy, {step} more at a time, until pictures \
         are lost or late: a connection made anew, a frame that a reader missed, a picture less than was sent, or more than half a megabyte (a \
         second) of one camera waiting to be read. The cameras share the machine ({} cores) with the program. They are made to cost little: packets are made \
         once, and one thread sends them (RTSP over TCP). Each load is watched for {seconds} s once every camera has been live for {} s.\n\n\
         | cameras | program, cores | a camera | senders, cores | machine busy | memory (PSS) | recorded | lost or late |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
        cores(),
        WARM_UP.as_secs()
    );
    let mut carried: Option<Load> = None;
    let mut limit = String::new();
    for cameras in (step..=most).step_by(step) {
        let load = match measure(cameras, seconds, folder) {
            Ok(load) => load,
            Err(why) => {
                let _ = writeln!(text, "| {cameras} | – | – | – | – | – | – | {why} |");
                limit = why;
                break;
            }
        };
        let trouble = load.trouble();
        let _ = writeln!(
            text,
            "| {cameras} | {:.2} | {:.2} % | {:.2} | {:.0} % | {:.0} MiB | {:.0} MB/s | {} |",
            load.program,
            load.program / cameras as f64 * 100.0,
            load.senders,
            load.busy_percent(),
            load.pss_bytes as f64 / f64::from(1 << 20),
            load.recorded / 1e6,
            trouble.as_deref().unwrap_or("nothing")
        );
        eprintln!("{}", text.lines().last().unwrap_or_default());
        if let Some(trouble) = trouble {
            limit = format!(
                "with {cameras} {trouble}, while {:.0} % of the machine were busy and {:.0} MB/s went to the disk",
                load.busy_percent(),
                load.recorded / 1e6
            );
            break;
        }
        carried = Some(load);
    }
    if let Some(best) = carried {
        let each = best.program / best.cameras as f64;
        let memory = best.pss_bytes as f64 / best.cameras as f64;
        let _ = writeln!(
            text,
            "\nSo {} cameras are carried with their senders on the same machine; {}. By itself the program would fill {} cores with about {:.0} cameras, \
             which is an extrapolation from the last load that was carried ({:.2} % of a core each); they would record {:.0} MB/s and take \
             {:.1} GiB. What else the machine spent then (the disk, the kernel's work for nobody in particular) is {:.2} cores.",
            best.cameras,
            if limit.is_empty() { "more were not tried".to_owned() } else { format!("what ended it: {limit}") },
            cores(),
            cores() as f64 / each,
            each * 100.0,
            best.recorded / best.cameras as f64 * (cores() as f64 / each) / 1e6,
            memory * (cores() as f64 / each) / f64::from(1 << 30),
            (best.machine - best.program - best.senders).max(0.0)
        );
    }
    text
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn measure(cameras: usize, seconds: u64, folder: &Path) -> Result<Load, String> {
    let senders = Senders::start(cameras, &load::encoded(folder));
    let data = folder.join("data");
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).unwrap();
    let mut program = Operator::start(&senders.urls, &data, false, "Native");
    let result = watch(&mut program, &senders, cameras, seconds);
    program.end();
    drop(program);
    let _ = fs::remove_dir_all(data);
    result
}

fn watch(program: &mut Operator, senders: &Senders, cameras: usize, seconds: u64) -> Result<Load, String> {
    let live = || (program.count("hls_window_bytes") >= cameras).then_some(());
    poll(PATIENCE, live).ok_or("not every camera became live")?;
    std::thread::sleep(WARM_UP);
    let own = std::process::id();
    let sum = |program: &Operator| {
        let of = |names: &[&str]| names.iter().map(|name| program.sum(name)).sum::<f64>();
        (
            of(&["camera_frames_total"]) as u64,
            of(&["hub_lost_entries_total", "camera_reconnects_total", "camera_cuts_total"]) as u64,
        )
    };
    let recorded = |program: &Operator| -> u64 {
        let files = (0..cameras).flat_map(|camera| program.recorded(camera));
        files.map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len())).sum()
    };
    let files = recorded(program);
    senders.sent.late.store(0, Ordering::Relaxed);
    senders.sent.waiting.store(0, Ordering::Relaxed);
    let (begun, cpu, senders_cpu, busy) =
        (Instant::now(), program.cpu_seconds(), process::cpu_seconds(own), busy_seconds());
    let ((received, lost), sent) = (sum(program), senders.sent.pictures.load(Ordering::Relaxed));
    // A measured time, not a condition: this is how long the load is watched.
    std::thread::sleep(Duration::from_secs(seconds));
    let elapsed = begun.elapsed().as_secs_f64();
    let (cpu, senders_cpu) = (program.cpu_seconds() - cpu, process::cpu_seconds(own) - senders_cpu);
    let (busy, sent) = (busy_seconds() - busy, senders.sent.pictures.load(Ordering::Relaxed) - sent);
    let late = senders.sent.late.load(Ordering::Relaxed);
    let waiting = senders.sent.waiting.load(Ordering::Relaxed);
    let (received_now, lost_now) = sum(program);
    let expected = (cameras as f64 * f64::from(FRAMES_PER_SECOND) * elapsed) as u64;
    eprintln!("{sent} pictures of {expected} were sent");
    Ok(Load {
        cameras,
        program: cpu / elapsed,
        senders: senders_cpu / elapsed,
        machine: busy / elapsed,
        pss_bytes: program.pss_bytes(),
        recorded: (recorded(program) - files) as f64 / begun.elapsed().as_secs_f64(),
        sent,
        received: received_now - received,
        lost: lost_now - lost,
        waiting,
        sender_late: Duration::from_micros(late),
    })
}

/// Seconds that the machine's cores were busy, all together, since it started; waiting for a disk is none.
fn busy_seconds() -> f64 {
    // proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks of 1/100 s.
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let at = |place: usize| fields.get(place).copied().unwrap_or(0.0);
    (at(0) + at(1) + at(2) + at(5) + at(6)) / 100.0
}

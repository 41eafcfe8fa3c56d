//! Deployments by a daemon that is killed in the middle, again and again on the same root.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cmdop_contract::v1::{EffectKind, Inquire, Outcome, Permit, Report, Stage, host_to_server, server_to_host};
use serde_json::{Value, json};
use support::cases::{self, Case};
use support::host::{Host, Link, on_runtime};
use support::with_effects;

const CASES: &[Case] =
    &[("killed_while_it_deploys_one_release_or_the_other_is_live_and_it_says_which", killed_while_it_deploys)];

/// Kills, unless `CMDOP_KILLS` says how many.
const KILLS: usize = 40;

const FILES: usize = 150;

const KEPT: usize = 3;

const KINDS: [EffectKind; 4] =
    [EffectKind::FileCreate, EffectKind::FileModify, EffectKind::FileDelete, EffectKind::DeployRelease];

fn main() -> ExitCode {
    cases::run(CASES, &[("release until killed", release_until_killed)])
}

fn killed_while_it_deploys(directory: &Path) {
    let source = directory.join("srv/source");
    fs::create_dir_all(source.join("deep")).expect("directory");
    fs::create_dir(directory.join("srv/web")).expect("directory");
    for number in 0..FILES {
        fs::write(source.join("deep").join(number.to_string()), number.to_string().repeat(100)).expect("write");
    }
    // The first ones go through, and say how long it takes.
    let mut took = Duration::ZERO;
    for round in 0..KEPT {
        let (mut child, mut lines) = start(directory, round);
        wait_for(&mut lines, "started");
        let began = Instant::now();
        wait_for(&mut lines, "done Applied");
        took = began.elapsed();
        child.kill().and_then(|()| child.wait()).expect("kill");
    }
    let kills = std::env::var("CMDOP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let (mut live, mut met) = (format!("releases/r{}", KEPT - 1), [0; 2]);
    for step in 0..=kills {
        let round = KEPT + step;
        let (mut child, mut lines) = start(directory, round);
        let was = lines.next().expect("a line").expect("text");
        if step > 0 {
            let last = format!("releases/r{}", round - 1);
            let is_applied = was == "was Applied";
            assert!(is_applied || was == "was NotApplied", "kill {step}: {was}");
            met[usize::from(is_applied)] += 1;
            live = if is_applied { last.clone() } else { live };
            assert_eq!(path_of(directory, &last).exists(), is_applied, "kill {step}: {was}");
        }
        let found = fs::read_link(path_of(directory, "current")).expect("a release is always live");
        assert_eq!(found, Path::new(&live), "kill {step}: {was}");
        assert_eq!(fs::read_dir(path_of(directory, "current/deep")).expect("list").count(), FILES, "kill {step}");
        for dir in ["", "releases", ".deploy"] {
            let left = names(&path_of(directory, dir)).into_iter().find(|name| name.starts_with(".cmdop-"));
            assert_eq!(left, None, "kill {step}: {was}");
        }
        wait_for(&mut lines, "started");
        let began = Instant::now();
        if step == kills {
            wait_for(&mut lines, "done Applied");
        } else if step % 4 == 3 {
            // In the instant after the switch: before the check, the conclusion and the pruning.
            let (current, new) = (path_of(directory, "current"), format!("releases/r{round}"));
            while fs::read_link(&current).expect("a release is always live") != Path::new(&new) {
                assert!(began.elapsed() < Duration::from_secs(60), "it never switched");
            }
        } else {
            // Spread over all of it and a bit more, in no order.
            std::thread::sleep(took.mul_f64((step * 37 % 50) as f64 / 40.0));
        }
        child.kill().and_then(|()| child.wait()).expect("kill");
    }
    println!("{} kills: {} not applied, {} applied; one release takes {took:?}", kills, met[0], met[1]);
    assert!(met.iter().all(|count| *count > 0), "kills before and after the switch were met: {met:?}");
    assert_eq!(names(&path_of(directory, "releases")).len(), KEPT, "what a kill left to be pruned is pruned later");
}

/// A daemon that settles what the one before it left, and then releases until it is killed.
fn start(directory: &Path, round: usize) -> (Child, Lines<BufReader<ChildStdout>>) {
    fs::write(directory.join("round"), round.to_string()).expect("write");
    let mut child = cases::again("release until killed", directory).stdout(Stdio::piped()).spawn().expect("start");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    (child, lines)
}

fn wait_for(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) {
    let mut seen = Vec::new();
    for line in lines {
        let line = line.expect("text");
        if line == wanted {
            return;
        }
        seen.push(line);
    }
    panic!("`{wanted}` did not come: {seen:?}");
}

fn path_of(directory: &Path, name: &str) -> PathBuf {
    directory.join("srv/web").join(name)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

fn release_until_killed(directory: &Path) {
    let round: usize = fs::read_to_string(directory.join("round")).expect("round").parse().expect("a number");
    on_runtime(directory, async |mut host: Host| {
        let mut link = host.start();
        let was = became(&mut link, round).await;
        println!("was {was:?}");
        let web = host.tree.join("web");
        let mut arguments = json!({"root": web, "release": format!("r{round}"), "source": host.tree.join("source")});
        arguments["keep"] = json!(KEPT);
        let plan = link.report_of(&permit(&host, &format!("plan-{round}"), "deploy.plan", &arguments)).await;
        arguments["digest"] = told(&plan)["digest"].clone();
        link.sign_and_send(&permit(&host, &format!("release-{round}"), "deploy.release", &arguments)).await;
        println!("started");
        println!("done {:?}", link.report().await.outcome());
        std::future::pending::<()>().await;
    });
}

/// What became of the release before. One that was never admitted is not applied.
async fn became(link: &mut Link, round: usize) -> Outcome {
    let Some(last) = round.checked_sub(1) else { return Outcome::NotApplied };
    let call_id = format!("release-{last}");
    let permit_id = format!("{call_id}-{:?}", Stage::Apply);
    link.send(server_to_host::Kind::Inquire(Inquire { permit_id: permit_id.clone(), call_id })).await;
    loop {
        match link.next().await {
            host_to_server::Kind::Report(report) if report.permit_id == permit_id => return report.outcome(),
            host_to_server::Kind::Forgotten(forgotten) if forgotten.permit_id == permit_id => {
                return Outcome::NotApplied;
            }
            _ => {}
        }
    }
}

fn permit(host: &Host, call: &str, tool: &str, arguments: &Value) -> Permit {
    let permit = support::permit(call, Stage::Apply, tool, arguments);
    with_effects(permit, &KINDS, &format!("{}/**", host.tree.display()))
}

fn told(report: &Report) -> Value {
    let result = report.result.as_ref().expect("a result");
    serde_json::from_str(&result.result_json).expect("a result is JSON")
}

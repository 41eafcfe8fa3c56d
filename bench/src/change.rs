//! What a command changed: measured, committed and undone, by how much it is and in how much it lies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{Outcome, Report, Stage};
use cmdop_host::journal::Journals;
use cmdop_host::native::Native;
use cmdop_host::sandbox::Layer;
use cmdop_host::{Spawner, commit, differ};
use serde_json::json;

use crate::exec::Bench;
use crate::{Fallible, client};

/// Changes so many files in a tree of so many, and prints how long each step took.
pub(crate) fn run(dir: &str, files: usize, changed: usize) -> Fallible<()> {
    let bench = Bench::lay_out(Path::new(dir), Spawner::start()?)?;
    bench.fill(files)?;
    // What was written before is no part of what is measured.
    sync(&bench.dir)?;
    client()?.block_on(measure(&bench, changed))
}

async fn measure(bench: &Bench, changed: usize) -> Fallible<()> {
    let dir = bench.fresh()?;
    let layer = Layer::create(&dir)?;
    change(&layer, &bench.tree, changed)?;
    sync(&bench.dir)?;
    let journals = Arc::new(Journals::open(bench.dir.join("undo"))?);
    let (difference, diff) = timed(|| differ::measure(&layer, &journals))?;
    let observation = difference.observation.clone().ok_or("no observation")?;
    if observation.effects.len() != changed || !difference.unsupported.is_empty() {
        return Err(format!("{} effects, {:?}", observation.effects.len(), difference.unsupported).into());
    }
    commit::save(&dir, &difference)?;

    let mut permit = bench.permit("terminal.exec", &json!({}), Stage::Preview);
    let previewed = bench.admitted(&permit).await?;
    let report = Report {
        permit_id: previewed.permit_id.clone(),
        call_id: previewed.call_id.clone(),
        stage: Stage::Preview.into(),
        outcome: Outcome::NotApplied.into(),
        observation: Some(observation.clone()),
        layer_held: true,
        ..Report::default()
    };
    bench.keys.report(report).await?;
    permit.permit_id.push_str("-commit");
    permit.stage = Stage::Commit.into();
    permit.preview_digest = observation.digest;
    let admitted = bench.admitted(&permit).await?;
    let (_, commit) = timed(|| commit::commit(&admitted, &dir, &journals))?;

    let native = Native::open(Vec::new(), journals)?;
    let undo = bench.permit("files.undo", &json!({"call": admitted.call_id}), Stage::Apply);
    let undo = bench.admitted(&undo).await?;
    let (done, undo) = timed(|| native.apply(&undo))?;
    if !done.result.ok {
        return Err(format!("{:?}", done.result.error).into());
    }
    let [diff, commit, undo] = [diff, commit, undo].map(|took| took.as_secs_f64());
    println!("{}", json!({"diff_s": diff, "commit_s": commit, "undo_s": undo}));
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T, cmdop_host::Error>) -> Fallible<(T, Duration)> {
    let started = Instant::now();
    Ok((work()?, started.elapsed()))
}

/// Leaves in the layer what a command leaves there that writes the first files of the tree anew.
fn change(layer: &Layer, tree: &Path, changed: usize) -> Fallible<()> {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let above = layer.covers().iter().filter(|cover| !cover.upper.is_empty() && tree.starts_with(path(&cover.path)));
    let cover = above.max_by_key(|cover| cover.path.len()).ok_or("nothing covers the tree")?;
    let beneath = tree.strip_prefix(path(&cover.path))?;
    for at in 0..changed {
        let place = beneath.join((at / 100).to_string());
        if at % 100 == 0 {
            copy_up(&path(&cover.path), &path(&cover.upper), &place)?;
        }
        fs::write(path(&cover.upper).join(place).join(at.to_string()), "another content\n")?;
    }
    Ok(())
}

fn copy_up(lower: &Path, upper: &Path, place: &Path) -> Fallible<()> {
    let mut here = PathBuf::new();
    for part in place {
        here.push(part);
        if !upper.join(&here).exists() {
            fs::create_dir(upper.join(&here))?;
            fs::set_permissions(upper.join(&here), fs::metadata(lower.join(&here))?.permissions())?;
        }
    }
    Ok(())
}

fn sync(dir: &Path) -> Fallible<()> {
    Ok(rustix::fs::syncfs(fs::File::open(dir)?)?)
}

//! A training that was killed goes on to the same bytes, and a checkpoint that cannot be written leaves the one before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use kiln::data::Source;
use kiln::data::augment::Draw;
use kiln::prelude::*;
use kiln::schedule::{OneCycleLr, ReduceLrOnPlateau};
use kiln::train::{Callback, Checkpoints, Every, Step};
use support::net::Net;
use support::program::this_program;

/// Three classes on a plane through six numbers.
fn set(device: &Device, rows: usize) -> TensorDataset {
    let x: Vec<f32> = (0..rows * 6).map(|i| ((i * i * 31 + i * 17) % 101) as f32 / 50.0 - 1.0).collect();
    let class = |row: &[f32]| (row[0] + row[3] > 0.0) as i32 + (row[1] - row[5] > 0.5) as i32;
    let labels: Vec<i32> = x.chunks(6).map(class).collect();
    TensorDataset::new(device, (x, [6]), (labels, [])).unwrap()
}

/// A loader with everything that a position must bring back: threads, weights, changes drawn for each example.
fn loader(device: &Device, rows: usize) -> DataLoader<(Tensor, Tensor)> {
    let (x, y) = set(device, rows).all();
    let (x, y) = (x.to_vec::<f32>().unwrap(), y.to_vec::<i32>().unwrap());
    let weights: Vec<f64> = y.iter().map(|&class| 1.0 + f64::from(class)).collect();
    let noisy = move |row: usize, draw: &mut Draw| {
        let x: Vec<f32> = x[row * 6..(row + 1) * 6].iter().map(|v| v + 0.1 * draw.normal() as f32).collect();
        Ok((x, y[row]))
    };
    let device = device.clone();
    let collate = move |examples: Vec<(Vec<f32>, i32)>| {
        let (x, y): (Vec<_>, Vec<_>) = examples.into_iter().unzip();
        Ok((Tensor::from_vec(&device, x.concat(), &[y.len(), 6]), Tensor::new(&device, y)))
    };
    let loader = DataLoader::from_examples(rows, noisy, collate).batch_size(8).seed(3).workers(3);
    loader.weighted(&weights, 150).unwrap()
}

/// The settings of a training, everything that has state switched on in one of them.
fn trainer<'a>(kind: &str) -> Trainer<'a> {
    let trainer = Trainer::new(6).progress(false).ema(0.9).clip_norm(1.0).patience(5);
    let trainer = if kind == "loader" { trainer } else { trainer.batch(8).seed(3) };
    match kind {
        "accumulated" | "mixed" => trainer.accumulate(3).scheduler(OneCycleLr::new(0.02, 6 * 7)),
        "plateau" => trainer.validate(Every::Steps(7)).plateau(ReduceLrOnPlateau {
            patience: 1,
            factor: 0.5,
            ..Default::default()
        }),
        _ => trainer.schedule(|step, total| schedule::cosine(0.02, step, total, 0.0)),
    }
}

/// One for all trainings of a process, so that each kernel is compiled once.
fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::open().unwrap())
}

fn train(kind: &str, trainer: Trainer<'_>) -> Result<History> {
    let (set, test, loader) = (set(device(), 163), set(device(), 40), loader(device(), 163));
    let model = Net::new(device());
    let mut adam = AdamW::new(&model, 0.02);
    let forward = |(x, y): &(Tensor, Tensor)| Outcome::classification(&model.forward(x), y);
    let source: &dyn Source<Batch = (Tensor, Tensor)> = if kind == "loader" { &loader } else { &set };
    match kind {
        "captured" => trainer.fit_captured(&model, &mut adam, source, Some(&test), forward),
        "mixed" => {
            // the first steps overflow, and a growing scale does again
            let mut mixed = adam.mixed_precision().init_scale(2f64.powi(40)).growth_interval(4);
            trainer.fit(&model, &mut mixed, source, Some(&test), forward)
        }
        _ => trainer.fit(&model, &mut adam, source, Some(&test), forward),
    }
}

/// Those that this device can run.
fn kinds<'k>(all: &[&'k str]) -> Vec<&'k str> {
    let f16 = device().caps().f16;
    all.iter().copied().filter(|kind| f16 || *kind != "mixed").collect()
}

/// What a child writes of each step.
const TOLD: &str = "step ";

/// Writes the number of each step to standard output.
struct Tell;

impl Callback for Tell {
    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{TOLD}{}", step.step).and_then(|()| out.flush()).unwrap();
        Ok(ControlFlow::Continue(()))
    }
}

/// The body of the child processes; only they have the variables.
#[test]
fn child() {
    let (Ok(folder), Ok(kind)) = (std::env::var("RESUME_FOLDER"), std::env::var("RESUME_KIND")) else { return };
    let trainer = trainer(&kind).checkpoints(&folder, Checkpoints::every(Every::Steps(2)).keep(2)).resume();
    let trainer = trainer.callback(Tell);
    if let Err(error) = train(&kind, trainer) {
        fs::write(Path::new(&folder).join("error"), error.to_string()).unwrap();
        std::process::exit(3);
    }
}

fn command<'c>(command: &'c mut Command, folder: &Path, kind: &str) -> &'c mut Command {
    command.env("RESUME_FOLDER", folder).env("RESUME_KIND", kind).stdout(Stdio::null()).stderr(Stdio::null())
}

/// What must be the same: every tensor, the best model, the position and the history, but not how long it took.
#[derive(PartialEq, Debug)]
struct Final {
    tensors: BTreeMap<String, Vec<u8>>,
    best: Vec<u8>,
    texts: BTreeMap<String, String>,
}

fn result(folder: &Path) -> Final {
    let newest = checkpoints(folder).pop().unwrap();
    let (tensors, mut texts) = store::load_tensors(device(), &newest).unwrap();
    texts.remove("trainer.seconds");
    let epochs = texts.get_mut("trainer.epochs").unwrap();
    *epochs = epochs.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect::<Vec<_>>().join("\n");
    let bytes = |t: &Tensor| Tensor::read_all(&[t]).unwrap().remove(0);
    Final {
        tensors: tensors.iter().map(|(name, t)| (name.clone(), bytes(t))).collect(),
        best: fs::read(folder.join("best.safetensors")).unwrap(),
        texts,
    }
}

fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut steps: Vec<PathBuf> =
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("step-")).collect();
    steps.sort();
    steps
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kiln-resume-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder); // of an earlier run with this process id
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A training in a process of its own, which tells of its steps.
struct Run {
    process: Child,
    steps: Lines<BufReader<ChildStdout>>,
    /// The last step that it told of.
    step: usize,
}

impl Run {
    fn start(folder: &Path, kind: &str) -> Self {
        let mut test = this_program();
        let mut process =
            command(test.args(["--exact", "child", "-q"]), folder, kind).stdout(Stdio::piped()).spawn().unwrap();
        let steps = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, steps, step: 0 }
    }

    /// Waits until it has told of step `wanted` or a later one, or has ended.
    fn reach(&mut self, wanted: usize) {
        while self.step < wanted {
            let Some(line) = self.steps.next() else { break };
            self.step = line.unwrap().strip_prefix(TOLD).map_or(self.step, |step| step.parse().unwrap_or(self.step));
        }
    }

    /// Waits for its end: whether it was killed.
    fn end(mut self, folder: &Path) -> bool {
        self.reach(usize::MAX);
        let status = self.process.wait().unwrap();
        assert!(
            status.success() || status.code().is_none(),
            "{status}: {:?}",
            fs::read_to_string(folder.join("error"))
        );
        !status.success()
    }
}

/// Kills a training at `times` random moments, goes on with what is there each time, and lets it end; then another one,
/// until it was killed often enough. A moment is a step and a time after it, so it lies anywhere in a training however
/// fast the machine is.
fn killed(kind: &str, times: usize) {
    let home = scratch(kind);
    let whole = home.join("whole");
    fs::create_dir(&whole).unwrap();
    let began = Instant::now();
    let mut run = Run::start(&whole, kind);
    run.reach(1);
    let first = began.elapsed();
    run.reach(usize::MAX);
    let all = run.step;
    let each = (began.elapsed() - first) / all as u32;
    assert!(!run.end(&whole));
    let want = result(&whole);
    assert!(want.texts["trainer.epochs"].lines().count() >= 3);

    let mut draw =
        Draw::new(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64, 0);
    let (mut kills, mut begun, mut runs) = (0, 0, 0);
    while kills < times {
        let folder = home.join(format!("run-{runs}"));
        fs::create_dir(&folder).unwrap();
        let mut moments: Vec<usize> = (0..4.min(times - kills)).map(|_| draw.below(all)).collect();
        moments.sort_unstable();
        let mut ended = false;
        for &moment in &moments {
            let mut run = Run::start(&folder, kind);
            run.reach(moment);
            // before the first step anywhere in the preparations, else within the next three steps
            std::thread::sleep(if moment == 0 { first } else { 3 * each }.mul_f64(draw.uniform()));
            run.process.kill().unwrap(); // SIGKILL
            ended = !run.end(&folder);
            if ended {
                break;
            }
            kills += 1;
            begun += usize::from(!checkpoints(&folder).is_empty());
        }
        assert!(ended || !Run::start(&folder, kind).end(&folder));
        runs += 1;
        assert!(runs < 10 * times, "the runs are over before they are killed");
        let got = result(&folder);
        assert!(got == want, "killed after {moments:?}: {:?} and {:?}", got.texts, want.texts);
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(begun > 0, "no kill lay behind a checkpoint");
    println!("{kind}: the same bytes after {kills} kills, {begun} of them behind a checkpoint, of {runs} runs");
    fs::remove_dir_all(&home).unwrap();
}

/// Fifty kills in all, with those of the next test.
#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    killed("cosine", 9);
    killed("loader", 9);
    killed("plateau", 8);
}

#[test]
fn a_killed_run_of_larger_steps_ends_with_the_same_bytes() {
    killed("captured", 8);
    killed("accumulated", 8);
    killed(kinds(&["mixed", "accumulated"])[0], 8);
}

/// In one process: ended after every possible step, resumed, the same history and weights.
#[test]
fn a_run_that_ends_after_any_step_goes_on() {
    let home = scratch("steps");
    let policy = Checkpoints::every(Every::Epochs(1));
    for kind in kinds(&["accumulated", "plateau", "loader", "mixed"]) {
        let whole = home.join(kind);
        train(kind, trainer(kind).checkpoints(&whole, policy)).unwrap();
        let want = result(&whole);
        if kind == "mixed" {
            let number = |name: &str| f32::from_le_bytes(want.tensors[name][..4].try_into().unwrap());
            let (scale, skipped) = (number("optimizer.scaler.scale"), number("optimizer.scaler.skipped_steps"));
            assert!(skipped >= 5.0 && scale < 2f32.powi(39), "no overflow on the way: {skipped}, {scale}");
        }
        let parts = home.join(format!("{kind}-parts"));
        let mut ended = 0;
        for step in (0..).step_by(5) {
            let part = train(kind, trainer(kind).checkpoints(&parts, policy).resume().max_steps(step)).unwrap();
            ended += 1;
            if part.ending != Ending::Limit {
                break;
            }
            assert_eq!(checkpoints(&parts).len(), 1);
        }
        assert!(ended > 4, "{ended}");
        assert!(result(&parts) == want, "{kind}");

        let again = train(kind, trainer(kind).checkpoints(&parts, policy).resume()).unwrap();
        assert_eq!(again.epochs.len(), want.texts["trainer.epochs"].lines().count());
        let refused = train(kind, trainer(kind).checkpoints(&parts, policy));
        assert!(refused.unwrap_err().to_string().contains("resume()"));
        let other = train(kind, trainer(kind).accumulate(2).checkpoints(&parts, policy).resume());
        assert!(matches!(&other, Err(Error::File { why, .. }) if why.contains("batch 8")), "{other:?}");
    }
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_callback_that_broke_off_has_broken_off() {
    let home = scratch("broken");
    let policy = Checkpoints::default().keep(3);
    let stop = |epoch: &kiln::train::Epoch| match epoch.epoch {
        2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let first = train("cosine", trainer("cosine").checkpoints(&home, policy).after_epoch(stop)).unwrap();
    let second = train("cosine", trainer("cosine").checkpoints(&home, policy).resume()).unwrap();
    assert_eq!((first.ending, &first), (Ending::Early, &second));
    assert_eq!(checkpoints(&home).len(), 2);

    let newest = checkpoints(&home).pop().unwrap();
    fs::write(&newest, &fs::read(&newest).unwrap()[..900]).unwrap();
    let damaged = train("cosine", trainer("cosine").checkpoints(&home, policy).resume());
    assert!(matches!(&damaged, Err(Error::File { path, .. }) if *path == newest), "{damaged:?}");
    fs::remove_dir_all(home).unwrap();
}

/// A limit on the size of files stands for a full disk: the write fails half-way, with an error of the system.
#[cfg(unix)]
#[test]
fn a_write_that_fails_leaves_the_checkpoint_before_it() {
    let home = scratch("full");
    let policy = Checkpoints::every(Every::Steps(2)).keep(2);
    train("cosine", trainer("cosine").checkpoints(&home, policy).max_steps(4)).unwrap();
    let files = || -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = files();
    assert_eq!(before.len(), 2, "{:?}", before.keys()); // steps 2 and 4

    let program = this_program();
    if program.get_args().len() > 0 {
        return println!("left out: the newest lavapipe keeps device memory in files, which may not grow here");
    }
    let limited = "trap '' XFSZ; ulimit -f 2; exec \"$0\" --exact child -q"; // blocks of 512 bytes, or of 1024
    let mut shell = Command::new("sh");
    let status = command(shell.args(["-c", limited]).arg(program.get_program()), &home, "cosine").status().unwrap();
    assert_eq!(status.code(), Some(3));
    let mut after = files();
    let error = String::from_utf8(after.remove(&home.join("error")).unwrap()).unwrap();
    assert!(error.contains("step-000000006"), "{error}");
    assert_eq!(after, before);
    fs::remove_file(home.join("error")).unwrap();

    train("cosine", trainer("cosine").checkpoints(&home, policy).resume()).unwrap();
    fs::remove_dir_all(home).unwrap();
}

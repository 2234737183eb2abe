//! Which variant a device takes: self-tests that put a wrong class aside, tuned winners, and what is kept on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::attention::{self, Part, Place};
use kiln_device::kernels::conv::{self, Direction};
use kiln_device::kernels::lanes::{self, Walk};
use kiln_device::kernels::matmul::{self, Algorithm, Problem, Strides, Variant};
use kiln_device::{Candidate, Device, Fill, Input, Options, Source, Trial, Tuner, Want};
use std::path::PathBuf;
use std::time::Duration;
use support::classes;

/// A cache folder of its own for a test, deleted when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("kiln-choices-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Folder(dir)
    }

    fn device(&self) -> Device {
        let options = Options { cache_dir: Some(self.0.clone()), ..Options::from_env().unwrap() };
        Device::open_with(&options).unwrap()
    }

    /// The file whose name begins like this.
    fn file(&self, start: &str) -> PathBuf {
        let mut files = std::fs::read_dir(&self.0).unwrap().map(|f| f.unwrap());
        files.find(|f| f.file_name().to_string_lossy().starts_with(start)).expect("it is on disk").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn square(n: u32) -> Problem {
    let strides = Strides::contiguous(1, n, n);
    Problem::new([1, 1], n, n, n, strides, strides)
}

/// A trial of the class whose one candidate stores twice what it should.
fn broken(device: &Device, class: &str, algorithm: Algorithm) -> Trial {
    let p = square(20);
    let plain = matmul::stages(device.caps(), &p, &Variant { algorithm: Algorithm::Block, split: 1 }).unwrap();
    let mut stages = matmul::stages(device.caps(), &p, &Variant { algorithm, split: 1 }).unwrap();
    let launch = &mut stages.stages[0].launch;
    launch.source =
        launch.source.clone().slot("store", "    out[((batch * sizes.m + row) * sizes.n + col) / WIDTH] = v + v;");
    let input = |name| Input { name, elements: 400, fill: Fill::F32 };
    Trial {
        class: class.into(),
        inputs: vec![input("a"), input("b")],
        out: 400,
        second: None,
        want: Want::Plain(plain),
        candidates: vec![Candidate { name: "broken".into(), stages }],
        heuristic: "broken".into(),
        tolerance: 1e-6,
    }
}

#[test]
fn a_wrong_class_is_put_aside_for_good() {
    let folder = Folder::new("a_wrong_class_is_put_aside_for_good");
    let p = square(64);
    let device = folder.device();
    assert!(device.verdicts().is_empty(), "nothing was used yet");
    let first = matmul::pick(&device, &p);
    let class = first.algorithm.class().expect("a fast variant is chosen");
    let verdicts = device.verdicts();
    assert_eq!((verdicts.len(), verdicts[0].class.as_str(), verdicts[0].wrong.as_deref()), (1, class, None));
    assert_eq!(matmul::pick(&device, &p), first);

    let verdict = device.self_test("matmul", &broken(&device, class, first.algorithm)).unwrap();
    assert!(verdict.wrong.as_ref().is_some_and(|why| why.contains("instead of")), "{verdict:?}");
    let second = matmul::pick(&device, &p);
    assert_ne!(second.algorithm.class(), Some(class));
    assert_eq!(device.verdicts().iter().find(|v| v.class == class), Some(&verdict));

    // another program with the same folder knows it, and does not test again
    let again = folder.device();
    let pipelines = again.counters().pipelines;
    assert_eq!(again.verdicts(), device.verdicts());
    assert_eq!(matmul::pick(&again, &p), second);
    assert_eq!(again.counters().pipelines, pipelines);
    assert!(device.self_test("nothing", &broken(&device, class, first.algorithm)).is_err());
}

#[test]
fn a_kernel_that_does_not_compile_is_put_aside() {
    let folder = Folder::new("a_kernel_that_does_not_compile_is_put_aside");
    let device = folder.device();
    let mut trial = broken(&device, "tile", Algorithm::Block);
    let launch = &mut trial.candidates[0].stages.stages[0].launch;
    launch.source = launch.source.clone().slot("store", "    no_such_function(v);");
    assert!(device.self_test("matmul", &trial).unwrap().wrong.is_some());
}

#[test]
fn every_class_passes_its_own_test_quickly() {
    let folder = Folder::new("every_class_passes_its_own_test_quickly");
    let device = folder.device();
    let least = [3, 6, 0, 0, 0, 0];
    for ((name, classes), least) in classes().into_iter().zip(least) {
        let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == name).unwrap();
        let mut tested = 0;
        for class in classes {
            let Some(trial) = (family.test)(device.caps(), &class) else { continue };
            let before = device.counters().pipelines;
            let verdict = device.self_test(name, &trial).unwrap();
            println!("self-test of {name} {class}: {} ms", verdict.took.as_millis());
            assert_eq!(verdict.wrong, None, "{name} {class}");
            // what it costs is the driver's compiler: nothing but the candidates may go through it
            let made = device.counters().pipelines - before;
            assert!(made <= trial.candidates.len() as u64, "{made} pipelines for {name} {class}");
            tested += 1;
        }
        assert!(tested >= least, "{tested} classes of {name}");
        assert!((family.test)(device.caps(), "no such class").is_none());
    }
}

/// A convolution of images with a window of 3, four channels more in y than in x.
fn images(direction: Direction, channels: u32, size: u32) -> conv::Problem {
    conv::Problem {
        direction,
        elem: conv::Elem::F32,
        n: 2,
        c_in: channels,
        c_out: channels + 4,
        groups: 1,
        input: [1, size, size],
        output: [1, size, size],
        kernel: [1, 3, 3],
        stride: [1; 3],
        padding: [0, 1, 1],
        dilation: [1; 3],
    }
}

#[test]
fn a_wrong_convolution_is_put_aside_in_its_direction() {
    let folder = Folder::new("a_wrong_convolution_is_put_aside_in_its_direction");
    let device = folder.device();
    let pick = |device: &Device, direction| conv::pick(device, &images(direction, 12, 10)).unwrap();
    let first = pick(&device, Direction::Input);
    let class = format!("input {}", first.algorithm.class().expect("a fast variant is chosen"));
    assert_eq!(
        device.verdicts().iter().map(|v| (v.family, v.class.as_str())).collect::<Vec<_>>(),
        [("conv", class.as_str())]
    );
    assert_eq!(first, conv::choose(device.caps(), &images(Direction::Input, 12, 10)));
    let other = pick(&device, Direction::Forward);

    // the family's own trial with a kernel that forgets every sum's sign
    let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == "conv").unwrap();
    let mut trial = (family.test)(device.caps(), &class).unwrap();
    let launch = &mut trial.candidates[0].stages.stages[0].launch;
    let width = launch.width;
    let area = "sizes.to_d * sizes.to_h * sizes.to_w";
    let body = format!("    out[((n * sizes.groups * sizes.rows + c) * ({area}) + p) / {width}u] = abs(v);");
    launch.source = launch.source.clone().slot("store", body);
    let verdict = device.self_test("conv", &trial).unwrap();
    assert!(verdict.wrong.as_ref().is_some_and(|why| why.contains("instead of")), "{verdict:?}");

    let second = pick(&device, Direction::Input);
    assert_ne!(second.algorithm.class(), first.algorithm.class());
    assert_eq!(pick(&device, Direction::Forward), other, "the other directions are what they were");
    let again = folder.device();
    assert_eq!(pick(&again, Direction::Input), second, "the verdict is on disk");
    assert!(conv::pick(&device, &conv::Problem { n: 0, ..images(Direction::Input, 12, 10) }).is_err());
}

#[test]
fn tuned_convolutions_are_followed() {
    let folder = Folder::new("tuned_convolutions_are_followed");
    let device = folder.device();
    let tuner = Tuner::new(&device).family("conv").unwrap();
    let classes: Vec<String> = tuner.classes().into_iter().map(|(_, class)| class).collect();
    assert!(classes.len() >= 21 && Tuner::families().contains(&"conv"), "{classes:?}");
    let class = classes.iter().find(|c| c.starts_with("weight_1x3x3_s1_16to32")).unwrap();
    let winners = tuner.class(class).run(|_| ()).unwrap();
    // products that may be rounded are a class of their own where there are such kernels
    assert_eq!(winners[0].class, *class);
    assert!(winners.iter().all(|winner| winner.class.starts_with(class)), "{winners:?}");
    assert!(winners[0].micros <= winners[0].heuristic.1);
    // near the class that was measured, and far from it
    let (near, far) = (images(Direction::Weight, 20, 48), images(Direction::Weight, 200, 5));
    let bare = |name: &str| name.split("_split").next().unwrap().to_string();
    let pick = |device: &Device, p| bare(&conv::pick(device, p).unwrap().to_string());
    assert_eq!(pick(&device, &near), bare(&winners[0].variant));
    let path = folder.file("tuned_");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&winners[0].variant, "direct_split3")).unwrap();
    let again = folder.device();
    let direct = conv::pick(&again, &near).unwrap();
    assert_eq!(direct.algorithm, conv::Algorithm::Direct, "the file decides");
    assert_eq!(conv::pick(&again, &far).unwrap(), conv::choose(again.caps(), &far));
}

/// Attention by matrix units whose sums go wrong in the last block that it walks: what was reported of fragments that are kept
/// over a long loop.
#[test]
fn sums_of_attention_that_go_wrong_late_are_seen() {
    let folder = Folder::new("sums_of_attention_that_go_wrong_late_are_seen");
    let device = folder.device();
    let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == "attention").unwrap();
    // what is multiplied by the weights or by ds, its lines, and how many heads it has
    for (class, slot, operand, line, heads) in [
        ("forward coop", "v_lines_", "v", "sizes.v_row", 1),
        ("query coop", "k_lines_", "k", "sizes.k_row", 1),
        ("keys coop", "g_lines_", "dy", "sizes.heads * EV", 2),
    ] {
        let Some(trial) = (family.test)(device.caps(), class) else { return };
        let rows = trial.inputs.iter().find(|input| input.name == operand).unwrap().elements / 32 / heads;
        assert!(rows >= 500, "{rows} rows are not a long loop");
        let body = |from: u64, wrong: &str| {
            format!(
                "    let line = {line};
    let moved = select(at, {wrong}, at / line >= {from}u);
    return coopLoadT<FragB>(&{operand}[moved], line);"
            )
        };
        let judge = |body: String| {
            let mut trial = trial.clone();
            let launch = &mut trial.candidates[0].stages.stages[0].launch;
            launch.source = launch.source.clone().slot(slot, body);
            device.self_test("attention", &trial).unwrap().wrong
        };
        assert_eq!(judge(body(rows - 16, "at")), None, "{class}: the same kernel");
        for from in [rows - 16, rows / 2, 8] {
            let wrong = judge(body(from, "at - 8u * line"));
            assert!(
                wrong.is_some_and(|why| why.contains("instead of")),
                "{class}: from row {from} on it is those before"
            );
        }
    }
}

/// Each part of attention is tuned by itself.
#[test]
fn tuned_gradients_of_attention_are_followed() {
    let folder = Folder::new("tuned_gradients_of_attention_are_followed");
    let device = folder.device();
    let tuner = Tuner::new(&device).family("attention").unwrap();
    let classes: Vec<String> = tuner.classes().into_iter().map(|(_, class)| class).collect();
    for part in ["forward_", "query_", "keys_"] {
        assert!(classes.iter().filter(|class| class.starts_with(part)).count() >= 4, "{classes:?}");
    }
    let winners = tuner.class("keys_32x64x32_f32_causal").run(|_| ()).unwrap();
    assert!(winners[0].micros <= winners[0].heuristic.1, "{winners:?}");
    let place = Place { offset: 0, batch: 0, head: 60 * 32, row: 32 };
    let p = attention::Problem {
        batch: 1,
        heads: 30,
        kv_heads: 30,
        length: 60,
        keys: 60,
        e: 32,
        ev: 32,
        causal: true,
        scale: 0.2,
        elem: matmul::Elem::F32,
        q: place,
        k: place,
        v: place,
        mask: None,
        dropout: false,
    };
    let path = folder.file("tuned_");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&winners[0].variant, "tile32")).unwrap();
    let again = folder.device();
    assert_eq!(attention::pick(&again, &p, Part::Keys), attention::Variant::Tile(32, 1), "the file decides");
    assert_eq!(attention::pick(&again, &p, Part::Query), attention::choose(again.caps(), &p, Part::Query));
}

#[test]
fn kernels_of_rows_are_tested_and_follow_their_winners() {
    let folder = Folder::new("kernels_of_rows_are_tested_and_follow_their_winners");
    let device = folder.device();
    let walk = Walk { kernel: "softmax", rows: 500, steps: 60, width: 4, passes: 2 };
    for name in ["softmax", "norm", "reduce"] {
        let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == name).unwrap();
        for class in ["subgroup", "joined"] {
            let Some(trial) = (family.test)(device.caps(), class) else { continue };
            assert_eq!(trial.candidates.len(), 1, "{name} {class}");
        }
    }
    assert_eq!(lanes::pick(&device, "softmax", &walk), lanes::choose(device.caps(), &walk));

    let tuner = Tuner::new(&device).family("softmax").unwrap().class("512x64_w4");
    assert_eq!(tuner.classes().len(), 1);
    let winners = tuner.run(|_| ()).unwrap();
    assert_eq!(lanes::pick(&device, "softmax", &walk).to_string(), winners[0].variant);

    // a class that is put aside is not taken, tuned or not
    for class in ["subgroup", "joined"] {
        let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == "softmax").unwrap();
        let Some(mut trial) = (family.test)(device.caps(), class) else { continue };
        let launch = &mut trial.candidates[0].stages.stages[0].launch;
        launch.source = launch.source.clone().slot("store", "    out[(row * sizes.cols + col) / WIDTH] = v + v;");
        assert!(device.self_test("softmax", &trial).unwrap().wrong.is_some());
    }
    for steps in [60, 600, 6000] {
        let chosen = lanes::pick(&device, "softmax", &Walk { steps, ..walk });
        assert_eq!(chosen.class(), None, "{chosen}");
    }
}

#[test]
fn winners_are_followed_and_remembered() {
    let folder = Folder::new("winners_are_followed_and_remembered");
    let device = folder.device();
    let tuner = Tuner::new(&device).family("matmul").unwrap();
    assert!(Tuner::new(&device).family("nothing").is_err());
    assert!(tuner.classes().len() > 10 && Tuner::families().contains(&"matmul"));
    assert!(device.winners().is_empty());

    // a limit that is over at once leaves everything as it was
    assert!(tuner.clone().limit(Duration::ZERO).run(|_| ()).unwrap().is_empty());
    assert!(device.winners().is_empty());

    // one class, and what belongs to it
    let class = &tuner.classes().into_iter().find(|(_, c)| c.starts_with("128x128x128_b1_nn")).unwrap().1.clone();
    let mut seen = Vec::new();
    let winners = Tuner::new(&device)
        .family("matmul")
        .unwrap()
        .class(class)
        .run(|progress| seen.push(progress.variant.clone()))
        .unwrap();
    // products that may be rounded are a class of their own where there are such kernels
    assert_eq!(winners[0].class, *class);
    assert!(winners.iter().all(|winner| winner.class.starts_with(class)), "{winners:?}");
    assert!(seen.len() > 3, "{seen:?}");
    assert_eq!(device.winners(), winners);
    assert!(winners[0].micros <= winners[0].heuristic.1);
    assert_eq!(matmul::pick(&device, &square(120)).to_string(), winners[0].variant);

    let path = folder.file("tuned_");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&winners[0].variant, "block8x8")).unwrap();
    let again = folder.device();
    assert_eq!(matmul::pick(&again, &square(120)).algorithm, Algorithm::Block, "the file decides");
    assert_eq!(matmul::pick(&again, &square(130)).algorithm, Algorithm::Block, "the same class");
    again.forget_winners().unwrap();
    assert!(folder.device().winners().is_empty());
}

#[test]
fn pipelines_that_are_on_disk_are_not_written_again() {
    let folder = Folder::new("pipelines_that_are_on_disk_are_not_written_again");
    let compile = || {
        let device = folder.device();
        device.kernel(&Source::new("nothing", "@compute @workgroup_size(1) fn main() {}")).unwrap();
        device.raw().features().contains(kiln_device::wgpu::Features::PIPELINE_CACHE)
    };
    if !compile() {
        return; // the backend gives no pipelines out
    }
    let written = || folder.file("wgpu_pipeline_cache").metadata().unwrap().modified().unwrap();
    let first = written();
    compile();
    assert_eq!(written(), first);
}

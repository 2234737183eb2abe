//! What is written of a training: tables, JSON lines, TensorBoard's events, the report.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::train::{CsvLog, JsonLines, Report, Sample, TensorBoard};

use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kiln-trainer-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder); // of an earlier run with this process id
    folder
}

/// A log without its times.
fn timeless(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let cut = |line: &str| line.rsplit_once([',', ':']).unwrap().0.to_string();
    let lines = text.lines();
    lines.map(|line| if line.starts_with("{\"event\":\"validation") { line.into() } else { cut(line) }).collect()
}

#[test]
fn logs_of_a_resumed_training_are_those_of_a_whole_one() {
    let home = scratch("logs");
    let logged = |name: &str, most: usize| {
        let folder = home.join(name);
        let trainer = Trainer::new(4).batch(8).validate(Every::Steps(2)).max_steps(most);
        let trainer = trainer.checkpoints(folder.join("state"), Checkpoints::every(Every::Steps(2))).resume();
        let trainer = trainer.callback(CsvLog::new(&folder)).callback(JsonLines::new(folder.join("log.jsonl")));
        run(trainer, sgd, [24, 8]).0.unwrap()
    };
    let logs = ["steps.csv", "validations.csv", "epochs.csv", "log.jsonl"];
    logged("whole", 100);
    let all = |name: &str| logs.map(|log| timeless(&home.join(name).join(log)));
    let whole = all("whole");
    assert_eq!(whole.each_ref().map(Vec::len), [13, 7, 5, 12 + 6 + 4]);
    assert_eq!(whole[0][0], "step,epoch,loss,metric,lr,examples");
    assert!(whole[0][12].starts_with("12,4,") && whole[0][12].ends_with(",0.2,8"), "{}", whole[0][12]);

    for most in 0..=12 {
        let parts = home.join("parts");
        logged("parts", most);
        // what a killed run may leave behind its last checkpoint, the end of it half-written
        for (log, line) in logs.iter().zip([
            "99,9,0.5,0.5,0.2,8,1.0\n99,",
            "99,9,0.5,0.5\n",
            "9,99,,,,,,\n9",
            "{\"event\":\"step\",\n{",
        ]) {
            let path = parts.join(log);
            fs::write(&path, fs::read_to_string(&path).unwrap() + line).unwrap();
        }
        logged("parts", 100);
        assert_eq!(all("parts"), whole, "ended after step {most}");
        fs::remove_dir_all(parts).unwrap();
    }
    fs::remove_dir_all(home).unwrap();
}

/// A training of its own never writes over what another has left: that gets a name by number, one for all its tables.
#[test]
fn logs_of_an_earlier_training_are_put_aside() {
    let home = scratch("aside");
    let logged = |steps: usize| {
        let trainer = Trainer::new(4).batch(8).max_steps(steps);
        let trainer = trainer.callback(CsvLog::new(&home)).callback(JsonLines::new(home.join("log.jsonl")));
        run(trainer, sgd, [24, 8]).0.unwrap()
    };
    let rows = |name: &str| fs::read_to_string(home.join(name)).unwrap().lines().count();
    logged(0); // leaves tables without a row, which nobody misses
    logged(2);
    assert_eq!([rows("steps.csv"), rows("validations.csv"), rows("log.jsonl")], [1 + 2, 1, 2]);
    assert!(!home.join("steps.1.csv").exists());
    logged(7);
    assert_eq!([rows("steps.csv"), rows("epochs.csv"), rows("log.jsonl")], [1 + 7, 1 + 2, 7 + 2 + 2]);
    assert_eq!([rows("steps.1.csv"), rows("validations.1.csv"), rows("log.1.jsonl")], [1 + 2, 1, 2]);
    fs::write(home.join("epochs.2.csv"), "mine").unwrap(); // a number that is taken is passed over
    logged(1);
    assert_eq!([rows("steps.csv"), rows("log.jsonl")], [1 + 1, 1]);
    assert_eq!([rows("steps.3.csv"), rows("epochs.3.csv"), rows("log.2.jsonl")], [1 + 7, 1 + 2, 7 + 2 + 2]);
    assert_eq!([rows("steps.1.csv"), rows("log.1.jsonl"), rows("epochs.2.csv")], [1 + 2, 2, 1]);
    fs::remove_dir_all(home).unwrap();
}

/// CRC-32C by its definition: the remainder of the bits, each byte's lowest first, with 32 more zeros.
fn masked_crc(data: &[u8]) -> u32 {
    let bits = data.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1)).chain([0; 32]);
    let mut rest: u64 = 0;
    for (i, bit) in bits.enumerate() {
        rest = rest << 1 | u64::from(bit ^ u8::from(i < 32));
        if rest >> 32 & 1 == 1 {
            rest ^= 0x1_1EDC_6F41;
        }
    }
    let crc = !(rest as u32).reverse_bits();
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The fields of a message of protocol buffers: number and bytes (of a varint: its eight bytes).
fn fields(mut data: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let length = data.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (head, rest) = data.split_at(length);
        *data = rest;
        head.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut out = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                out.push(((key >> 3) as u8, varint(&mut data).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, rest) = data.split_at(length);
        out.push(((key >> 3) as u8, content.to_vec()));
        data = rest;
    }
    out
}

/// The events of a file, every checksum checked.
fn events(path: &Path) -> Vec<Vec<(u8, Vec<u8>)>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(rest[8..12].try_into().unwrap()), masked_crc(&rest[..8]));
        let data = &rest[12..12 + length];
        assert_eq!(u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap()), masked_crc(data));
        out.push(fields(data));
        rest = &rest[16 + length..];
    }
    out
}

#[test]
fn tensorboard_files_hold_the_figures() {
    let home = scratch("tensorboard");
    let logged = |most: usize| {
        let trainer = Trainer::new(50).batch(8).max_steps(most);
        let trainer = trainer.checkpoints(home.join("state"), Checkpoints::default()).resume();
        run(trainer.callback(TensorBoard::new(home.join("log"))), sgd, [24, 8]).0.unwrap()
    };
    let first = logged(3);
    let second = logged(150);
    let mut files: Vec<PathBuf> = fs::read_dir(home.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    assert!(files[0].file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents."));

    let step_of = |event: &[(u8, Vec<u8>)]| u64::from_le_bytes(event[1].1.clone().try_into().unwrap());
    let mut scalars = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let mut events = events(file).into_iter();
        let version = events.next().unwrap();
        assert_eq!((version[0].0, version[1].0, &version[2]), (1, 2, &(3, b"brain.Event:2".to_vec())));
        if number == 1 {
            let start = events.next().unwrap();
            assert_eq!(
                (step_of(&start), start[2].0, fields(&start[2].1)),
                (4, 7, vec![(1, vec![1, 0, 0, 0, 0, 0, 0, 0])])
            );
        }
        for event in events {
            assert!(f64::from_le_bytes(event[0].1.clone().try_into().unwrap()) > 1.7e9);
            assert_eq!(event[2].0, 5);
            for (field, value) in fields(&event[2].1) {
                let value = fields(&value);
                assert_eq!((field, value[0].0, value[1].0), (1, 1, 2));
                let number = f32::from_le_bytes(value[1].1.clone().try_into().unwrap());
                scalars.push((String::from_utf8(value[0].1.clone()).unwrap(), step_of(&event), number));
            }
        }
    }
    let of = |tag: &str| scalars.iter().filter(|s| s.0 == tag).map(|s| (s.1, s.2)).collect::<Vec<_>>();
    assert_eq!(of("train/loss").iter().map(|s| s.0).collect::<Vec<_>>(), (1..=150).collect::<Vec<_>>());
    assert_eq!(of("lr"), (1..=150).map(|step| (step, 0.2)).collect::<Vec<_>>());
    assert_eq!((of("train/error").len(), of("validation/error").len()), (150, 50));
    let want: Vec<(u64, f32)> = second.validations.iter().map(|v| (v.step as u64, v.figures.loss as f32)).collect();
    assert_eq!(of("validation/loss"), want);
    assert_eq!(first.validations, second.validations[..1]);
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_report_is_one_page_of_what_there_is() {
    let mut report = Report::new("<A & B>");
    let empty = report.html();
    assert!(empty.contains("&lt;A &amp; B&gt;") && !empty.contains("<svg") && !empty.contains("Confusion"));
    let history = run(Trainer::new(3).batch(8).callback(&mut report), sgd, [24, 8]).0.unwrap();
    report.note("optimizer", "SGD");
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0, 1, 1, 1], &[0, 1, 1, 1, 1]).unwrap();
    report.confusion(&matrix, &["cat", "d<g"]);
    let picture = vec![vec![0.0, 1.0], vec![0.5, 0.0]];
    report.sample(Sample { picture, truth: "cat".into(), prediction: "d<g".into(), probability: 0.25 });
    let page = report.html();
    for part in ["SGD", "d&lt;g", ">50.0 %<", ">100.0 %<", "is cat", "validation error", "d&lt;g 25 %"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), 3 + 1);
    let picture = report.picture("a < b");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("a &lt; b"));
    assert!(picture.contains(">Loss<") && picture.contains(">Error<") && picture.contains(">epoch<"));
    assert!(page.contains(&format!("{:.4}", history.epochs[2].train.loss)));
    assert!(!page.contains("http") && !page.contains("NaN") && !page.contains("<script"));
}
